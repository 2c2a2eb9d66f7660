// Slabs of a tensor, all that lies at one index of a dimension, and an index that names them: what index_select and
// index_add share.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/shapes/moves.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// Entries have numbers of 32 bits.
inline constexpr std::int64_t kMostEntries = 0xFFFFFFFF;

class Slabs {
 public:
  // `count` entries of an index into dimension `dim` of x.
  Slabs(const Shape& x, int dim, std::int64_t count, int threads);

  std::int64_t size() const { return x_.size; }

  // to[outer, i, inner] = from[outer, index[i], inner]
  void pick(const Ctx& ctx, const std::int32_t* index, std::int64_t element_bytes, const void* from, void* to) const;

  // Bytes of scratch for add().
  std::int64_t add_scratch() const;
  // to = base + values, each slab of them at the place that its entry names, in the order of the entries: the same bits
  // on every team. `base` may be `to`, and is zero where it is null.
  void add(const Ctx& ctx, const std::int32_t* index, const float* values, const float* base, float* to) const;

 private:
  std::int64_t strips() const { return (x_.inner + strip_ - 1) / strip_; }

  Split x_;
  std::int64_t count_;
  std::int64_t strip_;   // columns that are worked on side by side
  std::int64_t ranges_;  // parts of the targets
};

}  // namespace tidemark::ops
