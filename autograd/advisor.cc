#include "autograd/advisor.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tidemark/error.h"

namespace tidemark::detail {
namespace {

using scheduler::BufferId;
using scheduler::Graph;
using scheduler::OpId;
using scheduler::Placement;
using scheduler::Plan;
using scheduler::Start;
using scheduler::Step;

constexpr BufferId kNoBuffer = -1;
constexpr BufferId kGone = -2;
constexpr std::int64_t kNowhere = -1;

}  // namespace

Advisor::Advisor(const Graph& graph, const std::vector<std::uint64_t>& signatures, bool limited, std::uint64_t seed,
                 TimelineRecorder& timeline)
    : graph_(graph), signatures_(signatures), limited_(limited), seed_(seed), known_(limited, seed, timeline) {}

Advisor::~Advisor() = default;

void Advisor::grow() {
  offset_.resize(graph_.buffers.size(), kNowhere);
  pinned_.resize(graph_.buffers.size(), false);
  released_.resize(graph_.buffers.size(), false);
}

// --- what is known

// What has been read is known; of the others those made in the same way, else those of the same bytes, the newest
// first.
std::optional<std::vector<std::int32_t>> Advisor::match(const KnownStep& known) const {
  std::vector<std::int32_t> foreseen(known.graph.buffers.size(), -1);
  std::vector<bool> taken(carried_.size(), false);
  for (std::size_t i = 0; i < carried_.size(); ++i) {
    const BufferId buffer = carried_buffer_[i];
    if (buffer == kNoBuffer) continue;
    taken[i] = true;
    if (buffer != kGone && static_cast<std::size_t>(buffer) < foreseen.size()) {
      foreseen[static_cast<std::size_t>(buffer)] = static_cast<std::int32_t>(i);
    }
  }
  for (const bool by_key : {true, false}) {
    for (std::size_t k = known.inputs.size(); k-- > 0;) {
      const auto input = static_cast<std::size_t>(known.inputs[k]);
      if (foreseen[input] >= 0) continue;
      for (std::size_t i = carried_.size(); i-- > 0;) {
        if (taken[i] || carried_[i].bytes != known.graph.buffers[input].bytes) continue;
        if (by_key && carried_[i].key != known.keys[k]) continue;
        taken[i] = true;
        foreseen[input] = static_cast<std::int32_t>(i);
        break;
      }
      if (!by_key && foreseen[input] < 0) return std::nullopt;
    }
  }
  return foreseen;
}

// --- a step

std::vector<std::int64_t> Advisor::begin(std::int64_t room, Begin with, Adopt adopt) {
  begun_ = true;
  done_ = with.done;
  advised_ = with.done;
  std::vector<Resident>& residents = with.residents;
  for (const Resident& each : residents) resident_ops_.push_back(each.op);
  room_ = room;
  carried_ = std::move(with.carried);
  carried_buffer_.assign(carried_.size(), kNoBuffer);
  adopt_ = std::move(adopt);
  grow();
  std::vector<std::size_t> order(carried_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return carried_[a].offset < carried_[b].offset; });
  for (KnownStep* known : known_.beginning_with(signatures_.front())) {
    if (known->done != done_ || known->signatures.size() < signatures_.size() ||
        !std::equal(signatures_.begin(), signatures_.begin() + done_, known->signatures.begin())) {
      continue;
    }
    std::optional<std::vector<std::int32_t>> foreseen = match(*known);
    if (!foreseen) continue;
    std::vector<bool> read(carried_.size(), false);
    for (std::int32_t i : *foreseen) {
      if (i >= 0) read[static_cast<std::size_t>(i)] = true;
    }
    std::int64_t unread = 0;
    for (std::size_t i = 0; i < carried_.size(); ++i) unread += read[i] ? 0 : carried_[i].bytes;
    const auto [plan, made_again] = known_.plan(*known, room_ - unread);
    replanned_ = replanned_ || made_again;
    if (plan == nullptr) continue;
    std::int64_t end = 0;
    for (std::size_t i : order) {
      if (read[i]) continue;
      carried_[i].offset = end;
      end += carried_[i].bytes;
    }
    for (const Placement& input : plan->inputs) {
      const std::int32_t i = (*foreseen)[static_cast<std::size_t>(input.buffer)];
      if (i >= 0) carried_[static_cast<std::size_t>(i)].offset = unread + input.offset;
      for (Resident& each : residents) {
        const scheduler::Op& op = known->graph.ops[static_cast<std::size_t>(each.op)];
        if (op.writes.front() == input.buffer) each.offset = unread + input.offset;
      }
    }
    follow(*known, *plan, unread, std::move(*foreseen));
    break;
  }
  if (plan_ == nullptr) {
    std::int64_t end = 0;
    for (std::size_t i : order) {
      carried_[i].offset = end;
      end += carried_[i].bytes;
    }
    for (Resident& each : residents) {
      each.offset = end;
      end += each.bytes;
    }
  }
  std::vector<std::int64_t> offsets;
  offsets.reserve(carried_.size() + residents.size());
  for (const Carried& each : carried_) offsets.push_back(each.offset);
  for (const Resident& each : residents) {
    offset_[static_cast<std::size_t>(graph_.ops[static_cast<std::size_t>(each.op)].writes.front())] = each.offset;
    offsets.push_back(each.offset);
  }
  return offsets;
}

