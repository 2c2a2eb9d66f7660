#include "tidemark/nn/images.h"

#include <cmath>
#include <string>

#include "nn/checks.h"

namespace tidemark::nn {

namespace {

// What all convolutions check of their options; `layer` is the class's name.
template <class Options>
void check_convolution(const Options& options, const char* layer, SourceLocation where) {
  require_positive(options.in, layer, ".in", where);
  require_positive(options.out, layer, ".out", where);
  require_positive(options.kernel, layer, ".kernel", where);
  require_positive(options.stride, layer, ".stride", where);
  require_positive(options.dilation, layer, ".dilation", where);
  require_positive(options.groups, layer, ".groups", where);
  require(options.padding >= 0, layer, ".padding must not be negative", where);
  require(options.in % options.groups == 0 && options.out % options.groups == 0, layer,
          std::to_string(options.groups) + " groups do not divide " + std::to_string(options.in) + " and " +
              std::to_string(options.out) + " channels",
          where);
}

// The kernel's size may have a square that is no integer there is.
double taps_of(int kernel, int dimensions) { return std::pow(static_cast<double>(kernel), dimensions); }

}  // namespace

void Convolution::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

Conv2d::Conv2d(const Conv2dOptions& options, SourceLocation where)
    : options_{.stride = {options.stride, options.stride},
               .padding = {options.padding, options.padding},
               .dilation = {options.dilation, options.dilation},
               .groups = options.groups,
               .same_padding = options.same_padding} {
  check_convolution(options, "Conv2d", where);
  const std::int64_t depth = options.in / options.groups;
  const double fan_in = static_cast<double>(depth) * taps_of(options.kernel, 2);
  weight = uniform_parameter({options.out, depth, options.kernel, options.kernel}, fan_in, "conv2d.weight", where);
  if (options.bias) bias = uniform_parameter({options.out}, fan_in, "conv2d.bias", where);
}

Tensor Conv2d::operator()(const Tensor& x, SourceLocation where) const {
  return conv2d(x, weight, bias, options_, where);
}

Conv1d::Conv1d(const Conv1dOptions& options, SourceLocation where)
    : options_{.stride = options.stride,
               .padding = options.padding,
               .dilation = options.dilation,
               .groups = options.groups,
               .same_padding = options.same_padding} {
  check_convolution(options, "Conv1d", where);
  const std::int64_t depth = options.in / options.groups;
  const double fan_in = static_cast<double>(depth) * taps_of(options.kernel, 1);
  weight = uniform_parameter({options.out, depth, options.kernel}, fan_in, "conv1d.weight", where);
  if (options.bias) bias = uniform_parameter({options.out}, fan_in, "conv1d.bias", where);
}

Tensor Conv1d::operator()(const Tensor& x, SourceLocation where) const {
  return conv1d(x, weight, bias, options_, where);
}

// PyTorch takes the second dimension of the weight for what goes in, also where it is what comes out.
ConvTranspose2d::ConvTranspose2d(const ConvTranspose2dOptions& options, SourceLocation where)
    : options_{.stride = {options.stride, options.stride},
               .padding = {options.padding, options.padding},
               .output_padding = {options.output_padding, options.output_padding},
               .dilation = {options.dilation, options.dilation},
               .groups = options.groups} {
  check_convolution(options, "ConvTranspose2d", where);
  const std::int64_t depth = options.out / options.groups;
  const double fan_in = static_cast<double>(depth) * taps_of(options.kernel, 2);
  weight =
      uniform_parameter({options.in, depth, options.kernel, options.kernel}, fan_in, "conv_transpose2d.weight", where);
  if (options.bias) bias = uniform_parameter({options.out}, fan_in, "conv_transpose2d.bias", where);
}

Tensor ConvTranspose2d::operator()(const Tensor& x, SourceLocation where) const {
  return conv_transpose2d(x, weight, bias, options_, where);
}

ConvTranspose1d::ConvTranspose1d(const ConvTranspose1dOptions& options, SourceLocation where)
    : options_{.stride = options.stride,
               .padding = options.padding,
               .output_padding = options.output_padding,
               .dilation = options.dilation,
               .groups = options.groups} {
  check_convolution(options, "ConvTranspose1d", where);
  const std::int64_t depth = options.out / options.groups;
  const double fan_in = static_cast<double>(depth) * taps_of(options.kernel, 1);
  weight = uniform_parameter({options.in, depth, options.kernel}, fan_in, "conv_transpose1d.weight", where);
  if (options.bias) bias = uniform_parameter({options.out}, fan_in, "conv_transpose1d.bias", where);
}

Tensor ConvTranspose1d::operator()(const Tensor& x, SourceLocation where) const {
  return conv_transpose1d(x, weight, bias, options_, where);
}

MaxPool2d::MaxPool2d(const MaxPool2dOptions& options, SourceLocation where)
    : options_{.kernel = {options.kernel, options.kernel},
               .stride = {options.stride, options.stride},
               .padding = {options.padding, options.padding},
               .dilation = {options.dilation, options.dilation},
               .ceil_mode = options.ceil_mode} {
  require_positive(options.kernel, "MaxPool2d", ".kernel", where);
  require_positive(options.dilation, "MaxPool2d", ".dilation", where);
  require(options.stride >= 0, "MaxPool2d", ".stride must not be negative", where);
  require(options.padding >= 0, "MaxPool2d", ".padding must not be negative", where);
}

Tensor MaxPool2d::operator()(const Tensor& x, SourceLocation where) const { return max_pool2d(x, options_, where); }

Tensor AvgPool2d::operator()(const Tensor& x, SourceLocation where) const { return avg_pool2d(x, options_, where); }
Tensor AvgPool1d::operator()(const Tensor& x, SourceLocation where) const { return avg_pool1d(x, options_, where); }
Tensor MaxPool1d::operator()(const Tensor& x, SourceLocation where) const { return max_pool1d(x, options_, where); }
Tensor Upsample::operator()(const Tensor& x, SourceLocation where) const { return upsample(x, options_, where); }

Tensor AdaptiveAvgPool2d::operator()(const Tensor& x, SourceLocation where) const {
  return adaptive_avg_pool2d(x, options_.output_size, where);
}

Tensor AdaptiveMaxPool2d::operator()(const Tensor& x, SourceLocation where) const {
  return adaptive_max_pool2d(x, options_.output_size, where);
}

Tensor AdaptiveAvgPool1d::operator()(const Tensor& x, SourceLocation where) const {
  return adaptive_avg_pool1d(x, options_.output_size, where);
}

Tensor AdaptiveMaxPool1d::operator()(const Tensor& x, SourceLocation where) const {
  return adaptive_max_pool1d(x, options_.output_size, where);
}

Tensor PixelShuffle::operator()(const Tensor& x, SourceLocation where) const {
  return pixel_shuffle(x, options_.upscale_factor, where);
}

Tensor PixelUnshuffle::operator()(const Tensor& x, SourceLocation where) const {
  return pixel_unshuffle(x, options_.downscale_factor, where);
}

Tensor Unfold::operator()(const Tensor& x, SourceLocation where) const { return unfold(x, options_, where); }

Tensor Fold::operator()(const Tensor& x, SourceLocation where) const {
  return fold(x, options_.output_size,
              {.kernel = options_.kernel,
               .dilation = options_.dilation,
               .padding = options_.padding,
               .stride = options_.stride},
              where);
}

PadLayer::PadLayer(std::span<const std::int64_t> sides, const PadOptions& options) : options_(options) {
  for (std::size_t end = sides.size(); end > 0; end -= 2) padding_.push_back({sides[end - 2], sides[end - 1]});
}

Tensor PadLayer::operator()(const Tensor& x, SourceLocation where) const { return pad(x, padding_, options_, where); }

}  // namespace tidemark::nn
