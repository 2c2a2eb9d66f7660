// Normalisation and dropout.
#pragma once

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct BatchNormOptions {
  bool training = true;
  float momentum = 0.1f;  // running = (1 - momentum) * running + momentum * batch, variance unbiased, as PyTorch does
  float eps = 1e-5f;
};
// x [N, C, H, W], [N, C, L] or [N, C]; gamma, beta, running_mean, running_variance [C]. In training the statistics of
// the batch are used and the running ones updated, once, when the op is recorded. An undefined gamma is 1, an undefined
// beta 0; without running statistics those of the batch are used in evaluation too.
Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_variance, const BatchNormOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct LayerNormOptions {
  float eps = 1e-5f;
  int dims = 1;
};
// Over the last `dims` dimensions, whose sizes gamma and beta have; an undefined gamma is 1, an undefined beta 0.
Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const LayerNormOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct RmsNormOptions {
  float eps = 1e-6f;
};
// x / sqrt(mean(x^2) + eps) * gamma over the last dimension; gamma [D].
Tensor rms_norm(const Tensor& x, const Tensor& gamma, const RmsNormOptions& options = {},
                SourceLocation where = SourceLocation::current());

struct GroupNormOptions {
  float eps = 1e-5f;
};
// x [N, C, ...]: each of the groups of C / groups channels is normalised over its channels and places. gamma and beta
// [C], or both undefined: 1 and 0.
Tensor group_norm(const Tensor& x, int groups, const Tensor& gamma = {}, const Tensor& beta = {},
                  const GroupNormOptions& options = {}, SourceLocation where = SourceLocation::current());
// x [N, C, L] or [N, C, H, W]: each channel of each image by itself.
Tensor instance_norm(const Tensor& x, const Tensor& gamma = {}, const Tensor& beta = {},
                     const GroupNormOptions& options = {}, SourceLocation where = SourceLocation::current());

// Zeroes elements with probability p, in [0, 1], and scales the others by 1 / (1 - p). The mask is never stored.
struct DropoutOptions {
  float p = 0.5f;
  bool training = true;
};
Tensor dropout(const Tensor& x, const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());

// Whole channels of x [N, C, ...] in place of elements.
Tensor dropout2d(const Tensor& x, const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());
// Whole samples of x [N, ...]: stochastic depth, on the branch that is added to the path.
Tensor drop_path(const Tensor& x, const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