void Advisor::follow(KnownStep& known, const Plan& plan, std::int64_t shift, std::vector<std::int32_t> foreseen) {
  online_.reset();
  plan_ = &plan;
  following_ = &known;
  foreseen_ = std::move(foreseen);
  shift_ = shift;
  plan_end_ = static_cast<OpId>(known.signatures.size());
  cursor_ = 0;
  mistaken_ = false;
  costs_.base_cost += plan.base_cost;
  costs_.lower_bound += std::max(plan.lower_bound, plan.base_cost);
}

std::optional<std::size_t> Advisor::enter_carried(BufferId buffer, std::size_t carried) {
  grow();
  const auto b = static_cast<std::size_t>(buffer);
  pinned_[b] = true;
  carried_buffer_[carried] = buffer;
  std::optional<std::size_t> exchanged;
  if (following_ != nullptr) {
    const std::int32_t expected = b < foreseen_.size() ? foreseen_[b] : -1;
    if (expected < 0) {
      mistaken_ = true;
    } else if (expected != static_cast<std::int32_t>(carried)) {
      const auto other = static_cast<std::size_t>(expected);
      mistaken_ = mistaken_ || carried_[other].bytes != carried_[carried].bytes;
      if (!mistaken_) {
        std::swap(carried_[other].offset, carried_[carried].offset);
        std::replace(foreseen_.begin(), foreseen_.end(), static_cast<std::int32_t>(carried), expected);
        foreseen_[b] = static_cast<std::int32_t>(carried);
        exchanged = other;
      }
    }
  }
  offset_[b] = carried_[carried].offset;
  return exchanged;
}

void Advisor::enter_pinned(BufferId buffer) {
  grow();
  const auto b = static_cast<std::size_t>(buffer);
  pinned_[b] = true;
  offset_[b] = 0;
  if (online_ == nullptr) return;
  std::int64_t offset = 0;
  if (online_->reserve(buffer, steps_, offset)) throw std::logic_error("a buffer without bytes needs room");
  online_->pin(buffer);
}

void Advisor::forget_carried(std::size_t carried) {
  carried_[carried].bytes = 0;
  carried_buffer_[carried] = kGone;
}

bool Advisor::fits(OpId op) const {
  if (op >= plan_end_ || mistaken_) return false;
  return following_ == nullptr ||
         following_->signatures[static_cast<std::size_t>(op)] == signatures_[static_cast<std::size_t>(op)];
}

