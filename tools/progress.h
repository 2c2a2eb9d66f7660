// How far training is: a bar that redraws itself on a terminal, a line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

namespace tidemark::tools {

class Progress {
 public:
  struct State {
    std::int64_t step = 0;
    float loss = 0;
    double samples_per_second = 0;
    std::int64_t live_bytes = 0;
    std::int64_t peak_bytes = 0;
    std::int64_t recomputed_ops = 0;
  };

  Progress(std::FILE* out, bool terminal, std::int64_t steps, std::optional<std::int64_t> budget);
  // Ends the bar's line, also when an error leaves it in the middle.
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(const State& state);
  void finish();

 private:
  std::string line(const State& state) const;

  std::FILE* out_;
  bool terminal_;
  std::int64_t steps_;
  std::optional<std::int64_t> budget_;
  std::int64_t every_;  // steps between two plain lines
  std::size_t drawn_ = 0;
  std::chrono::steady_clock::time_point last_draw_{};
};

}  // namespace tidemark::tools
