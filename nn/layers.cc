#include <cmath>
#include <string>

#include "tidemark/nn.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

void require(bool holds, const char* layer, const std::string& message, SourceLocation where) {
  if (!holds) throw ShapeError(std::string("[nn::") + layer + "] " + message + " (at " + to_string(where) + ")");
}

void require_positive(std::int64_t value, const char* layer, const char* option, SourceLocation where) {
  require(value > 0, layer, std::string(option) + " must be at least 1, but is " + std::to_string(value), where);
}

// PyTorch's kaiming_uniform with a = sqrt(5), and its bias: both are uniform within 1 / sqrt(fan_in).
Tensor uniform_parameter(const Shape& shape, double fan_in, const char* name, SourceLocation where) {
  const float bound = 1.0f / std::sqrt(static_cast<float>(fan_in));
  return parameter(uniform(shape, -bound, bound, where), name);
}

}  // namespace

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

Conv2d::Conv2d(const Conv2dOptions& options, SourceLocation where)
    : options_{.stride = {options.stride, options.stride},
               .padding = {options.padding, options.padding},
               .dilation = {options.dilation, options.dilation},
               .groups = options.groups} {
  require_positive(options.in, "Conv2d", ".in", where);
  require_positive(options.out, "Conv2d", ".out", where);
  require_positive(options.kernel, "Conv2d", ".kernel", where);
  require_positive(options.stride, "Conv2d", ".stride", where);
  require_positive(options.dilation, "Conv2d", ".dilation", where);
  require_positive(options.groups, "Conv2d", ".groups", where);
  require(options.padding >= 0, "Conv2d", ".padding must not be negative", where);
  require(options.in % options.groups == 0 && options.out % options.groups == 0, "Conv2d",
          std::to_string(options.groups) + " groups do not divide " + std::to_string(options.in) + " and " +
              std::to_string(options.out) + " channels",
          where);
  const std::int64_t depth = options.in / options.groups;
  const auto side = static_cast<double>(options.kernel);  // whose square may not be an integer that there is
  const double fan_in = static_cast<double>(depth) * side * side;
  weight = uniform_parameter({options.out, depth, options.kernel, options.kernel}, fan_in, "conv2d.weight", where);
  if (options.bias) bias = uniform_parameter({options.out}, fan_in, "conv2d.bias", where);
}

void Conv2d::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

Tensor Conv2d::operator()(const Tensor& x, SourceLocation where) const {
  return conv2d(x, weight, bias, options_, where);
}

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

Embedding::Embedding(const EmbeddingOptions& options, SourceLocation where) {
  require_positive(options.count, "Embedding", ".count", where);
  require_positive(options.width, "Embedding", ".width", where);
  weight = parameter(normal({options.count, options.width}, 0, options.stddev, where), "embedding.weight");
}

void Embedding::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

Tensor Embedding::operator()(const Tensor& indices, SourceLocation where) const {
  return embedding(indices, weight, where);
}

Dropout::Dropout(const DropoutOptions& options, SourceLocation where) : p_(options.p) {
  require(p_ >= 0 && p_ <= 1, "Dropout", ".p must be in [0, 1], but is " + std::to_string(p_), where);
}

Tensor Dropout::operator()(const Tensor& x, SourceLocation where) const {
  if (!training_ || p_ == 0) return x;
  return dropout(x, {.p = p_, .training = true}, where);
}

Tensor ReLU::operator()(const Tensor& x, SourceLocation where) const { return relu(x, where); }

Tensor GELU::operator()(const Tensor& x, SourceLocation where) const { return gelu(x, options_, where); }

MaxPool2d::MaxPool2d(const MaxPool2dOptions& options, SourceLocation where)
    : options_{.kernel = {options.kernel, options.kernel},
               .stride = {options.stride, options.stride},
               .padding = {options.padding, options.padding}} {
  require_positive(options.kernel, "MaxPool2d", ".kernel", where);
  require(options.stride >= 0, "MaxPool2d", ".stride must not be negative", where);
  require(options.padding >= 0, "MaxPool2d", ".padding must not be negative", where);
}

Tensor MaxPool2d::operator()(const Tensor& x, SourceLocation where) const { return max_pool2d(x, options_, where); }

Tensor Flatten::operator()(const Tensor& x, SourceLocation where) const { return flatten(x, 1, where); }

}  // namespace tidemark::nn
