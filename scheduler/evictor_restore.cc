// Running ops, and computing again what is missing, within a bounded number of runs.
#include <algorithm>

#include "scheduler/evictor.h"
#include "scheduler/program.h"
#include "tidemark/error.h"

namespace tidemark::scheduler {

// Drops a released buffer that the present call does not need any more.
void Evictor::settle(BufferId b, std::vector<Step>& steps) {
  const BufferState& state = at(b);
  if (state.released && state.resident && state.locks == 0 && state.awaited == 0 && recomputable(b)) {
    drop_released(b, steps);
  }
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
      if (!recomputable(r) && lost_without(r, dependent)) continue;
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
      } else if (at(w).locks == 0 && at(w).awaited == 0) {
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

// Makes `wanted` resident and locks each once: the missing ops in program order, each once where there is room for all
// that later ones of them read. What is discarded of that after all is computed again before its reader, as is what it
// needs, and so on; the number of runs is bounded.
bool Evictor::bring(std::span<const BufferId> wanted, std::vector<Step>& steps) {
  for (BufferId b : wanted) ++at(b).awaited;
  std::size_t runs_left = 0;
  const auto push = [&](std::span<const BufferId> reads) {
    frames_.push_back({missing_ops(reads), 0});
    for (OpId op : frames_.back().ops) {
      for (BufferId b : op_at(op).reads) ++at(b).awaited;
    }
  };
  for (bool first = true;; first = false) {
    push(wanted);
    if (first) runs_left = 64 + 16 * frames_.back().ops.size();
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
        if (runs_left-- == 0 || !run(op, {}, steps)) return false;
      }
      ++frame.next;
      for (BufferId b : reads) {
        --at(b).awaited;
        settle(b, steps);
      }
    }
  }
  frames_.clear();
  for (BufferId b : wanted) {
    --at(b).awaited;
    ++at(b).locks;
  }
  return true;
}

}  // namespace tidemark::scheduler
