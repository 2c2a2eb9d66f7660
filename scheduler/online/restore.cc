// Running ops, and computing again what is missing, within a bounded number of runs.
#include <algorithm>
#include <utility>

#include "scheduler/online/evictor.h"
#include "scheduler/program.h"
#include "tidemark/error.h"

namespace tidemark::scheduler {

// Drops a released buffer that the present call does not need any more.
void Evictor::let_go_if_unwanted(BufferId b, std::vector<Step>& steps) {
  const BufferState& state = at(b);
  if (!state.released || !state.resident || state.locks > 0 || state.awaited > 0 || !recomputable(b)) return;
  if (lever(b)) {
    idle_.push_back(b);  // looked at again where the call ends well
  } else {
    drop_released(b, steps);
  }
}

// Whether the op may write over what it reads then, if nothing that is discarded needs that.
bool Evictor::may_overwrite(const Op& op, const std::pair<BufferId, BufferId>& pair,
                            std::span<const BufferId> releases) const {
  const auto has = [](const auto& list, BufferId b) { return std::find(list.begin(), list.end(), b) != list.end(); };
  const BufferState& read = at(pair.first);
  return has(releases, pair.first) && !has(op.updates, pair.first) && !read.in_pinned_zone && !read.pinned &&
         read.bytes >= at(pair.second).bytes;
}

// The pairs of what `op` may write over what it releases. Where none of these is lost with the op, they can be computed
// again. Else nothing discarded may need them, and what is in memory and computed from them, `dependent`, is all there
// will be of it.
std::vector<std::pair<BufferId, BufferId>> Evictor::choose_overwrites(OpId id, std::span<const BufferId> releases,
                                                                      std::vector<BufferId>& dependent) {
  const Op& op = graph_.ops[static_cast<std::size_t>(id)];
  std::vector<std::pair<BufferId, BufferId>> able;
  bool lost = !op.updates.empty();
  for (const auto& pair : op.overwrites) {
    if (!may_overwrite(op, pair, releases)) continue;
    able.push_back(pair);
    lost |= !recomputable(pair.first);
  }
  std::vector<std::pair<BufferId, BufferId>> chosen;
  for (const auto& [r, w] : able) {
    const auto used = [&, r = r, w = w](const auto& pair) { return pair.first == r || pair.second == w; };
    if (std::any_of(chosen.begin(), chosen.end(), used) || (lost && at(r).wants > 0)) continue;
    chosen.emplace_back(r, w);
    if (lost) find_dependent(r, dependent);
  }
  std::erase_if(dependent, [&](BufferId b) { return !at(b).resident; });
  return chosen;
}

// Runs `op`, whose reads are resident: room for its outputs and scratch, then the step. False where there is no room.
bool Evictor::run(OpId id, std::span<const BufferId> releases, std::vector<Step>& steps) {
  const Op& op = graph_.ops[static_cast<std::size_t>(id)];
  const std::vector<BufferId>& reads = op_at(id).reads;
  for (BufferId b : reads) ++at(b).locks;
  Step step = run_step(id);
  std::vector<BufferId> due;
  std::vector<BufferId> kept;
  std::vector<BufferId> dependent;
  if (!releases.empty()) step.overwrites = choose_overwrites(id, releases, dependent);
  // Whether what is overwritten can be computed again may hang on them.
  const bool roots_stayed = std::exchange(roots_stay_, roots_stay_ || !step.overwrites.empty());
  for (BufferId w : op.writes) {
    const auto over = [&](const auto& pair) { return pair.second == w; };
    if (std::any_of(step.overwrites.begin(), step.overwrites.end(), over)) continue;
    (at(w).resident ? kept : due).push_back(w);
  }
  for (BufferId b : kept) ++at(b).locks;
  for (BufferId b : dependent) ++at(b).locks;
  std::stable_sort(due.begin(), due.end(), [&](BufferId a, BufferId b) { return at(a).bytes > at(b).bytes; });
  const auto place_due = [&](BufferId w) {
    const auto offset = at(w).bytes > 0 ? make_room(at(w).bytes, steps) : std::optional<std::int64_t>(0);
    if (!offset) return false;
    place(w, *offset, true);
    ++at(w).locks;
    return true;
  };
  // Scratch goes last: nothing moves any more once it has its place.
  const auto place_scratch = [&] {
    if (op.scratch == 0) return true;
    const auto offset = make_room(op.scratch, steps);
    if (offset) step.places.push_back({kScratch, *offset});
    return offset.has_value();
  };
  for (std::size_t next = 0;;) {
    while (next < due.size() && place_due(due[next])) ++next;
    if (next == due.size() && place_scratch()) break;
    if (step.overwrites.empty()) return false;
    // Nothing is overwritten: what depends on it may be discarded then.
    roots_stay_ = roots_stayed;
    for (const auto& pair : step.overwrites) due.push_back(pair.second);
    step.overwrites.clear();
    for (BufferId b : dependent) --at(b).locks;
    dependent.clear();
  }
  roots_stay_ = roots_stayed;
  for (BufferId w : due) {
    step.places.push_back({w, at(w).offset});
    --at(w).locks;
    set_state(w, true, false);
  }
  for (BufferId b : kept) --at(b).locks;
  for (BufferId b : dependent) --at(b).locks;
  for (const auto& [r, w] : step.overwrites) {
    const std::int64_t offset = at(r).offset;
    at(r).released = true;  // first, or for a moment all that it was computed from would count as wanted
    remove(r);
    if (!recomputable(r)) lose_buffer(r);
    place(w, offset, false);
    step.places.push_back({w, offset});
  }
  steps.push_back(std::move(step));
  advance();
  for (BufferId b : reads) --at(b).locks;
  if (op_at(id).ran) {
    for (BufferId w : due) {
      // What the program has released is as old as its last use there, however often it is computed on the way.
      if (!at(w).released) {
        at(w).touched = tick_;
      } else {
        let_go_if_unwanted(w, steps);
      }
    }
  }
  return true;
}

// The ops that must run again for `wanted` to be resident, in program order.
std::vector<OpId> Evictor::missing_ops(std::span<const BufferId> wanted) const {
  ++visit_;
  std::vector<OpId> ops;
  const auto need = [&](BufferId b) {
    if (at(b).resident) return;
    const OpId producer = at(b).producer;
    check_readable(b, "cannot compute again ");
    if (seen_[static_cast<std::size_t>(producer)] == visit_) return;
    seen_[static_cast<std::size_t>(producer)] = visit_;
    ops.push_back(producer);
  };
  for (BufferId b : wanted) need(b);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    for (BufferId b : op_at(ops[i]).reads) need(b);
  }
  std::sort(ops.begin(), ops.end());
  return ops;
}