Advice Advisor::advise(OpId op) {
  grow();
  steps_.clear();
  if (plan_ != nullptr && !fits(op)) diverge(op);
  Advice advice;
  if (plan_ != nullptr) {
    // What the plan drops after the op goes with the next one: the program may want to read it first.
    const std::size_t first = cursor_;
    bool ran = false;
    while (!ran && cursor_ < plan_->steps.size()) {
      const Step& step = plan_->steps[cursor_++];
      ran = step.kind == Step::Kind::kRun && step.id == op;
      track(step, shift_);
    }
    if (!ran) throw std::logic_error("the plan ends before the program");
    // Where a plan of this step alone ends, it may have to bring back what is kept; nobody would later.
    if (following_ == nullptr && op + 1 == plan_end_) {
      const auto last = std::find_if(plan_->steps.rbegin(), plan_->steps.rend(),
                                     [](const Step& step) { return step.kind == Step::Kind::kRun; });
      const auto end = static_cast<std::size_t>(plan_->steps.rend() - last);
      for (; cursor_ < end; ++cursor_) track(plan_->steps[cursor_], shift_);
    }
    advice.steps = std::span(plan_->steps).subspan(first, cursor_ - first);
    advice.shift = shift_;
    advice.planned = following_ != nullptr && !replanned_;
  } else {
    if (online_ == nullptr) go_online();
    const std::size_t before = steps_.size();
    advice.shortage = online_->admit(op, steps_);
    for (std::size_t i = before; i < steps_.size(); ++i) track(steps_[i], 0);
    advice.steps = steps_;
    if (advice.shortage) return advice;
  }
  advised_ = op + 1;
  return advice;
}

Advice Advisor::release(BufferId buffer) {
  grow();
  const auto b = static_cast<std::size_t>(buffer);
  released_[b] = true;
  steps_.clear();
  if (online_ != nullptr) {
    online_->release(buffer, steps_);
  } else if (offset_[b] != kNowhere && (pinned_[b] || drops_next(buffer))) {
    steps_.push_back({Step::Kind::kDrop, buffer, 0, {}, {}});
  }
  pinned_[b] = false;
  for (const Step& step : steps_) track(step, 0);
  return {steps_, 0, false, std::nullopt};
}

// Whether the plan drops the buffer before anything else runs.
bool Advisor::drops_next(BufferId buffer) const {
  if (plan_ == nullptr) return false;
  for (std::size_t i = cursor_; i < plan_->steps.size() && plan_->steps[i].kind == Step::Kind::kDrop; ++i) {
    if (plan_->steps[i].id == buffer) return true;
  }
  return false;
}

void Advisor::gone(BufferId buffer) {
  const auto b = static_cast<std::size_t>(buffer);
  if (b < offset_.size()) offset_[b] = kNowhere;
}

void Advisor::pin(BufferId buffer) {
  grow();
  pinned_[static_cast<std::size_t>(buffer)] = true;
  if (online_ != nullptr) online_->pin(buffer);
}

std::optional<std::size_t> Advisor::unread(BufferId buffer) const {
  const auto b = static_cast<std::size_t>(buffer);
  if (b >= foreseen_.size() || foreseen_[b] < 0) return std::nullopt;
  const auto carried = static_cast<std::size_t>(foreseen_[b]);
  if (carried_buffer_[carried] != kNoBuffer) return std::nullopt;
  return carried;
}

void Advisor::track(const Step& step, std::int64_t shift) {
  if (step.kind == Step::Kind::kMove && static_cast<std::size_t>(step.id) >= offset_.size()) {
    if (const auto carried = unread(step.id)) carried_[*carried].offset = step.offset + shift;
  } else if (step.kind == Step::Kind::kDrop) {
    offset_[static_cast<std::size_t>(step.id)] = kNowhere;
  } else if (step.kind == Step::Kind::kMove) {
    std::int64_t& offset = offset_[static_cast<std::size_t>(step.id)];
    if (offset != kNowhere) offset = step.offset + shift;
  } else {
    for (const auto& [read, write] : step.overwrites) offset_[static_cast<std::size_t>(read)] = kNowhere;
    for (const Placement& place : step.places) {
      if (place.buffer == scheduler::kScratch) continue;
      std::int64_t& offset = offset_[static_cast<std::size_t>(place.buffer)];
      if (offset == kNowhere) offset = place.offset + shift;
    }
  }
}

