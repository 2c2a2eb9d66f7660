// Normalisation and dropout.
#pragma once

#include "tidemark/tensor.h"

namespace tidemark {

struct BatchNormOptions {
  bool training = true;
  float momentum = 0.1f;  // running = (1 - momentum) * running + momentum * batch, variance unbiased, as PyTorch does
  float eps = 1e-5f;
};
// x [N, C, H, W] or [N, C]; gamma, beta, running_mean, running_variance [C]. In training the statistics of the batch
// are used and the running ones updated, once, when the op is recorded.
Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_variance, const BatchNormOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct LayerNormOptions {
  float eps = 1e-5f;
};
// Over the last dimension; gamma and beta [D].
Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const LayerNormOptions& options = {},
                  SourceLocation where = SourceLocation::current());

// Zeroes elements with probability p, in [0, 1], and scales the others by 1 / (1 - p). The mask is never stored.
struct DropoutOptions {
  float p = 0.5f;
  bool training = true;
};
Tensor dropout(const Tensor& x, const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
