// Dimensions as reductions name them, and the shapes that follow.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "ops/kernels.h"
#include "tidemark/tensor.h"

namespace tidemark::ops {

// Dimensions that are reduced over: a bit each, or all of them.
struct Dims {
  bool all = true;
  std::uint32_t bits = 0;

  bool has(int dim) const { return all || ((bits >> dim) & 1) != 0; }
  void describe(Attributes& a) const {
    a("all", all);
    a("dims", static_cast<std::int64_t>(bits));
  }
};

// Negative dimensions count from the end. Throws where one does not exist or is named twice.
Dims dims_of(std::string_view op, const Tensor& x, std::span<const int> dims, SourceLocation where);

// The shape with 1 in place of what is reduced over, and the one where it is left out.
Shape ones_shape(const Shape& shape, const Dims& dims);
Shape reduced_shape(const Shape& shape, const Dims& dims, bool keepdim);

// One dimension of x, from the front; fails where it does not exist.
int dim_of(const Prep& prep, const Meta& x, int dim);

// A dimension as seen from outside and inside: [outer, size, inner].
struct Lines {
  std::int64_t outer = 1;
  std::int64_t size = 1;
  std::int64_t inner = 1;

  Lines(const Shape& shape, int dim);
  std::int64_t count() const { return outer * inner; }
};

}  // namespace tidemark::ops
