// NumPy's broadcasting over plain layouts: elementwise functions of two values, and the sums that are their gradients.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tidemark/op.h"

namespace tidemark::ops {

enum class Binary : std::uint8_t { kAdd, kSub, kMul };

// The shape that both broadcast to; none where they do not.
std::optional<Shape> broadcast(const Shape& a, const Shape& b);

// out[i] = a[i] (+ - *) b[i] over n floats as they lie; `out` may be a or b.
void elementwise(const Ctx& ctx, Binary kind, std::int64_t n, const float* a, const float* b, float* out);

// out[i] = scale * x[i] + shift; `out` may be x.
void affine_elements(const Ctx& ctx, std::int64_t n, float scale, float shift, const float* x, float* out);

// out = a (+ - *) b, each broadcast to `shape`. `out` may take the place of an operand of that shape.
void broadcast_elementwise(const Ctx& ctx, Binary kind, const Shape& shape, const float* a, const Shape& a_shape,
                           const float* b, const Shape& b_shape, float* out);

// out = scale * sum of a * b, where a has shape `from`, b is broadcast to it (or absent), and the sum goes over the
// dimensions that shape `to` lacks or has as 1. Sums are made in chunks that follow from the shapes alone and combined
// in their order, so the result is the same on every team.
class Reduction {
 public:
  Reduction(const Shape& from, const Shape& to, const std::optional<Shape>& factor = {});

  std::int64_t scratch() const;  // bytes
  void run(const Ctx& ctx, const float* a, const float* b, float scale, float* out) const;

  struct Dim {
    std::int64_t size;
    std::int64_t a;  // strides
    std::int64_t b;
  };
  // What a kernel walks through: offsets of rows from the outer dimensions, and rows of the innermost one.
  struct Walk {
    std::vector<Dim> kept;
    std::vector<Dim> reduced;
    Dim inner{1, 1, 0};
    bool inner_kept = false;
    std::int64_t outputs = 1;  // product of kept
    std::int64_t rows = 1;     // product of reduced
    std::int64_t chunks = 1;   // of one output's rows, or of one row
    std::int64_t chunk_rows = 1;
    std::int64_t chunk_width = 1;
  };

 private:
  Walk walk_;
};

}  // namespace tidemark::ops
