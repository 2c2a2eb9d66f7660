// Sizes that are no multiples of 64 bytes, the unit in which the arena and Extents count. Where they are to be placed,
// all is multiplied by 64 first and divided afterwards, so that no byte is lost to rounding.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/extents.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

inline constexpr std::int64_t kFineUnits = core::Extents::kAlignment;  // of a byte
inline constexpr std::int64_t kMostFineBytes = std::int64_t{1} << 46;  // so that products stay in range

// Of more than that either way there is nothing to tell apart.
constexpr std::int64_t to_fine_units(std::int64_t bytes) {
  return std::clamp(bytes, -kMostFineBytes, kMostFineBytes) * kFineUnits;
}

// Whether a size is odd, and all sizes together are small enough.
bool has_odd_sizes(const Graph& graph);
Graph in_fine_units(Graph graph);
Plan in_fine_units(Plan plan);
Plan in_bytes(Plan plan);

}  // namespace tidemark::scheduler
