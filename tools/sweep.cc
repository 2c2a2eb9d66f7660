// tidemark sweep: a built-in model in many budgets.
#include "tools/sweep.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "tidemark/page.h"
#include "tidemark/session.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/training.h"
#include "tools/workload.h"

namespace tidemark::tools {
namespace {

// The shortest text that is this number alone: "12", "0.0003".
std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

// All that makes it another sweep.
std::string subject_of(const SweepCommand& command) {
  std::string text = command.workload.model + " --data " + command.workload.data + " --batch " +
                     std::to_string(command.workload.batch) + " --optimizer " + command.optimizer.kind;
  const auto add = [&](const char* name, const auto& value) {
    if (value) text += std::string(" ") + name + " " + std::to_string(*value);
  };
  add("--image", command.workload.image);
  add("--channels", command.workload.channels);
  add("--classes", command.workload.classes);
  add("--vocabulary", command.workload.vocabulary);
  add("--context", command.workload.context);
  for (const auto* given : {&command.workload.model_options, &command.optimizer.options}) {
    for (const auto& [name, value] : *given) text += " --" + name + " " + number(value);
  }
  if (command.optimizer.state) text += " --state " + *command.optimizer.state;
  return text;
}

// A model and its batches, alive as long as the subject.
SweepSubject subject(const Workload& workload, const SweepCommand& command, std::int64_t batch) {
  const auto training = std::make_shared<Training>(workload, command.optimizer, batch, false);
  return {.loss = [training] { return training->loss(); },
          .parameters = training->all_parameters(),
          .state = training->model().state(),
          .optimizer = training->optimizer()};
}

void find_batches(const SweepCommand& command) {
  const Workload workload(command.workload);
  check_optimizer(workload, command.optimizer);
  std::printf("%14s %10s\n", "budget", "batch");
  for (const std::string& text : command.budgets) {
    const std::int64_t budget = parse_bytes(text);
    const std::int64_t batch =
        largest_batch(budget, workload.train()->size(), {.threads = static_cast<int>(command.threads)},
                      [&](std::int64_t size) { return subject(workload, command, size); });
    std::printf("%14s %10lld\n", format_bytes(budget).c_str(), static_cast<long long>(batch));
    std::fflush(stdout);
  }
}

// One step in the budget that is looked at: what it takes over time, and why.
void look(const SweepCommand& command, const Sweep& result, Page& page) {
  const std::optional<std::int64_t> asked = sweep_budget(command.look, result.fixed_bytes, result.peak_bytes);
  Session session({.budget = asked ? std::optional(std::max(*asked, result.smallest_bytes)) : std::nullopt,
                   .threads = static_cast<int>(command.threads),
                   .seed = static_cast<std::uint64_t>(command.workload.seed)});
  const Workload workload(command.workload);
  Training training(workload, command.optimizer, command.workload.batch, false);
  for (int i = 0; i < 3; ++i) training.step();
  session.start_timeline();
  training.step();
  page.timeline = session.stop_timeline();
  page.explanation = session.explanation();
}

// What the peer's script is told: it knows the command's own names for sizes, and its defaults.
std::vector<std::string> peer_options(const SweepCommand& command) {
  std::vector<std::string> words = {"--model", command.workload.model};
  const auto add = [&](const std::string& name, const std::string& value) {
    words.push_back("--" + name);
    words.push_back(value);
  };
  add("batch", std::to_string(command.workload.batch));
  add("threads", std::to_string(command.threads > 0 ? command.threads : 2));
  add("steps", std::to_string(command.steps));
  add("optimizer", command.optimizer.kind);
  const auto size = [&](const char* name, const std::optional<std::int64_t>& value) {
    if (value) add(name, std::to_string(*value));
  };
  size("image", command.workload.image);
  size("classes", command.workload.classes);
  size("vocabulary", command.workload.vocabulary);
  size("context", command.workload.context);
  for (const auto& [name, value] : command.workload.model_options) {
    if (name == "batch-norm") {
      if (value != 0) words.push_back("--batch-norm");
    } else {
      add(name, number(value));
    }
  }
  return words;
}

std::string command_line_of(const SweepCommand& command) {
  std::string text = "tidemark sweep --model " + subject_of(command) + " --rounds " + std::to_string(command.rounds) +
                     " --steps " + std::to_string(command.steps) + " --threads " + std::to_string(command.threads) +
                     " --costs " + command.costs + " --budgets ";
  for (const std::string& budget : command.budgets) text += (&budget == command.budgets.data() ? "" : ",") + budget;
  return text + (command.peers ? " --peers" : "");
}

// A page or picture of the sweep that goes on is made anew; others stay.
void require_same_sweep(const SweepCommand& command, const std::string& picture) {
  namespace fs = std::filesystem;
  std::error_code none;
  if (!fs::is_regular_file(picture, none) || fs::is_regular_file(command.out, none)) return;
  throw UsageError(picture + " is there already, and may show another sweep; remove it, or name another file");
}

}  // namespace

SweepOptions sweep_options(const SweepCommand& command) {
  return {.name = command.workload.model,
          .budgets = command.budgets,
          .rounds = static_cast<int>(command.rounds),
          .steps = static_cast<int>(command.steps),
          .threads = static_cast<int>(command.threads),
          .seed = static_cast<std::uint64_t>(command.workload.seed),
          .costs = command.costs,
          .file = command.out,
          .subject = subject_of(command),
          .peers = command.peers ? peer_options(command) : std::vector<std::string>(),
          .say = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }};
}

SweepSubject sweep_subject(const SweepCommand& command) {
  const Workload workload(command.workload);
  check_optimizer(workload, command.optimizer);
  return subject(workload, command, command.workload.batch);
}

void sweep(const SweepCommand& command) {
  check_output("--out", command.out, {});
  check_output("--html", command.html, {command.out});
  const std::string curve = command.svg.empty() ? "" : command.svg + "-curve.svg";
  const std::string step = command.svg.empty() ? "" : command.svg + "-step.svg";
  check_output("--svg", curve, {});
  check_output("--svg", step, {});
  check_distinct({{"--out", command.out}, {"--html", command.html}, {"--svg", curve}, {"--svg", step}});
  for (const std::string& picture : {command.html, curve, step}) require_same_sweep(command, picture);
  if (command.batches) {
    find_batches(command);
    return;
  }
  Page page{.title = "Tidemark: " + command.workload.model, .command = command_line_of(command)};
  page.sweep = tidemark::sweep(sweep_options(command), [&] { return sweep_subject(command); });
  std::fputs(page.sweep->table().c_str(), stdout);
  if (command.html.empty() && command.svg.empty()) return;
  look(command, *page.sweep, page);
  if (!command.html.empty()) write_page(page, command.html);
  if (!command.svg.empty()) {
    write_svg(*page.sweep, curve);
    write_svg(*page.timeline, step);
  }
}

}  // namespace tidemark::tools
