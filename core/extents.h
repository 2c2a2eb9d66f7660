// Which byte ranges of an arena are taken, and by whom. Arithmetic only: no memory is touched here, so that the
// arena (which owns the bytes) and the scheduler (which only plans them) share one definition of a hole.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/round_up.h"

namespace tidemark::core {

class Extents {
 public:
  static constexpr std::int64_t kAlignment = 64;
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max() / 4;
  static constexpr std::int64_t round_up(std::int64_t bytes) { return core::round_up(bytes, kAlignment); }

  struct Block {
    std::int64_t bytes = 0;  // rounded up to kAlignment
    std::int32_t owner = 0;
  };

  // Offsets run over [0, limit); kUnlimited for a space that grows as needed.
  explicit Extents(std::int64_t limit);

  // The start of the smallest hole that holds `bytes`, the lowest of equals; nullopt where none does.
  std::optional<std::int64_t> best_fit(std::int64_t bytes) const;
  // True where [offset, offset + bytes) is wholly free and inside the limit.
  bool is_free(std::int64_t offset, std::int64_t bytes) const;

  // Takes a free range (bytes > 0, rounded up; offset a multiple of kAlignment). Anything else is a broken invariant
  // and throws std::logic_error.
  void take(std::int64_t offset, std::int64_t bytes, std::int32_t owner);
  // Gives back the block that starts at `offset`; neighbouring holes become one.
  void give(std::int64_t offset);

  std::int64_t limit() const { return limit_; }
  std::int64_t taken_bytes() const { return taken_; }
  std::int64_t free_bytes() const { return limit_ - taken_; }
  std::int64_t largest_hole() const;
  // One past the last taken byte.
  std::int64_t end() const;

  // Blocks and holes by offset.
  const std::map<std::int64_t, Block>& blocks() const { return blocks_; }
  const std::map<std::int64_t, std::int64_t>& holes() const { return holes_; }

 private:
  void add_hole(std::int64_t offset, std::int64_t bytes);
  void remove_hole(std::map<std::int64_t, std::int64_t>::iterator hole);

  std::int64_t limit_;
  std::int64_t taken_ = 0;
  std::map<std::int64_t, Block> blocks_;
  std::map<std::int64_t, std::int64_t> holes_;               // offset -> bytes
  std::set<std::pair<std::int64_t, std::int64_t>> by_size_;  // (bytes, offset)
};

}  // namespace tidemark::core
