// The bytes of a session: one anonymous mapping of exactly the budget's size. Whoever uses the arena decides what lies
// where; the arena verifies each decision and refuses any that would overlap or pass the end, so that the budget holds
// whatever the planner believes.
//
// The mapping starts at a multiple of 2 MiB and ends with the budget (rounded up to a page), so that huge pages serve
// it and none reaches past it. Pages are touched on first use and kept until the arena is destroyed.
//
// Under AddressSanitizer released bytes are poisoned: reading a discarded value is reported at the read. (The untouched
// part of an arena without a budget is not poisoned; its shadow would take an eighth of the reserved range.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/extents.h"
#include "memory/ledger.h"
#include "tidemark/units.h"

namespace tidemark::memory {

using core::Extents;

class Arena {
 public:
  // `budget` in bytes; the part of it past the last multiple of 64 cannot be used. Without a budget a virtual range of
  // four times the physical memory is reserved and grows as it is touched. Throws Error where the range cannot be
  // mapped.
  explicit Arena(std::optional<std::int64_t> budget) : Arena(budget, map(budget)) {}
  // Accounts for bytes and has none: for dry runs, of models larger than the machine as well.
  static Arena without_memory(std::optional<std::int64_t> budget) { return Arena(budget, Mapping{}); }
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Takes [offset, offset + bytes), rounded up to 64, for `owner`. The content is undefined. A range that is not free,
  // or not inside the arena, is a broken invariant and throws std::logic_error; nothing has changed then. The same
  // holds for the two below.
  void place(std::int64_t offset, std::int64_t bytes, std::int32_t owner, Category category);
  // Gives back the block that starts at `offset`.
  void release(std::int64_t offset);
  // Moves the block at `from`, content and all, to `to`; the two ranges may overlap.
  void move(std::int64_t from, std::int64_t to);

  struct Relocation {
    std::int64_t from = 0;
    std::int64_t to = 0;
  };
  // Moves blocks all at once, contents and all: a target may lie where another of them was. There is no second copy;
  // blocks that stand in each other's way change places through a buffer of 64 bytes.
  void relocate(std::span<const Relocation> relocations);

  // The byte at `offset`; std::logic_error outside the arena, and where it has no memory. Valid as long as the arena.
  std::byte* at(std::int64_t offset) const;

  const Extents& extents() const { return extents_; }
  const Ledger& ledger() const { return ledger_; }
  void reset_step_peak() {
    ledger_.reset_step_peak();
    step_reserved_peak_ = extents_.end();
  }
  // Gives pages of which nothing is placed from `offset` on back to the system; they come back empty when touched.
  void give_pages_back(std::int64_t offset);
  std::optional<std::int64_t> budget() const { return budget_; }
  // The highest end of a block ever, and since the last reset_step_peak().
  std::int64_t reserved_peak() const { return reserved_peak_; }
  std::int64_t step_reserved_peak() const { return step_reserved_peak_; }

 private:
  struct Mapping {
    std::byte* base = nullptr;
    std::int64_t bytes = 0;
  };
  struct Held {
    std::int64_t bytes;  // as asked for
    Category category;
  };

  Arena(std::optional<std::int64_t> budget, Mapping mapping);
  static Mapping map(std::optional<std::int64_t> budget);
  bool has_memory() const { return mapping_.base != nullptr; }
  void poison(std::int64_t offset, std::int64_t bytes) const;
  void unpoison(std::int64_t offset, std::int64_t bytes) const;
  void note_end(std::int64_t end);
  struct Stretch {
    std::int64_t from = 0;
    std::int64_t to = 0;
    std::int64_t bytes = 0;  // rounded up to 64
  };
  void copy_stretches(std::vector<Stretch> stretches) const;
  void rotate_stretches(const std::vector<Stretch>& stretches) const;

  std::optional<std::int64_t> budget_;
  Mapping mapping_;
  Extents extents_;
  Ledger ledger_;
  std::unordered_map<std::int64_t, Held> held_;  // by offset
  std::int64_t reserved_peak_ = 0;
  std::int64_t step_reserved_peak_ = 0;
};

}  // namespace tidemark::memory
