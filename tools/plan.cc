// tidemark plan: plans a graph file for a budget, or shows what each of many budgets costs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "core/printable.h"
#include "tidemark/dry_run.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/training.h"
#include "tools/workload.h"

namespace tidemark::tools {
namespace {

// "60.0%"; "-" of nothing.
std::string share(std::int64_t part, std::int64_t whole) {
  if (whole == 0) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", 100 * static_cast<double>(part) / static_cast<double>(whole));
  return text;
}

double percent(double part, double whole) { return whole > 0 ? 100 * (part / whole - 1) : 0; }

void sweep(const scheduler::Graph& graph, const PlanCommand& command, const scheduler::PlanOptions& options) {
  std::vector<std::int64_t> budgets;
  const std::int64_t peak = scheduler::peak_without_recomputation(graph);
  for (const std::string& text : command.budgets) budgets.push_back(budget_of(text, peak));
  std::vector<std::size_t> order(budgets.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return budgets[a] < budgets[b]; });
  struct Row {
    std::optional<scheduler::Plan> plan;
    std::int64_t recomputed = 0;
    double seconds = 0;
  };
  std::vector<Row> rows(budgets.size());
  const std::int64_t least = scheduler::least_budget(graph);
  const scheduler::Plan* smaller = nullptr;
  std::int64_t open = -1;  // the largest budget without a plan
  std::int64_t smallest = -1;
  for (std::size_t i : order) {
    Row& row = rows[i];
    const auto began = std::chrono::steady_clock::now();
    if (budgets[i] >= least) row.plan = scheduler::try_plan(graph, budgets[i], options, smaller);
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    if (!row.plan) {
      open = budgets[i];
      continue;
    }
    row.recomputed = scheduler::simulate(graph, *row.plan).recomputed_ops;
    smaller = &*row.plan;
    if (smallest < 0) smallest = budgets[i];
  }
  bool proven = false;
  if (open >= 0) {
    try {
      (void)scheduler::plan(graph, open, options);
    } catch (const BudgetError& error) {
      if (smallest < 0 || error.needed_bytes() < smallest) smallest = error.needed_bytes();
      proven = error.exact() && smallest == error.needed_bytes();
    }
  }
  std::printf("%s: %zu ops, peak without recomputation %lld bytes, no plan below %lld bytes\n",
              core::printable_name(graph.name).c_str(), graph.ops.size(), static_cast<long long>(peak),
              static_cast<long long>(least));
  std::printf("%14s %7s  %-10s %9s %9s %9s %10s %14s %8s\n", "budget", "of peak", "feasible", "extra %", "bound %",
              "gap", "recomputed", "reserved", "seconds");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    std::printf("%14lld %7s  ", static_cast<long long>(budgets[i]), share(budgets[i], peak).c_str());
    if (!row.plan) {
      const bool impossible = budgets[i] < least || (proven && budgets[i] < smallest);
      std::printf("%-10s %9s %9s %9s %10s %14s %8.3f\n", impossible ? "impossible" : "open", "-", "-", "-", "-", "-",
                  row.seconds);
      continue;
    }
    const scheduler::Plan& plan = *row.plan;
    const double extra = percent(plan.cost, plan.base_cost);
    const double bound = percent(plan.lower_bound, plan.base_cost);
    std::printf("%-10s %9.3f %9.3f %9.3f %10lld %14lld %8.3f\n", "yes", extra, bound, std::max(0.0, extra - bound),
                static_cast<long long>(row.recomputed),
                static_cast<long long>(plan.placed ? plan.reserved_peak : plan.live_peak), row.seconds);
  }
  if (smallest >= 0) {
    std::printf("smallest budget planned: %lld bytes%s\n", static_cast<long long>(smallest),
                proven ? ", and no smaller one is possible" : "");
  }
}

void print_residents(const scheduler::Graph& graph, const scheduler::Plan& plan) {
  std::int64_t bytes = 0;
  std::string names;
  for (const scheduler::BufferId b : plan.residents) {
    const scheduler::Buffer& buffer = graph.buffers[static_cast<std::size_t>(b)];
    bytes += buffer.bytes;
    names += (names.empty() ? ": " : ", ") + std::to_string(b);
    if (!buffer.name.empty()) names += " (" + core::printable_name(buffer.name) + ")";
  }
  std::printf("cost of a run %g, each op once %g; %zu buffers of %s stay in memory from run to run%s\n", plan.cost,
              plan.base_cost, plan.residents.size(), format_bytes(bytes).c_str(), names.c_str());
}

