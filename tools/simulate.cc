// tidemark simulate: what the online policy, which sees the ops one at a time, does with a graph file.
#include <cstdio>
#include <string>

#include "tidemark/scheduler.h"
#include "tidemark/units.h"
#include "tools/command.h"
#include "tools/graph_budget.h"
#include "tools/options.h"

namespace tidemark::tools {
namespace {

int run(std::span<const char* const> arguments) {
  std::string file;
  std::string size;
  std::string policy = "online";
  std::string out;
  OptionTable table("tidemark simulate", "Runs a policy over a graph file, without tensors or kernels.");
  table.text("graph", "FILE", "the program, in the format of docs/scheduler.md", file);
  table.text("budget", "SIZE", std::string("what it may take: ") + kBudgetForms, size);
  table.choice("policy", "who chooses what is discarded", policy, {"online"});
  table.text("out", "FILE", "where the steps go, as a plan", out);
  if (table.parse(arguments)) {
    std::fputs((table.help() + "\nexit codes: 0 done, 1 error, 2 impossible budget, 64 wrong usage\n").c_str(), stdout);
    return kSuccess;
  }
  if (file.empty() || size.empty()) throw UsageError("--graph FILE and --budget SIZE are needed");
  const scheduler::Graph graph = scheduler::read_graph(file);
  const std::int64_t budget = budget_of(size, scheduler::peak_without_recomputation(graph));
  const scheduler::Plan plan = scheduler::run_online(graph, budget);
  if (!out.empty()) scheduler::write_plan(plan, out);
  std::printf("%s in %s, %s: +%.3f %% cost, %lld ops recomputed, live %s, reserved %s\n", graph.name.c_str(),
              format_bytes(budget).c_str(), policy.c_str(),
              plan.base_cost > 0 ? 100 * (plan.cost / plan.base_cost - 1) : 0.0,
              static_cast<long long>(scheduler::simulate(graph, plan).recomputed_ops),
              format_bytes(plan.live_peak).c_str(), format_bytes(plan.reserved_peak).c_str());
  return kSuccess;
}

}  // namespace

const Command kSimulate = {"simulate", "run the online policy over a graph file", run};

}  // namespace tidemark::tools
