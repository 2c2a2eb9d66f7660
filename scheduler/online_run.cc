// The online policy over a whole graph, as a plan.
#include "memory/extents.h"
#include "scheduler/program.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"

namespace tidemark::scheduler {
namespace {

[[noreturn]] void throw_short(const Graph& graph, std::int64_t budget, const Shortage& shortage) {
  const std::string what = shortage.op >= 0 ? describe_op(graph, shortage.op) : std::string("the inputs");
  throw BudgetError(format_bytes(budget) + " cannot hold " + what + " under the online policy: at least " +
                        format_bytes(shortage.needed) + " are needed",
                    shortage.needed, false);
}

}  // namespace

Plan run_online(const Graph& graph, std::int64_t budget) {
  const Program program = compile(graph);
  Plan plan;
  plan.budget = budget;
  plan.placed = true;
  plan.base_cost = plan.lower_bound = program.base_cost;
  std::int64_t end = 0;
  for (const bool pinned : {true, false}) {
    for (BufferId b = 0; b < program.buffer_count; ++b) {
      if (!program.at_start[b] || static_cast<bool>(program.pinned[b]) != pinned) continue;
      plan.inputs.push_back({b, end});
      end += memory::Extents::round_up(program.bytes[b]);
    }
  }
  if (end > budget) throw_short(graph, budget, {.needed = end});
  Online online(graph, budget, Start{0, plan.inputs});
  const auto release_after = [&](BufferId b, OpId op) {
    const auto users = program.users[b];
    const OpId last = users.empty() ? program.producer[b] : users.back();
    if (last <= op && !program.kept[b]) online.release(b, plan.steps);
  };
  for (OpId op = 0; op < program.op_count; ++op) {
    if (const auto shortage = online.admit(op, plan.steps)) throw_short(graph, budget, *shortage);
    if (graph.ops[op].releases) continue;
    for (BufferId b : program.reads[op]) release_after(b, op);
    for (BufferId b : program.writes[op]) release_after(b, op);
  }
  for (BufferId b : graph.keep) {
    online.pin(b);
    if (const auto shortage = online.restore(b, plan.steps)) throw_short(graph, budget, *shortage);
  }
  const Simulation simulation = simulate(graph, plan);
  plan.live_peak = simulation.live_peak;
  plan.reserved_peak = simulation.reserved_peak;
  plan.cost = simulation.cost;
  return plan;
}

}  // namespace tidemark::scheduler
