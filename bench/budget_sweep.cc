// The budget sweep of `tidemark sweep` as a Google Benchmark: a row a budget, its time the median step's.
//   budget_sweep --model vgg16 --batch 32 --budgets none,60%,30% --benchmark_format=json
// takes that command's options, and --benchmark_* ones. All budgets are measured when the first row is, round after
// round, so that drift of the machine meets all rows alike.
#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "tidemark/error.h"
#include "tidemark/sweep.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/sweep.h"
#include "tools/training.h"

namespace tidemark::tools {
namespace {

class Measured {
 public:
  explicit Measured(SweepCommand command) : command_(std::move(command)) {}
  const Sweep& sweep() {
    if (!sweep_) sweep_ = tidemark::sweep(sweep_options(command_), [&] { return sweep_subject(command_); });
    return *sweep_;
  }

 private:
  SweepCommand command_;
  std::optional<Sweep> sweep_;
};

void report(benchmark::State& run, Measured& measured, const std::string& budget) try {
  const Sweep& sweep = measured.sweep();
  const auto same = [&](const SweepPoint& each) { return each.asked == budget; };
  const auto found = std::find_if(sweep.points.begin(), sweep.points.end(), same);
  if (found == sweep.points.end()) {
    run.SkipWithError("another row has the same budget");
    return;
  }
  const SweepPoint& point = *found;
  if (!point.refused.empty()) {
    run.SkipWithError(point.refused.c_str());
    return;
  }
  for ([[maybe_unused]] auto _ : run) run.SetIterationTime(point.seconds);
  const SweepRun& first = point.runs.front();
  const auto counter = [&](const char* name, auto value) { run.counters[name] = static_cast<double>(value); };
  counter("spread", point.spread);
  counter("predicted", point.predicted);
  counter("bound", point.bound);
  counter("budget_bytes", point.budget.value_or(0));
  counter("peak_bytes", first.peak_bytes);
  counter("reserved_bytes", first.reserved_bytes);
  counter("rss_peak_bytes", first.rss_peak_bytes);
  counter("recomputed_ops", first.recomputed_ops);
  counter("recompute_seconds", first.recompute_seconds);
  counter("moved_bytes", first.moved_bytes);
  counter("plan_seconds", first.plan_seconds);
  counter("bits_equal", point.equal);
} catch (const std::exception& error) {
  run.SkipWithError(error.what());
}

void check_measured_only(const SweepCommand& command) {
  if (command.batches || !command.html.empty() || !command.svg.empty() || command.peers) {
    throw UsageError("--batches, --html, --svg and --peers are for 'tidemark sweep'");
  }
  for (const std::string& budget : command.budgets) {
    if (budget == "auto") throw UsageError("a row's budget has to be known before the sweep: 'auto' is not");
  }
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  SweepCommand command;
  command.budgets = {"none", "80%", "60%", "40%", "20%"};
  const Tables tables{nn::models(), optimizers()};
  CLI::App app("Measures a built-in model in many budgets.", "budget_sweep");
  app.option_defaults()->always_capture_default();
  add_options(app, command, tables);
  try {
    app.parse(argc, argv);
    check(command, tables);
    check_measured_only(command);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const UsageError& error) {
    std::fprintf(stderr, "budget_sweep: %s\n", error.what());
    return kUsage;
  }
  Measured measured(command);
  for (const std::string& budget : command.budgets) {
    benchmark::RegisterBenchmark(("sweep/" + command.workload.model + "/" + budget).c_str(),
                                 [&](benchmark::State& state) { report(state, measured, budget); })
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return kSuccess;
}

}  // namespace
}  // namespace tidemark::tools

int main(int argc, char** argv) try { return tidemark::tools::run(argc, argv); } catch (const std::exception& error) {
  std::fprintf(stderr, "budget_sweep: %s\n", error.what());
  return tidemark::tools::kFailure;
}
