#include "tidemark/nn/weight_norm.h"

#include <string>
#include <vector>

#include "nn/checks.h"
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/reductions.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

constexpr char kName[] = "WeightNorm";

}  // namespace

WeightNormBase::WeightNormBase(const Tensor& weight, const WeightNormOptions& options, SourceLocation where)
    : dim_(options.dim) {
  require(weight.defined(), kName, "the layer has no weight", where);
  if (dim_) {
    const int rank = weight.shape(where).rank();
    require(*dim_ >= -rank && *dim_ < rank, kName,
            ".dim is " + std::to_string(*dim_) + ", but the weight is " + weight.shape(where).to_string(), where);
    if (*dim_ < 0) *dim_ += rank;
  }
  weight_v = parameter(weight, "weight_v", where);
  const NoGrad no_grad;
  const Tensor norm = norm_of_v(where);
  const std::vector<float> elements = norm.to_vector(where);
  weight_g = parameter(tensor(std::span<const float>(elements), norm.shape(where), where), "weight_g", where);
}

Tensor WeightNormBase::norm_of_v(SourceLocation where) const {
  if (!dim_) return norm(weight_v, {}, where);
  std::vector<int> others;
  for (int dim = 0; dim < weight_v.shape(where).rank(); ++dim) {
    if (dim != *dim_) others.push_back(dim);
  }
  return norm(weight_v, std::span<const int>(others), {.keepdim = true}, where);
}

// One factor for each norm, and one product of the weight's size.
Tensor WeightNormBase::weight(SourceLocation where) const {
  return mul(weight_v, div(weight_g, norm_of_v(where), where), where);
}

void WeightNormBase::visit_weight(Visitor& visitor) {
  visitor.parameter("weight_g", weight_g);
  visitor.parameter("weight_v", weight_v);
}

}  // namespace tidemark::nn
