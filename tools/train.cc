// tidemark train: trains a built-in model, and says what it took.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tidemark/ops.h"
#include "tidemark/session.h"
#include "tidemark/units.h"
#include "tools/command.h"
#include "tools/evaluate.h"
#include "tools/hash.h"
#include "tools/json_log.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/training.h"
#include "tools/workload.h"

namespace tidemark::tools {
namespace {

using Json = nlohmann::ordered_json;

struct TrainOptions {
  WorkloadOptions workload;
  OptimizerOptions optimizer;
  std::int64_t steps = 0;
  std::int64_t epochs = 0;
  std::string budget_text = "none";
  std::optional<std::int64_t> budget;
  std::int64_t threads = 0;
  bool evaluate = false;
  std::int64_t sample = 0;
  std::string json;
};

// False where only help was asked for.
bool parse(std::span<const char* const> arguments, TrainOptions& options) {
  OptionTable table("tidemark train", "Trains a built-in model inside a memory budget.");
  add_workload_options(table, options.workload);
  add_optimizer_options(table, options.optimizer);
  table.heading("How long, and on what");
  table.integer("steps", "optimizer steps (100 where neither this nor --epochs is given)", options.steps, 1,
                std::int64_t{1} << 40);
  table.integer("epochs", "passes over the data, in place of --steps", options.epochs, 1, std::int64_t{1} << 30);
  table.text("budget", "SIZE", "all bytes that training may take: 512MiB, 1.5GiB, ..., or none [none]",
             options.budget_text);
  table.integer("threads", "compute threads; 0: every CPU of the process", options.threads, 0, 1024);
  table.heading("What is said");
  table.flag("evaluate", "measure the test split at the end", options.evaluate);
  table.integer("sample", "gpt: print this many tokens that the model writes", options.sample, 1,
                std::int64_t{1} << 20);
  table.text("json", "FILE", "an object a step and a last one with the summary", options.json);
  if (table.parse(arguments)) {
    std::fputs((table.help() + "\nexit codes: 0 done, 1 error, 2 impossible budget, 64 wrong usage\n").c_str(), stdout);
    return false;
  }
  if (table.given("steps") && table.given("epochs")) throw UsageError("give --steps or --epochs, not both");
  if (table.given("sample") && options.workload.model != "gpt") throw UsageError("--sample is for --model gpt");
  if (options.budget_text != "none") {
    try {
      options.budget = parse_bytes(options.budget_text);
    } catch (const Error& error) {
      throw UsageError("--budget: " + std::string(error.what()) + ", or none");
    }
    if (*options.budget <= 0) throw UsageError("--budget must be more than 0, or none");
  }
  return true;
}

Json step_line(const StepReport& step, const Report& report, const Training::Result& result) {
  return {{"step", step.step},
          {"loss", result.loss},
          {"seconds", result.seconds},
          {"peak_bytes", step.peak_bytes},
          {"budget_bytes", report.budget ? Json(*report.budget) : Json()},
          {"planned", step.planned},
          {"recomputed_ops", step.recomputed_ops},
          {"recompute_seconds", step.recompute_seconds},
          {"rss_bytes", report.rss_bytes},
          {"grad_hash", to_hex(result.gradient_hash)},
          {"weight_hash", to_hex(result.weight_hash)}};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

int train(std::span<const char* const> arguments) {
  TrainOptions options;
  if (!parse(arguments, options)) return kSuccess;
  Workload workload(options.workload);
  if (options.evaluate) (void)workload.test();  // missing files are an error now, not after training
  const auto threads = static_cast<int>(options.threads);
  const std::int64_t batch = options.workload.batch;
  if (options.budget) require_feasible(workload, options.optimizer, batch, threads, *options.budget);
  JsonLog log(options.json);

  Session session(
      {.budget = options.budget, .threads = threads, .seed = static_cast<std::uint64_t>(options.workload.seed)});
  Training training(workload, options.optimizer, batch, log.enabled());
  std::int64_t steps = options.steps > 0 ? options.steps : 100;
  if (options.epochs > 0) steps = options.epochs * training.batches();
  std::printf("%s: %lld parameters, batch %lld, %lld steps, budget %s\n", options.workload.model.c_str(),
              static_cast<long long>(training.parameters()), static_cast<long long>(batch),
              static_cast<long long>(steps), options.budget ? format_bytes(*options.budget).c_str() : "none");

  std::vector<double> seconds;
  float loss = 0;
  {
    Progress progress(stdout, isatty(STDOUT_FILENO) != 0, steps, options.budget);
    for (std::int64_t i = 1; i <= steps; ++i) {
      const Training::Result result = training.step(static_cast<double>(i - 1) / static_cast<double>(steps));
      const Report report = session.report();
      log.write(step_line(report.last_step, report, result));
      seconds.push_back(result.seconds);
      loss = result.loss;
      progress.update({.step = i,
                       .loss = loss,
                       .samples_per_second = static_cast<double>(batch) / result.seconds,
                       .live_bytes = report.live_bytes,
                       .peak_bytes = report.last_step.peak_bytes,
                       .recomputed_ops = report.last_step.recomputed_ops});
    }
  }
  const Report report = session.report();
  Json summary = {{"summary", true},
                  {"median_step_seconds", median(seconds)},
                  {"peak_bytes", report.peak_bytes},
                  {"fixed_bytes", report.fixed_bytes},
                  {"rss_peak_bytes", report.rss_peak_bytes},
                  {"parameters", training.parameters()},
                  {"planned_steps", report.planned_steps},
                  {"steps", steps},
                  {"budget_bytes", report.budget ? Json(*report.budget) : Json()},
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

  if (options.evaluate) {
    const Evaluation evaluation = evaluate(training.model(), workload.test(), batch);
    summary["test_loss"] = evaluation.loss;
    summary["test_accuracy"] = evaluation.accuracy;
    std::printf("test: loss %.4f, %.2f %% of %lld right\n", evaluation.loss, 100 * evaluation.accuracy,
                static_cast<long long>(evaluation.targets));
  }
  if (options.sample > 0) {
    const std::string text = sample_text(training.model(), options.workload.context, options.sample,
                                         static_cast<std::uint64_t>(options.workload.seed));
    std::printf("--- a sample\n%s\n---\n", text.c_str());
  }
  log.write(summary);
  return kSuccess;
}

}  // namespace

const Command kTrain = {"train", "train a built-in model inside a memory budget", &train};

}  // namespace tidemark::tools
