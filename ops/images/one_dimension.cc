// The ops of sequences [N, C, L], which are images of one row. What those would refuse is refused here, with the names
// and shapes of sequences.
#include <cstdint>
#include <string>

#include "ops/defined.h"
#include "ops/shapes/moves.h"
#include "tidemark/ops/images.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace {

using ops::refuse;

std::string text_of(const char* name, const Tensor& x, SourceLocation where) {
  return std::string(name) + " is " + x.shape(where).to_string() + ' ' + to_string(x.dtype(where));
}

Tensor as_image(const Tensor& x, SourceLocation where) {
  const Shape& shape = x.shape(where);
  return reshape(x, {shape[0], shape[1], 1, shape[2]}, where);
}

Tensor as_sequence(const Tensor& y, SourceLocation where) {
  return reshape(y, {y.size(0, where), y.size(1, where), y.size(3, where)}, where);
}

void require_sequence(const char* op, const Tensor& x, SourceLocation where) {
  ops::require_defined(op, {&x}, where);
  const Shape& shape = x.shape(where);
  if (shape.rank() != 3 || x.dtype(where) != f32 || shape.with(0, 1).numel() == 0) {
    refuse(op, text_of("x", x, where) + "; it must be [N, C, L] f32, of which only N may be 0", where);
  }
}

void require_convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv1dOptions& options,
                         SourceLocation where) {
  const auto fail = [&](const std::string& message) { refuse("conv1d", message, where); };
  const std::string both = text_of("x", x, where) + ", " + text_of("weight", weight, where);
  const Shape& s = x.shape(where);
  const Shape& w = weight.shape(where);
  if (s.rank() != 3 || w.rank() != 3 || x.dtype(where) != f32 || weight.dtype(where) != f32) {
    fail(both + "; they must be [N, C, L] and [O, C / groups, K] f32");
  }
  if (s.with(0, 1).numel() == 0 || w.numel() == 0) fail(both + "; only N may be 0, nothing else may be empty");
  const std::int64_t groups = options.groups;
  if (groups < 1) fail("groups is " + std::to_string(groups) + "; it must be at least 1");
  if (w[1] * groups != s[1]) {
    fail(both + "; x has " + std::to_string(s[1]) + " channels, weight wants " + std::to_string(w[1] * groups));
  }
  if (w[0] % groups != 0) {
    fail(both + "; " + std::to_string(groups) + " groups do not divide the " + std::to_string(w[0]) +
         " output channels");
  }
  if (bias.defined() && (bias.shape(where) != Shape({w[0]}) || bias.dtype(where) != f32)) {
    fail(text_of("weight", weight, where) + ", " + text_of("bias", bias, where) + "; bias must be [" +
         std::to_string(w[0]) + "] f32");
  }
  if (options.stride < 1 || options.dilation < 1 || options.padding < 0) {
    fail("stride is " + std::to_string(options.stride) + ", dilation " + std::to_string(options.dilation) +
         ", padding " + std::to_string(options.padding) + "; the first two must be at least 1, padding at least 0");
  }
  if (options.same_padding && (options.stride != 1 || options.padding != 0)) {
    fail("same_padding needs a stride of 1 and no padding of its own");
  }
  const std::int64_t reach = (w[2] - 1) * options.dilation + 1;
  const std::int64_t padded = s[2] + 2 * std::int64_t{options.padding};
  if (!options.same_padding && reach > padded) {
    fail(both + "; the kernel reaches over " + std::to_string(reach) + " elements, and with its padding x has " +
         std::to_string(padded));
  }
}

void require_windows(const char* op, const Tensor& x, const MaxPool1dOptions& options, SourceLocation where) {
  require_sequence(op, x, where);
  const std::int64_t kernel = options.kernel;
  const std::int64_t padding = options.padding;
  if (kernel < 1 || options.stride < 0 || options.dilation < 1 || padding < 0 || 2 * padding > kernel) {
    refuse(op,
           "kernel is " + std::to_string(kernel) + ", stride " + std::to_string(options.stride) + ", dilation " +
               std::to_string(options.dilation) + ", padding " + std::to_string(padding) +
               "; kernel and dilation must be at least 1, stride at least 0, padding between 0 and half of the kernel",
           where);
  }
  const std::int64_t reach = options.dilation * (kernel - 1) + 1;
  const std::int64_t padded = x.size(2, where) + 2 * padding;
  if (reach > padded) {
    refuse(op,
           text_of("x", x, where) + "; a window reaches over " + std::to_string(reach) +
               " elements, and with its padding x has " + std::to_string(padded),
           where);
  }
}

void require_size(const char* op, const Tensor& x, std::int64_t size, SourceLocation where) {
  require_sequence(op, x, where);
  if (size >= 1) return;
  refuse(op, text_of("x", x, where) + "; the output's size is " + std::to_string(size) + " and must be at least 1",
         where);
}

}  // namespace

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv1dOptions& options,
              SourceLocation where) {
  ops::require_defined("conv1d", {&x, &weight}, where);
  require_convolution(x, weight, bias, options, where);
  const Shape& w = weight.shape(where);
  return as_sequence(conv2d(as_image(x, where), reshape(weight, {w[0], w[1], 1, w[2]}, where), bias,
                            {.stride = {1, options.stride},
                             .padding = {0, options.padding},
                             .dilation = {1, options.dilation},
                             .groups = options.groups,
                             .same_padding = options.same_padding},
                            where),
                     where);
}

Tensor max_pool1d(const Tensor& x, const MaxPool1dOptions& options, SourceLocation where) {
  require_windows("max_pool1d", x, options, where);
  return as_sequence(max_pool2d(as_image(x, where),
                                {.kernel = {1, options.kernel},
                                 .stride = {1, options.stride},
                                 .padding = {0, options.padding},
                                 .dilation = {1, options.dilation},
                                 .ceil_mode = options.ceil_mode},
                                where),
                     where);
}

Tensor avg_pool1d(const Tensor& x, const AvgPool1dOptions& options, SourceLocation where) {
  require_windows("avg_pool1d", x, {.kernel = options.kernel, .stride = options.stride, .padding = options.padding},
                  where);
  return as_sequence(avg_pool2d(as_image(x, where),
                                {.kernel = {1, options.kernel},
                                 .stride = {1, options.stride},
                                 .padding = {0, options.padding},
                                 .ceil_mode = options.ceil_mode,
                                 .count_include_pad = options.count_include_pad},
                                where),
                     where);
}

Tensor adaptive_avg_pool1d(const Tensor& x, std::int64_t size, SourceLocation where) {
  require_size("adaptive_avg_pool1d", x, size, where);
  return as_sequence(adaptive_avg_pool2d(as_image(x, where), {1, size}, where), where);
}

Tensor adaptive_max_pool1d(const Tensor& x, std::int64_t size, SourceLocation where) {
  require_size("adaptive_max_pool1d", x, size, where);
  return as_sequence(adaptive_max_pool2d(as_image(x, where), {1, size}, where), where);
}

}  // namespace tidemark