std::vector<Placement> Advisor::residents() const {
  std::vector<Placement> result;
  for (std::size_t b = 0; b < offset_.size(); ++b) {
    if (offset_[b] != kNowhere) result.push_back({static_cast<BufferId>(b), offset_[b]});
  }
  return result;
}

void Advisor::diverge(OpId op) {
  if (!mistaken_ && change_plan(op)) return;
  go_online();
}

void Advisor::go_online() {
  plan_ = nullptr;
  following_ = nullptr;
  for (std::size_t i = 0; i < carried_.size(); ++i) {
    if (carried_buffer_[i] != kNoBuffer) continue;
    carried_buffer_[i] = adopt_(i);
    grow();
    const auto b = static_cast<std::size_t>(carried_buffer_[i]);
    offset_[b] = carried_[i].offset;
    pinned_[b] = true;
    adopted_ = true;
  }
  online_ = std::make_unique<scheduler::Online>(graph_, room_, Start{advised_, residents()});
  const std::size_t before = steps_.size();
  std::vector<bool> there(offset_.size(), false);  // or was there, and may be wanted again
  for (std::size_t b = 0; b < offset_.size(); ++b) there[b] = offset_[b] != kNowhere;
  for (OpId op = 0; op < advised_; ++op) {
    for (BufferId buffer : graph_.ops[static_cast<std::size_t>(op)].writes)
      there[static_cast<std::size_t>(buffer)] = true;
  }
  for (std::size_t b = 0; b < offset_.size(); ++b) {
    const auto buffer = static_cast<BufferId>(b);
    if (pinned_[b]) online_->pin(buffer);
    if (released_[b] && there[b]) online_->release(buffer, steps_);
  }
  for (std::size_t i = before; i < steps_.size(); ++i) track(steps_[i], 0);
}

bool Advisor::change_plan(OpId op) {
  if (adopted_) return false;  // the graph's buffers are numbered in another order than those of known steps
  for (KnownStep* known : known_.beginning_with(signatures_.front())) {
    if (known->signatures.size() < signatures_.size() || known->signatures.size() <= static_cast<std::size_t>(op) ||
        !std::equal(signatures_.begin(), signatures_.end(), known->signatures.begin())) {
      continue;
    }
    std::optional<std::vector<std::int32_t>> foreseen = match(*known);
    if (!foreseen) continue;
    std::vector<bool> read(carried_.size(), false);
    for (std::int32_t i : *foreseen) {
      if (i >= 0) read[static_cast<std::size_t>(i)] = true;
    }
    // What this step does not read stays where it is, and stands in the way.
    Graph graph = known->graph;
    Start start{op, residents()};
    const std::vector<bool> made = written(graph);
    for (std::size_t b = offset_.size(); b < made.size(); ++b) {
      const std::int32_t i = (*foreseen)[b];
      if (!made[b])
        start.resident.push_back({static_cast<BufferId>(b), i < 0 ? 0 : carried_[static_cast<std::size_t>(i)].offset});
    }
    for (std::size_t i = 0; i < carried_.size(); ++i) {
      if (read[i] || carried_[i].bytes == 0) continue;
      start.resident.push_back({static_cast<BufferId>(graph.buffers.size()), carried_[i].offset});
      graph.buffers.push_back({carried_[i].bytes, "", true});
    }
    const auto [plan, made_again] = known_.plan_rest(*known, graph, room_, std::move(start));
    replanned_ = replanned_ || made_again;
    if (plan == nullptr) continue;
    follow(*known, *plan, 0, std::move(*foreseen));
    return true;
  }
  return false;
}

