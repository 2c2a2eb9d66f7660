// Running ops, and computing again what is missing, without recursion and within a bounded number of runs.
#include <algorithm>

#include "scheduler/evictor.h"
#include "scheduler/program.h"
#include "tidemark/error.h"

namespace tidemark::scheduler {

void Evictor::unlock(BufferId b, std::vector<Step>& steps) {
  BufferState& state = at(b);
  if (--state.locks > 0 || !state.released || !state.resident) return;
  if (!state.kept) drop_released(b, steps);
}

// Runs `op`, whose reads are resident: room for its outputs and scratch, then the step. False where there is no room.
bool Evictor::run(OpId id, std::span<const BufferId> releases, std::vector<Step>& steps) {
  const Op& op = graph_.ops[static_cast<std::size_t>(id)];
  const std::vector<BufferId>& reads = op_at(id).reads;
  for (BufferId b : reads) ++at(b).locks;
  Step step = run_step(id);
  std::vector<BufferId> due;
  std::vector<BufferId> kept;
  for (BufferId w : op.writes) (at(w).resident ? kept : due).push_back(w);
  for (BufferId w : kept) ++at(w).locks;
  if (!releases.empty()) {
    for (const auto& [r, w] : op.overwrites) {
      const BufferState& read = at(r);
      const bool released = std::find(releases.begin(), releases.end(), r) != releases.end();
      const bool updated = std::find(op.updates.begin(), op.updates.end(), r) != op.updates.end();
      if (!released || updated || read.fixed || read.pinned || read.bytes < at(w).bytes) continue;
      std::vector<BufferId> dependent;
      if (!recomputable(r) && still_needed_below(r, &dependent)) continue;
      const auto used = [&, r = r, w = w](const auto& pair) { return pair.first == r || pair.second == w; };
      if (std::any_of(step.overwrites.begin(), step.overwrites.end(), used)) continue;
      step.overwrites.emplace_back(r, w);
      due.erase(std::remove(due.begin(), due.end(), w), due.end());
      for (BufferId b : dependent) {
        if (!at(b).resident) continue;
        kept.push_back(b);
        ++at(b).locks;
      }
    }
  }
  // Scratch goes last: nothing moves any more once it has its place.
  std::stable_sort(due.begin(), due.end(), [&](BufferId a, BufferId b) { return at(a).bytes > at(b).bytes; });
  bool placed = true;
  for (BufferId w : due) {
    const auto offset = at(w).bytes > 0 ? make_room(at(w).bytes, steps) : std::optional<std::int64_t>(0);
    if (!offset) {
      placed = false;
      break;
    }
    place(w, *offset, true);
    ++at(w).locks;
  }
  if (placed && op.scratch > 0) {
    const auto offset = make_room(op.scratch, steps);
    placed = offset.has_value();
    if (placed) step.places.push_back({kScratch, *offset});
  }
  if (!placed) return false;
  for (BufferId w : due) {
    step.places.push_back({w, at(w).offset});
    --at(w).locks;
    set_state(w, true, false);
  }
  for (BufferId w : kept) --at(w).locks;
  for (const auto& [r, w] : step.overwrites) {
    const std::int64_t offset = at(r).offset;
    remove(r);
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
      } else if (at(w).locks == 0) {
        drop(w, steps);
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
    if (!recomputable(b)) {
      throw Error("online: " + describe_buffer(graph_, b) + " was released or changed and cannot be computed again");
    }
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

// Makes `wanted` resident and locks each once.
bool Evictor::bring(std::span<const BufferId> wanted, Order order, std::vector<Step>& steps) {
  if (order == Order::kProgram) return bring_in_program_order(wanted, steps);
  return bring_depth_first(wanted, order == Order::kDepthLocked, steps);
}

// Every op once; what a later one of them reads is locked until then. Cheapest in ops, not in room.
bool Evictor::bring_in_program_order(std::span<const BufferId> wanted, std::vector<Step>& steps) {
  bool missing = false;
  for (BufferId b : wanted) {
    ++at(b).locks;
    missing |= !at(b).resident;
  }
  if (!missing) return true;
  const std::vector<OpId> ops = missing_ops(wanted);
  for (OpId op : ops) {
    for (BufferId b : op_at(op).reads) ++at(b).locks;
  }
  for (OpId op : ops) {
    if (!run(op, {}, steps)) return false;
    for (BufferId b : op_at(op).reads) unlock(b, steps);
  }
  return true;
}

// Just in time: an op's missing reads one after the other, each with all that it needs, so that little is held at
// once. Without locks a read may be lost again while the next is brought; the number of runs is bounded.
bool Evictor::bring_depth_first(std::span<const BufferId> wanted, bool lock, std::vector<Step>& steps) {
  std::size_t runs_left = 64 + 16 * missing_ops(wanted).size();
  struct Frame {
    OpId op = -1;                    // -1: the caller
    std::vector<BufferId> restored;  // locked on the way
  };
  std::vector<Frame> stack;
  stack.push_back({});
  for (BufferId b : wanted) {
    if (lock && at(b).resident) {
      ++at(b).locks;
      stack.back().restored.push_back(b);
    }
  }
  for (;;) {
    Frame& frame = stack.back();
    const std::span<const BufferId> reads = frame.op < 0 ? wanted : std::span<const BufferId>(op_at(frame.op).reads);
    BufferId missing = -1;
    for (BufferId b : reads) {
      if (!at(b).resident) {
        missing = b;
        break;
      }
    }
    if (missing >= 0) {
      if (!recomputable(missing)) missing_ops({&missing, 1});  // throws
      stack.push_back({at(missing).producer, {}});
      continue;
    }
    if (frame.op < 0) break;
    if (runs_left-- == 0) return false;
    const OpId op = frame.op;
    const std::vector<BufferId> restored = std::move(frame.restored);
    stack.pop_back();
    // What the op makes for the frame below must outlive the op, also where the program has released it.
    Frame& below = stack.back();
    const std::span<const BufferId> next = below.op < 0 ? wanted : std::span<const BufferId>(op_at(below.op).reads);
    std::vector<BufferId> fresh;
    for (BufferId b : graph_.ops[static_cast<std::size_t>(op)].writes) {
      if (at(b).resident || std::find(next.begin(), next.end(), b) == next.end()) continue;
      ++at(b).locks;
      fresh.push_back(b);
    }
    if (!run(op, {}, steps)) return false;
    for (BufferId b : restored) unlock(b, steps);
    for (BufferId b : fresh) {
      if (lock || at(b).released) {
        below.restored.push_back(b);
      } else {
        --at(b).locks;
      }
    }
  }
  // From here on each wanted buffer holds exactly one lock.
  const std::vector<BufferId> restored = std::move(stack.back().restored);
  for (BufferId b : wanted) ++at(b).locks;
  for (BufferId b : restored) --at(b).locks;
  return true;
}

}  // namespace tidemark::scheduler
