#include "scheduler/search/profile.h"

#include <algorithm>
#include <cstring>

namespace tidemark::scheduler {

namespace {

constexpr std::int64_t kEventWork = 64;  // what an event that comes or goes costs, in events touched

struct Sums {
  double before = 0;  // overflow
  double after = 0;
  double most = 0;
  double least = 0;
};

constexpr std::size_t kLanes = 4;
using Lanes [[gnu::vector_size(kLanes * sizeof(double))]] = double;

// Sizes are whole numbers, so sums are exact in any order.
[[gnu::always_inline]] inline Sums change_in_lanes(double* memory, std::size_t count, double bytes, double line) {
  const Lanes zero = {};
  Lanes before = {};
  Lanes after = {};
  Lanes most = zero + (memory[0] + bytes);
  Lanes least = most;
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Lanes m;
    std::memcpy(&m, memory + i, sizeof m);
    const Lanes n = m + bytes;
    std::memcpy(memory + i, &n, sizeof n);
    before += m > line ? m - line : zero;
    after += n > line ? n - line : zero;
    most = n > most ? n : most;
    least = n < least ? n : least;
  }
  for (; i < count; ++i) {
    const double m = memory[i];
    const double n = m + bytes;
    memory[i] = n;
    before[0] += std::max(0.0, m - line);
    after[0] += std::max(0.0, n - line);
    most[0] = std::max(most[0], n);
    least[0] = std::min(least[0], n);
  }
  return {(before[0] + before[1]) + (before[2] + before[3]), (after[0] + after[1]) + (after[2] + after[3]),
          std::max(std::max(most[0], most[1]), std::max(most[2], most[3])),
          std::min(std::min(least[0], least[1]), std::min(least[2], least[3]))};
}

[[gnu::noinline]] Sums change_anywhere(double* memory, std::size_t count, double bytes, double line) {
  return change_in_lanes(memory, count, bytes, line);
}

#if defined(__x86_64__)
[[gnu::noinline, gnu::target("avx2")]] Sums change_by_avx2(double* memory, std::size_t count, double bytes,
                                                           double line) {
  return change_in_lanes(memory, count, bytes, line);
}
#endif

// Chosen at each call: target_clones would have the dynamic linker do it, before a thread sanitizer allows any call.
Sums change_all(double* memory, std::size_t count, double bytes, double line) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return change_by_avx2(memory, count, bytes, line);
#endif
  return change_anywhere(memory, count, bytes, line);
}

}  // namespace

void Profile::clear(double room) {
  room_ = room;
  overflow_ = 0;
  size_ = 0;
  blocks_.clear();
  first_.clear();
}

void Profile::append(Key k, double through, double own) {
  if (blocks_.empty() || blocks_.back().keys.size() >= kMostEvents / 2) {
    blocks_.emplace_back();
    first_.push_back(k);
  }
  Block& block = blocks_.back();
  block.keys.push_back(k);
  block.memory.push_back(through + own);
  block.own.push_back(own);
  ++size_;
  refresh(block);
}

void Profile::refresh(Block& block) {
  const Sums sums = change_all(block.memory.data(), block.memory.size(), 0, room_ - block.lift);
  block.most = sums.most;
  block.least = sums.least;
  overflow_ += sums.after - block.overflow;
  block.overflow = sums.after;
  work_ += static_cast<std::int64_t>(block.memory.size());
}

std::size_t Profile::block_of(Key k) const {
  const auto after = std::upper_bound(first_.begin(), first_.end(), k);
  return after == first_.begin() ? 0 : static_cast<std::size_t>(after - first_.begin()) - 1;
}

Profile::Position Profile::position(Key k) const {
  const std::size_t b = block_of(k);
  const auto& keys = blocks_[b].keys;
  const auto i = static_cast<std::size_t>(std::lower_bound(keys.begin(), keys.end(), k) - keys.begin());
  return i < keys.size() ? Position{b, i} : Position{b + 1, 0};
}

Profile::Position Profile::next(Position p) const {
  return ++p.index < blocks_[p.block].keys.size() ? p : Position{p.block + 1, 0};
}

bool Profile::contains(Key k) const {
  const auto& keys = blocks_[block_of(k)].keys;
  return std::binary_search(keys.begin(), keys.end(), k);
}

double Profile::through(Key k) const {
  const Position p = position(k);
  const Block& block = blocks_[p.block];
  return block.memory[p.index] + block.lift - block.own[p.index];
}

double Profile::peak() const {
  double peak = 0;
  for (const Block& block : blocks_) {
    peak = std::max(peak, *std::max_element(block.memory.begin(), block.memory.end()) + block.lift);
  }
  return peak;
}

void Profile::set_room(double room) {
  room_ = room;
  for (Block& block : blocks_) refresh(block);
}

Profile::Position Profile::any(std::uint64_t bits) const {
  const std::size_t b = static_cast<std::size_t>((bits >> 32) % blocks_.size());
  return {b, static_cast<std::size_t>((bits & 0xffffffffU) % blocks_[b].keys.size())};
}

Profile::Position Profile::above_room(Position p) const {
  const std::size_t count = blocks_.size();
  for (std::size_t n = 0; n <= count; ++n) {
    const std::size_t b = (p.block + n) % count;
    const Block& block = blocks_[b];
    if (block.overflow <= 0) continue;
    const double line = room_ - block.lift;
    for (std::size_t i = n == 0 ? p.index : 0; i < block.memory.size(); ++i) {
      if (block.memory[i] > line) return {b, i};
    }
  }
  return {count, 0};
}

