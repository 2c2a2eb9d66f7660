// Matrix products.
#pragma once

#include "tidemark/tensor.h"

namespace tidemark {

// a [..., M, K], b [..., K, N] -> [..., M, N]; leading dimensions are equal, or absent in b.
Tensor matmul(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());

// x [..., I], weight [O, I], bias [O] or undefined -> [..., O].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              SourceLocation where = SourceLocation::current());

}  // namespace tidemark
