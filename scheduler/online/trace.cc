#include "scheduler/online/trace.h"

#include <algorithm>
#include <iterator>

#include "core/extents.h"
#include "scheduler/fine_units.h"
#include "scheduler/online/evictor.h"
#include "scheduler/place/occupancy.h"
#include "scheduler/place/place.h"
#include "scheduler/simulate.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::scheduler {
namespace {

// What the program lets go, and when.
struct Releases {
  std::vector<BufferId> at_start;
  std::vector<std::vector<BufferId>> with;   // op -> what it may write over
  std::vector<std::vector<BufferId>> after;  // op -> what was let go earlier, while the op was still to read it
};

class ReleaseFinder {
 public:
  ReleaseFinder(const Graph& graph, const Program& program, bool last_uses)
      : graph_(graph), program_(program), last_uses_(last_uses), named_(graph.buffers.size(), 0) {
    releases_.with.resize(graph.ops.size());
    releases_.after.resize(graph.ops.size());
  }

  Releases find() {
    for (OpId op = program_.first_op; op < program_.op_count; ++op) {
      if (last_uses_ || !graph_.ops[op].releases) {
        unsaid(op);
      } else {
        said(op);
      }
    }
    for (BufferId b = 0; b < program_.buffer_count; ++b) {
      const bool known = program_.producer[b] < program_.first_op;
      if (known && last_use(b) < program_.first_op && !held(b) && !named_[b]) releases_.at_start.push_back(b);
    }
    return std::move(releases_);
  }

 private:
  bool held(BufferId b) const { return program_.kept[b] || program_.pinned[b]; }

  OpId last_use(BufferId b) const {
    const auto users = program_.users[b];
    return std::max(program_.producer[b], users.empty() ? OpId{-1} : users.back());
  }

  void unsaid(OpId op) {
    for (const auto list : {program_.reads[op], program_.writes[op]}) {
      std::copy_if(list.begin(), list.end(), std::back_inserter(releases_.with[op]),
                   [&](BufferId b) { return last_use(b) == op && !held(b); });
    }
  }

  void said(OpId op) {
    for (const BufferId b : *graph_.ops[op].releases) {
      named_[b] = 1;
      if (held(b)) continue;
      const OpId last = last_use(b);
      if (last > op) {
        releases_.after[last].push_back(b);
      } else {
        releases_.with[op].push_back(b);
      }
    }
  }

  const Graph& graph_;
  const Program& program_;
  const bool last_uses_;
  std::vector<char> named_;  // by an op
  Releases releases_;
};

// What is open goes to the lowest holes.
std::vector<Placement> lowest_places(const Program& program, const std::optional<Start>& start) {
  std::vector<Placement> places = places_at_start(program, start);
  if (!start_is_possible(program, places)) return places;
  Occupancy occupancy(kUnlimited);
  for (const bool given : {true, false}) {
    for (Placement& p : places) {
      const std::int64_t bytes = program.bytes[p.buffer];
      if ((p.offset != kAnywhere) != given) continue;
      if (!given) p.offset = bytes > 0 ? *occupancy.lowest_fit(bytes) : 0;
      if (bytes > 0) occupancy.take(p.buffer, p.offset, bytes);
    }
  }
  return places;
}

[[noreturn]] void throw_short(const Graph& graph, std::int64_t budget, const Shortage& shortage, std::int64_t units) {
  const std::string what = shortage.op >= 0 ? describe_op(graph, shortage.op) : std::string("the inputs");
  const std::int64_t needed = (shortage.needed + units - 1) / units;
  throw BudgetError(format_bytes(budget / units) + " cannot hold " + what +
                        " under the online policy: with what cannot be discarded then, it takes " +
                        format_bytes(needed) + " (" + std::to_string(needed) + " bytes)",
                    needed, BudgetError::Needed::kAtLeast);
}

// Sizes and the budget are in units, of which a byte has `units`.
Plan run(const Graph& graph, std::int64_t budget, std::int64_t units) {
  const Program program = compile(graph);
  Trace trace = trace_online(graph, program, budget, {});
  if (trace.shortage) throw_short(graph, budget, *trace.shortage, units);
  Plan plan;
  plan.budget = budget;
  plan.placed = true;
  plan.base_cost = plan.lower_bound = program.base_cost;
  plan.inputs = std::move(trace.inputs);
  plan.steps = std::move(trace.steps);
  set_figures(plan, graph);
  return plan;
}

}  // namespace

Trace trace_online(const Graph& graph, const Program& program, std::int64_t budget, const std::optional<Start>& start,
                   const TraceOptions& options) {
  using core::Extents;
  Trace trace;
  trace.inputs = lowest_places(program, start);
  const std::int64_t end = end_at_start(program, Start{0, trace.inputs});
  if (budget < 0 || end > budget / Extents::kAlignment * Extents::kAlignment) {
    trace.shortage = Shortage{.needed = Extents::round_up(end)};
    return trace;
  }
  const Releases releases = ReleaseFinder(graph, program, options.last_uses).find();
  Evictor evictor(graph, budget, Start{program.first_op, trace.inputs});
  for (const BufferId b : releases.at_start) evictor.release(b, trace.steps);
  std::int64_t runs = 0;
  std::size_t seen = 0;
  for (OpId op = program.first_op; op < program.op_count; ++op) {
    trace.shortage = evictor.admit(op, releases.with[op], trace.steps);
    if (trace.shortage) return trace;
    for (const BufferId b : releases.after[op]) evictor.release(b, trace.steps);
    for (; seen < trace.steps.size(); ++seen) runs += trace.steps[seen].kind == Step::Kind::kRun ? 1 : 0;
    trace.given_up = runs > options.most_runs || evictor.work() > options.most_work;
    if (trace.given_up) return trace;
  }
  for (const BufferId b : graph.keep) {
    evictor.pin(b);
    trace.shortage = evictor.restore(b, trace.steps);
    if (trace.shortage) return trace;
  }
  return trace;
}

Plan run_online(const Graph& graph, std::int64_t budget) {
  if (!has_odd_sizes(graph)) return run(graph, budget, 1);
  (void)compile(graph);  // errors in bytes
  Plan plan = in_bytes(run(in_fine_units(graph), to_fine_units(budget), kFineUnits));
  plan.budget = budget;
  return plan;
}

}  // namespace tidemark::scheduler
