#include "autograd/known_steps.h"

#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/extents.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::detail {
namespace {

using core::Extents;
using scheduler::BufferId;
using scheduler::Graph;
using scheduler::Placement;
using scheduler::Plan;
using scheduler::Start;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kKnownSteps = 32;
constexpr std::size_t kPlansOfAStep = 4;
constexpr std::size_t kRestsOfAStep = 16;
constexpr std::size_t kHistory = 128;
constexpr std::size_t kAnswers = 16;

bool same(const std::vector<Placement>& a, const std::vector<Placement>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Placement& x, const Placement& y) {
    return x.buffer == y.buffer && x.offset == y.offset;
  });
}

class Hash {
 public:
  template <class T>
  void add(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void add(const std::vector<BufferId>& list) {
    add(list.size());
    for (BufferId buffer : list) add(buffer);
  }
  std::uint64_t result() const { return XXH3_64bits(bytes_.data(), bytes_.size()); }

 private:
  std::string bytes_;
};

// Of all that a plan depends on.
std::uint64_t hash(const Graph& graph, std::int64_t room, const std::optional<Start>& start) {
  Hash hash;
  hash.add(room);
  for (const scheduler::Buffer& buffer : graph.buffers) {
    hash.add(buffer.bytes);
    hash.add(buffer.pinned);
  }
  for (const scheduler::Op& op : graph.ops) {
    for (const auto* list : {&op.reads, &op.writes, &op.updates}) hash.add(*list);
    hash.add(op.overwrites.size());
    for (const auto& [read, write] : op.overwrites) {
      hash.add(read);
      hash.add(write);
    }
    hash.add(op.cost);
    hash.add(op.scratch);
    hash.add(op.once);
    hash.add(op.releases.has_value());
    if (op.releases) hash.add(*op.releases);
  }
  hash.add(graph.keep);
  if (!start) return hash.result();
  hash.add(start->next_op);
  for (const Placement& place : start->resident) {
    hash.add(place.buffer);
    hash.add(place.offset);
  }
  return hash.result();
}

}  // namespace

std::vector<bool> written(const Graph& graph) {
  std::vector<bool> result(graph.buffers.size(), false);
  for (const scheduler::Op& op : graph.ops) {
    for (BufferId buffer : op.writes) result[static_cast<std::size_t>(buffer)] = true;
  }
  return result;
}

// What followed when the steps before were the same: every earlier place votes for what came next there, with the
// square of the number of steps before it that agree.
std::int64_t KnownSteps::predicted() const {
  constexpr std::size_t kMostAlike = 16;
  const std::size_t size = history_.size();
  std::int64_t next = -1;
  std::size_t most = 0;
  std::unordered_map<std::int64_t, std::size_t> votes;
  for (std::size_t at = 1; at < size; ++at) {
    std::size_t alike = 0;
    while (alike < std::min(at, kMostAlike) && history_[at - 1 - alike] == history_[size - 1 - alike]) ++alike;
    if (alike == 0) continue;
    std::size_t& sum = votes[history_[at]];
    sum += alike * alike;
    if (sum < most) continue;
    most = sum;
    next = history_[at];
  }
  return next;
}

std::vector<KnownStep*> KnownSteps::beginning_with(std::uint64_t signature) {
  std::vector<KnownStep*> result;
  const std::int64_t likely = predicted();
  for (KnownStep& step : steps_) {
    if (step.signatures.front() == signature) result.push_back(&step);
  }
  // Then the longest: a step that is another's beginning (a micro-batch before the last) can follow the other's plan.
  std::stable_sort(result.begin(), result.end(), [&](const KnownStep* a, const KnownStep* b) {
    if ((a->id == likely) != (b->id == likely)) return a->id == likely;
    return a->signatures.size() > b->signatures.size();
  });
  return result;
}

std::optional<Plan> KnownSteps::make_plan(const Graph& graph, std::int64_t room, const std::optional<Start>& start) {
  const std::uint64_t question = hash(graph, room, start);
  const auto known =
      std::find_if(answers_.begin(), answers_.end(), [&](const Answer& answer) { return answer.question == question; });
  if (known != answers_.end()) {
    answers_.splice(answers_.begin(), answers_, known);
    return known->plan;
  }
  const auto began = Clock::now();
  std::optional<Plan> plan;
  try {
    if (limited_) {
      plan = scheduler::try_plan(graph, room, {.seed = seed_, .start = start});
    } else {
      plan = scheduler::plan_without_recomputation(graph, start);
    }
  } catch (const Error&) {
    if (!start) throw;  // from the middle of a step there may be no way to another one's end
  }
  ++planning_.plans;
  planning_.seconds += std::chrono::duration<double>(Clock::now() - began).count();
  if (timeline_.on()) timeline_.span(Timeline::Track::kPlanning, graph.name, {}, began, 0, 0);
  answers_.push_front({question, plan});
  if (answers_.size() > kAnswers) answers_.pop_back();
  return plan;
}

