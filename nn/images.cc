#include "tidemark/nn/images.h"

#include <string>

#include "nn/checks.h"

namespace tidemark::nn {

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

MaxPool2d::MaxPool2d(const MaxPool2dOptions& options, SourceLocation where)
    : options_{.kernel = {options.kernel, options.kernel},
               .stride = {options.stride, options.stride},
               .padding = {options.padding, options.padding}} {
  require_positive(options.kernel, "MaxPool2d", ".kernel", where);
  require(options.stride >= 0, "MaxPool2d", ".stride must not be negative", where);
  require(options.padding >= 0, "MaxPool2d", ".padding must not be negative", where);
}

Tensor MaxPool2d::operator()(const Tensor& x, SourceLocation where) const { return max_pool2d(x, options_, where); }

}  // namespace tidemark::nn
