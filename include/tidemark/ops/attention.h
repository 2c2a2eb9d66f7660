// Attention.
#pragma once

#include "tidemark/tensor.h"

namespace tidemark {

// qkv [N, T, 3 * D]: queries, keys and values side by side, each of `heads` heads -> [N, T, D]. Causal, scaled by
// 1 / sqrt(D / heads). Never holds more than a few rows of scores a thread.
Tensor causal_self_attention(const Tensor& qkv, int heads, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