namespace {

// What is in memory when the step starts, each where the plan wants it; nothing where that is its inputs alone.
std::optional<Start> start_of(const KnownStep& step) {
  if (step.done == 0) return std::nullopt;
  Start start{step.done, {}};
  const std::vector<bool> made = written(step.graph);
  for (std::size_t b = 0; b < made.size(); ++b) {
    if (!made[b]) start.resident.push_back({static_cast<BufferId>(b), scheduler::kAnywhere});
  }
  for (const scheduler::OpId op : step.residents) {
    start.resident.push_back({step.graph.ops[static_cast<std::size_t>(op)].writes.front(), scheduler::kAnywhere});
  }
  return start;
}

}  // namespace

KnownSteps::Found KnownSteps::plan(KnownStep& step, std::int64_t room) {
  KnownStep::Planned* best = nullptr;
  for (KnownStep::Planned& planned : step.plans) {
    if (planned.plan.reserved_peak <= room && (best == nullptr || planned.plan.cost < best->plan.cost)) best = &planned;
  }
  const Plan* const fallback = best == nullptr ? nullptr : &best->plan;
  // A plan for less room is as good, unless there is much more now and something would be computed twice.
  if (best != nullptr && (best->plan.cost <= best->plan.base_cost || room - best->room <= best->room / 16)) {
    return {fallback};
  }
  if (room <= step.failed_room) return {fallback};
  std::vector<std::int64_t> rooms = {room};
  const bool again = !step.plans.empty();
  if (again) {
    ++planning_.replans;
    planning_.replan_reason = absl::StrCat("the room of the step went from ", format_bytes(step.plans.front().room),
                                           " to ", format_bytes(room));
    // Room that shrinks goes on shrinking: a plan for a little less holds for a while.
    if (best == nullptr) {
      rooms.insert(rooms.begin(), (room - room / 32) / Extents::kAlignment * Extents::kAlignment);
    }
  }
  for (const std::int64_t each : rooms) {
    std::optional<Plan> plan = make_plan(step.graph, each, start_of(step));
    if (!plan) continue;
    if (best != nullptr && best->plan.cost <= plan->cost) {
      best->room = each;
      return {fallback, again};
    }
    step.plans.push_front({each, std::move(*plan)});
    if (step.plans.size() > kPlansOfAStep) step.plans.pop_back();
    return {&step.plans.front().plan, again};
  }
  step.failed_room = room;
  if (fallback == nullptr) {
    planning_.replan_reason =
        absl::StrCat("no plan of the whole step was found in ", format_bytes(room), ": it starts op by op");
  }
  return {fallback, again};
}

KnownSteps::Found KnownSteps::plan_rest(KnownStep& step, const Graph& graph, std::int64_t room, Start start) {
  const auto known = std::find_if(step.rests.begin(), step.rests.end(), [&](const KnownStep::Rest& each) {
    return each.start.next_op == start.next_op && same(each.start.resident, start.resident);
  });
  if (known != step.rests.end()) return {&known->plan};
  std::optional<Plan> plan = make_plan(graph, room, start);
  if (!plan) return {};
  if (!step.rests.empty() || !step.plans.empty()) {
    ++planning_.replans;
    planning_.replan_reason = "the step turned out to be another one than was foreseen";
  }
  step.rests.push_front({std::move(start), std::move(*plan)});
  if (step.rests.size() > kRestsOfAStep) step.rests.pop_back();
  return {&step.rests.front().plan, true};
}

KnownStep& KnownSteps::ran(const std::vector<std::uint64_t>& signatures, const std::function<Graph()>& graph,
                           scheduler::OpId done, const std::vector<scheduler::OpId>& residents) {
  auto step =
      std::find_if(steps_.begin(), steps_.end(), [&](const KnownStep& each) { return each.signatures == signatures; });
  if (step != steps_.end()) {
    steps_.splice(steps_.begin(), steps_, step);
  } else {
    KnownStep made;
    made.signatures = signatures;
    made.graph = graph();
    made.done = done;
    made.residents = residents;
    made.id = next_id_++;
    const std::vector<bool> made_by_ops = written(made.graph);
    for (std::size_t b = 0; b < made.graph.buffers.size(); ++b) {
      if (!made_by_ops[b] && made.graph.buffers[b].bytes > 0) made.inputs.push_back(static_cast<BufferId>(b));
    }
    made.keys.resize(made.inputs.size(), 0);
    steps_.push_front(std::move(made));
    if (steps_.size() > kKnownSteps) steps_.pop_back();
  }
  history_.push_back(steps_.front().id);
  if (history_.size() > kHistory) history_.erase(history_.begin());
  return steps_.front();
}

}  // namespace tidemark::detail