// What is recorded. The last op may be there for the program to read its operands when it has run: they are kept.
Graph Advisor::program(std::span<const BufferId> keep) const {
  Graph graph = graph_;
  graph.keep.assign(keep.begin(), keep.end());
  const scheduler::Op& last = graph.ops.back();
  if (last.writes.empty() && last.updates.empty()) {
    graph.keep.insert(graph.keep.end(), last.reads.begin(), last.reads.end());
  }
  return graph;
}

Advice Advisor::plan_rest(std::span<const BufferId> keep, Wanted wanted) {
  if (!limited_ && wanted != Wanted::kAlways) return {};
  grow();
  const auto recorded = static_cast<OpId>(signatures_.size());
  bool all = plan_ != nullptr;
  for (OpId op = advised_; all && op < recorded; ++op) all = fits(op);
  if (all || advised_ == recorded) return {};
  steps_.clear();
  if (!mistaken_ && change_plan(advised_)) return {};
  // Carried values that no op reads have no place in a plan of this step alone, unless they have a buffer.
  const std::size_t known_buffers = graph_.buffers.size();
  if (online_ == nullptr) go_online();
  std::vector<BufferId> kept(keep.begin(), keep.end());
  for (std::size_t b = known_buffers; b < graph_.buffers.size(); ++b) kept.push_back(static_cast<BufferId>(b));
  std::optional<Plan> plan = known_.make_plan(program(kept), room_, Start{advised_, residents()});
  const Advice dropped{steps_, 0, false, std::nullopt};
  if (!plan) return dropped;  // the online policy goes on; it names the op where it cannot
  online_.reset();
  own_plan_ = std::move(plan);
  plan_ = &*own_plan_;
  following_ = nullptr;
  shift_ = 0;
  plan_end_ = recorded;
  cursor_ = 0;
  mistaken_ = false;
  return dropped;
}

std::optional<std::vector<Placement>> Advisor::plan_again(std::span<const BufferId> keep,
                                                          std::vector<bool>& ran_for_good) {
  if (online_ == nullptr) return std::nullopt;
  Graph graph = program(keep);
  std::vector<OpId> changed_by(graph.buffers.size(), -1);  // the last op that did
  for (std::size_t op = 0; op < ran_for_good.size(); ++op) {
    for (BufferId b : graph.ops[op].updates) changed_by[static_cast<std::size_t>(b)] = static_cast<OpId>(op);
  }
  // What the program has let go of is gone. An op that would read it cannot run again, nor can one that would read or
  // write what was changed after it ran; and what such ops wrote is there, or gone too.
  const std::vector<bool> made = written(graph);
  std::vector<bool> gone(graph.buffers.size());
  for (std::size_t b = 0; b < made.size(); ++b) gone[b] = !made[b] && offset_[b] == kNowhere;
  for (std::size_t op = 0; op < graph.ops.size(); ++op) {
    scheduler::Op& each = graph.ops[op];
    const bool first_time = op >= ran_for_good.size();
    const auto lost = [&](BufferId buffer) {
      const auto b = static_cast<std::size_t>(buffer);
      return gone[b] || (!first_time && changed_by[b] > static_cast<OpId>(op));
    };
    bool possible = std::none_of(each.reads.begin(), each.reads.end(), lost);
    if (first_time) {
      if (!possible) return std::nullopt;
      continue;
    }
    possible = possible && std::none_of(each.writes.begin(), each.writes.end(), lost);
    ran_for_good[op] = ran_for_good[op] || !possible;
    if (!ran_for_good[op]) continue;
    for (BufferId buffer : each.writes) {
      const auto b = static_cast<std::size_t>(buffer);
      gone[b] = offset_[b] == kNowhere;
      if (!gone[b] && !released_[b]) graph.keep.push_back(buffer);  // as nothing can bring it back
    }
    scheduler::Op nothing;
    nothing.name = each.name;
    nothing.phase = each.phase;
    nothing.cost = each.cost;
    nothing.once = true;
    each = std::move(nothing);
  }
  // A buffer that is gone and that nothing uses any more takes no room, and stays nowhere.
  for (std::size_t b = 0; b < gone.size(); ++b) {
    if (gone[b]) graph.buffers[b].bytes = 0;
  }
  std::optional<Start> start;
  if (done_ > 0) {
    start = Start{done_, {}};
    for (std::size_t b = 0; b < made.size(); ++b) {
      if (!made[b] && !gone[b]) start->resident.push_back({static_cast<BufferId>(b), scheduler::kAnywhere});
    }
  }
  std::optional<Plan> plan = known_.make_plan(graph, room_, start);
  if (!plan) return std::nullopt;
  online_.reset();
  own_plan_ = std::move(plan);
  plan_ = &*own_plan_;
  following_ = nullptr;
  shift_ = 0;
  plan_end_ = static_cast<OpId>(graph.ops.size());
  cursor_ = 0;
  advised_ = done_;
  mistaken_ = false;
  std::fill(offset_.begin(), offset_.end(), kNowhere);
  std::vector<Placement> inputs;
  for (const Placement& input : own_plan_->inputs) {
    if (gone[static_cast<std::size_t>(input.buffer)]) continue;
    offset_[static_cast<std::size_t>(input.buffer)] = input.offset;
    if (graph.buffers[static_cast<std::size_t>(input.buffer)].bytes > 0) inputs.push_back(input);
  }
  return inputs;
}

