// NumPy's broadcasting over plain layouts: how two operands and their common shape are walked through, and the sums
// that are the gradients of what was broadcast.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "ops/kernels.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// The shape that both broadcast to; none where they do not.
std::optional<Shape> broadcast(const Shape& a, const Shape& b);

// A row of an operand: floats one after the other, or one float again and again.
struct Row {
  const float* at = nullptr;
  bool repeated = false;
};

// Rows of an operand, `step` floats apart.
struct Rows {
  Row first;
  std::int64_t step = 0;
};

// The gradient of one operand of a function of two: g times the function's slope, over n elements. The operands are
// read where `reads_a` and `reads_b` say so.
struct SlopeKernels {
  bool reads_a;
  bool reads_b;
  void (*gradient)(std::int64_t n, const float* g, Row a, Row b, float* gx);
  double (*sum)(std::int64_t n, const float* g, Row a, Row b);
  // sums[j] += the sum of column j over `count` rows. Rows of the operand itself do not repeat one float.
  void (*accumulate)(std::int64_t count, std::int64_t columns, Rows g, Rows a, Rows b, float* sums);
};

// y = f(a, b), and the gradients of a and b.
struct BinaryKernels {
  void (*value)(std::int64_t n, Row a, Row b, float* y);
  std::array<SlopeKernels, 2> slopes;
};

// a + b and a * b, whose slopes are 1 and the other operand.
const BinaryKernels& add_kernels();
const BinaryKernels& mul_kernels();

// A dimension, or several that all of these step through evenly: strides of the common shape and of two operands.
struct WalkDim {
  std::int64_t size = 1;
  std::int64_t whole = 1;
  std::int64_t a = 0;
  std::int64_t b = 0;
};

// The rows of two operands that are broadcast to one shape.
class RowWalk {
 public:
  RowWalk(const Shape& shape, const Shape& a, const Shape& b);

  // f(at, count, row of a, row of b) for rows that make up all elements, in any order, on the team.
  template <class F>
  void run(const Ctx& ctx, const float* a, const float* b, F&& f) const {
    for_elements(ctx, count_, 12, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t at = begin % inner_.size;
        const std::int64_t count = std::min(end - begin, inner_.size - at);
        const WalkDim row = start(begin / inner_.size);
        f(begin, count, Row{a + row.a + at * inner_.a, inner_.a == 0}, Row{b + row.b + at * inner_.b, inner_.b == 0});
        begin += count;
      }
    });
  }

 private:
  WalkDim start(std::int64_t row) const;  // as offsets

  std::int64_t count_;
  std::vector<WalkDim> outer_;
  WalkDim inner_;
};

// Sums of g times a slope, where g has shape `from`, a and b are broadcast to it, and the sums go over the dimensions
// that shape `to` lacks or has as 1. They are made in chunks that follow from the shapes alone and combined in their
// order, so the result is the same on every team.
class Reduction {
 public:
  // Operands that are not read may have any shape that broadcasts to `from`.
  Reduction(const Shape& from, const Shape& to, const Shape& a = {}, const Shape& b = {});

  std::int64_t scratch() const;  // bytes
  // out = scale * sums.
  void run(const Ctx& ctx, const SlopeKernels& slope, const float* g, const float* a, const float* b, float scale,
           float* out) const;
  // The same of g alone.
  void run(const Ctx& ctx, const float* g, float scale, float* out) const {
    run(ctx, add_kernels().slopes[0], g, nullptr, nullptr, scale, out);
  }

 private:
  void sum_columns(const Ctx& ctx, const SlopeKernels& slope, const float* g, const float* a, const float* b,
                   float* partial) const;
  void sum_rows(const Ctx& ctx, const SlopeKernels& slope, const float* g, const float* a, const float* b,
                float* partial) const;
  std::int64_t width() const { return inner_kept_ ? inner_.size : 1; }

  // Offsets of rows from the outer dimensions, and rows of the innermost one.
  std::vector<WalkDim> kept_;
  std::vector<WalkDim> reduced_;
  WalkDim inner_;
  bool inner_kept_ = false;
  std::int64_t outputs_ = 1;  // product of kept
  std::int64_t rows_ = 1;     // product of reduced
  std::int64_t chunks_ = 1;   // of one output's rows, or of one row
  std::int64_t chunk_rows_ = 1;
  std::int64_t chunk_width_ = 1;
};

}  // namespace tidemark::ops
