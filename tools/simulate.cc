// tidemark simulate: what the online policy, which sees the ops one at a time, does with a graph file.
#include <cstdio>

#include "core/printable.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command.h"
#include "tools/options.h"

namespace tidemark::tools {
void simulate(const SimulateCommand& command) {
  check_output("--out", command.out, {command.graph});
  const scheduler::Graph graph = scheduler::read_graph(command.graph);
  const std::int64_t budget = budget_of(command.budget, scheduler::peak_without_recomputation(graph));
  const scheduler::Plan plan = scheduler::run_online(graph, budget);
  if (!command.out.empty()) scheduler::write_plan(plan, command.out);
  std::printf("%s in %s, %s: +%.3f %% cost, %lld ops recomputed, live %s, reserved %s\n",
              core::printable_name(graph.name).c_str(), format_bytes(budget).c_str(), command.policy.c_str(),
              plan.base_cost > 0 ? 100 * (plan.cost / plan.base_cost - 1) : 0.0,
              static_cast<long long>(scheduler::simulate(graph, plan).recomputed_ops),
              format_bytes(plan.live_peak).c_str(), format_bytes(plan.reserved_peak).c_str());
}

}  // namespace tidemark::tools
