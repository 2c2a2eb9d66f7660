// Checkpoints: all that a training run needs to go on as if it had never stopped, in one file.
//
//   td::Checkpointer checkpoints("run.safetensors", {.keep = 3});
//   checkpoints.add("model", net).add("optimizer", optimizer).add("data", loader).add("epoch", epoch);
//   if (const auto resumed = checkpoints.resume()) std::puts(resumed->text().c_str());
//   for (; epoch < 10; ++epoch) {
//     for (const auto& [x, y] : loader) {
//       ...
//       if (session.step() % 100 == 0) checkpoints.save();
//     }
//   }
//
// A run that is resumed gives the same bits as one that never stopped, under another budget, too. A file is written
// beside the old one and takes its name when it is on the disk, so that there is a whole one at every moment; it ends
// in checksums, which resume() compares before a byte changes. docs/files.md describes it: it is a safetensors file,
// from which td::load() reads a model's weights with .prefix = "model.".
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tidemark/average.h"
#include "tidemark/data.h"
#include "tidemark/nn/module.h"
#include "tidemark/optim.h"
#include "tidemark/parameter.h"
#include "tidemark/schedule.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct CheckpointerOptions {
  int keep = 2;  // files of the last saves: FILE, and from the last but one on FILE.1, FILE.2, ...
  optim::Mode best = optim::Mode::kMin;  // which metric of save(metric) is best: FILE.best is of that
};

struct Resumed {
  std::string file = {};
  std::int64_t step = 0;                   // of the session
  std::vector<std::string> warnings = {};  // newer files that are damaged; another machine, on which bits may differ
  std::string text() const;                // for people, a line each
};

namespace detail {
// What a checkpoint holds under one name.
struct CheckpointPart {
  std::string name = {};
  std::string kind = {};      // for messages: "model"
  std::string identity = {};  // what has to be the same in the file: of data
  std::function<std::vector<Parameter>()> tensors = {};
  std::function<std::vector<Parameter>()> parameters = {};  // of a model: those that may be frozen
  std::function<std::vector<std::pair<std::string, std::int64_t*>>()> counters = {};
  std::function<std::vector<double>()> numbers = {};
  std::function<void(std::span<const double>)> set_numbers = {};
  // Of an optimizer, whose tensors may be undefined until a step makes them: whether the one of that index can have so
  // many bytes, and making it so.
  std::function<bool(std::size_t index, std::int64_t bytes)> fits = {};
  std::function<void(std::size_t index, std::int64_t bytes)> make = {};
  // Throws Error where this is no time to save.
  std::function<void()> check = {};
};
CheckpointPart model_part(std::function<void(nn::Visitor&)> visit);
}  // namespace detail

class Checkpointer {
 public:
  // Throws Error where the options do not fit, FileError where such a file cannot be written.
  explicit Checkpointer(std::string file, const CheckpointerOptions& options = {},
                        SourceLocation where = SourceLocation::current());

  // What is saved and restored, each under a name of its own. It has to live as long as this, and to be added before
  // resume(): in every run the same. A run that may thaw or freeze parameters as it goes finds them as they were.
  template <nn::Visitable M>
  Checkpointer& add(std::string_view name, M& module, SourceLocation where = SourceLocation::current()) {
    return add_part(name, detail::model_part([&module](nn::Visitor& v) { module.visit(v); }), where);
  }
  Checkpointer& add(std::string_view name, optim::Optimizer& optimizer,
                    SourceLocation where = SourceLocation::current());
  Checkpointer& add(std::string_view name, optim::WeightAverage& average,
                    SourceLocation where = SourceLocation::current());
  // Its place inside the epoch. Other data (another number of examples, shape, batch, order or content) is refused.
  Checkpointer& add(std::string_view name, data::Loader& loader, SourceLocation where = SourceLocation::current());
  // Schedules, metrics, and whatever else has its state as numbers.
  template <class T>
  requires requires(const T& t) {
    { t.state() } -> std::same_as<std::vector<double>>;
  }
  Checkpointer& add(std::string_view name, T& state, SourceLocation where = SourceLocation::current()) {
    return add_part(name,
                    {.kind = "numbers",
                     .numbers = [&state] { return state.state(); },
                     .set_numbers =
                         [&state, where](std::span<const double> numbers) {
                           if constexpr (requires { state.set_state(numbers, where); }) {
                             state.set_state(numbers, where);
                           } else {
                             state.load(numbers, where);
                           }
                         }},
                    where);
  }
  // A number of the program's own: an epoch, the best metric so far. Whole ones below 2^53.
  template <class T>
  requires std::is_arithmetic_v<T> Checkpointer& add(std::string_view name, T& number,
                                                     SourceLocation where = SourceLocation::current()) {
    return add_part(name,
                    {.kind = "number",
                     .numbers = [&number] { return std::vector{static_cast<double>(number)}; },
                     .set_numbers = [&number](std::span<const double> n) { number = static_cast<T>(n[0]); }},
                    where);
  }

  // Writes FILE; the one that was there becomes FILE.1, and so on. To be called between steps: gradients are not saved,
  // so that ones which no optimizer has used are an error. With a metric, the best file is also kept as FILE.best; one
  // that is not a number is never best. Throws FileError where it cannot be written; the files that are there stay.
  void save(SourceLocation where = SourceLocation::current()) { save_file(std::nullopt, where); }
  void save(double metric, SourceLocation where = SourceLocation::current()) { save_file(metric, where); }

  // Goes on from FILE; where it is damaged from FILE.1, and so on. Nothing where there is no such file: a run that
  // begins. Throws Error, before a byte changes, naming what does not fit: another model, optimizer, seed or data; and
  // FileError where all files are damaged.
  std::optional<Resumed> resume(SourceLocation where = SourceLocation::current());
  // The same from a file of any name, FILE.best say, and from no other. Throws FileError where it is not there.
  Resumed resume_from(const std::string& file, SourceLocation where = SourceLocation::current());

 private:
  Checkpointer& add_part(std::string_view name, detail::CheckpointPart part, SourceLocation where);
  void save_file(std::optional<double> metric, SourceLocation where);

  std::string file_;
  CheckpointerOptions options_;
  std::vector<detail::CheckpointPart> parts_;
  std::optional<double> best_;
};

}  // namespace tidemark
#pragma GCC visibility pop
