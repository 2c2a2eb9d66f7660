// Room in the arena: who is discarded, and what moves so that the room is in one piece.
#include <algorithm>
#include <limits>

#include "core/extents.h"
#include "scheduler/online/evictor.h"

namespace tidemark::scheduler {

bool Evictor::evictable(BufferId b) const {
  if (b == kScratch) return false;
  const BufferState& state = at(b);
  return state.resident && state.locks == 0 && !state.in_pinned_zone && !state.pinned && recomputable(b);
}

bool Evictor::root(BufferId b) const {
  const BufferState& state = at(b);
  return !roots_stay_ && state.resident && state.released && state.locks == 0 && state.awaited == 0 &&
         state.wants == 0 && !state.in_pinned_zone && !recomputable(b);
}

// Without a root, nothing that is computed from it can be discarded any more. That is not always missed, and never
// where it is no more than the root itself. Anything above `enough` is as good as the exact cost.
double Evictor::loss_of_root(BufferId b, double enough) const {
  constexpr double kMissed = 0.3;
  std::vector<BufferId> dependent;
  find_dependent(b, dependent);
  std::erase_if(dependent, [&](BufferId d) { return at(d).released; });
  std::int64_t bytes = 0;
  for (BufferId d : dependent) bytes += at(d).bytes;
  double most = 0;
  if (bytes <= at(b).bytes) return most;
  for (std::size_t i = 0; i < dependent.size() && kMissed * most <= enough; ++i) {
    most = std::max(most, rerun_cost(dependent[i], enough / kMissed));
  }
  return kMissed * most;
}

// What computing `b` again would cost: its op, and the evicted ops that it needs. Those that must run again anyhow, for
// something that the program holds, count in part; so do evicted ones that need `b`, which would have to
// wait for it. (DTR takes the whole of the evicted neighbourhood.) The nearest few hundred ops on each side decide, and
// anything above `most` is as good as the exact cost.
double Evictor::rerun_cost(BufferId b, double most) const {
  constexpr double kHeld = 0.5;
  constexpr double kBelow = 0.1;
  constexpr std::size_t kNear = 256;
  const OpId op = at(b).producer;
  const auto cost_of = [&](OpId o) { return graph_.ops[static_cast<std::size_t>(o)].cost; };
  double cost = cost_of(op);
  if (cost > most) return cost;
  ++visit_;
  found_.clear();
  const auto visit = [&](OpId o, double part) {
    if (seen_[static_cast<std::size_t>(o)] == visit_) return;
    seen_[static_cast<std::size_t>(o)] = visit_;
    found_.push_back(o);
    cost += part * cost_of(o);
  };
  const auto needs = [&](OpId o) {
    for (BufferId r : op_at(o).reads) {
      if (!at(r).resident && recomputable(r)) visit(at(r).producer, must_run_again(at(r).producer) ? kHeld : 1);
    }
  };
  const auto needed_by = [&](BufferId from) {
    for (OpId reader : at(from).readers) {
      if (must_run_again(reader)) visit(reader, kBelow);
    }
  };
  needs(op);
  for (std::size_t i = 0; i < found_.size() && found_.size() < kNear && cost <= most; ++i) needs(found_[i]);
  const std::size_t above = found_.size();
  needed_by(b);
  for (std::size_t i = above; i < found_.size() && found_.size() < above + kNear && cost <= most; ++i) {
    for (BufferId w : graph_.ops[static_cast<std::size_t>(found_[i])].writes) {
      if (at(w).wanted) needed_by(w);
    }
  }
  work_ += static_cast<std::int64_t>(found_.size()) + 1;
  return cost;
}

// Victims go by cost alone, wherever they lie, and what stays is moved together: a copy costs less than what a whole
// window of neighbours holds besides.
std::optional<std::int64_t> Evictor::make_room(std::int64_t bytes, std::vector<Step>& steps) {
  constexpr std::int64_t kFar = 16;
  if (const auto hole = occupancy_.best_fit(bytes)) return hole;
  const auto can_move = [&](BufferId b) { return movable(b); };
  const std::size_t first = steps.size();
  bool early = false;  // victims beyond `bytes`: what cannot move lies between, or too much would have to
  for (;;) {
    if (occupancy_.free_bytes() >= bytes) {
      if (!early) take_back(bytes, first, steps);
      if (const auto hole = occupancy_.best_fit(bytes)) return hole;
      const auto now = occupancy_.segments();
      if (const auto window = Occupancy::compaction_window(now, bytes, can_move)) {
        const BufferId spare = window->bytes > kFar * bytes ? spare_victim(bytes) : -1;
        if (spare >= 0) {
          drop(spare, steps);
          early = true;
          continue;
        }
        compact(now, *window, steps);
        return occupancy_.best_fit(bytes);
      }
      const auto away = occupancy_.evacuation(bytes, can_move);
      for (const Placement& p : away) move(p.buffer, p.offset, steps);
      if (!away.empty()) return occupancy_.best_fit(bytes);
      early = true;
    }
    if (!evict_least(steps)) return std::nullopt;
  }
}

// One victim more where what is then free beyond `bytes` is a small part of the arena, else -1: among many small
// buffers a few holes more make all moves short. What the call waits for would only have to be computed again.
BufferId Evictor::spare_victim(std::int64_t bytes) {
  constexpr std::int64_t kPart = 100;
  const std::int64_t spare = occupancy_.limit() / kPart - (occupancy_.free_bytes() - bytes);
  if (spare <= 0) return -1;
  const BufferId victim = least_victim();
  const bool able = victim >= 0 && at(victim).awaited == 0 && !root(victim) && at(victim).bytes <= spare;
  return able ? victim : -1;
}

// Of the victims since step `first`, those that the later ones have made needless stay after all.
void Evictor::take_back(std::int64_t bytes, std::size_t first, std::vector<Step>& steps) {
  for (std::size_t i = first; i < steps.size();) {
    const BufferId b = steps[i].id;
    if (!recomputable(b) || occupancy_.free_bytes() - core::Extents::round_up(at(b).bytes) < bytes) {
      ++i;
      continue;
    }
    place(b, at(b).offset, false);
    steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void Evictor::compact(const std::vector<Occupancy::Segment>& segments, const Occupancy::Window& window,
                      std::vector<Step>& steps) {
  std::int64_t to = segments[window.first].offset;
  for (std::size_t i = window.first; i < window.last; ++i) {
    if (segments[i].hole) continue;
    if (segments[i].offset != to) move(segments[i].owner, to, steps);
    to += segments[i].bytes;
  }
}

// The buffer whose loss costs least, or -1. A cost is not looked at again for a while where it was too high: it seldom
// falls. What the call waits for is young; where some of that was discarded before, it is the last to go.
BufferId Evictor::least_victim() {
  constexpr std::int32_t kWhile = 32;  // ticks
  constexpr double kLast = 1e-12;
  for (BufferId b : idle_) {
    if (!at(b).released || at(b).wants > 0 || at(b).awaited > 0 || !evictable(b) || lever(b)) continue;
    return b;
  }
  BufferId victim = -1;
  double least = std::numeric_limits<double>::infinity();
  for (BufferId b : resident_) {
    const BufferState& state = at(b);
    if (state.bytes == 0 || state.locks > 0) continue;
    const std::int32_t age = state.awaited > 0 ? 0 : tick_ - state.touched;
    const double share = again_ && state.awaited > 0 ? kLast : 1;
    const double weight = share * static_cast<double>(state.bytes) * staleness_[static_cast<std::size_t>(age)];
    const double most = least * weight * (1 + 1e-9);  // where it rounds to less, a tie is no tie
    if (state.last.cost > most && tick_ - state.last.tick < kWhile) continue;
    const bool is_root = root(b);
    if (!is_root && !evictable(b)) continue;
    const double cost = is_root ? loss_of_root(b, most) : rerun_cost(b, most);
    note_cost(b, cost);
    if (cost > most) continue;
    const double score = cost / weight;
    if (score >= least) continue;
    least = score;
    victim = b;
  }
  return victim;
}

bool Evictor::evict_least(std::vector<Step>& steps) {
  const BufferId victim = least_victim();
  if (victim < 0) return false;
  if (root(victim)) lose_buffer(victim);
  drop(victim, steps);
  return true;
}

}  // namespace tidemark::scheduler
