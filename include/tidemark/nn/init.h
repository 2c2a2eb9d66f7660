// Initial values of parameters, as torch.nn.init has them. They overwrite a leaf's elements in place, and take at most
// 1 MiB beside them; orthogonal() takes 128 bytes a row and column, and a copy where there are more rows than columns.
//
//   nn::Linear layer({.in = 64, .out = 64});
//   nn::init::kaiming_normal(layer.weight, {.mode = nn::init::FanMode::kFanOut});
//   for (const Parameter& p : net.parameters()) {
//     if (matches(p.name(), "*.weight") && p.shape().rank() > 1) nn::init::orthogonal(p);
//   }
//
// Random numbers are drawn from the session's seed, so that the same program has the same weights. In the middle of a
// step they are as assign(): what was computed from the old elements can no longer go backward. All take f32 leaves.
#pragma once

#include <cstdint>

#include "tidemark/shape.h"
#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark::nn::init {

enum class Nonlinearity : std::uint8_t { kLinear, kSigmoid, kTanh, kRelu, kLeakyRelu, kSelu };

// By how much a weight's deviation is to grow so that the nonlinearity after it keeps the variance: 1 for kLinear and
// kSigmoid, 5/3 for kTanh, sqrt(2 / (1 + slope^2)) for kLeakyRelu, sqrt(2) for kRelu and 3/4 for kSelu.
double calculate_gain(Nonlinearity nonlinearity, double slope = 0.01);

// How many inputs one output sees, and how many outputs one input reaches: in [out, in, kernel ...] the sizes `in` and
// `out`, each times the kernel's places. Shapes below two dimensions have none.
struct Fans {
  double in = 0;
  double out = 0;
};
Fans calculate_fans(const Shape& shape, SourceLocation where = SourceLocation::current());

void constant(const Tensor& tensor, float value, SourceLocation where = SourceLocation::current());
void zeros(const Tensor& tensor, SourceLocation where = SourceLocation::current());
void ones(const Tensor& tensor, SourceLocation where = SourceLocation::current());
// Over [low, high).
void uniform(const Tensor& tensor, float low = 0, float high = 1, SourceLocation where = SourceLocation::current());
void normal(const Tensor& tensor, float mean = 0, float stddev = 1, SourceLocation where = SourceLocation::current());

struct TruncNormalOptions {
  float mean = 0;
  float stddev = 1;  // of the distribution before it is cut
  float low = -2;    // in absolute terms, not in deviations
  float high = 2;
};
// The normal distribution within [low, high], which must hold at least 1e-9 of it.
void trunc_normal(const Tensor& tensor, const TruncNormalOptions& options = {},
                  SourceLocation where = SourceLocation::current());

// Glorot and Bengio: deviation gain * sqrt(2 / (fan in + fan out)).
void xavier_uniform(const Tensor& tensor, double gain = 1, SourceLocation where = SourceLocation::current());
void xavier_normal(const Tensor& tensor, double gain = 1, SourceLocation where = SourceLocation::current());

enum class FanMode : std::uint8_t { kFanIn, kFanOut };
struct KaimingOptions {
  double slope = 0;  // of leaky_relu below zero; PyTorch's `a`
  FanMode mode = FanMode::kFanIn;
  Nonlinearity nonlinearity = Nonlinearity::kLeakyRelu;
};
// He and others: deviation gain / sqrt(fan). Layers start with kaiming_uniform of slope sqrt(5).
void kaiming_uniform(const Tensor& tensor, const KaimingOptions& options = {},
                     SourceLocation where = SourceLocation::current());
void kaiming_normal(const Tensor& tensor, const KaimingOptions& options = {},
                    SourceLocation where = SourceLocation::current());

// Orthonormal rows or columns, whichever are fewer, times gain; [out, in, kernel ...] counts as [out, the rest]. Of all
// such matrices each is equally likely.
void orthogonal(const Tensor& tensor, double gain = 1, SourceLocation where = SourceLocation::current());
// Ones on the diagonal of a matrix, zeros elsewhere: a linear layer that passes its input on.
void eye(const Tensor& tensor, SourceLocation where = SourceLocation::current());
// The same for convolutions of one to three dimensions, whose padding keeps the size; of each group.
void dirac(const Tensor& tensor, int groups = 1, SourceLocation where = SourceLocation::current());

}  // namespace tidemark::nn::init
#pragma GCC visibility pop