// The bytes of a model's step, before anything of it exists.
void forecast(const PlanCommand& command, const DryRun& run) {
  std::printf("%s, batch %lld: %zu ops a step\n%s", command.workload.model.c_str(),
              static_cast<long long>(command.workload.batch), run.graph.ops.size(), run.text().c_str());
}

// The optimizer's state in the other format than the one that was asked for; 0 where it has none.
std::int64_t other_state(const Workload& workload, const PlanCommand& command, const SessionOptions& options) {
  OptimizerOptions optimizer = command.optimizer;
  optimizer.state = optimizer.state == "f32" ? "f16" : "f32";
  return dry_run_of(workload, optimizer, command.workload.batch, options, {.plan = false}).optimizer;
}

}  // namespace

void plan(const PlanCommand& command) {
  check_output("--out", command.out, {command.graph});
  check_output("--dump-graph", command.dump_graph, {});
  check_distinct({{"--out", command.out}, {"--dump-graph", command.dump_graph}});
  scheduler::Graph graph;
  if (command.of_model) {
    const bool table = command.budget.empty() && !command.sweep;
    const auto threads = static_cast<int>(command.threads);
    const Workload workload(command.workload);
    check_optimizer(workload, command.optimizer);
    const SessionOptions session{.threads = threads,
                                 .seed = static_cast<std::uint64_t>(command.workload.seed),
                                 .costs = costs_of(command.costs, threads)};
    DryRun run = dry_run_of(workload, command.optimizer, command.workload.batch, session, {.plan = table});
    if (table) {
      forecast(command, run);
      const char* other = command.optimizer.state == "f32" ? "f16" : "f32";
      const std::int64_t bytes = run.optimizer > 0 ? other_state(workload, command, session) : 0;
      if (bytes > 0)
        std::printf("with --state %s the optimizer's state takes %s\n", other, format_bytes(bytes).c_str());
    }
    graph = std::move(run.graph);
    graph.name = command.workload.model;
    if (!command.dump_graph.empty()) scheduler::write_graph(graph, command.dump_graph);
    if (table) return;
  } else {
    graph = scheduler::read_graph(command.graph);
  }
  scheduler::PlanOptions options;
  options.effort = command.effort == "high" ? scheduler::Effort::kHigh : scheduler::Effort::kDefault;
  options.place = !command.no_place;
  options.repeated = command.repeated;
  options.seed = static_cast<std::uint64_t>(command.workload.seed);
  if (command.verbose) {
    options.watch = [](const std::string& line) { std::printf("  %s\n", core::printable_text(line).c_str()); };
  }
  if (command.sweep) {
    sweep(graph, command, options);
    return;
  }
  const std::int64_t budget = budget_of(command.budget, scheduler::peak_without_recomputation(graph));
  const scheduler::Plan plan = scheduler::plan(graph, budget, options);
  if (!command.out.empty()) scheduler::write_plan(plan, command.out);
  const double bound = percent(plan.lower_bound, plan.base_cost);
  std::printf(
      "%s in %s: %+.3f %% cost (bound %+.3f %%), %lld ops recomputed, live %s",
      core::printable_name(graph.name).c_str(), format_bytes(budget).c_str(), percent(plan.cost, plan.base_cost), bound,
      static_cast<long long>(scheduler::simulate(graph, plan).recomputed_ops), format_bytes(plan.live_peak).c_str());
  if (plan.placed) {
    const auto moves = std::count_if(plan.steps.begin(), plan.steps.end(), [](const scheduler::Step& step) {
      return step.kind == scheduler::Step::Kind::kMove;
    });
    std::printf(", reserved %s, %lld moves of %s", format_bytes(plan.reserved_peak).c_str(),
                static_cast<long long>(moves), format_bytes(plan.moved_bytes).c_str());
  }
  std::printf("\n");
  if (command.repeated) print_residents(graph, plan);
}

}  // namespace tidemark::tools
