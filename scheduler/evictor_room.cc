// Room in the arena: one window of victims, or buffers moved together, whichever costs less.
#include <algorithm>
#include <limits>

#include "scheduler/evictor.h"

namespace tidemark::scheduler {

bool Evictor::evictable(BufferId b) const {
  if (b == kScratch) return false;
  const BufferState& state = at(b);
  return state.resident && state.locks == 0 && !state.fixed && !state.pinned && recomputable(b);
}

bool Evictor::movable(BufferId b) const { return b != kScratch && !at(b).fixed; }

std::int32_t Evictor::find(std::int32_t set) const {
  while (sets_[static_cast<std::size_t>(set)].parent != set) {
    const Set& node = sets_[static_cast<std::size_t>(set)];
    node.parent = sets_[static_cast<std::size_t>(node.parent)].parent;
    set = node.parent;
  }
  return set;
}

// Evicted neighbours form sets whose ops would run again together. Leaving a set takes the op's cost off it but does
// not split it: an estimate, as cheap as it needs to be.
void Evictor::joined_evicted(OpId op) {
  if (op_at(op).set != kNoSet) return;
  auto set = static_cast<std::int32_t>(sets_.size());
  sets_.push_back({set, graph_.ops[static_cast<std::size_t>(op)].cost});
  op_at(op).set = set;
  const auto join = [&](OpId other) {
    if (other < 0 || op_at(other).set == kNoSet) return;
    const std::int32_t a = find(set);
    const std::int32_t b = find(op_at(other).set);
    if (a == b) return;
    sets_[static_cast<std::size_t>(a)].cost += sets_[static_cast<std::size_t>(b)].cost;
    sets_[static_cast<std::size_t>(b)].parent = a;
  };
  for (BufferId r : op_at(op).reads) {
    if (!at(r).resident) join(at(r).producer);
  }
  for (BufferId w : graph_.ops[static_cast<std::size_t>(op)].writes) {
    for (OpId reader : at(w).readers) join(reader);
  }
}

void Evictor::left_evicted(OpId op) {
  if (op_at(op).set == kNoSet) return;
  Set& root = sets_[static_cast<std::size_t>(find(op_at(op).set))];
  root.cost = std::max(0.0, root.cost - graph_.ops[static_cast<std::size_t>(op)].cost);
  op_at(op).set = kNoSet;
}

// What discarding `b` puts at stake: its op, and the evicted ops next to it.
double Evictor::neighbourhood_cost(BufferId b) const {
  const OpId op = at(b).producer;
  double cost = graph_.ops[static_cast<std::size_t>(op)].cost;
  constexpr std::size_t kMost = 8;
  std::int32_t roots[kMost];
  std::size_t count = 0;
  const auto add = [&](OpId other) {
    if (other < 0 || op_at(other).set == kNoSet || count == kMost) return;
    const std::int32_t root = find(op_at(other).set);
    if (std::find(roots, roots + count, root) != roots + count) return;
    roots[count++] = root;
    cost += sets_[static_cast<std::size_t>(root)].cost;
  };
  for (BufferId r : op_at(op).reads) {
    if (!at(r).resident) add(at(r).producer);
  }
  for (OpId reader : at(b).readers) add(reader);
  return cost;
}

std::optional<std::int64_t> Evictor::make_room(std::int64_t bytes, std::vector<Step>& steps) {
  if (const auto hole = layout_.best_fit(bytes)) return hole;
  const auto score = [&](BufferId b) {
    return evictable(b) ? neighbourhood_cost(b) / static_cast<double>(tick_ - at(b).touched + 1) : -1.0;
  };
  const auto can_move = [&](BufferId b) { return movable(b); };
  const std::vector<Layout::Segment> segments = layout_.segments();
  const auto victims = Layout::cheapest_window(segments, bytes, score);
  const auto moves =
      layout_.free_bytes() >= bytes ? Layout::compaction_window(segments, bytes, can_move) : std::nullopt;
  if (victims && moves) {
    double cost = 0;
    for (std::size_t i = victims->first; i < victims->last; ++i) {
      if (!segments[i].hole) cost += neighbourhood_cost(segments[i].owner);
    }
    if (moves->cost * move_cost_ < cost) {
      compact(segments, *moves, steps);
      return layout_.best_fit(bytes);
    }
  }
  if (victims) {
    for (std::size_t i = victims->first; i < victims->last; ++i) {
      if (!segments[i].hole) drop(segments[i].owner, steps);
    }
    return layout_.best_fit(bytes);
  }
  // What is locked lies in the way: discard until the free bytes suffice, and move.
  for (;;) {
    if (layout_.free_bytes() >= bytes) {
      const auto now = layout_.segments();
      if (const auto window = Layout::compaction_window(now, bytes, can_move)) {
        compact(now, *window, steps);
        return layout_.best_fit(bytes);
      }
      const auto away = layout_.evacuation(bytes, can_move);
      for (const Placement& p : away) move(p.buffer, p.offset, steps);
      if (!away.empty()) return layout_.best_fit(bytes);
    }
    if (!evict_least(steps)) return std::nullopt;
  }
}

void Evictor::compact(const std::vector<Layout::Segment>& segments, const Layout::Window& window,
                      std::vector<Step>& steps) {
  std::int64_t to = segments[window.first].offset;
  for (std::size_t i = window.first; i < window.last; ++i) {
    if (segments[i].hole) continue;
    if (segments[i].offset != to) move(segments[i].owner, to, steps);
    to += segments[i].bytes;
  }
}

bool Evictor::evict_least(std::vector<Step>& steps) {
  BufferId victim = -1;
  double least = std::numeric_limits<double>::infinity();
  for (const Layout::Segment& s : layout_.segments()) {
    if (s.hole || !evictable(s.owner)) continue;
    const double score = neighbourhood_cost(s.owner) /
                         (static_cast<double>(s.bytes) * static_cast<double>(tick_ - at(s.owner).touched + 1));
    if (score < least) {
      least = score;
      victim = s.owner;
    }
  }
  if (victim < 0) return false;
  drop(victim, steps);
  return true;
}

}  // namespace tidemark::scheduler
