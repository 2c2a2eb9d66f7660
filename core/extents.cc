#include "core/extents.h"

#include <stdexcept>
#include <string>

namespace tidemark::core {

Extents::Extents(std::int64_t limit) : limit_(limit) {
  if (limit > 0) add_hole(0, limit);
}

void Extents::add_hole(std::int64_t offset, std::int64_t bytes) {
  holes_.emplace(offset, bytes);
  by_size_.emplace(bytes, offset);
}

void Extents::remove_hole(std::map<std::int64_t, std::int64_t>::iterator hole) {
  by_size_.erase({hole->second, hole->first});
  holes_.erase(hole);
}

std::optional<std::int64_t> Extents::best_fit(std::int64_t bytes) const {
  auto hole = by_size_.lower_bound({round_up(bytes), 0});
  if (hole == by_size_.end()) return std::nullopt;
  return hole->second;
}

bool Extents::is_free(std::int64_t offset, std::int64_t bytes) const {
  auto hole = holes_.upper_bound(offset);
  if (hole == holes_.begin()) return false;
  --hole;
  return offset - hole->first <= hole->second - round_up(bytes);
}

void Extents::take(std::int64_t offset, std::int64_t bytes, std::int32_t owner) {
  if (bytes <= 0 || offset < 0 || offset % kAlignment != 0 || !is_free(offset, bytes)) {
    throw std::logic_error("extents: [" + std::to_string(offset) + ", +" + std::to_string(bytes) + ") is not free");
  }
  bytes = round_up(bytes);
  auto hole = std::prev(holes_.upper_bound(offset));
  const auto [start, length] = *hole;
  remove_hole(hole);
  if (start < offset) add_hole(start, offset - start);
  if (offset + bytes < start + length) add_hole(offset + bytes, start + length - offset - bytes);
  blocks_.emplace(offset, Block{bytes, owner});
  taken_ += bytes;
}

void Extents::give(std::int64_t offset) {
  auto block = blocks_.find(offset);
  if (block == blocks_.end()) {
    throw std::logic_error("extents: no block starts at " + std::to_string(offset));
  }
  std::int64_t start = offset;
  std::int64_t length = block->second.bytes;
  taken_ -= length;
  blocks_.erase(block);
  auto next = holes_.lower_bound(offset);
  if (next != holes_.end() && next->first == start + length) {
    length += next->second;
    auto after = std::next(next);
    remove_hole(next);
    next = after;
  }
  if (next != holes_.begin()) {
    auto previous = std::prev(next);
    if (previous->first + previous->second == start) {
      start = previous->first;
      length += previous->second;
      remove_hole(previous);
    }
  }
  add_hole(start, length);
}

std::int64_t Extents::largest_hole() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }

std::int64_t Extents::end() const {
  return blocks_.empty() ? 0 : blocks_.rbegin()->first + blocks_.rbegin()->second.bytes;
}

}  // namespace tidemark::core
