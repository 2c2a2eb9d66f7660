// What ops that choose elements along a dimension share: their order, and the way back of their gradients.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ops/kernels.h"
#include "ops/reductions/dims.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// An element's place in the order: the smaller comes first. Equal elements keep the order of their indices, 0 equals -0
// and a NaN is larger than every number.
inline std::uint64_t order_key(float x, std::int64_t index, bool descending) {
  auto bits = std::bit_cast<std::uint32_t>(x == 0 ? 0.0f : x);
  bits = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  if (x != x) bits = 0xFFFFFFFFu;
  if (descending) bits = ~bits;
  return std::uint64_t{bits} << 32 | static_cast<std::uint32_t>(index);
}

inline std::int32_t index_of(std::uint64_t key) { return static_cast<std::int32_t>(key & 0xFFFFFFFFu); }

// The element that has the key, but for the sign of a zero and the bits of a NaN.
inline float value_of(std::uint64_t key, bool descending) {
  auto bits = static_cast<std::uint32_t>(key >> 32);
  if (descending) bits = ~bits;
  return std::bit_cast<float>((bits >> 31) != 0 ? bits ^ 0x80000000u : ~bits);
}

// Indices are i32.
void require_indexable(const Prep& prep, const Meta& x, std::int64_t size);

// The gradient of x for values [outer, k, inner] that were taken from it, each at its own index.
Part selection_part(const Meta& x, const Meta& values);
void scatter_selected(const Ctx& ctx, const Lines& lines, std::int64_t k, const std::int32_t* indices, const float* gy,
                      float* gx);

// Lines that do not lie one element after the other are handled so many at once.
inline constexpr std::int64_t kLinesAtOnce = 8;

// f(member, outer, first, count) on the team: `count` lines from inner position `first` on. `members` have scratch of
// their own.
template <class F>
void for_lines(const Ctx& ctx, const Lines& lines, std::int64_t members, F&& f) {
  const std::int64_t blocks = (lines.inner + kLinesAtOnce - 1) / kLinesAtOnce;
  for_members(ctx, lines.outer * blocks, members, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t first = item % blocks * kLinesAtOnce;
      f(member, item / blocks, first, std::min(kLinesAtOnce, lines.inner - first));
    }
  });
}

// Threads that are worth waking for lines of so many elements.
inline std::int64_t members_for(const Prep& prep, const Lines& lines) {
  const std::int64_t items = lines.outer * ((lines.inner + kLinesAtOnce - 1) / kLinesAtOnce);
  const std::int64_t bytes = lines.count() * lines.size * size_of(f32);
  return bytes < kParallelBytes ? 1 : std::clamp<std::int64_t>(items, 1, prep.threads());
}

}  // namespace tidemark::ops
