#include "tidemark/nn/norms.h"

#include <string>
#include <vector>

#include "nn/checks.h"
#include "tidemark/ops/norms.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

// Both undefined where they are not wanted.
void make_affine(bool wanted, const Shape& shape, const std::string& layer, Tensor& weight, Tensor& bias,
                 SourceLocation where) {
  if (!wanted) return;
  weight = parameter(full(shape, 1, where), layer + ".weight");
  bias = parameter(zeros(shape, f32, where), layer + ".bias");
}

void visit_affine(Visitor& visitor, Tensor& weight, Tensor& bias) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

}  // namespace

BatchNorm::BatchNorm(const BatchNormOptions& options, SourceLocation where) : options_(options) {
  require_positive(options.features, "BatchNorm", ".features", where);
  const Shape shape{options.features};
  make_affine(options.affine, shape, "batch_norm", weight, bias, where);
  if (!options.track_running_stats) return;
  running_mean = tidemark::state(shape, f32, Category::kParameters, "batch_norm.running_mean", where);
  running_variance = tidemark::state(shape, f32, Category::kParameters, "batch_norm.running_var", where);
  const std::vector<float> ones(static_cast<std::size_t>(options.features), 1.0f);
  running_variance.assign(std::span<const float>(ones), where);
}

void BatchNorm::visit(Visitor& visitor) {
  visit_affine(visitor, weight, bias);
  visitor.state("running_mean", running_mean);
  visitor.state("running_var", running_variance);
  if (running_mean.defined()) visitor.counter("num_batches_tracked", batches_);
  visitor.training(training_);
}

Tensor BatchNorm::operator()(const Tensor& x, SourceLocation where) const {
  if (training_ && running_mean.defined()) ++batches_;
  return batch_norm(x, weight, bias, running_mean, running_variance,
                    {.training = training_, .momentum = options_.momentum, .eps = options_.eps}, where);
}

LayerNorm::LayerNorm(const LayerNormOptions& options, SourceLocation where)
    : normalized_(options.shape.empty() ? Shape{options.features} : Shape(options.shape, where)), eps_(options.eps) {
  require(options.shape.empty() || options.features == 0, "LayerNorm", ".features and .shape exclude each other",
          where);
  for (const std::int64_t size : normalized_.dims()) require_positive(size, "LayerNorm", ".features", where);
  make_affine(options.affine, normalized_, "layer_norm", weight, bias, where);
  if (!options.bias) bias = Tensor();
}

void LayerNorm::visit(Visitor& visitor) { visit_affine(visitor, weight, bias); }

Tensor LayerNorm::operator()(const Tensor& x, SourceLocation where) const {
  return layer_norm(x, weight, bias, {.eps = eps_, .dims = normalized_.rank()}, where);
}

RMSNorm::RMSNorm(const RMSNormOptions& options, SourceLocation where) : eps_(options.eps) {
  require_positive(options.features, "RMSNorm", ".features", where);
  weight = parameter(full({options.features}, 1, where), "rms_norm.weight");
}

void RMSNorm::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

Tensor RMSNorm::operator()(const Tensor& x, SourceLocation where) const {
  return rms_norm(x, weight, {.eps = eps_}, where);
}

GroupNorm::GroupNorm(const GroupNormOptions& options, SourceLocation where) : options_(options) {
  require_positive(options.groups, "GroupNorm", ".groups", where);
  require_positive(options.channels, "GroupNorm", ".channels", where);
  require(options.channels % options.groups == 0, "GroupNorm",
          std::to_string(options.groups) + " groups do not divide " + std::to_string(options.channels) + " channels",
          where);
  make_affine(options.affine, {options.channels}, "group_norm", weight, bias, where);
}

void GroupNorm::visit(Visitor& visitor) { visit_affine(visitor, weight, bias); }

Tensor GroupNorm::operator()(const Tensor& x, SourceLocation where) const {
  return group_norm(x, options_.groups, weight, bias, {.eps = options_.eps}, where);
}

InstanceNorm::InstanceNorm(const InstanceNormOptions& options, SourceLocation where) : options_(options) {
  require_positive(options.features, "InstanceNorm", ".features", where);
  make_affine(options.affine, {options.features}, "instance_norm", weight, bias, where);
}

void InstanceNorm::visit(Visitor& visitor) { visit_affine(visitor, weight, bias); }

Tensor InstanceNorm::operator()(const Tensor& x, SourceLocation where) const {
  const Shape& shape = x.shape(where);
  require(shape.rank() < 2 || shape[1] == options_.features, "InstanceNorm",
          "x is " + shape.to_string() + ", the layer has " + std::to_string(options_.features) + " features", where);
  return instance_norm(x, weight, bias, {.eps = options_.eps}, where);
}

template <Dropped what>
DropoutOf<what>::DropoutOf(const DropoutOptions& options, SourceLocation where) : p_(options.p) {
  const char* const name = what == Dropped::kElements   ? "Dropout"
                           : what == Dropped::kChannels ? "Dropout2d"
                                                        : "DropPath";
  require(p_ >= 0 && p_ <= 1, name, ".p must be in [0, 1], but is " + std::to_string(p_), where);
}

template <Dropped what>
Tensor DropoutOf<what>::operator()(const Tensor& x, SourceLocation where) const {
  if (!training_ || p_ == 0) return x;
  if constexpr (what == Dropped::kElements) return dropout(x, {.p = p_}, where);
  if constexpr (what == Dropped::kChannels) return dropout2d(x, {.p = p_}, where);
  if constexpr (what == Dropped::kSamples) return drop_path(x, {.p = p_}, where);
}

template class DropoutOf<Dropped::kElements>;
template class DropoutOf<Dropped::kChannels>;
template class DropoutOf<Dropped::kSamples>;

}  // namespace tidemark::nn
