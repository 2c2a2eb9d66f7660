// Sums, extremes and the like, over all elements or some dimensions; softmax; sorting and drawing.
//
// Dimensions may be negative, which count from the end, and are given in any order, in braces or as a span; over an
// empty list nothing is reduced. One that does not exist or is named twice is a ShapeError. Reduced dimensions vanish,
// or stay with size 1: `sum(x, {0, 2}, {.keepdim = true})`. A number counts as [1]: it has dimension 0, or -1.
//
// Values are f32 unless said otherwise; indices are i32. Sums and products are made in double precision, or in pieces
// that are added up in it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct ReduceOptions {
  bool keepdim = false;
};

Tensor sum(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor sum(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
           SourceLocation where = SourceLocation::current());
inline Tensor sum(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                  SourceLocation where = SourceLocation::current()) {
  return sum(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}
// The mean of nothing is NaN.
Tensor mean(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor mean(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
            SourceLocation where = SourceLocation::current());
inline Tensor mean(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                   SourceLocation where = SourceLocation::current()) {
  return mean(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}
// The gradient is right where elements are zero, too.
Tensor prod(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor prod(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
            SourceLocation where = SourceLocation::current());
inline Tensor prod(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                   SourceLocation where = SourceLocation::current()) {
  return prod(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}

struct VarOptions {
  double correction = 1;  // the sum of squares is divided by the number of elements less this one, or by 0 below that
  bool keepdim = false;
};
// The variance, around a mean that is known to more than float's precision. Of nothing it is NaN.
Tensor var(const Tensor& x, const VarOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor var(const Tensor& x, std::span<const int> dims, const VarOptions& options = {},
           SourceLocation where = SourceLocation::current());
inline Tensor var(const Tensor& x, std::initializer_list<int> dims, const VarOptions& options = {},
                  SourceLocation where = SourceLocation::current()) {
  return var(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}
// The root of the variance. Its gradient where it is 0 is 0.
Tensor std(const Tensor& x, const VarOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor std(const Tensor& x, std::span<const int> dims, const VarOptions& options = {},
           SourceLocation where = SourceLocation::current());
inline Tensor std(const Tensor& x, std::initializer_list<int> dims, const VarOptions& options = {},
                  SourceLocation where = SourceLocation::current()) {
  return std(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}

struct NormOptions {
  double p = 2;  // any number, 0 (how many elements are not zero) and the infinities (the extremes of |x|) included
  bool keepdim = false;
};
// (sum |x|^p)^(1/p), without overflow on the way. Its gradient where it is 0 is 0; that of the infinite ones is shared
// evenly among equal elements. These have no value of nothing, which is refused.
Tensor norm(const Tensor& x, const NormOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor norm(const Tensor& x, std::span<const int> dims, const NormOptions& options = {},
            SourceLocation where = SourceLocation::current());
inline Tensor norm(const Tensor& x, std::initializer_list<int> dims, const NormOptions& options = {},
                   SourceLocation where = SourceLocation::current()) {
  return norm(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}

// The largest and the smallest element; a NaN wins. The gradient is shared evenly among equal elements; where a NaN has
// won all elements get a NaN. They have no value of nothing, which is refused.
Tensor amax(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor amax(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
            SourceLocation where = SourceLocation::current());
inline Tensor amax(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                   SourceLocation where = SourceLocation::current()) {
  return amax(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}
Tensor amin(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor amin(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
            SourceLocation where = SourceLocation::current());
inline Tensor amin(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                   SourceLocation where = SourceLocation::current()) {
  return amin(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}

// ln(sum e^x), without overflow on the way. Where all are -inf it is -inf, with NaNs as gradient.
Tensor logsumexp(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor logsumexp(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
                 SourceLocation where = SourceLocation::current());
inline Tensor logsumexp(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                        SourceLocation where = SourceLocation::current()) {
  return logsumexp(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}

// Of f32, i32 or u8, without gradient: whether any element is not zero, or all are not (u8, 0 or 1; a NaN is not zero),
// and how many are not (i32).
Tensor any(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor any(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
           SourceLocation where = SourceLocation::current());
inline Tensor any(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                  SourceLocation where = SourceLocation::current()) {
  return any(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}
Tensor all(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor all(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
           SourceLocation where = SourceLocation::current());
inline Tensor all(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                  SourceLocation where = SourceLocation::current()) {
  return all(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}
Tensor count_nonzero(const Tensor& x, const ReduceOptions& options = {},
                     SourceLocation where = SourceLocation::current());
Tensor count_nonzero(const Tensor& x, std::span<const int> dims, const ReduceOptions& options = {},
                     SourceLocation where = SourceLocation::current());
inline Tensor count_nonzero(const Tensor& x, std::initializer_list<int> dims, const ReduceOptions& options = {},
                            SourceLocation where = SourceLocation::current()) {
  return count_nonzero(x, std::span<const int>(dims.begin(), dims.size()), options, where);
}

// The largest and the smallest element of all: amax and amin, but where a NaN has won the gradient is shared among the
// NaNs, as in PyTorch.
Tensor max(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor min(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
// The largest or the smallest element of each line along a dimension, and where it is: the first of equal ones; a NaN
// wins. The gradient goes there. An empty dimension is refused.
std::pair<Tensor, Tensor> max(const Tensor& x, int dim, const ReduceOptions& options = {},
                              SourceLocation where = SourceLocation::current());
std::pair<Tensor, Tensor> min(const Tensor& x, int dim, const ReduceOptions& options = {},
                              SourceLocation where = SourceLocation::current());
// The index alone: in a dimension, or among all elements in row-major order.
Tensor argmax(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor argmax(const Tensor& x, int dim, const ReduceOptions& options = {},
              SourceLocation where = SourceLocation::current());
Tensor argmin(const Tensor& x, const ReduceOptions& options = {}, SourceLocation where = SourceLocation::current());
Tensor argmin(const Tensor& x, int dim, const ReduceOptions& options = {},
              SourceLocation where = SourceLocation::current());

struct SortOptions {
  bool descending = false;
};
// Values in order along a dimension, and where they were. Stable: equal elements keep their order. A NaN is larger than
// every number, and 0 equals -0.
std::pair<Tensor, Tensor> sort(const Tensor& x, int dim = -1, const SortOptions& options = {},
                               SourceLocation where = SourceLocation::current());
Tensor argsort(const Tensor& x, int dim = -1, const SortOptions& options = {},
               SourceLocation where = SourceLocation::current());

struct TopkOptions {
  bool largest = true;
};
// The first k of what sort() gives, in descending order where the largest are wanted.
std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int dim = -1, const TopkOptions& options = {},
                               SourceLocation where = SourceLocation::current());

// e^x / sum e^x along a dimension, and its logarithm. An element of -inf has probability 0; a line with +inf or a NaN,
// or of -inf alone, is NaN.
Tensor softmax(const Tensor& x, int dim = -1, SourceLocation where = SourceLocation::current());
Tensor log_softmax(const Tensor& x, int dim = -1, SourceLocation where = SourceLocation::current());

// Sums and products of the elements up to each one along a dimension. Where elements are zero the product's gradient is
// right, too.
Tensor cumsum(const Tensor& x, int dim, SourceLocation where = SourceLocation::current());
Tensor cumprod(const Tensor& x, int dim, SourceLocation where = SourceLocation::current());

struct MultinomialOptions {
  bool replacement = false;
};
// Draws `count` indices from each row of probabilities [..., C] -> [..., count], in the order of the draws. The
// probabilities need not add up to 1. They must be finite, not negative and not all zero, with at least `count` of them
// above zero where nothing is replaced.
Tensor multinomial(const Tensor& probabilities, std::int64_t count, const MultinomialOptions& options = {},
                   SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
