#include "tidemark/nn/linear.h"

#include "nn/checks.h"
#include "tidemark/ops/products.h"
#include "tidemark/session.h"

namespace tidemark::nn {

Linear::Linear(const LinearOptions& options, SourceLocation where) {
  require_positive(options.in, "Linear", ".in", where);
  require_positive(options.out, "Linear", ".out", where);
  const Shape shape{options.out, options.in};
  const auto fan_in = static_cast<double>(options.in);
  if (options.stddev > 0) {
    weight = parameter(normal(shape, 0, options.stddev, where), "linear.weight");
    if (options.bias) bias = parameter(zeros({options.out}, f32, where), "linear.bias");
  } else {
    weight = uniform_parameter(shape, fan_in, "linear.weight", where);
    if (options.bias) bias = uniform_parameter({options.out}, fan_in, "linear.bias", where);
  }
}

void Linear::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

Tensor Linear::operator()(const Tensor& x, SourceLocation where) const { return linear(x, weight, bias, where); }

Bilinear::Bilinear(const BilinearOptions& options, SourceLocation where) {
  require_positive(options.in1, "Bilinear", ".in1", where);
  require_positive(options.in2, "Bilinear", ".in2", where);
  require_positive(options.out, "Bilinear", ".out", where);
  // PyTorch takes the second dimension of the weight alone for what goes in.
  const auto fan_in = static_cast<double>(options.in1);
  weight = uniform_parameter({options.out, options.in1, options.in2}, fan_in, "bilinear.weight", where);
  if (options.bias) bias = uniform_parameter({options.out}, fan_in, "bilinear.bias", where);
}

void Bilinear::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

Tensor Bilinear::operator()(const Tensor& x1, const Tensor& x2, SourceLocation where) const {
  return bilinear(x1, x2, weight, bias, where);
}

}  // namespace tidemark::nn
