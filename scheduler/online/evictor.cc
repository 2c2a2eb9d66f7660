#include "scheduler/online/evictor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "scheduler/program.h"
#include "tidemark/error.h"

namespace tidemark::scheduler {
namespace {

void check_bytes(std::int64_t bytes, const std::string& whose) {
  if (bytes >= 0 && bytes <= kUnlimited) return;
  throw Error("online: " + whose + " has " + std::to_string(bytes) + " bytes, which is out of range");
}

}  // namespace

Evictor::Evictor(const Graph& graph, std::int64_t budget, const Start& start) : graph_(graph), occupancy_(budget) {
  ingest_buffers();
  for (OpId op = 0; op < start.next_op; ++op) {
    ingest(op, true);
    set_ran(op);
  }
  for (const Placement& p : start.resident) {
    check_known(p.buffer, "the start");
    ingest_new(p.buffer);
    const BufferState& state = at(p.buffer);
    const bool aligned = p.offset % core::Extents::kAlignment == 0;
    if (state.resident || (state.bytes > 0 && !(aligned && occupancy_.is_free(p.offset, state.bytes)))) {
      throw Error("online: the start has no room for " + describe_buffer(graph_, p.buffer) + " at offset " +
                  std::to_string(p.offset));
    }
    place(p.buffer, p.offset, false);
  }
  for (OpId op = 0; op < start.next_op; ++op) {
    commit_updates(op);
    for (BufferId b : op_at(op).reads) {
      if (!at(b).resident && !recomputable(b)) lose_op(op);
    }
  }
  journal_.clear();
  while (tick_ < start.next_op) advance();
}

void Evictor::ingest_buffers() { buffers_.resize(std::max(buffers_.size(), graph_.buffers.size())); }

// What a refused call left unwritten may be of another size by now.
void Evictor::ingest_new(BufferId b) {
  at(b).bytes = graph_.buffers[static_cast<std::size_t>(b)].bytes;
  at(b).in_pinned_zone = graph_.buffers[static_cast<std::size_t>(b)].pinned;
}

void Evictor::check_known(BufferId b, const std::string& who) const {
  if (b >= 0 && b < static_cast<BufferId>(buffers_.size())) return;
  throw Error("online: " + who + " names buffer " + std::to_string(b) + " of " + std::to_string(buffers_.size()));
}

void Evictor::check_readable(BufferId b, const std::string& reader) const {
  if (at(b).resident || recomputable(b)) return;
  const bool input = at(b).producer < 0;
  throw Error("online: " + reader + describe_buffer(graph_, b) +
              (input ? ", which is not in memory and no op writes"
                     : ", which was released or changed and cannot be computed again"));
}

// Of what the program records one op at a time, no compile() has seen the whole.
void Evictor::check_op(OpId id) const {
  const Op& op = graph_.ops[static_cast<std::size_t>(id)];
  const std::string name = describe_op(graph_, id);
  const auto has = [](const auto& list, BufferId b) { return std::find(list.begin(), list.end(), b) != list.end(); };
  for (const auto* list : {&op.reads, &op.updates, &op.writes}) {
    for (BufferId b : *list) check_known(b, name);
  }
  if (op.releases) {
    for (BufferId b : *op.releases) check_known(b, name + ", releases,");
  }
  for (std::size_t i = 0; i < op.writes.size(); ++i) {
    const BufferId w = op.writes[i];
    const auto before = std::span(op.writes).first(i);
    if (at(w).producer >= 0 || at(w).resident || has(before, w)) {
      throw Error("online: " + name + " writes " + describe_buffer(graph_, w) + ", which is already written");
    }
    check_bytes(graph_.buffers[static_cast<std::size_t>(w)].bytes, describe_buffer(graph_, w));
  }
  for (const auto& [r, w] : op.overwrites) {
    if (has(op.reads, r) && has(op.writes, w)) continue;
    throw Error("online: " + name + " overwrites buffer " + std::to_string(r) + " with buffer " + std::to_string(w) +
                ", which is not a pair of what it reads and writes");
  }
  check_bytes(op.scratch, name + ", scratch,");
  if (!std::isfinite(op.cost) || op.cost < 0) {
    throw Error("online: " + name + " has a cost that is negative or not finite");
  }
}

// `started`: the op has run before, and what it read may be gone.
void Evictor::ingest(OpId id, bool started) {
  ingest_buffers();
  if (id != static_cast<OpId>(ops_.size()) || id >= static_cast<OpId>(graph_.ops.size())) {
    throw Error("online: op " + std::to_string(id) + " is not the next of the program");
  }
  check_op(id);
  const Op& op = graph_.ops[static_cast<std::size_t>(id)];
  OpState state;
  state.lost = op.once || !op.updates.empty();
  for (const auto* list : {&op.reads, &op.updates}) {
    for (BufferId b : *list) {
      if (std::find(state.reads.begin(), state.reads.end(), b) != state.reads.end()) continue;
      if (!started) check_readable(b, describe_op(graph_, id) + " reads ");
      state.reads.push_back(b);
    }
  }
  for (BufferId b : state.reads) at(b).readers.push_back(id);
  for (BufferId b : op.writes) {
    ingest_new(b);
    at(b).producer = id;
  }
  ops_.push_back(std::move(state));
  seen_.push_back(0);
}

// Takes back what ingest() did with the last op, which was refused: the caller may record another one in its place.
void Evictor::forget(OpId id) {
  for (BufferId b : op_at(id).reads) at(b).readers.pop_back();
  for (BufferId b : graph_.ops[static_cast<std::size_t>(id)].writes) at(b).producer = -1;
  ops_.pop_back();
  seen_.pop_back();
}

void Evictor::advance() { staleness_.push_back(std::sqrt(static_cast<double>(++tick_) + 0.5)); }

void Evictor::begin_call(const std::vector<Step>& steps) {
  journal_.clear();
  costs_before_.clear();
  lost_.clear();
  ++call_;
  steps_before_ = steps.size();
  tick_before_ = tick_;
}

void Evictor::roll_back(std::vector<Step>& steps) {
  for (auto change = journal_.rbegin(); change != journal_.rend(); ++change) {
    BufferState& b = at(change->buffer);
    b.touched = change->touched;
    if (change->kind != Change::Kind::kRemoved && b.bytes > 0) occupancy_.give(b.offset);
    if (change->kind != Change::Kind::kPlaced) {
      b.offset = change->offset;
      if (b.bytes > 0) occupancy_.take(change->buffer, b.offset, b.bytes);
    }
    const bool there = change->kind != Change::Kind::kPlaced;
    set_state(change->buffer, there && !change->pending, there && change->pending);
  }
  journal_.clear();
  for (OpId op : lost_) {
    op_at(op).lost = false;
    if (must_run_again(op)) spread_wants(op, 1);
  }
  lost_.clear();
  for (const auto& [b, last] : costs_before_) at(b).last = last;
  steps.resize(steps_before_);
  tick_ = tick_before_;
  staleness_.resize(static_cast<std::size_t>(tick_) + 1);
  for (BufferState& b : buffers_) b.locks = b.awaited = 0;
  frames_.clear();
  roots_stay_ = false;
  idle_.clear();  // nothing was idle before the call
}

void Evictor::note_cost(BufferId b, double cost) {
  LastCost& last = at(b).last;
  if (last.call != call_) costs_before_.emplace_back(b, last);
  last = {cost, tick_, call_};
}

void Evictor::set_state(BufferId b, bool resident, bool pending) {
  BufferState& state = at(b);
  if (resident != state.resident) {
    const auto slot = std::lower_bound(resident_.begin(), resident_.end(), b);
    if (resident) {
      resident_.insert(slot, b);
    } else {
      resident_.erase(slot);
    }
  }
  state.resident = resident;
  state.pending = pending;
  update_wanted(b);
}

void Evictor::place(BufferId b, std::int64_t offset, bool pending) {
  BufferState& state = at(b);
  if (state.bytes > 0) occupancy_.take(b, offset, state.bytes);
  state.offset = offset;
  set_state(b, !pending, pending);
  journal_.push_back({Change::Kind::kPlaced, b, offset, pending, state.touched});
}

void Evictor::remove(BufferId b) {
  BufferState& state = at(b);
  journal_.push_back({Change::Kind::kRemoved, b, state.offset, state.pending, state.touched});
  if (state.bytes > 0) occupancy_.give(state.offset);
  set_state(b, false, false);
}

void Evictor::move(BufferId b, std::int64_t offset, std::vector<Step>& steps) {
  if (b == kScratch) {
    throw Error("online: scratch is placed last and never moved");
  }
  BufferState& state = at(b);
  journal_.push_back({Change::Kind::kMoved, b, state.offset, state.pending, state.touched});
  occupancy_.give(state.offset);
  occupancy_.take(b, offset, state.bytes);
  state.offset = offset;
  if (!state.pending) steps.push_back(move_step(b, offset));
}

void Evictor::drop(BufferId b, std::vector<Step>& steps) {
  remove(b);
  steps.push_back(drop_step(b));
}

// The op can never run again: of its outputs, those not in memory are gone, and with them whoever reads them.
void Evictor::lose_op(OpId first) {
  std::vector<OpId> work{first};
  while (!work.empty()) {
    const OpId op = work.back();
    work.pop_back();
    if (op_at(op).lost && op != first) continue;
    const bool again = must_run_again(op);
    if (!op_at(op).lost) lost_.push_back(op);
    op_at(op).lost = true;
    if (again) spread_wants(op, -1);
    for (BufferId b : graph_.ops[static_cast<std::size_t>(op)].writes) {
      if (at(b).resident || at(b).pending) continue;
      for (OpId reader : at(b).readers) {
        if (!op_at(reader).lost) work.push_back(reader);
      }
    }
  }
}

void Evictor::lose_buffer(BufferId b) {
  for (OpId reader : at(b).readers) {
    if (!op_at(reader).lost) lose_op(reader);
  }
}

// Something discarded is wanted that only this op can bring back.
bool Evictor::must_run_again(OpId op) const {
  const OpState& state = op_at(op);
  return state.ran && !state.lost && state.wanted > 0;
}

void Evictor::set_ran(OpId op) {
  op_at(op).ran = true;
  for (BufferId w : graph_.ops[static_cast<std::size_t>(op)].writes) update_wanted(w);
}

// `b` is wanted where it is not there and the program holds it, or an op that must run again reads it.
void Evictor::update_wanted(BufferId first) {
  changed_.assign(1, first);
  while (!changed_.empty()) {
    const BufferId b = changed_.back();
    changed_.pop_back();
    BufferState& state = at(b);
    const bool there = state.resident || state.pending;
    if (there && state.released && state.wants == 0) idle_.push_back(b);
    if (state.producer < 0 || !op_at(state.producer).ran) continue;
    const bool wanted = !there && (!state.released || state.wants > 0);
    if (wanted == state.wanted) continue;
    state.wanted = wanted;
    const bool before = must_run_again(state.producer);
    op_at(state.producer).wanted += wanted ? 1 : -1;
    if (must_run_again(state.producer) == before) continue;
    missing_ += wanted ? 1 : -1;
    for (BufferId r : op_at(state.producer).reads) {
      at(r).wants += wanted ? 1 : -1;
      changed_.push_back(r);
    }
  }
}

void Evictor::spread_wants(OpId op, std::int32_t change) {
  missing_ += change;
  for (BufferId r : op_at(op).reads) {
    at(r).wants += change;
    update_wanted(r);
  }
}

// All that could not be computed again without `b`: what is in memory now, and what the program still holds.
void Evictor::find_dependent(BufferId b, std::vector<BufferId>& dependent) const {
  ++visit_;
  std::vector<BufferId> work{b};
  while (!work.empty()) {
    const BufferId from = work.back();
    work.pop_back();
    for (OpId reader : at(from).readers) {
      if (op_at(reader).lost || !op_at(reader).ran || seen_[static_cast<std::size_t>(reader)] == visit_) continue;
      seen_[static_cast<std::size_t>(reader)] = visit_;
      for (BufferId w : graph_.ops[static_cast<std::size_t>(reader)].writes) {
        const bool there = at(w).resident || at(w).pending;
        if (there || !at(w).released) dependent.push_back(w);
        if (!there) work.push_back(w);
      }
    }
  }
}

bool Evictor::has_held_dependent(BufferId b) const {
  std::vector<BufferId> dependent;
  find_dependent(b, dependent);
  return std::any_of(dependent.begin(), dependent.end(), [&](BufferId d) { return !at(d).released; });
}

// Of a weight's gradient, its two inputs often are: with them gone, it would take half of the program to bring it back.
// Nothing is where all that the program holds is in memory: it may well stay there.
bool Evictor::lever(BufferId b) const {
  constexpr std::int64_t kLarger = 4;
  return missing_ > 0 && std::any_of(at(b).readers.begin(), at(b).readers.end(), [&](OpId reader) {
           if (!op_at(reader).ran || op_at(reader).lost) return false;
           const auto& writes = graph_.ops[static_cast<std::size_t>(reader)].writes;
           return std::any_of(writes.begin(), writes.end(), [&](BufferId w) {
             return at(w).resident && !at(w).released && at(w).bytes / kLarger >= at(b).bytes;
           });
         });
}

// Drops a released buffer, or keeps it while something discarded needs it, or as a root or a lever.
void Evictor::drop_released(BufferId b, std::vector<Step>& steps) {
  if (at(b).wants > 0) return;
  if (recomputable(b) ? lever(b) : has_held_dependent(b)) {
    if (!std::exchange(at(b).listed, true)) spared_.push_back(b);
    return;
  }
  if (!recomputable(b)) lose_buffer(b);
  drop(b, steps);
}

// Of what was to stay when it was released, what need not any more. Of roots and levers it looks at a few,
// the next ones another time.
void Evictor::drop_idle(std::vector<Step>& steps) {
  constexpr std::size_t kFew = 8;
  const auto look_at = [&](BufferId b) {
    if (at(b).resident && at(b).released && at(b).locks == 0) drop_released(b, steps);
  };
  for (std::size_t i = 0; i < idle_.size(); ++i) look_at(idle_[i]);
  idle_.clear();
  for (std::size_t left = std::min(kFew, spared_.size()); left > 0; --left) {
    const BufferId b = spared_.front();
    spared_.pop_front();
    at(b).listed = false;
    look_at(b);
  }
}

// What the program still holds and could not be computed again once `op` has updated in place.
std::vector<BufferId> Evictor::needed_before_update(OpId op) const {
  std::vector<BufferId> needed;
  for (BufferId b : graph_.ops[static_cast<std::size_t>(op)].updates) {
    find_dependent(b, needed);
    const OpId producer = at(b).producer;
    if (producer < 0 || op_at(producer).lost) continue;
    for (BufferId sibling : graph_.ops[static_cast<std::size_t>(producer)].writes) {
      if (sibling == b) continue;
      if (!at(sibling).released || at(sibling).resident) needed.push_back(sibling);
      if (!at(sibling).resident) find_dependent(sibling, needed);
    }
  }
  std::sort(needed.begin(), needed.end());
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  return needed;
}

void Evictor::commit_updates(OpId op) {
  for (BufferId b : graph_.ops[static_cast<std::size_t>(op)].updates) {
    if (at(b).producer >= 0) lose_op(at(b).producer);
    for (OpId reader : at(b).readers) {
      if (reader < op) lose_op(reader);
    }
  }
}

// In memory, and whatever else is discarded, it stays there.
bool Evictor::counted_as_pinned(BufferId b) const {
  const BufferState& state = at(b);
  return state.resident && (state.in_pinned_zone || state.pinned || (!state.released && !recomputable(b)));
}

// The bytes of outputs that need no room of their own, at most.
std::int64_t Evictor::overwritable(OpId id, std::span<const BufferId> releases) const {
  const Op& op = graph_.ops[static_cast<std::size_t>(id)];
  std::int64_t bytes = 0;
  for (BufferId w : op.writes) {
    const bool able = std::any_of(op.overwrites.begin(), op.overwrites.end(), [&](const auto& pair) {
      return pair.second == w && may_overwrite(op, pair, releases);
    });
    if (able) bytes += core::Extents::round_up(at(w).bytes);
  }
  return bytes;
}

Shortage Evictor::shortage(OpId op, std::span<const BufferId> reads, std::span<const BufferId> writes,
                           std::int64_t scratch) const {
  Shortage result;
  result.op = op;
  result.scratch = core::Extents::round_up(scratch);
  const auto rounded = [&](BufferId b) { return core::Extents::round_up(at(b).bytes); };
  for (BufferId b : reads) result.inputs += rounded(b);
  for (BufferId b : writes) result.outputs += rounded(b);
  for (BufferId b : resident_) {
    if (std::find(reads.begin(), reads.end(), b) == reads.end() && counted_as_pinned(b)) result.pinned += rounded(b);
  }
  result.needed = result.pinned + result.inputs + result.outputs + result.scratch;
  return result;
}

// Where the op itself would fit, computing again what it reads does not, by how much is not known.
Shortage Evictor::more_than_there_was(Shortage result) const {
  result.needed = std::max(result.needed, occupancy_.limit() + core::Extents::kAlignment);
  return result;
}

std::optional<Shortage> Evictor::admit(OpId id, std::span<const BufferId> releases, std::vector<Step>& steps) {
  ingest(id, false);
  const Op& op = graph_.ops[static_cast<std::size_t>(id)];
  std::vector<BufferId> wanted = op_at(id).reads;
  if (!op.updates.empty()) {
    for (BufferId b : needed_before_update(id)) wanted.push_back(b);
  }
  begin_call(steps);
  if (!bring(wanted, steps) || !run(id, releases, steps)) {
    roll_back(steps);
    Shortage result = shortage(id, op_at(id).reads, op.writes, op.scratch);
    // What the program holds, and what the update is about to make unrepeatable, is in memory together.
    for (BufferId b : wanted) {
      const bool read = std::find(op_at(id).reads.begin(), op_at(id).reads.end(), b) != op_at(id).reads.end();
      if (!read && !at(b).released && !counted_as_pinned(b)) result.pinned += core::Extents::round_up(at(b).bytes);
    }
    result.needed = result.pinned + result.inputs + result.outputs + result.scratch - overwritable(id, releases);
    forget(id);
    return more_than_there_was(result);
  }
  for (BufferId b : wanted) {
    --at(b).locks;
    let_go_if_unwanted(b, steps);
  }
  set_ran(id);
  for (BufferId b : op_at(id).reads) at(b).touched = tick_;
  for (BufferId b : op.writes) at(b).touched = tick_;
  commit_updates(id);
  for (BufferId b : releases) let_go(b, steps);
  drop_idle(steps);
  return std::nullopt;
}

std::optional<Shortage> Evictor::restore(BufferId b, std::vector<Step>& steps) {
  ingest_buffers();
  check_known(b, "restore()");
  if (at(b).resident) return std::nullopt;
  check_readable(b, "cannot restore ");
  const BufferId wanted[] = {b};
  begin_call(steps);
  if (bring(wanted, steps)) {
    at(b).touched = tick_;
    --at(b).locks;
    let_go_if_unwanted(b, steps);
    drop_idle(steps);
    return std::nullopt;
  }
  roll_back(steps);
  return more_than_there_was(shortage(at(b).producer, wanted, {}, 0));
}

std::optional<Shortage> Evictor::reserve(BufferId b, std::vector<Step>& steps, std::int64_t& offset) {
  ingest_buffers();
  check_known(b, "reserve()");
  if (at(b).resident || at(b).producer >= 0) {
    throw Error("online: " + describe_buffer(graph_, b) + " is not a new input");
  }
  check_bytes(graph_.buffers[static_cast<std::size_t>(b)].bytes, describe_buffer(graph_, b));
  ingest_new(b);
  begin_call(steps);
  offset = 0;
  if (at(b).bytes > 0) {
    auto place_at = occupancy_.lowest_fit(at(b).bytes);  // low, so that what cannot move does not split the arena
    if (!place_at) place_at = make_room(at(b).bytes, steps);
    if (!place_at) {
      roll_back(steps);
      const BufferId writes[] = {b};
      return more_than_there_was(shortage(-1, {}, writes, 0));
    }
    offset = *place_at;
  }
  place(b, offset, false);
  at(b).touched = tick_;
  return std::nullopt;
}

void Evictor::release(BufferId b, std::vector<Step>& steps) {
  ingest_buffers();
  check_known(b, "release()");
  let_go(b, steps);
  drop_idle(steps);
}

void Evictor::let_go(BufferId b, std::vector<Step>& steps) {
  BufferState& state = at(b);
  if (state.in_pinned_zone || state.released) return;
  state.released = true;
  state.pinned = false;
  update_wanted(b);
  if (state.resident) {
    drop_released(b, steps);
  } else if (!recomputable(b)) {
    lose_buffer(b);
  }
}

void Evictor::pin(BufferId b) {
  ingest_buffers();
  check_known(b, "pin()");
  at(b).pinned = true;
}

}  // namespace tidemark::scheduler
