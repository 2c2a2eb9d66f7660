// Sums and the like, over all elements or some dimensions; softmax.
#pragma once

#include <initializer_list>
#include <span>

#include "tidemark/tensor.h"

namespace tidemark {

// Over all elements -> [] (one number), or over the given dimensions, which vanish. The mean of nothing is NaN.
Tensor sum(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor sum(const Tensor& x, std::span<const int> dims, SourceLocation where = SourceLocation::current());
inline Tensor sum(const Tensor& x, std::initializer_list<int> dims, SourceLocation where = SourceLocation::current()) {
  return sum(x, std::span<const int>(dims.begin(), dims.size()), where);
}
Tensor mean(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor mean(const Tensor& x, std::span<const int> dims, SourceLocation where = SourceLocation::current());
inline Tensor mean(const Tensor& x, std::initializer_list<int> dims, SourceLocation where = SourceLocation::current()) {
  return mean(x, std::span<const int>(dims.begin(), dims.size()), where);
}

// Over the last dimension.
Tensor softmax(const Tensor& x, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
