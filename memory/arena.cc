#include "memory/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>

#include "tidemark/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define TIDEMARK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TIDEMARK_ASAN 1
#endif
#endif
#ifdef TIDEMARK_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tidemark::memory {
namespace {

constexpr std::int64_t kHugePage = 2_MiB;
constexpr std::int64_t kSmallestReserve = 256_MiB;

std::int64_t round_to(std::int64_t bytes, std::int64_t unit) { return (bytes + unit - 1) / unit * unit; }

// nullptr and errno where the kernel refuses.
std::byte* map_aligned(std::int64_t bytes) {
  const std::int64_t padded = bytes + kHugePage;
  void* start = mmap(nullptr, static_cast<std::size_t>(padded), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  auto* first = static_cast<std::byte*>(start);
  const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(start));
  const std::int64_t before = round_to(address, kHugePage) - address;
  const std::int64_t after = padded - before - bytes;
  if (before > 0) munmap(first, static_cast<std::size_t>(before));
  if (after > 0) munmap(first + before + bytes, static_cast<std::size_t>(after));
  // Refused where huge pages are switched off; small pages serve as well, slower.
  madvise(first + before, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  return first + before;
}

[[noreturn]] void fail(std::int64_t bytes, const char* help) {
  throw Error("cannot map " + format_bytes(bytes) + " (" + std::to_string(bytes) +
              " bytes) of memory: " + std::strerror(errno) + "\n  help: " + help);
}

}  // namespace

Arena::Mapping Arena::map(std::optional<std::int64_t> budget) {
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  if (budget) {
    if (*budget < 0 || *budget > Extents::kUnlimited) {
      throw Error("a budget of " + std::to_string(*budget) +
                  " bytes cannot be mapped\n  help: state it in bytes, from 0 up");
    }
    const std::int64_t bytes = std::max(page, round_to(*budget, page));
    std::byte* base = map_aligned(bytes);
    if (base == nullptr) fail(bytes, "state a smaller budget, or raise the limit of address space (ulimit -v)");
    return {base, bytes};
  }
  // Where address space is limited or overcommitment is off, a smaller range has to do.
  for (std::int64_t bytes = round_to(sysconf(_SC_PHYS_PAGES) * page * 4, kHugePage);; bytes /= 2) {
    if (std::byte* base = map_aligned(bytes)) return {base, bytes};
    if (bytes / 2 < kSmallestReserve) fail(bytes, "raise the limit of address space (ulimit -v), or state a budget");
  }
}

Arena::Arena(std::optional<std::int64_t> budget, Mapping mapping)
    : budget_(budget),
      mapping_(mapping),
      extents_(budget.value_or(has_memory() ? mapping.bytes : Extents::kUnlimited) / Extents::kAlignment *
               Extents::kAlignment) {
  if (budget_) poison(0, mapping_.bytes);
}

Arena::~Arena() {
  if (!has_memory()) return;
  unpoison(0, budget_ ? mapping_.bytes : reserved_peak_);
  munmap(mapping_.base, static_cast<std::size_t>(mapping_.bytes));
}

// Poisoned bytes cannot be read or written until they are placed again.
void Arena::poison([[maybe_unused]] std::int64_t offset, [[maybe_unused]] std::int64_t bytes) const {
#ifdef TIDEMARK_ASAN
  if (has_memory()) ASAN_POISON_MEMORY_REGION(mapping_.base + offset, static_cast<std::size_t>(bytes));
#endif
}

void Arena::unpoison([[maybe_unused]] std::int64_t offset, [[maybe_unused]] std::int64_t bytes) const {
#ifdef TIDEMARK_ASAN
  if (has_memory()) ASAN_UNPOISON_MEMORY_REGION(mapping_.base + offset, static_cast<std::size_t>(bytes));
#endif
}

void Arena::place(std::int64_t offset, std::int64_t bytes, std::int32_t owner, Category category) {
  extents_.take(offset, bytes, owner);
  held_.emplace(offset, Held{bytes, category});
  ledger_.add(category, Extents::round_up(bytes));
  note_end(offset + Extents::round_up(bytes));
  unpoison(offset, bytes);
}

void Arena::release(std::int64_t offset) {
  extents_.give(offset);
  const Held held = held_.extract(offset).mapped();
  ledger_.remove(held.category, Extents::round_up(held.bytes));
  poison(offset, Extents::round_up(held.bytes));
}

void Arena::move(std::int64_t from, std::int64_t to) {
  const auto block = extents_.blocks().find(from);
  if (block == extents_.blocks().end()) throw std::logic_error("arena: no block starts at " + std::to_string(from));
  const auto [size, owner] = block->second;
  extents_.give(from);
  try {
    extents_.take(to, size, owner);
  } catch (...) {
    extents_.take(from, size, owner);
    throw;
  }
  auto held = held_.extract(from);
  held.key() = to;
  const std::int64_t bytes = held.mapped().bytes;
  held_.insert(std::move(held));
  note_end(to + size);
  if (!has_memory()) return;
  unpoison(to, bytes);
  std::memmove(at(to), at(from), static_cast<std::size_t>(bytes));
  poison(from, size);
  unpoison(to, bytes);
}

void Arena::relocate(std::span<const Relocation> relocations) {
  std::vector<Stretch> stretches;
  std::vector<Extents::Block> blocks;
  for (const Relocation& relocation : relocations) {
    const auto block = extents_.blocks().find(relocation.from);
    if (block == extents_.blocks().end()) {
      throw std::logic_error("arena: no block starts at " + std::to_string(relocation.from));
    }
    stretches.push_back({relocation.from, relocation.to, block->second.bytes});
    blocks.push_back(block->second);
  }
  for (const Stretch& stretch : stretches) extents_.give(stretch.from);
  std::size_t taken = 0;
  try {
    for (; taken < stretches.size(); ++taken) {
      extents_.take(stretches[taken].to, stretches[taken].bytes, blocks[taken].owner);
    }
  } catch (...) {
    for (std::size_t i = 0; i < taken; ++i) extents_.give(stretches[i].to);
    for (std::size_t i = 0; i < stretches.size(); ++i) {
      extents_.take(stretches[i].from, stretches[i].bytes, blocks[i].owner);
    }
    throw;
  }
  std::vector<std::pair<std::int64_t, Held>> held;
  for (const Stretch& stretch : stretches) {
    held.emplace_back(stretch.to, held_.extract(stretch.from).mapped());
    note_end(stretch.to + stretch.bytes);
  }
  held_.insert(held.begin(), held.end());
  if (!has_memory()) return;
  for (const Stretch& stretch : stretches) {
    unpoison(stretch.from, stretch.bytes);
    unpoison(stretch.to, stretch.bytes);
  }
  copy_stretches(stretches);
  for (const Stretch& stretch : stretches) poison(stretch.from, stretch.bytes);
  for (const auto& [offset, block] : held) unpoison(offset, block.bytes);
}

// One after the other, where none that still waits lies in the way.
void Arena::copy_stretches(std::vector<Stretch> stretches) const {
  const auto by_start = [](const Stretch& a, const Stretch& b) { return a.from < b.from; };
  std::sort(stretches.begin(), stretches.end(), by_start);
  std::map<std::int64_t, Stretch> waiting;  // by start
  for (const Stretch& stretch : stretches) waiting.emplace(stretch.from, stretch);
  const auto in_the_way = [&](const Stretch& moving) {
    auto next = waiting.lower_bound(moving.to);
    if (next != waiting.begin()) {
      const auto& [start, before] = *std::prev(next);
      if (start != moving.from && start + before.bytes > moving.to) return true;
    }
    for (; next != waiting.end() && next->first < moving.to + moving.bytes; ++next) {
      if (next->first != moving.from) return true;
    }
    return false;
  };
  bool moved = true;
  while (moved && !waiting.empty()) {
    moved = false;
    // What goes down begins at the low end, what goes up at the high end, as in one copy of overlapping ranges.
    for (const bool down : {true, false}) {
      std::vector<Stretch> order;
      for (const auto& [start, stretch] : waiting) {
        if ((stretch.to < start) == down) order.push_back(stretch);
      }
      if (!down) std::reverse(order.begin(), order.end());
      for (const Stretch& stretch : order) {
        if (in_the_way(stretch)) continue;
        std::memmove(at(stretch.to), at(stretch.from), static_cast<std::size_t>(stretch.bytes));
        waiting.erase(stretch.from);
        moved = true;
      }
    }
  }
  std::vector<Stretch> blocked;
  for (const auto& [start, stretch] : waiting) blocked.push_back(stretch);
  rotate_stretches(blocked);
}

// Units of 64 bytes follow each other round the circles that the stretches make.
void Arena::rotate_stretches(const std::vector<Stretch>& stretches) const {
  constexpr std::int64_t kUnit = Extents::kAlignment;
  std::vector<std::vector<bool>> done;
  for (const Stretch& stretch : stretches) done.emplace_back(static_cast<std::size_t>(stretch.bytes / kUnit), false);
  const auto find = [&](std::int64_t offset) {  // the stretch whose source holds the offset
    auto after = std::upper_bound(stretches.begin(), stretches.end(), offset,
                                  [](std::int64_t value, const Stretch& stretch) { return value < stretch.from; });
    if (after == stretches.begin()) return stretches.end();
    --after;
    return offset < after->from + after->bytes ? after : stretches.end();
  };
  for (std::size_t s = 0; s < stretches.size(); ++s) {
    for (std::int64_t unit = 0; unit < stretches[s].bytes / kUnit; ++unit) {
      if (done[s][static_cast<std::size_t>(unit)]) continue;
      std::array<std::byte, kUnit> carried;
      std::array<std::byte, kUnit> next;
      std::int64_t from = stretches[s].from + unit * kUnit;
      std::memcpy(carried.data(), at(from), kUnit);
      for (auto stretch = find(from); stretch != stretches.end(); stretch = find(from)) {
        const auto which = static_cast<std::size_t>(stretch - stretches.begin());
        const auto index = static_cast<std::size_t>((from - stretch->from) / kUnit);
        if (done[which][index]) break;
        done[which][index] = true;
        const std::int64_t to = stretch->to + (from - stretch->from);
        std::memcpy(next.data(), at(to), kUnit);
        std::memcpy(at(to), carried.data(), kUnit);
        carried = next;
        from = to;
      }
    }
  }
}

std::byte* Arena::at(std::int64_t offset) const {
  if (offset < 0 || offset >= mapping_.bytes) {
    throw std::logic_error("arena: offset " + std::to_string(offset) + " is outside");
  }
  return mapping_.base + offset;
}

void Arena::note_end(std::int64_t end) {
  reserved_peak_ = std::max(reserved_peak_, end);
  step_reserved_peak_ = std::max(step_reserved_peak_, end);
}

void Arena::give_pages_back(std::int64_t offset) {
  if (!has_memory()) return;
  const std::int64_t first = round_to(std::max(offset, extents_.end()), sysconf(_SC_PAGESIZE));
  const std::int64_t last = std::min(mapping_.bytes, round_to(reserved_peak_, sysconf(_SC_PAGESIZE)));
  if (first < last) madvise(mapping_.base + first, static_cast<std::size_t>(last - first), MADV_DONTNEED);
}

}  // namespace tidemark::memory
