// Plans for callers without a budget: nothing is computed again, and the arena is as small as can be.
#include <algorithm>
#include <limits>

#include "core/extents.h"
#include "scheduler/fine_units.h"
#include "scheduler/place/place.h"
#include "scheduler/program.h"
#include "scheduler/search/schedule.h"
#include "scheduler/simulate.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler {
namespace {

// An arena this part larger than what is live saves moves; beyond it, moves save arena.
constexpr std::int64_t kSpare = 50;

Plan run_once(const Graph& graph, const std::optional<Start>& start) {
  const Program program = compile(graph, start);
  const Schedule schedule(program, std::numeric_limits<double>::infinity());
  if (schedule.missing() > 0) {
    throw Error("a plan without recomputation: what is still to be read is not all resident at the start");
  }
  if (!start_is_possible(program, places_at_start(program, start))) {
    throw Error("a plan without recomputation: the start gives offsets that overlap or are no multiples of 64");
  }
  Plan plan;
  plan.budget = kUnlimited;
  plan.base_cost = plan.lower_bound = program.base_cost;
  plan.steps = emit(program, schedule);
  const std::int64_t live = simulate(graph, plan, start).live_peak;
  std::int64_t limit = std::max(live + live / kSpare, end_at_start(program, start));
  for (;; limit += limit / kSpare + core::Extents::kAlignment) {
    auto placed = place(program, plan.steps, limit, start);
    if (!placed) continue;
    plan.placed = true;
    plan.inputs = std::move(placed->inputs);
    plan.steps = std::move(placed->steps);
    set_figures(plan, graph, start);
    plan.budget = plan.reserved_peak;
    return plan;
  }
}

}  // namespace

Plan plan_without_recomputation(const Graph& graph, const std::optional<Start>& start) {
  if (start || !has_odd_sizes(graph)) return run_once(graph, start);
  (void)compile(graph);  // errors in bytes
  return in_bytes(run_once(in_fine_units(graph), start));
}

}  // namespace tidemark::scheduler