std::optional<Advisor::Smallest> Advisor::smallest_room(std::span<const BufferId> keep, bool complete) {
  std::optional<Graph> graph;
  for (KnownStep* known : known_.beginning_with(signatures_.front())) {
    if (known->signatures.size() < signatures_.size()) continue;
    if (!std::equal(signatures_.begin(), signatures_.end(), known->signatures.begin())) continue;
    graph = known->graph;
    break;
  }
  const bool whole = graph || complete;
  if (!graph) graph = program(keep);
  std::int64_t unread = 0;
  for (std::size_t i = 0; i < carried_.size(); ++i) {
    if (carried_buffer_[i] == kNoBuffer) unread += carried_[i].bytes;
  }
  const auto smallest = [&](const Graph& of, std::int64_t besides, const std::optional<Start>& start) {
    std::optional<Smallest> found;
    try {
      (void)scheduler::plan(of, 0, {.seed = seed_, .start = start});
    } catch (const BudgetError& error) {
      found = {error.needed_bytes() + besides, whole, error.exact()};
    } catch (const Error&) {
      // Nothing leads from here to the end of that program.
    }
    return found;
  };
  std::optional<Smallest> result = smallest(*graph, unread, std::nullopt);
  // A step that has begun with less foresight may need more than one that is planned from its start.
  if (result && result->room <= room_ && begun_) {
    const auto rest = smallest(program(keep), 0, Start{advised_, residents()});
    if (rest) result = Smallest{std::max(result->room, rest->room), whole, false};
  }
  return result;
}

void Advisor::end(const std::function<Graph()>& program, std::span<const BufferId> buffers) {
  if (program && signatures_.size() > 1) {
    KnownStep& known = known_.ran(signatures_, program, done_, resident_ops_);
    for (std::size_t k = 0; k < known.inputs.size(); ++k) {
      const BufferId buffer = buffers[static_cast<std::size_t>(known.inputs[k])];
      for (std::size_t i = 0; i < carried_.size(); ++i) {
        if (carried_buffer_[i] == buffer) known.keys[k] = carried_[i].key;
      }
    }
  }
  begun_ = false;
  carried_.clear();
  carried_buffer_.clear();
  adopt_ = nullptr;
  done_ = 0;
  resident_ops_.clear();
  advised_ = 0;
  offset_.clear();
  pinned_.clear();
  released_.clear();
  plan_ = nullptr;
  following_ = nullptr;
  foreseen_.clear();
  shift_ = 0;
  mistaken_ = false;
  adopted_ = false;
  replanned_ = false;
  own_plan_.reset();
  online_.reset();
  costs_ = {};
}

}  // namespace tidemark::detail
