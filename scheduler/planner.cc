// From a graph and a budget to a plan: bound, search, the online policy's trace as seed and as last resort, placement.
#include <algorithm>
#include <cmath>
#include <string>

#include "memory/extents.h"
#include "scheduler/bound.h"
#include "scheduler/evictor.h"
#include "scheduler/place.h"
#include "scheduler/program.h"
#include "scheduler/search.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::scheduler {
namespace {

constexpr std::int64_t kBoundWork = 200'000'000;  // arcs

class Planner {
 public:
  Planner(const Graph& graph, const PlanOptions& options)
      : graph_(graph), options_(options), program_(compile(graph, options.start)) {}

  Plan run(std::int64_t budget) {
    // What throw_short() names as planned must be planned here too, so both try the same amounts of work.
    for (std::int64_t work : {full_work(), full_work() / 8}) {
      if (auto plan = attempt(budget, work)) return *std::move(plan);
    }
    throw_short(budget);
  }

 private:
  std::int64_t full_work() const {
    const std::int64_t ops = program_.op_count - program_.first_op;
    const std::int64_t quick =
        std::clamp<std::int64_t>(std::min(ops * 250'000, 10'000'000 + ops * 100'000), 5'000'000, 200'000'000);
    return options_.effort == Effort::kHigh ? quick * 40 : quick;
  }

  std::optional<Plan> attempt(std::int64_t budget, std::int64_t work) {
    const Bound bound = lower_bound(program_, budget, kBoundWork);
    if (bound.least_budget > budget) return std::nullopt;
    // Rounding up to the alignment can cost a little more than is live: then the search gets a smaller budget.
    double room = static_cast<double>(budget);
    for (int tries = 0; tries < 6; ++tries) {
      const auto target = static_cast<std::int64_t>(room);
      Search search(program_, target, options_.seed);
      if (!search.feasible()) {
        Closure closure(program_, bound.instant);
        search.warm_start(closure, bound.instant);
        search.anneal(work);
      }
      if (!search.feasible()) break;
      search.load(search.best());
      std::vector<Step> steps = emit(program_, search.schedule());
      if (auto plan = finish(std::move(steps), budget, bound)) return plan;
      room = std::min(room * 0.99, room - 64.0 * 4);
      if (room < static_cast<double>(bound.least_budget)) break;
    }
    return from_online(budget, bound);
  }

  Plan unplaced(std::vector<Step> steps, std::int64_t budget, const Bound& bound) const {
    Plan plan;
    plan.budget = budget;
    plan.base_cost = program_.base_cost;
    plan.lower_bound = program_.base_cost + bound.extra;
    plan.steps = std::move(steps);
    return plan;
  }

  void measure(Plan& plan) const {
    const Simulation simulation = simulate(graph_, plan, options_.start);
    plan.live_peak = simulation.live_peak;
    plan.reserved_peak = simulation.reserved_peak;
    plan.cost = simulation.cost;
  }

  std::optional<Plan> finish(std::vector<Step> steps, std::int64_t budget, const Bound& bound) const {
    Plan plan = unplaced(std::move(steps), budget, bound);
    if (options_.place) {
      auto placed = place(program_, plan.steps, budget, options_.start);
      if (!placed) return std::nullopt;
      plan.placed = true;
      plan.inputs = std::move(placed->inputs);
      plan.steps = std::move(placed->steps);
    }
    measure(plan);
    return plan;
  }

  // Runs the online policy, told of every last use, over what is left of the program.
  std::optional<std::vector<Step>> online_steps(std::int64_t budget, std::vector<Placement>& inputs) const {
    Start start;
    if (options_.start) {
      start = *options_.start;
    } else {
      std::int64_t end = 0;
      for (const bool pinned : {true, false}) {
        for (BufferId b = 0; b < program_.buffer_count; ++b) {
          if (!program_.at_start[b] || static_cast<bool>(program_.pinned[b]) != pinned) continue;
          start.resident.push_back({b, end});
          end += memory::Extents::round_up(program_.bytes[b]);
        }
      }
      if (end > budget / memory::Extents::kAlignment * memory::Extents::kAlignment) return std::nullopt;
    }
    inputs = start.resident;
    Evictor evictor(graph_, budget, start);
    std::vector<Step> steps;
    const auto dies_by = [&](BufferId b, OpId op) {
      const auto users = program_.users[b];
      const OpId last = users.empty() ? program_.producer[b] : users.back();
      return last <= op && !program_.kept[b] && !program_.pinned[b];
    };
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      if (program_.producer[b] < program_.first_op && dies_by(b, program_.first_op - 1)) evictor.release(b, steps);
    }
    for (OpId op = program_.first_op; op < program_.op_count; ++op) {
      std::vector<BufferId> releases;
      for (const auto list : {program_.reads[op], program_.writes[op]}) {
        std::copy_if(list.begin(), list.end(), std::back_inserter(releases),
                     [&](BufferId b) { return dies_by(b, op); });
      }
      if (evictor.admit(op, releases, steps)) return std::nullopt;
    }
    for (BufferId b : graph_.keep) {
      evictor.pin(b);
      if (evictor.restore(b, steps)) return std::nullopt;
    }
    return steps;
  }

  std::optional<Plan> from_online(std::int64_t budget, const Bound& bound) const {
    std::vector<Placement> inputs;
    auto steps = online_steps(budget, inputs);
    if (!steps) return std::nullopt;
    Plan plan = unplaced(*std::move(steps), budget, bound);
    if (options_.place) {
      plan.placed = true;
      plan.inputs = std::move(inputs);
    } else {
      std::erase_if(plan.steps, [](const Step& s) { return s.kind == Step::Kind::kMove; });
      for (Step& s : plan.steps) s.places.clear();
    }
    measure(plan);
    return plan;
  }

  // Finds the smallest budget that can be planned, and says so.
  [[noreturn]] void throw_short(std::int64_t budget) {
    const Bound bound = lower_bound(program_, budget, kBoundWork);
    std::int64_t impossible = std::max(bound.least_budget - 1, budget);
    if (bound.least_budget > budget) impossible = bound.least_budget - 1;
    std::int64_t planned = 0;
    const auto fits = [&](std::int64_t b) { return attempt(b, full_work() / 8).has_value(); };
    if (fits(impossible + 1)) {
      planned = impossible + 1;
    } else {
      std::int64_t step = std::max<std::int64_t>(impossible / 16, 64);
      std::int64_t low = impossible + 1;
      std::int64_t high = low + step;
      while (!fits(high)) {
        low = high;
        step *= 2;
        high += step;
      }
      while (high - low > std::max<std::int64_t>(64, high / 100)) {
        const std::int64_t middle = low + (high - low) / 2;
        (fits(middle) ? high : low) = middle;
      }
      planned = high;
    }
    const bool exact = planned == bound.least_budget;
    throw BudgetError("no plan of " + (graph_.name.empty() ? std::string("the graph") : graph_.name) + " fits in " +
                          format_bytes(budget) + ": the smallest budget planned is " + format_bytes(planned) +
                          (exact ? ", and no smaller one is possible" : ""),
                      planned, exact);
  }

  const Graph& graph_;
  const PlanOptions options_;
  const Program program_;
};

}  // namespace

Plan plan(const Graph& graph, std::int64_t budget, const PlanOptions& options) {
  return Planner(graph, options).run(budget);
}

}  // namespace tidemark::scheduler
