// Other shapes of the same elements, parts of them, and several brought together.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include "tidemark/tensor.h"

namespace tidemark {

// One dimension may be -1: what is left.
Tensor reshape(const Tensor& x, const Shape& shape, SourceLocation where = SourceLocation::current());
// Dimensions from `first` on become one.
Tensor flatten(const Tensor& x, int first = 1, SourceLocation where = SourceLocation::current());
// Two dimensions change places.
Tensor transpose(const Tensor& x, int a, int b, SourceLocation where = SourceLocation::current());
// [begin, end) of one dimension; negative ends count from the end of it.
Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end,
             SourceLocation where = SourceLocation::current());
Tensor concat(std::span<const Tensor> parts, int dim, SourceLocation where = SourceLocation::current());
inline Tensor concat(std::initializer_list<Tensor> parts, int dim, SourceLocation where = SourceLocation::current()) {
  return concat(std::span<const Tensor>(parts.begin(), parts.size()), dim, where);
}

}  // namespace tidemark
