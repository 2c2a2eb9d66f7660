// The ops of sequences [N, C, L], which are images of one row.
#include <string>

#include "ops/defined.h"
#include "tidemark/ops/images.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace {

Tensor as_image(const char* op, const Tensor& x, SourceLocation where) {
  const Shape& shape = x.shape(where);
  if (shape.rank() != 3) {
    throw ShapeError(std::string("[") + op + "] x is " + shape.to_string() + "; it must be [N, C, L] (at " +
                     to_string(where) + ")");
  }
  return reshape(x, {shape[0], shape[1], 1, shape[2]}, where);
}

Tensor as_sequence(const Tensor& y, SourceLocation where) {
  return reshape(y, {y.size(0, where), y.size(1, where), y.size(3, where)}, where);
}

}  // namespace

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv1dOptions& options,
              SourceLocation where) {
  ops::require_defined("conv1d", {&x, &weight}, where);
  const Shape& w = weight.shape(where);
  if (w.rank() != 3) {
    throw ShapeError("[conv1d] weight is " + w.to_string() + "; it must be [O, C / groups, K] (at " + to_string(where) +
                     ")");
  }
  return as_sequence(conv2d(as_image("conv1d", x, where), reshape(weight, {w[0], w[1], 1, w[2]}, where), bias,
                            {.stride = {1, options.stride},
                             .padding = {0, options.padding},
                             .dilation = {1, options.dilation},
                             .groups = options.groups,
                             .same_padding = options.same_padding},
                            where),
                     where);
}

Tensor max_pool1d(const Tensor& x, const MaxPool1dOptions& options, SourceLocation where) {
  return as_sequence(max_pool2d(as_image("max_pool1d", x, where),
                                {.kernel = {1, options.kernel},
                                 .stride = {1, options.stride},
                                 .padding = {0, options.padding},
                                 .dilation = {1, options.dilation},
                                 .ceil_mode = options.ceil_mode},
                                where),
                     where);
}

Tensor avg_pool1d(const Tensor& x, const AvgPool1dOptions& options, SourceLocation where) {
  return as_sequence(avg_pool2d(as_image("avg_pool1d", x, where),
                                {.kernel = {1, options.kernel},
                                 .stride = {1, options.stride},
                                 .padding = {0, options.padding},
                                 .ceil_mode = options.ceil_mode,
                                 .count_include_pad = options.count_include_pad},
                                where),
                     where);
}

Tensor adaptive_avg_pool1d(const Tensor& x, std::int64_t size, SourceLocation where) {
  return as_sequence(adaptive_avg_pool2d(as_image("adaptive_avg_pool1d", x, where), {1, size}, where), where);
}

Tensor adaptive_max_pool1d(const Tensor& x, std::int64_t size, SourceLocation where) {
  return as_sequence(adaptive_max_pool2d(as_image("adaptive_max_pool1d", x, where), {1, size}, where), where);
}

}  // namespace tidemark
