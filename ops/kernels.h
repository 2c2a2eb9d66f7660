// What the kernels of several ops share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "core/round_up.h"
#include "tidemark/op.h"

namespace tidemark::ops {

inline constexpr Layout kPlain{};

// Work on fewer bytes than this is not worth waking a team for.
inline constexpr std::int64_t kParallelBytes = std::int64_t{64} * 1024;

// ctx.parallel_for where that pays: each item touches about `bytes_each`. For work whose result does not depend on who
// does it.
template <class F>
void for_range(const Ctx& ctx, std::int64_t count, std::int64_t bytes_each, F&& f, std::int64_t grain = 1) {
  if (count <= 0) return;
  ctx.parallel_for(count, count * bytes_each < kParallelBytes ? count : grain, f);
}

// The same over single floats, in pieces of whole cache lines.
template <class F>
void for_elements(const Ctx& ctx, std::int64_t count, std::int64_t bytes_each, F&& f) {
  for_range(ctx, count, bytes_each, f, 16);
}

// f(member, begin, end) over [0, count) for each of at most `members` threads, which may have scratch of its own;
// `members` is at most ctx.threads().
template <class F>
void for_members(const Ctx& ctx, std::int64_t count, std::int64_t members, F&& f) {
  const std::int64_t team = std::min(count, members);
  ctx.parallel_for(team, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t member = first; member < last; ++member) {
      f(member, count * member / team, count * (member + 1) / team);
    }
  });
}

// Floats in a value's bytes, the padding of its layout included.
inline std::int64_t raw_floats(const Meta& meta) { return meta.bytes / static_cast<std::int64_t>(sizeof(float)); }

// Padding must stay zero: elementwise kernels with f(0) != 0 may take the bytes as they lie only where there is none.
inline bool has_padding(const Meta& meta) { return meta.bytes != meta.shape.numel() * size_of(meta.dtype); }

// Dimensions as users count them, from either end. A number counts as [1], as in PyTorch: it has dimension 0, or -1.
//
// True where `dim` is one of `rank` dimensions.
inline bool has_dim(int dim, int rank) { return dim >= -std::max(1, rank) && dim < std::max(1, rank); }
// It, from the front.
inline int from_front(int dim, int rank) { return dim < 0 ? dim + std::max(1, rank) : dim; }

inline std::string describe(std::string_view name, const Meta& meta) {
  return std::string(name) + " is " + meta.shape.to_string() + " " + to_string(meta.dtype);
}

inline void require_f32(const Prep& prep, std::string_view name, const Meta& meta) {
  if (meta.dtype != f32) prep.fail(describe(name, meta) + "; it must be f32");
}

inline void require_eps(const Prep& prep, float eps) {
  prep.require(std::isfinite(eps) && eps >= 0, "eps is " + std::to_string(eps) + "; it must be finite, and at least 0");
}

inline double as_double(std::int64_t n) { return static_cast<double>(n); }

using core::round_up;

}  // namespace tidemark::ops
