// Products of matrices and vectors. f32.
#pragma once

#include <initializer_list>
#include <span>
#include <string_view>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct MatmulOptions {
  bool transpose_a = false;  // a lies as [..., K, M]
  bool transpose_b = false;  // b lies as [..., N, K]
};
// a [..., M, K], b [..., K, N] -> [..., M, N]; leading dimensions are broadcast to each other, as NumPy's. A vector a
// is a row and a vector b a column, which the result does not have: [M, K] x [K] -> [M], [K] x [K, N] -> [N] and [K] x
// [K] -> []. Neither transposing by an option nor broadcasting copies anything, while transpose() before it does; the
// gradient of what was broadcast is summed up in its own bytes.
Tensor matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options = {},
              SourceLocation where = SourceLocation::current());
// a [N, M, K], b [N, K, P] -> [N, M, P]: matmul of nothing but this, as torch.bmm.
Tensor bmm(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());

// a [K], b [K] -> [].
Tensor dot(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
// a [M], b [N] -> [M, N].
Tensor outer(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());

// Sums of products by the names of dimensions: einsum("bhtd,bhsd->bhts", {q, k}). Each operand has a letter for each
// dimension; "..." stands for any number, which are broadcast. A letter that is there twice in one operand means its
// diagonal. What is not in the output is summed over. Without "->" the output is the ellipsis and then, in alphabetical
// order, the letters that occur once. Dimensions of size 1 go with any size.
//
// Operands are multiplied from left to right, two at a time: their order decides about the work. An operand whose
// dimensions lie as batch, rows and columns, or as batch, columns and rows, is used as it lies; others are copied into
// that order.
Tensor einsum(std::string_view equation, std::span<const Tensor> operands,
              SourceLocation where = SourceLocation::current());
inline Tensor einsum(std::string_view equation, std::initializer_list<Tensor> operands,
                     SourceLocation where = SourceLocation::current()) {
  return einsum(equation, std::span<const Tensor>(operands.begin(), operands.size()), where);
}

// x [..., I], weight [O, I], bias [O] or undefined -> [..., O].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              SourceLocation where = SourceLocation::current());

// x1 [..., I1], x2 [..., I2], weight [O, I1, I2], bias [O] or undefined -> [..., O]: x1 weight[o] x2 + bias[o].
Tensor bilinear(const Tensor& x1, const Tensor& x2, const Tensor& weight, const Tensor& bias = {},
                SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
