// The online policy over a whole graph, as a plan.
#include <algorithm>
#include <iterator>
#include <vector>

#include "core/extents.h"
#include "scheduler/odd_sizes.h"
#include "scheduler/program.h"
#include "scheduler/simulate.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"

namespace tidemark::scheduler {
namespace {

[[noreturn]] void throw_short(const Graph& graph, std::int64_t budget, const Shortage& shortage, std::int64_t units) {
  const std::string what = shortage.op >= 0 ? describe_op(graph, shortage.op) : std::string("the inputs");
  const std::int64_t needed = (shortage.needed + units - 1) / units;
  throw BudgetError(format_bytes(budget / units) + " cannot hold " + what +
                        " under the online policy: with what cannot be discarded then, it takes " +
                        format_bytes(needed) + " (" + std::to_string(needed) + " bytes)",
                    needed, false);
}

// Where an op carries no `releases` it gets its last reads, so that they can be overwritten. What the program lets go
// while a later op is still to read it is taken out and returned by that op; what it wants to keep is taken out.
std::vector<std::vector<BufferId>> complete_releases(Graph& graph, const Program& program) {
  std::vector<std::vector<BufferId>> late(graph.ops.size());
  const auto last_use = [&](BufferId b) {
    const auto users = program.users[b];
    return std::max(program.producer[b], users.empty() ? OpId{-1} : users.back());
  };
  for (OpId id = 0; id < program.op_count; ++id) {
    auto& releases = graph.ops[static_cast<std::size_t>(id)].releases;
    if (!releases) {
      releases.emplace();
      for (const auto& list : {program.reads[id], program.writes[id]}) {
        std::copy_if(list.begin(), list.end(), std::back_inserter(*releases),
                     [&](BufferId b) { return last_use(b) == id && !program.kept[b]; });
      }
      continue;
    }
    std::erase_if(*releases, [&](BufferId b) {
      if (program.kept[b]) return true;
      const OpId last = last_use(b);
      if (last > id) late[static_cast<std::size_t>(last)].push_back(b);
      return last > id;
    });
  }
  return late;
}

// Inputs that nothing reads and no op releases are let go at the start.
std::vector<BufferId> unused(const Graph& graph, const Program& program) {
  std::vector<char> named(graph.buffers.size());
  for (const Op& op : graph.ops) {
    for (BufferId b : op.releases.value_or(std::vector<BufferId>{})) named[static_cast<std::size_t>(b)] = 1;
  }
  std::vector<BufferId> result;
  for (BufferId b = 0; b < program.buffer_count; ++b) {
    if (program.at_start[b] && program.users[b].empty() && !program.kept[b] && !named[static_cast<std::size_t>(b)]) {
      result.push_back(b);
    }
  }
  return result;
}

// Sizes and the budget are in units, of which a byte has `units`.
Plan run(Graph graph, std::int64_t budget, std::int64_t units) {
  const Program program = compile(graph);
  const std::vector<BufferId> let_go = unused(graph, program);
  const std::vector<std::vector<BufferId>> late = complete_releases(graph, program);
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
  if (end > budget) throw_short(graph, budget, {.needed = end}, units);
  Online online(graph, budget, Start{0, plan.inputs});
  for (BufferId b : let_go) online.release(b, plan.steps);
  for (OpId op = 0; op < program.op_count; ++op) {
    if (const auto shortage = online.admit(op, plan.steps)) throw_short(graph, budget, *shortage, units);
    for (BufferId b : late[static_cast<std::size_t>(op)]) online.release(b, plan.steps);
  }
  for (BufferId b : graph.keep) {
    online.pin(b);
    if (const auto shortage = online.restore(b, plan.steps)) throw_short(graph, budget, *shortage, units);
  }
  set_figures(plan, graph);
  return plan;
}

}  // namespace

Plan run_online(const Graph& graph, std::int64_t budget) {
  if (!has_odd_sizes(graph)) return run(graph, budget, 1);
  (void)compile(graph);  // errors in bytes
  Plan plan = in_bytes(run(in_fine_units(graph), std::min(budget, kMostFineBytes) * kFineUnits, kFineUnits));
  plan.budget = budget;
  return plan;
}

}  // namespace tidemark::scheduler
