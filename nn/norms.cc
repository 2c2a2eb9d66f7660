#include "tidemark/nn/norms.h"

#include <string>
#include <vector>

#include "nn/checks.h"
#include "tidemark/ops/norms.h"
#include "tidemark/session.h"

namespace tidemark::nn {

BatchNorm2d::BatchNorm2d(const BatchNorm2dOptions& options, SourceLocation where) : options_(options) {
  require_positive(options.features, "BatchNorm2d", ".features", where);
  const Shape shape{options.features};
  weight = parameter(full(shape, 1, where), "batch_norm.weight");
  bias = parameter(zeros(shape, f32, where), "batch_norm.bias");
  running_mean = tidemark::state(shape, f32, Category::kParameters, "batch_norm.running_mean", where);
  running_variance = tidemark::state(shape, f32, Category::kParameters, "batch_norm.running_variance", where);
  const std::vector<float> ones(static_cast<std::size_t>(options.features), 1.0f);
  running_variance.assign(std::span<const float>(ones), where);
}

void BatchNorm2d::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
  visitor.state("running_mean", running_mean);
  visitor.state("running_variance", running_variance);
  visitor.training(training_);
}

Tensor BatchNorm2d::operator()(const Tensor& x, SourceLocation where) const {
  return batch_norm(x, weight, bias, running_mean, running_variance,
                    {.training = training_, .momentum = options_.momentum, .eps = options_.eps}, where);
}

LayerNorm::LayerNorm(const LayerNormOptions& options, SourceLocation where) : eps_(options.eps) {
  require_positive(options.features, "LayerNorm", ".features", where);
  weight = parameter(full({options.features}, 1, where), "layer_norm.weight");
  bias = parameter(zeros({options.features}, f32, where), "layer_norm.bias");
}

void LayerNorm::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

Tensor LayerNorm::operator()(const Tensor& x, SourceLocation where) const {
  return layer_norm(x, weight, bias, {.eps = eps_}, where);
}

Dropout::Dropout(const DropoutOptions& options, SourceLocation where) : p_(options.p) {
  require(p_ >= 0 && p_ <= 1, "Dropout", ".p must be in [0, 1], but is " + std::to_string(p_), where);
}

Tensor Dropout::operator()(const Tensor& x, SourceLocation where) const {
  if (!training_ || p_ == 0) return x;
  return dropout(x, {.p = p_, .training = true}, where);
}

}  // namespace tidemark::nn
