// Where each buffer lies in the arena, and how to win one contiguous hole by moving blocks together. Used by the online
// policy and by the placement of plans.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "core/extents.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

class Occupancy {
 public:
  struct Segment {
    std::int64_t offset = 0;
    std::int64_t bytes = 0;
    BufferId owner = 0;
    bool hole = false;
    std::int64_t end() const { return offset + bytes; }
  };
  // Segments [first, last) of segments(), and the bytes of blocks among them.
  struct Window {
    std::size_t first = 0;
    std::size_t last = 0;
    std::int64_t bytes = 0;
  };

  // Whole units of `alignment` below `limit` are used.
  explicit Occupancy(std::int64_t limit);

  std::optional<std::int64_t> best_fit(std::int64_t bytes) const { return extents_.best_fit(bytes); }
  std::optional<std::int64_t> lowest_fit(std::int64_t bytes) const;
  std::optional<std::int64_t> highest_fit(std::int64_t bytes) const;
  bool is_free(std::int64_t offset, std::int64_t bytes) const { return extents_.is_free(offset, bytes); }
  void take(BufferId owner, std::int64_t offset, std::int64_t bytes);
  void give(std::int64_t offset) { extents_.give(offset); }
  std::int64_t free_bytes() const { return extents_.free_bytes(); }
  std::int64_t limit() const { return extents_.limit(); }

  std::vector<Segment> segments() const;

  // Of all runs of segments whose holes sum to at least `bytes`, the one with the fewest bytes of blocks. Sliding its
  // blocks down, lowest first, leaves one hole at its end.
  static std::optional<Window> compaction_window(const std::vector<Segment>& segments, std::int64_t bytes,
                                                 const std::function<bool(BufferId)>& movable);
  // Moves that clear `bytes` somewhere by placing what lies there into holes elsewhere, across blocks that stay; in
  // the order in which they can be carried out. Empty where no such moves are found.
  std::vector<Placement> evacuation(std::int64_t bytes, const std::function<bool(BufferId)>& movable) const;

 private:
  core::Extents extents_;
};

}  // namespace tidemark::scheduler
