// Rows of logits: what cross_entropy and linear_cross_entropy do with them.
#pragma once

#include <cstdint>
#include <memory>

#include "tidemark/op.h"
#include "tidemark/ops/losses.h"

namespace tidemark::ops {

// Of each row its maximum m, and the sum of e^(x - m).
void max_and_sum(std::int64_t rows, std::int64_t width, const float* x, float* maxima, float* sums);

// The sum of weight * (most - x), where a null weight is 1.
double sum_below(std::int64_t width, float most, const float* x, const float* weight);

// out = scale * e^(x - most) - shift * weight, where a null weight is 1. `out` may be x.
void softmax_gradient(std::int64_t width, const float* x, float most, float scale, float shift, const float* weight,
                      float* out);

// The op of cross_entropy where the target is probabilities.
std::shared_ptr<const AnyOp> cross_entropy_of_probabilities(float label_smoothing, LossReduction reduction);

}  // namespace tidemark::ops
