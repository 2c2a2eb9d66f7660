// What the ops of shapes share: dimensions by number, and elements that change places. Elements are moved by their size
// and never looked at, so every dtype goes through the same kernels.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ops/kernels.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// For functions that are made of several ops: throws ShapeError "[op] message (at file:line)".
[[noreturn]] void refuse(std::string_view op, const std::string& message, SourceLocation where);

// `dim` from the front; refused where x does not have it.
int dim_of(std::string_view op, const Tensor& x, int dim, SourceLocation where);
// The same for what cuts or repeats x along the dimension: a number has none for that.
int cut_dim_of(std::string_view op, const Tensor& x, int dim, SourceLocation where);

// A number as [1], other shapes as they are.
inline Shape with_dim(const Shape& shape) { return shape.rank() == 0 ? Shape({1}) : shape; }

// Dimensions as an attribute: they may be negative. More than a shape may have are refused.
Shape dims_attribute(std::string_view op, std::span<const int> dims, SourceLocation where);

// A dimension as seen from outside and inside: [outer, size, inner].
struct Split {
  std::int64_t outer = 1;
  std::int64_t size = 0;
  std::int64_t inner = 1;

  Split(const Shape& shape, int dim) : size(shape[dim]) {
    for (int i = 0; i < dim; ++i) outer *= shape[i];
    for (int i = dim + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
  std::int64_t row() const { return size * inner; }
};

// Elements from one index of dimension `dim` to the next.
inline std::int64_t stride_of(const Shape& shape, int dim) { return Split(shape, dim).inner; }

// An op that makes `y` of x by moving elements: row-major, and a gradient that needs nothing but that of y.
Prepared prepare_move(const Meta& x, const Shape& y, Needs needs);

// A dimension that is stepped through on both sides; steps are in elements.
struct MoveDim {
  std::int64_t size = 1;
  std::int64_t from = 0;
  std::int64_t to = 0;
};

// to[sum of index * to step] = from[sum of index * from step], for each index. Each place of `to` is met once. At most
// Shape::kMaxRank dimensions.
void move_elements(const Ctx& ctx, std::span<const MoveDim> dims, std::int64_t element_bytes, const void* from,
                   void* to);
// The same of floats that are added to what is there.
void add_elements(const Ctx& ctx, std::span<const MoveDim> dims, const float* from, float* to);

// Sets bytes to zero, on the team.
void clear_bytes(const Ctx& ctx, void* to, std::int64_t bytes);

}  // namespace tidemark::ops
