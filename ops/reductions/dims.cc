#include "ops/reductions/dims.h"

#include <string>
#include <vector>

namespace tidemark::ops {

Dims dims_of(std::string_view op, const Tensor& x, std::span<const int> dims, SourceLocation where) {
  const int rank = x.shape(where).rank();
  Dims out{.all = false};
  for (const int dim : dims) {
    const int at = from_front(dim, rank);
    if (!has_dim(dim, rank) || out.has(at)) {
      throw ShapeError("[" + std::string(op) + "] x is " + x.shape(where).to_string() + "; dimension " +
                       std::to_string(dim) + " does not exist or is named twice (at " + to_string(where) + ")");
    }
    out.bits |= 1u << at;
  }
  return out;
}

Shape ones_shape(const Shape& shape, const Dims& dims) { return reduced_shape(shape, dims, true); }

Shape reduced_shape(const Shape& shape, const Dims& dims, bool keepdim) {
  std::vector<std::int64_t> out;
  for (int i = 0; i < shape.rank(); ++i) {
    if (!dims.has(i)) {
      out.push_back(shape[i]);
    } else if (keepdim) {
      out.push_back(1);
    }
  }
  return Shape(out);
}

int dim_of(const Prep& prep, const Meta& x, int dim) {
  prep.require(has_dim(dim, x.shape.rank()), describe("x", x) + "; it must have dimension " + std::to_string(dim));
  return from_front(dim, x.shape.rank());
}

Lines::Lines(const Shape& shape, int dim) {
  if (shape.rank() == 0) return;
  size = shape[dim];
  for (int i = 0; i < dim; ++i) outer *= shape[i];
  for (int i = dim + 1; i < shape.rank(); ++i) inner *= shape[i];
}

}  // namespace tidemark::ops
