// From a graph and a budget to a plan: bound, search, the online policy's trace as seed and as last resort, placement.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>

#include "core/printable.h"
#include "scheduler/bound/lower_bound.h"
#include "scheduler/bound/several_instants.h"
#include "scheduler/cycle.h"
#include "scheduler/early_sources.h"
#include "scheduler/fine_units.h"
#include "scheduler/online/trace.h"
#include "scheduler/place/place.h"
#include "scheduler/program.h"
#include "scheduler/search/annealer.h"
#include "scheduler/search/exact_plan.h"
#include "scheduler/simulate.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::scheduler {
namespace {

// Arcs of the bound's networks, states of the exact search, and at most how often placement asks for a lower peak.
constexpr std::int64_t kMostBoundWork = 200'000'000;
constexpr std::int64_t kBriefBoundWork = 5'000'000;
constexpr std::int64_t kExactStates = 30'000;
constexpr int kTightenings = 6;
constexpr std::int64_t kMostOnline = 20;  // runs an op in a trace of the online policy, where that is no more than
constexpr std::int64_t kMostOnlineRuns = 60'000;
constexpr std::int64_t kMostOnlineWork = 8'000'000;

// Temperatures at first, in costs of a typical rerun.
constexpr double kHot = 2.0;
constexpr double kWarm = 0.5;

// Cheaper, or of equal cost with no more to copy.
bool no_worse(const Plan& a, const Plan& b) {
  return a.cost < b.cost || (a.cost == b.cost && a.moved_bytes <= b.moved_bytes);
}

std::vector<Step> unplaced_steps(std::vector<Step> steps) {
  std::erase_if(steps, [](const Step& s) { return s.kind == Step::Kind::kMove; });
  for (Step& s : steps) s.places.clear();
  return steps;
}

class Planner {
 public:
  // Sizes of the graph and budgets are in units, of which a byte has `units`.
  Planner(const Graph& graph, const PlanOptions& options, std::int64_t units = 1)
      : graph_(graph),
        options_(without_ignored(options)),
        program_(compile(graph, options.start)),
        units_(units),
        small_(small_enough(program_)) {
    if (!start_is_possible(program_, places_at_start(program_, options_.start))) {
      throw Error("a plan: the start gives offsets that overlap or are no multiples of 64");
    }
  }

  std::optional<Plan> find(std::int64_t budget, const Plan* smaller) {
    auto found = attempt(budget);
    // A plan for less is a plan, and what a search finds does not always grow with the budget.
    if (smaller != nullptr && (!found || no_worse(*smaller, *found))) {
      found = for_more(*smaller, budget);
    } else if (!found && least_possible() <= budget) {
      found = from_squeezed(budget);
    }
    if (found && !proven(*found)) {
      // What was known of the future may have helped less than it should.
      const std::optional<Plan>& online = online_within(budget);
      if (online && online->cost < found->cost) found = online;
    }
    if (found) {
      raise_bound(*found);
      round_bound_up(*found);
    }
    return found;
  }

  Plan run(std::int64_t budget) {
    if (auto plan = find(budget, nullptr)) return *std::move(plan);
    const std::int64_t least = smallest_ ? smallest_->budget : smallest(squeezed(0)).budget;
    const bool exact = least == scheduler::least_budget(program_) ||
                       (small_ && exact_plan(program_, least - 1, kExactStates).outcome == Exact::Outcome::kImpossible);
    const std::int64_t bytes = (least + units_ - 1) / units_;
    throw BudgetError("no plan of " +
                          (graph_.name.empty() ? std::string("the graph") : core::printable_name(graph_.name)) +
                          " fits in " + format_bytes(budget / units_) + " (" + std::to_string(budget / units_) +
                          " bytes): the smallest budget planned is " + format_bytes(bytes) + " (" +
                          std::to_string(bytes) + " bytes)" + (exact ? ", and no smaller one is possible" : ""),
                      bytes, exact ? BudgetError::Needed::kExactly : BudgetError::Needed::kPlanned);
  }

 private:
  // Where no offsets are chosen, those of the start say nothing.
  static PlanOptions without_ignored(PlanOptions options) {
    if (options.place || !options.start) return options;
    for (Placement& p : options.start->resident) p.offset = kAnywhere;
    return options;
  }

