// tidemark train: trains a built-in model, and says what it took.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "tidemark/checkpoint.h"
#include "tidemark/log.h"
#include "tidemark/ops.h"
#include "tidemark/progress.h"
#include "tidemark/session.h"
#include "tidemark/trace.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command.h"
#include "tools/evaluate.h"
#include "tools/hash.h"
#include "tools/options.h"
#include "tools/training.h"
#include "tools/workload.h"

namespace tidemark::tools {
namespace {

std::vector<Field> step_line(const StepReport& step, const Report& report, const Training::Result& result) {
  return {{"step", step.step},
          {"loss", result.loss},
          {"seconds", result.seconds},
          {"peak_bytes", step.peak_bytes},
          {"budget_bytes", report.budget},
          {"planned", step.planned},
          {"recomputed_ops", step.recomputed_ops},
          {"recompute_seconds", step.recompute_seconds},
          {"rss_bytes", report.rss_bytes},
          {"grad_hash", to_hex(result.gradient_hash)},
          {"weight_hash", to_hex(result.weight_hash)}};
}

// Ctrl-C and the like end the run after the step under way, where there is a file to save it in.
class Interruption {
 public:
  explicit Interruption(bool wanted) : wanted_(wanted) {
    for (std::size_t i = 0; wanted_ && i < std::size(kSignals); ++i) {
      before_[i] = std::signal(kSignals[i], [](int number) { caught_ = number; });
      if (before_[i] == SIG_IGN) std::signal(kSignals[i], SIG_IGN);
    }
  }
  ~Interruption() {
    for (std::size_t i = 0; wanted_ && i < std::size(kSignals); ++i) std::signal(kSignals[i], before_[i]);
  }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  int caught() const { return caught_; }

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM};
  static inline volatile std::sig_atomic_t caught_ = 0;
  bool wanted_;
  void (*before_[std::size(kSignals)])(int) = {};
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// A run that was saved is gone on with, or stays.
void require_no_other_run(const TrainCommand& options) {
  namespace fs = std::filesystem;
  std::error_code none;
  if (options.save.empty() || !fs::is_regular_file(options.save, none)) return;
  if (!options.resume.empty() && fs::equivalent(options.save, options.resume, none)) return;
  throw UsageError("--save " + options.save + ": the file is there already; go on from it with --resume " +
                   options.save + ", or name another one");
}

}  // namespace

void train(const TrainCommand& options) {
  const std::optional<std::int64_t> budget = training_budget(options.budget);
  Workload workload(options.workload);
  check_optimizer(workload, options.optimizer);
  std::vector<std::string> inputs = workload.train()->files();
  if (options.evaluate) {  // missing files are an error now, not after training
    const std::vector<std::string> files = workload.test()->files();
    inputs.insert(inputs.end(), files.begin(), files.end());
  }
  check_output("--json", options.json, inputs);
  check_output("--trace", options.trace, inputs);
  check_output("--save", options.save, inputs);
  std::vector<std::pair<std::string, std::string>> outputs = {{"--json", options.json}, {"--trace", options.trace}};
  for (const char* kept : {"", ".1", ".new", ".best"}) {
    if (!options.save.empty()) outputs.emplace_back("--save", options.save + kept);
  }
  check_distinct(outputs);
  require_no_other_run(options);
  const auto threads = static_cast<int>(options.threads);
  const std::int64_t batch = options.workload.batch;
  const SessionOptions of_session{.budget = budget,
                                  .threads = threads,
                                  .seed = static_cast<std::uint64_t>(options.workload.seed),
                                  .costs = costs_of(options.costs, threads)};
  if (budget) require_feasible(workload, options.optimizer, batch, of_session);

  JsonLog log(options.json);
  Session session(of_session);
  if (!options.trace.empty()) session.start_timeline();
  Training training(workload, options.optimizer, batch, log.enabled());
  const std::int64_t steps = options.epochs ? *options.epochs * training.batches() : options.steps.value_or(100);
  training.start_schedule(steps);
  std::printf("%s: %lld parameters, batch %lld, %lld steps, budget %s\n", options.workload.model.c_str(),
              static_cast<long long>(training.parameters()), static_cast<long long>(batch),
              static_cast<long long>(steps), budget ? format_bytes(*budget).c_str() : "none");

  std::optional<Checkpointer> checkpoints;
  if (!options.save.empty() || !options.resume.empty()) {
    checkpoints.emplace(options.save.empty() ? options.resume : options.save);
    training.add_to(*checkpoints);
  }
  if (!options.resume.empty()) {
    const std::optional<Resumed> resumed =
        options.resume == options.save ? checkpoints->resume() : checkpoints->resume_from(options.resume);
    if (resumed) std::printf("resumed from %s\n", resumed->text().c_str());
  }
  const auto save = [&] {
    if (!options.save.empty()) checkpoints->save();
  };

  std::vector<double> seconds;
  float loss = 0;
  const Interruption interruption(!options.save.empty());
  {
    Progress progress(steps, {.unit = "samples", .units_per_step = static_cast<double>(batch), .session = &session});
    for (std::int64_t i = session.step() + 1; i <= steps && interruption.caught() == 0; ++i) {
      const Training::Result result = training.step();
      const Report report = session.report();
      log.write(step_line(report.last_step, report, result));
      seconds.push_back(result.seconds);
      loss = result.loss;
      progress.update(i, {{"loss", loss}, {"recomputed", report.last_step.recomputed_ops}});
      if (options.save_every && i % *options.save_every == 0 && i < steps) save();
    }
  }
  save();
  if (!options.trace.empty()) write_trace(session.stop_timeline(), options.trace);
  const Report report = session.report();
  std::vector<Field> summary = {{"summary", true},
                                {"median_step_seconds", median(seconds)},
                                {"peak_bytes", report.peak_bytes},
                                {"fixed_bytes", report.fixed_bytes},
                                {"rss_peak_bytes", report.rss_peak_bytes},
                                {"parameters", training.parameters()},
                                {"planned_steps", report.planned_steps},
                                {"steps", steps},
                                {"budget_bytes", report.budget},
                                {"reserved_bytes", report.reserved_bytes},
                                {"recomputed_ops", report.last_step.recomputed_ops},
                                {"primitives", report.primitives},
                                {"ops", report.last_step.ops},
                                {"plan_seconds", report.plan_seconds},
                                {"plan_cost", report.plan_cost},
                                {"plan_bound", report.plan_bound},
                                {"loss", loss}};
  std::printf("%s, %.4g s a step\n", report.summary().c_str(), median(seconds));
  training.release_batches();
  if (!options.save.empty()) {
    std::printf("%s%s is of step %lld\n", interruption.caught() != 0 ? "interrupted: " : "", options.save.c_str(),
                static_cast<long long>(session.step()));
  }

  if (options.evaluate && interruption.caught() == 0) {
    const Evaluation evaluation = evaluate(training.model(), workload.test(), batch);
    summary.push_back({"test_loss", evaluation.loss});
    summary.push_back({"test_accuracy", evaluation.accuracy});
    std::printf("test: loss %.4f, %.2f %% of %lld right\n", evaluation.loss, 100 * evaluation.accuracy,
                static_cast<long long>(evaluation.targets));
  }
  if (options.sample && interruption.caught() == 0) {
    const std::string text = sample_text(training.model(), workload.context(), *options.sample,
                                         static_cast<std::uint64_t>(options.workload.seed));
    std::printf("--- a sample\n%s\n---\n", text.c_str());
  }
  log.write(summary);
  log.finish();
  if (interruption.caught() == 0) return;
  // What waits for this process sees what ended it.
  std::fflush(stdout);
  std::signal(interruption.caught(), SIG_DFL);
  std::raise(interruption.caught());
}

}  // namespace tidemark::tools