void Profile::split(std::size_t b) {
  Block& old = blocks_[b];
  const auto half = static_cast<std::ptrdiff_t>(old.keys.size() / 2);
  Block more;
  more.keys.assign(old.keys.begin() + half, old.keys.end());
  more.memory.assign(old.memory.begin() + half, old.memory.end());
  more.own.assign(old.own.begin() + half, old.own.end());
  more.lift = old.lift;
  old.keys.resize(static_cast<std::size_t>(half));
  old.memory.resize(static_cast<std::size_t>(half));
  old.own.resize(static_cast<std::size_t>(half));
  refresh(old);
  refresh(more);
  first_.insert(first_.begin() + static_cast<std::ptrdiff_t>(b) + 1, more.keys[0]);
  blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(b) + 1, std::move(more));
}

void Profile::insert(Key k, double through) {
  const std::size_t b = block_of(k);
  Block& block = blocks_[b];
  const auto i = std::lower_bound(block.keys.begin(), block.keys.end(), k) - block.keys.begin();
  block.keys.insert(block.keys.begin() + i, k);
  block.memory.insert(block.memory.begin() + i, through - block.lift);
  block.own.insert(block.own.begin() + i, 0.0);
  block.most = std::max(block.most, through - block.lift);
  block.least = std::min(block.least, through - block.lift);
  const double over = std::max(0.0, through - room_);
  block.overflow += over;
  overflow_ += over;
  if (i == 0) first_[b] = k;
  ++size_;
  work_ += kEventWork;
  if (block.keys.size() > kMostEvents) split(b);
}

void Profile::erase(Key k) {
  const std::size_t b = block_of(k);
  Block& block = blocks_[b];
  const auto i = std::lower_bound(block.keys.begin(), block.keys.end(), k) - block.keys.begin();
  const double over = std::max(0.0, block.memory[static_cast<std::size_t>(i)] + block.lift - room_);
  block.overflow -= over;
  overflow_ -= over;
  block.keys.erase(block.keys.begin() + i);
  block.memory.erase(block.memory.begin() + i);
  block.own.erase(block.own.begin() + i);
  --size_;
  work_ += kEventWork;
  if (block.keys.empty()) {
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(b));
    first_.erase(first_.begin() + static_cast<std::ptrdiff_t>(b));
  } else if (i == 0) {
    first_[b] = block.keys[0];
  }
}

void Profile::change(Block& block, std::size_t first, std::size_t last, double bytes) {
  if (first == 0 && last == block.memory.size()) {
    const double most = block.most + block.lift;
    const double least = block.least + block.lift;
    ++work_;
    if (std::max(most, most + bytes) <= room_) {
      block.lift += bytes;
      return;
    }
    if (std::min(least, least + bytes) >= room_) {
      block.lift += bytes;
      const double more = bytes * static_cast<double>(block.memory.size());
      block.overflow += more;
      overflow_ += more;
      return;
    }
    block.lift += bytes;
    refresh(block);
    return;
  }
  const Sums sums = change_all(block.memory.data() + first, last - first, bytes, room_ - block.lift);
  // The limits may become wider than the block; the next change of all of it puts that right.
  block.most = std::max(block.most, sums.most);
  block.least = std::min(block.least, sums.least);
  block.overflow += sums.after - sums.before;
  overflow_ += sums.after - sums.before;
  work_ += static_cast<std::int64_t>(last - first);
}

// The events of block b that are in (from, to], where the block is one of those from `first` to `last`.
Profile::Range Profile::range(std::size_t b, std::size_t first, std::size_t last, Key from, Key to) const {
  const auto& keys = blocks_[b].keys;
  const auto after = [&](Key k) {
    return static_cast<std::size_t>(std::upper_bound(keys.begin(), keys.end(), k) - keys.begin());
  };
  return {b == first ? after(from) : 0, b == last ? after(to) : keys.size()};
}

void Profile::add_after(Key from, Key to, double bytes) {
  const std::size_t first = block_of(from);
  const std::size_t last = block_of(to);
  for (std::size_t b = first; b <= last; ++b) {
    const Range events = range(b, first, last, from, to);
    if (events.begin < events.end) change(blocks_[b], events.begin, events.end, bytes);
  }
}

double Profile::overflow_change(Key from, Key to, double bytes, double credit) const {
  const std::size_t first = block_of(from);
  const std::size_t last = block_of(to);
  double more = 0;
  for (std::size_t b = first; b <= last; ++b) {
    const Block& block = blocks_[b];
    ++work_;
    const double line = room_ + credit - block.lift;
    if (std::max(block.most, block.most + bytes) <= line) continue;
    const Range events = range(b, first, last, from, to);
    for (std::size_t i = events.begin; i < events.end; ++i) {
      more += std::max(0.0, block.memory[i] + bytes - line) - std::max(0.0, block.memory[i] - line);
    }
    work_ += static_cast<std::int64_t>(events.end - events.begin) / 4;
  }
  return more;
}

void Profile::set_own(Key k, double own) {
  const Position p = position(k);
  Block& block = blocks_[p.block];
  change(block, p.index, p.index + 1, own - block.own[p.index]);
  block.own[p.index] = own;
}

}  // namespace tidemark::scheduler