  std::int64_t ops() const { return program_.op_count - program_.first_op; }

  // Events touched by the search, at about 3 ns each.
  std::int64_t full_work() const {
    const std::int64_t n = ops();
    const std::int64_t over = std::clamp<std::int64_t>(n - 130, 0, 45);
    const std::int64_t small =
        std::min<std::int64_t>(4'000'000 + n * (60'000 + 18 * n * n), 15'000'000) + 25'000 * over * over;
    const std::int64_t work = n > 1000 ? small / 1000 * n : small;
    return options_.effort == Effort::kHigh ? std::min<std::int64_t>(work * 20, 2'500'000'000) : work;
  }
  std::int64_t bound_work() const { return std::min(10'000'000 + 200'000 * ops(), kMostBoundWork); }
  // Of the bound of several instants, where the plan is not proven the best without it.
  std::int64_t joint_work() const {
    const std::int64_t work = std::max(std::min(40'000 * ops(), std::int64_t{20'000'000}), 15'000 * ops());
    return options_.effort == Effort::kHigh ? std::min<std::int64_t>(work * 20, 400'000'000)
                                            : std::min<std::int64_t>(work, 100'000'000);
  }
  std::int64_t squeeze_work() const {
    return std::clamp<std::int64_t>(full_work(), std::min<std::int64_t>(400'000 * ops(), 40'000'000), 400'000'000);
  }

  std::optional<Plan> attempt(std::int64_t budget) {
    budget = std::max<std::int64_t>(budget, -1);  // below 0 all are alike: nothing fits
    bound_ = lower_bound(program_, budget, bound_work());
    say("bound: " + percent(bound_.extra) +
        (bound_.instant >= 0 ? ", binding at " + describe_op(graph_, bound_.instant) : "") + "; no plan below " +
        bytes(bound_.least_budget));
    if (bound_.least_budget > budget || end_at_start(program_, options_.start) > budget) return std::nullopt;
    if (small_) {
      Exact exact = exact_plan(program_, budget, kExactStates);
      say(exact.outcome == Exact::Outcome::kImpossible ? "exact search: there is no plan"
          : exact.outcome == Exact::Outcome::kPlanned  ? "exact search: " + percent(exact.extra)
                                                       : "exact search: given up");
      if (exact.outcome == Exact::Outcome::kImpossible) return std::nullopt;
      if (exact.outcome == Exact::Outcome::kPlanned) {
        bound_.extra = std::max(bound_.extra, exact.extra);
        if (auto plan = finish(std::move(exact.steps), budget)) return plan;
      }
    }
    Annealer annealer(program_, budget, options_.seed);
    if (!annealer.feasible()) {
      if (bound_.instant < 0) return std::nullopt;
      explore(annealer);
      follow_online(annealer, budget);
    }
    return best_of(annealer, budget);
  }

  void say(const std::string& line) const {
    if (options_.watch) options_.watch(line);
  }
  std::string percent(double extra) const {
    char text[32];
    std::snprintf(text, sizeof text, "+%.3f %%", program_.base_cost > 0 ? 100 * extra / program_.base_cost : 0.0);
    return text;
  }
  std::string bytes(std::int64_t count) const { return format_bytes(count / units_); }
  std::string so_far(const Annealer& annealer) const {
    return annealer.feasible() ? percent(annealer.best_extra()) + " at best" : "nothing that fits yet";
  }

  bool proven(const Plan& plan) const { return program_.base_cost + bound_.extra >= plan.cost * (1 - 1e-9); }

  // Where the online policy comes out cheaper, the search goes on from its reruns.
  void follow_online(Annealer& annealer, std::int64_t budget) {
    if (annealer.feasible() && annealer.best_extra() <= bound_.extra * (1 + 1e-9)) return;
    const std::optional<Plan>& online = online_within(budget);
    if (!online || (annealer.feasible() && online->cost - online->base_cost >= annealer.best_extra())) return;
    annealer.load(reruns_of(online->steps));
    annealer.anneal(full_work() / 8, kWarm);
    say("walk from the online policy's " + percent(online->cost - online->base_cost) + ": " + so_far(annealer));
  }

  std::vector<Schedule::Key> reruns_of(const std::vector<Step>& steps) const {
    std::vector<Schedule::Key> reruns;
    OpId next = program_.first_op;
    for (const Step& step : steps) {
      if (step.kind != Step::Kind::kRun) continue;
      if (step.id == next) {
        ++next;
      } else {
        reruns.push_back(Schedule::key(step.id, next));
      }
    }
    std::sort(reruns.begin(), reruns.end());
    reruns.erase(std::unique(reruns.begin(), reruns.end()), reruns.end());
    return reruns;
  }

  // The best plan of a search, placed. Rounding up to the alignment, and buffers that cannot move, can take more than
  // is live: then the peak is lowered.
  std::optional<Plan> best_of(Annealer& annealer, std::int64_t budget) const {
    double room = static_cast<double>(budget);
    for (int tries = 0; tries <= kTightenings && annealer.feasible(); ++tries) {
      annealer.load(annealer.best());
      if (auto plan = finish(emit(program_, annealer.schedule()), budget)) return plan;
      room = std::min(room * 0.99, room - 64.0 * 4);
      say("not placed: the peak is to be at most " + bytes(static_cast<std::int64_t>(room)));
      annealer.tighten(static_cast<std::int64_t>(room));
      if (!annealer.feasible()) annealer.anneal(full_work() / 8, kWarm);
    }
    return std::nullopt;
  }

  // The best of a few walks, and then of one that begins there.
  void explore(Annealer& annealer) const {
    const std::int64_t work = full_work();
    const int usual = ops() <= 120 ? 8 : ops() <= 250 ? 20 : ops() <= 600 ? 8 : 1;
    const int walks = options_.effort == Effort::kHigh ? 20 * usual : usual;
    InstantBound at_instant(program_, bound_.instant);
    annealer.warm_start(at_instant, bound_.instant, work / 8);
    const std::vector<Schedule::Key> warm = annealer.schedule().reruns();
    for (int walk = 0; walk < walks; ++walk) {
      if (walk % 2 == 1) {
        annealer.cold_start();
      } else if (walk > 0) {
        annealer.load(warm);
      }
      annealer.anneal(work / (walks + 1), kHot);
      say("walk " + std::to_string(walk + 1) + " of " + std::to_string(walks) + ": " + so_far(annealer));
    }
    if (annealer.feasible()) {
      annealer.cross_walks();
      annealer.load(annealer.best());
    } else {
      annealer.load(warm);
    }
    annealer.anneal(work / (walks + 1), kWarm);
    say("walk from the best: " + so_far(annealer));
  }

  Plan unplaced(std::vector<Step> steps, std::int64_t budget) const {
    Plan plan;
    plan.budget = budget;
    plan.base_cost = program_.base_cost;
    plan.lower_bound = program_.base_cost + bound_.extra;
    plan.steps = std::move(steps);
    return plan;
  }

  std::optional<Plan> finish(std::vector<Step> steps, std::int64_t budget) const {
    Plan plan = unplaced(std::move(steps), budget);
    if (options_.place) {
      auto placed = place(program_, plan.steps, budget, options_.start);
      if (!placed) return std::nullopt;
      plan.placed = true;
      plan.inputs = std::move(placed->inputs);
      plan.steps = std::move(placed->steps);
    }
    set_figures(plan, graph_, options_.start);
    say("plan: " + percent(plan.cost - plan.base_cost) + ", live " + bytes(plan.live_peak) +
        (plan.placed ? ", placed in " + bytes(plan.reserved_peak) + " with " + bytes(plan.moved_bytes) + " moved"
                     : ""));
    return plan;
  }

  // As a rival of the search: no more runs than could be cheaper.
  const std::optional<Plan>& online_within(std::int64_t budget) {
    if (online_budget_ != budget) online_ = from_online(budget, 3 * ops());
    online_budget_ = budget;
    return online_;
  }

  std::optional<Plan> from_online(std::int64_t budget) const {
    return from_online(budget, std::max(std::min(kMostOnline * (ops() + 25), kMostOnlineRuns), 3 * ops()));
  }

  // What the online policy does, told of every last use; or, where that is cheaper, of what the program releases.
  std::optional<Plan> from_online(std::int64_t budget, std::int64_t most_runs) const {
    auto found = traced(budget, most_runs, true);
    const auto says = [](const Op& op) { return op.releases.has_value(); };
    if (std::any_of(graph_.ops.begin(), graph_.ops.end(), says)) {
      auto told = traced(budget, most_runs, false);
      if (told && (!found || told->cost < found->cost)) found = std::move(told);
    }
    if (!found || found->moved_bytes == 0) return found;
    // All lifetimes are known by now: offsets chosen from them may move less.
    if (auto still = finish(unplaced_steps(found->steps), budget); still && no_worse(*still, *found)) return still;
    return found;
  }

  std::optional<Plan> traced(std::int64_t budget, std::int64_t most_runs, bool last_uses) const {
    if (!options_.place && !options_.start && has_odd_sizes(graph_)) {
      const Graph fine = in_fine_units(graph_);
      PlanOptions options = options_;
      options.place = true;
      auto plan = Planner(fine, options, kFineUnits).traced(to_fine_units(budget), most_runs, last_uses);
      if (!plan) return std::nullopt;
      return without_places(std::move(plan->steps), budget);
    }
    const TraceOptions limits{last_uses, most_runs, kMostOnlineWork};
    Trace trace = trace_online(graph_, program_, budget, options_.start, limits);
    if (!trace.complete()) return std::nullopt;
    if (!options_.place) return without_places(std::move(trace.steps), budget);
    Plan plan = unplaced(std::move(trace.steps), budget);
    plan.placed = true;
    plan.inputs = std::move(trace.inputs);
    set_figures(plan, graph_, options_.start);
    return plan;
  }

  Plan without_places(std::vector<Step> steps, std::int64_t budget) const {
    Plan plan = unplaced(unplaced_steps(std::move(steps)), budget);
    set_figures(plan, graph_, options_.start);
    return plan;
  }

  // Where the search finds nothing: from a schedule squeezed until it fits, or else what the online policy does.
  std::optional<Plan> from_squeezed(std::int64_t budget) {
    const Bound bound = bound_;
    Annealer annealer = squeezed(budget);
    const bool fits = static_cast<std::int64_t>(annealer.schedule().peak()) + program_.pinned_bytes <= budget;
    if (fits) {
      bound_ = bound;
      annealer.tighten(budget);
      annealer.anneal(full_work() / 2, kWarm);
      if (auto plan = best_of(annealer, budget)) return plan;
    }
    const Plan& least = smallest(fits ? squeezed(0) : std::move(annealer));
    bound_ = bound;
    return least.budget <= budget ? for_more(least, budget) : from_online(budget);
  }

  // No plan takes less.
  std::int64_t least_possible() const {
    return std::max(scheduler::least_budget(program_), end_at_start(program_, options_.start));
  }

  // Until `enough`, or as far as it goes.
  Annealer squeezed(std::int64_t enough) {
    const std::int64_t low = least_possible();
    Annealer annealer(program_, low, options_.seed);
    const double peak = annealer.schedule().peak();
    peak_ = static_cast<std::int64_t>(peak) + program_.pinned_bytes;
    bound_ = lower_bound(program_, low + (peak_ - low) / 4 * 3, kBriefBoundWork);
    if (bound_.instant >= 0) {
      InstantBound at_instant(program_, bound_.instant);
      annealer.warm_start(at_instant, bound_.instant, squeeze_work() / 8);
      if (annealer.schedule().peak() >= peak) annealer.cold_start();
    }
    annealer.squeeze(low, enough, squeeze_work());
    return annealer;
  }

  // The plan of the smallest budget that was found, whatever was asked for: `annealer` has squeezed as far as it goes.
  const Plan& smallest(Annealer annealer) {
    std::int64_t low = least_possible() - 1;  // not planned
    const auto adopt = [&](std::optional<Plan> plan) {
      if (!plan) return false;
      // What it took may be less.
      plan->budget = std::max({plan->live_peak, plan->reserved_peak, low + 1});
      smallest_ = *std::move(plan);
      return true;
    };
    if (annealer.feasible()) annealer.anneal(squeeze_work() / 4, kWarm);
    if (annealer.feasible()) {
      annealer.load(annealer.best());
      const std::vector<Step> steps = emit(program_, annealer.schedule());
      std::int64_t budget =
          std::max(static_cast<std::int64_t>(annealer.schedule().peak()) + program_.pinned_bytes, low + 1);
      while (!adopt(finish(steps, budget)) && budget < 2 * peak_) budget += budget / 64 + 64;
    }
    std::int64_t high = std::max(peak_, low + 1);
    while (!smallest_ && !adopt(from_online(high))) high += high / 64 + 64;
    // The online policy is not bound to one rerun before an op.
    const auto less = [&] { return smallest_->budget - std::max<std::int64_t>(64, smallest_->budget / 64); };
    while (less() > low && adopt(from_online(less()))) {
    }
    // The exact search may give up at a budget and end at a smaller one, where there is less to choose from.
    for (std::int64_t above = smallest_->budget; small_ && above - low > 1;) {
      const std::int64_t middle = low + (above - low) / 2;
      Exact exact = exact_plan(program_, middle, kExactStates);
      if (exact.outcome == Exact::Outcome::kGaveUp) {
        above = middle;
      } else if (exact.outcome == Exact::Outcome::kPlanned && adopt(finish(std::move(exact.steps), middle))) {
        above = smallest_->budget;
      } else {
        low = middle;
      }
    }
    return *smallest_;
  }

  Plan for_more(Plan plan, std::int64_t budget) const {
    plan.budget = budget;
    plan.lower_bound = program_.base_cost + bound_.extra;
    return plan;
  }

  void raise_bound(Plan& plan) const {
    if (bound_.instant < 0 || plan.lower_bound >= plan.cost * (1 - 1e-9)) return;
    const double extra =
        bound_of_several_instants(program_, plan.budget, bound_.instant, plan.cost - program_.base_cost, joint_work());
    plan.lower_bound = std::max(plan.lower_bound, program_.base_cost + extra);
    say("bound of several instants: " + percent(extra));
  }

  // Where all costs are multiples of one number, so is what a plan costs: the bound is rounded up to the next, less
  // what may have been lost to rounding.
  void round_bound_up(Plan& plan) const {
    const double unit = cost_unit();
    const double extra = plan.lower_bound - plan.base_cost;
    if (unit <= 0 || extra <= 0) return;
    const double lost = std::max(1e-6, 1e-9 * plan.cost / unit);
    plan.lower_bound = std::max(plan.lower_bound, plan.base_cost + std::ceil(extra / unit - lost) * unit);
  }

  // 0 where costs are not whole, or so large that sums are not.
  double cost_unit() const {
    constexpr double kMost = 0x1p50;
    std::int64_t unit = 0;
    for (double cost : program_.cost) {
      if (cost != std::floor(cost) || cost > kMost) return 0;
      unit = std::gcd(unit, static_cast<std::int64_t>(cost));
    }
    return program_.base_cost > kMost ? 0 : static_cast<double>(unit);
  }

  const Graph& graph_;
  const PlanOptions options_;
  const Program program_;
  const std::int64_t units_;  // of a byte
  const bool small_;          // enough for the exact annealer
  std::optional<Plan> smallest_;
  std::optional<Plan> online_;  // of online_budget_
  std::int64_t online_budget_ = -1;
  std::int64_t peak_ = 0;  // where nothing is computed twice; of squeezed()
  Bound bound_;            // of the budget in work
};

// The plan, with sources that have run before the start early enough for what they read to be there when it is wanted;
// where it can be placed so without moving more.
Plan with_early_sources(const Graph& graph, const Start& start, Plan plan) {
  if (!plan.placed || start.next_op == 0) return plan;
  const Program program = compile(graph, start);
  // Where all of the room is live there are few ways to place it.
  for (const std::int64_t room : {plan.budget, plan.budget - plan.budget / 16}) {
    std::vector<Step> steps = unplaced_steps(plan.steps);
    if (!run_sources_early(graph, program, start.next_op, room, steps)) return plan;
    auto placed = place(program, steps, plan.budget, start);
    if (!placed) continue;
    Plan early = plan;
    early.inputs = std::move(placed->inputs);
    early.steps = std::move(placed->steps);
    set_figures(early, graph, start);
    if (early.moved_bytes <= plan.moved_bytes) return early;
  }
  return plan;
}

std::optional<Cycle> find_cycle(const SourcesInFront& program, std::int64_t budget, const PlanOptions& options,
                                std::int64_t units) {
  return choose_residents(program, budget, options, [&](const Graph& of, const PlanOptions& with) {
    return Planner(of, with, units).find(budget, nullptr);
  });
}

// Of a program that runs again and again, its residents chosen; sizes and the budget in units.
std::optional<Plan> find_repeated(const Graph& graph, std::int64_t budget, const PlanOptions& options,
                                  std::int64_t units, const Plan* smaller) {
  const SourcesInFront program(graph);
  const std::optional<Cycle> cycle = find_cycle(program, budget, options, units);
  std::optional<Plan> found;
  if (cycle) {
    Start start = program.start;
    for (const BufferId b : cycle->resident) start.resident.push_back({b, kAnywhere});
    found = program.in_order_of_program(with_early_sources(program.graph, start, cycle->plan));
    found->residents = cycle->resident;
    found->lower_bound = cycle->lower_bound;
    found->base_cost = compile(graph).base_cost;
  }
  if (smaller != nullptr && (!found || no_worse(*smaller, *found))) {
    const double bound = found ? found->lower_bound : 0;
    found = *smaller;
    found->budget = budget;
    found->lower_bound = bound;
  }
  return found;
}

std::optional<Plan> find_plan(const Graph& graph, std::int64_t budget, const PlanOptions& options, std::int64_t units,
                              const Plan* smaller) {
  if (options.repeated && !options.start) return find_repeated(graph, budget, options, units, smaller);
  std::optional<Plan> found = Planner(graph, options, units).find(budget, smaller);
  if (found && options.start) return with_early_sources(graph, *options.start, *std::move(found));
  return found;
}

Plan require_plan(const Graph& graph, std::int64_t budget, const PlanOptions& options, std::int64_t units) {
  if (!options.repeated || options.start) {
    Plan plan = Planner(graph, options, units).run(budget);
    return options.start ? with_early_sources(graph, *options.start, std::move(plan)) : plan;
  }
  if (auto found = find_plan(graph, budget, options, units, nullptr)) return *std::move(found);
  // What stays takes room, so that the least is known without.
  const SourcesInFront program(graph);
  PlanOptions from_start = options;
  from_start.start = program.start;
  Plan plan = program.in_order_of_program(Planner(program.graph, from_start, units).run(budget));
  plan.base_cost = compile(graph).base_cost;
  return plan;
}

}  // namespace

std::optional<Cycle> choose_residents(const Graph& graph, std::int64_t budget, const PlanOptions& options) {
  return find_cycle(SourcesInFront(graph), budget, options, 1);
}

Plan plan(const Graph& graph, std::int64_t budget, const PlanOptions& options) {
  if (options.place && !options.start && has_odd_sizes(graph)) {
    (void)compile(graph);  // errors in bytes
    Plan plan = in_bytes(require_plan(in_fine_units(graph), to_fine_units(budget), options, kFineUnits));
    plan.budget = budget;
    return plan;
  }
  return require_plan(graph, budget, options, 1);
}

std::optional<Plan> try_plan(const Graph& graph, std::int64_t budget, const PlanOptions& options, const Plan* smaller) {
  if (options.place && !options.start && has_odd_sizes(graph)) {
    (void)compile(graph);
    std::optional<Plan> less;
    if (smaller != nullptr) less = in_fine_units(*smaller);
    auto plan = find_plan(in_fine_units(graph), to_fine_units(budget), options, kFineUnits, less ? &*less : nullptr);
    if (!plan) return std::nullopt;
    Plan result = in_bytes(*std::move(plan));
    result.budget = budget;
    return result;
  }
  return find_plan(graph, budget, options, 1, smaller);
}

std::int64_t least_budget(const Graph& graph) { return least_budget(compile(graph)); }

std::int64_t peak_without_recomputation(const Graph& graph) {
  const Program program = compile(graph);
  return static_cast<std::int64_t>(Schedule(program, 0).peak()) + program.pinned_bytes;
}

}  // namespace tidemark::scheduler
