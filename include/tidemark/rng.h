// The key of a random op.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
namespace tidemark {

// A key of the counter-based generator: the session's seed, the step, and the ordinal of the random op in the step.
struct RngKey {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t ordinal = 0;
  friend bool operator==(const RngKey&, const RngKey&) = default;
};

}  // namespace tidemark
#pragma GCC visibility pop
