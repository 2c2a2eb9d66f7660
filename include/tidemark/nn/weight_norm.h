// A weight as its length and its direction.
#pragma once

#include <concepts>
#include <optional>
#include <utility>

#include "tidemark/nn/any_module.h"
#include "tidemark/nn/module.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

// A layer whose weight can be another one in each call.
template <class L>
concept WeightedLayer = Layer<L> && std::copyable<L> && requires(L& layer) {
  { layer.weight } -> std::same_as<Tensor&>;
};

struct WeightNormOptions {
  // Each index of this dimension has a norm of its own, over all others; without it the whole weight has one. A
  // negative one counts from the end (in PyTorch -1 is the whole weight).
  std::optional<int> dim = 0;
};
// What does not depend on the layer.
class WeightNormBase : public Module {
 public:
  // weight_g * weight_v / ||weight_v||: what the layer is called with. It is recorded with every call, and so can be
  // discarded and computed again like any other value.
  Tensor weight(SourceLocation where = SourceLocation::current()) const;

  Tensor weight_g;  // of the weight's rank, with size 1 in all dimensions but `dim`; [] for the whole weight
  Tensor weight_v;  // of the weight's shape

 protected:
  // The weight becomes weight_v, and weight_g its norm: what the layer computes stays the same.
  WeightNormBase(const Tensor& weight, const WeightNormOptions& options, SourceLocation where);
  void visit_weight(Visitor& visitor);

 private:
  Tensor norm_of_v(SourceLocation where) const;
  std::optional<int> dim_;
};

// PyTorch's weight_norm of a layer's weight, with its names of parameters: "bias", "weight_g", "weight_v".
//   nn::Sequential net(nn::WeightNorm(nn::Conv2d({.in = 3, .out = 64})), nn::ReLU());
template <WeightedLayer L>
class WeightNorm : public WeightNormBase {
 public:
  explicit WeightNorm(L layer, const WeightNormOptions& options = {}, SourceLocation where = SourceLocation::current())
      : WeightNormBase(layer.weight, options, where), layer_(std::move(layer)) {
    layer_.weight = Tensor();  // no parameter any more
  }
  void visit(Visitor& visitor) override {
    if constexpr (Visitable<L>) layer_.visit(visitor);
    visit_weight(visitor);
  }
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const {
    L layer = layer_;  // the weight's handle ends with the call, so that a budget may have its bytes
    layer.weight = weight(where);
    return detail::call(layer, x, where);
  }

 private:
  L layer_;
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
