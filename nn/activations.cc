#include "tidemark/nn/activations.h"

#include "nn/checks.h"
#include "tidemark/ops/reductions.h"
#include "tidemark/session.h"

namespace tidemark::nn {

Tensor ReLU::operator()(const Tensor& x, SourceLocation where) const { return relu(x, where); }

Tensor GELU::operator()(const Tensor& x, SourceLocation where) const { return gelu(x, options_, where); }

Tensor Sigmoid::operator()(const Tensor& x, SourceLocation where) const { return sigmoid(x, where); }

Tensor LogSigmoid::operator()(const Tensor& x, SourceLocation where) const { return log_sigmoid(x, where); }

Tensor Tanh::operator()(const Tensor& x, SourceLocation where) const { return tanh(x, where); }

Tensor SiLU::operator()(const Tensor& x, SourceLocation where) const { return silu(x, where); }

Tensor Mish::operator()(const Tensor& x, SourceLocation where) const { return mish(x, where); }

Tensor SELU::operator()(const Tensor& x, SourceLocation where) const { return selu(x, where); }

Tensor ReLU6::operator()(const Tensor& x, SourceLocation where) const { return relu6(x, where); }

Tensor Hardswish::operator()(const Tensor& x, SourceLocation where) const { return hardswish(x, where); }

Tensor Hardsigmoid::operator()(const Tensor& x, SourceLocation where) const { return hardsigmoid(x, where); }

Tensor Softsign::operator()(const Tensor& x, SourceLocation where) const { return softsign(x, where); }

Tensor LeakyReLU::operator()(const Tensor& x, SourceLocation where) const { return leaky_relu(x, slope_, where); }

Tensor ELU::operator()(const Tensor& x, SourceLocation where) const { return elu(x, alpha_, where); }

Tensor CELU::operator()(const Tensor& x, SourceLocation where) const { return celu(x, alpha_, where); }

Tensor Softplus::operator()(const Tensor& x, SourceLocation where) const { return softplus(x, options_, where); }

Tensor Hardtanh::operator()(const Tensor& x, SourceLocation where) const { return hardtanh(x, options_, where); }

Tensor GLU::operator()(const Tensor& x, SourceLocation where) const { return glu(x, dim_, where); }

Tensor SwiGLU::operator()(const Tensor& x, SourceLocation where) const { return swiglu(x, options_.dim, where); }

Tensor Softmax::operator()(const Tensor& x, SourceLocation where) const { return softmax(x, options_.dim, where); }

Tensor LogSoftmax::operator()(const Tensor& x, SourceLocation where) const {
  return log_softmax(x, options_.dim, where);
}

PReLU::PReLU(const PReLUOptions& options, SourceLocation where) {
  require_positive(options.count, "PReLU", ".count", where);
  weight = parameter(full({options.count}, options.init, where), "prelu.weight");
}

void PReLU::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

Tensor PReLU::operator()(const Tensor& x, SourceLocation where) const { return prelu(x, weight, where); }

}  // namespace tidemark::nn
