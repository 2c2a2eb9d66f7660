// The scheduler measured: plans of graph files and of generated graphs, sweeps, and the online policy against DTR.
//
//   planner_bench [--graphs DIR] [--sizes 100,1000] [--seeds N] [--high] [plan|generated|sweep|online ...]
//
// Without a name, all four. Times are CPU seconds of this process, which has one thread.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "bench/dtr.h"
#include "bench/generated_graphs.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"

namespace tidemark::bench {
namespace {

using scheduler::Graph;
using scheduler::Plan;
using scheduler::PlanOptions;

struct Options {
  std::string graphs;
  std::vector<int> sizes{100, 1000, 5000, 10000};
  int seeds = 1;
  bool high = false;
  std::vector<std::string> parts;
};

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double percent(double cost, double base) { return 100 * (cost / base - 1); }

std::int64_t part_of(double fraction, std::int64_t peak) {
  return static_cast<std::int64_t>(fraction * static_cast<double>(peak));
}

double median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<Graph> graph_files(const Options& options) {
  std::vector<Graph> graphs;
  if (options.graphs.empty()) return graphs;
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(options.graphs)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  for (const std::string& file : files) {
    graphs.push_back(scheduler::read_graph(file));
    graphs.back().name = std::filesystem::path(file).stem().string();
  }
  return graphs;
}

void each_generated(const Options& options, int size, const std::function<void(const Graph&)>& visit) {
  for (const char* family : families()) {
    for (int seed = 1; seed <= options.seeds; ++seed) visit(generate(family, size, static_cast<std::uint64_t>(seed)));
  }
}

struct Result {
  std::optional<Plan> plan;
  bool impossible = false;
  double seconds = 0;
};

// One row of a table.
Result report(const Graph& graph, double fraction, const PlanOptions& options) {
  const std::int64_t peak = scheduler::peak_without_recomputation(graph);
  const std::int64_t budget = part_of(fraction, peak);
  Result result;
  std::string why;
  const double began = cpu_seconds();
  try {
    result.plan = scheduler::plan(graph, budget, options);
  } catch (const BudgetError& error) {
    result.impossible = budget < scheduler::least_budget(graph);
    const double needed = static_cast<double>(error.needed_bytes()) / static_cast<double>(peak);
    why = (result.impossible ? "impossible" : "open") + std::string(", planned at ") + std::to_string(needed);
  }
  result.seconds = cpu_seconds() - began;
  std::printf("%-22s %6zu  %.2f ", graph.name.c_str(), graph.ops.size(), fraction);
  if (result.plan) {
    const double extra = percent(result.plan->cost, result.plan->base_cost);
    const double bound = percent(result.plan->lower_bound, result.plan->base_cost);
    std::printf("%9.3f %9.3f %8.3f", extra, bound, extra - bound);
    if (options.place) {
      const auto live = static_cast<double>(result.plan->live_peak);
      std::printf("  %6.2f  %8.2f", 100 * static_cast<double>(result.plan->reserved_peak) / live,
                  100 * static_cast<double>(result.plan->moved_bytes) / live);
    }
  } else {
    std::printf("  %s", why.c_str());
  }
  std::printf("  %7.3f s\n", result.seconds);
  std::fflush(stdout);
  return result;
}

void heading(const char* what) {
  std::printf("\n%s\n%-22s %6s  %4s %9s %9s %8s  reserved and moved, %% of live, where placed\n", what, "graph", "ops",
              "of", "extra %", "bound %", "gap");
}

void plans(const Options& options, const PlanOptions& base) {
  for (const bool place : {false, true}) {
    PlanOptions plan = base;
    plan.place = place;
    heading(place ? "Graph files, placed" : "Graph files, live bytes");
    for (const Graph& graph : graph_files(options)) {
      for (double fraction : {0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.1}) report(graph, fraction, plan);
    }
  }
}

void generated(const Options& options, const PlanOptions& base) {
  PlanOptions plan = base;
  plan.place = false;
  for (int size : options.sizes) {
    heading(("Generated, " + std::to_string(size) + " ops").c_str());
    std::vector<double> gaps;
    double slowest = 0;
    each_generated(options, size, [&](const Graph& graph) {
      for (double fraction : {0.7, 0.5, 0.3}) {
        const Result result = report(graph, fraction, plan);
        if (result.plan) slowest = std::max(slowest, result.seconds);
        if (result.plan && fraction == 0.5) {
          gaps.push_back(percent(result.plan->cost, result.plan->base_cost) -
                         percent(result.plan->lower_bound, result.plan->base_cost));
        }
      }
    });
    std::printf("median gap at 0.5: %.3f points over %zu plans; slowest plan %.3f s\n", median(gaps), gaps.size(),
                slowest);
  }
}

// Fifty budgets: within one sweep, and each planned by itself.
void sweeps(const Options& options, const PlanOptions& base) {
  std::printf("\nFifty budgets from 98 %% to 20 %% of the peak: rises of cost with the budget, in points\n");
  std::printf("%-22s %8s %14s %14s\n", "graph", "planned", "in one sweep", "separate calls");
  PlanOptions plan = base;
  plan.place = false;
  for (const Graph& graph : graph_files(options)) {
    const std::int64_t peak = scheduler::peak_without_recomputation(graph);
    const std::int64_t least = scheduler::least_budget(graph);
    std::optional<Plan> smaller;
    double least_alone = std::numeric_limits<double>::infinity();
    double rise = 0;
    double rise_alone = 0;
    int planned = 0;
    for (int i = 49; i >= 0; --i) {
      const std::int64_t budget = part_of(0.98 - 0.78 * i / 49, peak);
      if (budget < least) continue;
      auto alone = scheduler::try_plan(graph, budget, plan);
      auto next = scheduler::try_plan(graph, budget, plan, smaller ? &*smaller : nullptr);
      if (alone) {
        const double extra = percent(alone->cost, alone->base_cost);
        rise_alone = std::max(rise_alone, extra - least_alone);
        least_alone = std::min(least_alone, extra);
      }
      if (!next) continue;
      ++planned;
      if (smaller)
        rise = std::max(rise, percent(next->cost, next->base_cost) - percent(smaller->cost, smaller->base_cost));
      smaller = std::move(next);
    }
    std::printf("%-22s %8d %14.4f %14.4f\n", graph.name.c_str(), planned, rise, rise_alone);
    std::fflush(stdout);
  }
}

void online_row(const Graph& graph, double fraction) {
  constexpr double kThrashing = 10;
  const std::int64_t budget = part_of(fraction, scheduler::peak_without_recomputation(graph));
  std::optional<Plan> ours;
  const double began = cpu_seconds();
  try {
    ours = scheduler::run_online(graph, budget);
  } catch (const BudgetError&) {
  }
  const double seconds = cpu_seconds() - began;
  const auto dtr = dtr_cost(graph, budget, kThrashing);
  const auto text = [](std::optional<double> cost, double base) {
    char out[32];
    std::snprintf(out, sizeof out, "%.3f", cost ? *cost / base : 0.0);
    return cost ? std::string(out) : std::string("fails");
  };
  double base = 0;
  for (const scheduler::Op& op : graph.ops) base += op.cost;
  const auto cost = ours ? std::optional<double>(ours->cost) : std::nullopt;
  const bool worse = dtr && (!cost || *cost > *dtr * (1 + 1e-9));
  std::printf("%-22s %6zu  %.2f %9s %9s  %8.2f us%s\n", graph.name.c_str(), graph.ops.size(), fraction,
              text(cost, base).c_str(), text(dtr, base).c_str(), 1e6 * seconds / static_cast<double>(graph.ops.size()),
              worse ? "  worse" : "");
  std::fflush(stdout);
}

void online(const Options& options) {
  std::printf("\nOnline: cost over that of running each op once (ours with offsets, DTR without)\n");
  std::printf("%-22s %6s  %4s %9s %9s  %s\n", "graph", "ops", "of", "ours", "DTR", "ours, an op");
  const auto rows = [](const Graph& graph) {
    for (double fraction : {0.7, 0.5, 0.3}) online_row(graph, fraction);
  };
  for (const Graph& graph : graph_files(options)) rows(graph);
  for (int size : options.sizes) each_generated(options, size, rows);
}

int run(const Options& options) {
  PlanOptions plan;
  plan.effort = options.high ? scheduler::Effort::kHigh : scheduler::Effort::kDefault;
  const auto wanted = [&](const char* part) {
    return options.parts.empty() || std::find(options.parts.begin(), options.parts.end(), part) != options.parts.end();
  };
  if (wanted("plan")) plans(options, plan);
  if (wanted("generated")) generated(options, plan);
  if (wanted("sweep")) sweeps(options, plan);
  if (wanted("online")) online(options);
  return 0;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&] {
      if (i + 1 == argc) throw Error(argument + " needs a value");
      return std::string(argv[++i]);
    };
    if (argument == "--graphs") {
      options.graphs = value();
    } else if (argument == "--seeds") {
      options.seeds = std::stoi(value());
    } else if (argument == "--high") {
      options.high = true;
    } else if (argument == "--sizes") {
      options.sizes.clear();
      const std::string list = value();
      for (std::size_t at = 0; at < list.size();) {
        std::size_t used = 0;
        options.sizes.push_back(std::stoi(list.substr(at), &used));
        at += used + 1;
      }
    } else if (argument.starts_with("-")) {
      throw Error(
          "usage: planner_bench [--graphs DIR] [--sizes 100,1000] [--seeds N] [--high] "
          "[plan|generated|sweep|online ...]");
    } else {
      options.parts.push_back(argument);
    }
  }
  return options;
}

}  // namespace
}  // namespace tidemark::bench

int main(int argc, char** argv) {
  try {
    return tidemark::bench::run(tidemark::bench::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "planner_bench: %s\n", error.what());
    return 1;
  }
}
