#include "scheduler/place/occupancy.h"

#include <algorithm>

namespace tidemark::scheduler {

using core::Extents;

Occupancy::Occupancy(std::int64_t limit) : extents_(limit / Extents::kAlignment * Extents::kAlignment) {}

std::optional<std::int64_t> Occupancy::lowest_fit(std::int64_t bytes) const {
  bytes = Extents::round_up(bytes);
  for (const auto& [offset, length] : extents_.holes()) {
    if (length >= bytes) return offset;
  }
  return std::nullopt;
}

std::optional<std::int64_t> Occupancy::highest_fit(std::int64_t bytes) const {
  bytes = Extents::round_up(bytes);
  for (auto hole = extents_.holes().rbegin(); hole != extents_.holes().rend(); ++hole) {
    if (hole->second >= bytes) return hole->first + hole->second - bytes;
  }
  return std::nullopt;
}

void Occupancy::take(BufferId owner, std::int64_t offset, std::int64_t bytes) { extents_.take(offset, bytes, owner); }

std::vector<Occupancy::Segment> Occupancy::segments() const {
  std::vector<Segment> result;
  result.reserve(extents_.blocks().size() + extents_.holes().size());
  auto hole = extents_.holes().begin();
  for (const auto& [offset, block] : extents_.blocks()) {
    if (hole != extents_.holes().end() && hole->first < offset) {
      result.push_back({hole->first, hole->second, 0, true});
      ++hole;
    }
    result.push_back({offset, block.bytes, block.owner, false});
  }
  if (hole != extents_.holes().end()) result.push_back({hole->first, hole->second, 0, true});
  return result;
}

std::optional<Occupancy::Window> Occupancy::compaction_window(const std::vector<Segment>& segments, std::int64_t bytes,
                                                              const std::function<bool(BufferId)>& movable) {
  bytes = Extents::round_up(bytes);
  std::optional<Window> best;
  std::size_t first = 0;
  std::int64_t free = 0;
  std::int64_t blocks = 0;
  for (std::size_t last = 0; last < segments.size(); ++last) {
    if (!segments[last].hole && !movable(segments[last].owner)) {
      first = last + 1;
      free = blocks = 0;
      continue;
    }
    (segments[last].hole ? free : blocks) += segments[last].bytes;
    while (first < last && (!segments[first].hole || free - segments[first].bytes >= bytes)) {
      (segments[first].hole ? free : blocks) -= segments[first].bytes;
      ++first;
    }
    if (free < bytes || !segments[last].hole) continue;
    if (!best || blocks < best->bytes) best = Window{first, last + 1, blocks};
  }
  return best;
}

std::vector<Placement> Occupancy::evacuation(std::int64_t bytes, const std::function<bool(BufferId)>& movable) const {
  bytes = Extents::round_up(bytes);
  const std::vector<Segment> all = segments();
  std::vector<Placement> best;
  std::int64_t best_bytes = 0;
  for (std::size_t first = 0; first < all.size(); ++first) {
    std::size_t last = first;
    std::vector<Segment> blocks;
    std::int64_t moved = 0;
    while (last < all.size() && (all[last].hole || movable(all[last].owner))) {
      if (!all[last].hole) {
        blocks.push_back(all[last]);
        moved += all[last].bytes;
      }
      if (all[last++].end() - all[first].offset >= bytes) break;
    }
    if (last == first || all[last - 1].end() - all[first].offset < bytes) continue;
    if (!best.empty() && moved >= best_bytes) continue;
    Extents rest = extents_;
    for (std::size_t i = first; i < last; ++i) {
      if (all[i].hole) rest.take(all[i].offset, all[i].bytes, 0);
    }
    std::stable_sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
    std::vector<Placement> moves;
    for (const Segment& block : blocks) {
      const auto offset = rest.best_fit(block.bytes);
      if (!offset) break;
      rest.take(*offset, block.bytes, block.owner);
      moves.push_back({block.owner, *offset});
    }
    if (moves.size() < blocks.size()) continue;
    best = std::move(moves);
    best_bytes = moved;
  }
  return best;
}

}  // namespace tidemark::scheduler
