// How far a loop is: a bar that redraws itself on a terminal, a line now and then elsewhere.
//
//   td::Progress progress(steps, {.session = &session});
//   for (...) progress.update(i, {{"loss", loss.item()}, {"accuracy", accuracy.value()}});
//   // [########............] step 41/100  loss 0.3127  accuracy 0.9014  12.5 steps/s  eta 0:05  live 3.0 MiB of 8.0
//   MiB
//
// Only lines that are shown are made, at most ten a second on a terminal and twenty in all elsewhere, so that
// update() may be called in every step. A line never is wider than the terminal. Control characters in names and texts
// are "?". An output that is gone, as a pipe that nobody reads any more, ends neither the loop nor the program: no
// exception, no SIGPIPE.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

#include "tidemark/error.h"
#include "tidemark/fields.h"
#include "tidemark/metrics.h"

#pragma GCC visibility push(default)
namespace tidemark {

class Session;

struct ProgressOptions {
  std::FILE* out = stdout;
  std::optional<bool> terminal = {};  // whether `out` is one; it is asked where this is not given
  int width = 0;                      // columns; 0: as many as the terminal has when the line is drawn
  const char* unit = "steps";         // of the rate
  double units_per_step = 1;          // "640.0 samples/s" is {.unit = "samples", .units_per_step = 64}
  const Session* session = nullptr;   // whose bytes are shown: live ones on a terminal, the last step's peak elsewhere
  std::chrono::steady_clock::time_point (*now)() = &std::chrono::steady_clock::now;  // the clock
};

class Progress {
 public:
  // `steps` in all; 0 where nobody knows: there is no bar then, and a line every ten seconds.
  explicit Progress(std::int64_t steps, const ProgressOptions& options = {},
                    SourceLocation where = SourceLocation::current());
  // Ends the bar's line, also when an error leaves it in the middle.
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `step` steps are done, from 1 on. The session must be alive.
  void update(std::int64_t step, std::span<const Field> fields = {});
  void update(std::int64_t step, std::initializer_list<Field> fields) {
    update(step, std::span<const Field>(fields.begin(), fields.size()));
  }
  // Ends the bar's line. An update() after it begins another one.
  void finish();

 private:
  using Time = std::chrono::steady_clock::time_point;

  void measure(std::int64_t step, Time now);
  bool due(std::int64_t step, Time now) const;
  std::string line(std::int64_t step, std::span<const Field> fields, Time now) const;
  void draw(std::int64_t step, const std::string& line);

  ProgressOptions options_;
  bool terminal_;
  std::int64_t steps_;
  std::int64_t every_;  // steps between two plain lines
  std::int64_t updates_ = 0;
  std::int64_t before_ = 0;  // the last update's step
  Time start_;
  Time measured_;  // the last update
  std::optional<Time> shown_;
  std::int64_t shown_step_ = 0;
  metrics::ExponentialMean step_seconds_{0.9};
  std::size_t drawn_ = 0;  // columns of the bar's line
};

}  // namespace tidemark
#pragma GCC visibility pop
