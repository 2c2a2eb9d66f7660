#include "tidemark/nn/activations.h"

namespace tidemark::nn {

Tensor ReLU::operator()(const Tensor& x, SourceLocation where) const { return relu(x, where); }

Tensor GELU::operator()(const Tensor& x, SourceLocation where) const { return gelu(x, options_, where); }

}  // namespace tidemark::nn
