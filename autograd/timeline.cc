#include "tidemark/timeline.h"

#include <algorithm>

namespace tidemark {

const char* to_string(Timeline::Track track) {
  static constexpr const char* kNames[] = {"forward", "backward",  "recompute", "reorder",
                                           "move",    "optimizer", "planning",  "waiting for data"};
  return kNames[static_cast<std::size_t>(track)];
}

Timeline::Peak Timeline::peak() const {
  Peak peak;
  std::array<std::int64_t, kCategories> live{};
  std::int64_t total = 0;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const Holder& holder = holders[static_cast<std::size_t>(changes[i].holder)];
    const std::int64_t bytes = changes[i].live ? holder.bytes : -holder.bytes;
    live[static_cast<std::size_t>(holder.category)] += bytes;
    total += bytes;
    peak.reserved = std::max(peak.reserved, changes[i].reserved);
    if (total <= peak.bytes) continue;
    peak.change = i;
    peak.bytes = total;
    peak.by_category = live;
  }
  return peak;
}

std::vector<std::int32_t> Timeline::live_after(std::size_t change) const {
  std::vector<bool> live(holders.size(), false);
  for (std::size_t i = 0; i <= change && i < changes.size(); ++i) {
    live[static_cast<std::size_t>(changes[i].holder)] = changes[i].live;
  }
  std::vector<std::int32_t> result;
  for (std::size_t h = 0; h < live.size(); ++h) {
    if (live[h]) result.push_back(static_cast<std::int32_t>(h));
  }
  std::stable_sort(result.begin(), result.end(), [&](std::int32_t a, std::int32_t b) {
    return holders[static_cast<std::size_t>(a)].bytes > holders[static_cast<std::size_t>(b)].bytes;
  });
  return result;
}

}  // namespace tidemark