// Makes `wanted` resident and locks each once: the missing ops in program order, each once where there is room for all
// that later ones of them read. What is discarded of that after all is computed again before its reader, as is what it
// needs, and so on; the number of runs is bounded.
bool Evictor::bring(std::span<const BufferId> wanted, std::vector<Step>& steps) {
  for (BufferId b : wanted) {
    ++at(b).awaited;
    roots_stay_ |= at(b).released;  // discarded again, it would not count as wanted
  }
  std::size_t runs_left = 0;
  const auto push = [&](std::span<const BufferId> reads) {
    frames_.push_back({missing_ops(reads), 0});
    for (OpId op : frames_.back().ops) {
      for (BufferId b : op_at(op).reads) ++at(b).awaited;
    }
  };
  for (bool first = true;; first = false) {
    push(wanted);
    if (first) runs_left = 64 + 4 * frames_.back().ops.size();
    if (frames_.back().ops.empty()) break;
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      if (frame.next == frame.ops.size()) {
        frames_.pop_back();
        continue;
      }
      const OpId op = frame.ops[frame.next];
      const std::vector<BufferId>& reads = op_at(op).reads;
      const auto& writes = graph_.ops[static_cast<std::size_t>(op)].writes;
      if (std::any_of(writes.begin(), writes.end(), [&](BufferId w) { return !at(w).resident && at(w).awaited > 0; })) {
        if (std::any_of(reads.begin(), reads.end(), [&](BufferId r) { return !at(r).resident; })) {
          push(reads);
          continue;
        }
        again_ = !first || frames_.size() > 1;
        if (runs_left-- == 0 || !run(op, {}, steps)) return false;
      }
      ++frame.next;
      for (BufferId b : reads) {
        --at(b).awaited;
        let_go_if_unwanted(b, steps);
      }
    }
  }
  frames_.clear();
  roots_stay_ = false;
  for (BufferId b : wanted) {
    --at(b).awaited;
    ++at(b).locks;
  }
  return true;
}

}  // namespace tidemark::scheduler
