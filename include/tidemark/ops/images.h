// Convolution, pooling and resampling of images [N, C, H, W] and sequences [N, C, L]. Only N may be 0.
#pragma once

#include <array>
#include <cstdint>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct Conv2dOptions {
  std::array<int, 2> stride = {1, 1};
  std::array<int, 2> padding = {0, 0};
  std::array<int, 2> dilation = {1, 1};
  int groups = 1;
  // The output has the size of the input; where that needs an odd number of zeros there is one more at the end. Needs a
  // stride of 1 and no padding of its own.
  bool same_padding = false;
};
// x [N, C, H, W], weight [O, C / groups, KH, KW], bias [O] or undefined -> [N, O, OH, OW].
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Conv2dOptions& options = {},
              SourceLocation where = SourceLocation::current());

struct Conv1dOptions {
  int stride = 1;
  int padding = 0;
  int dilation = 1;
  int groups = 1;
  bool same_padding = false;
};
// x [N, C, L], weight [O, C / groups, K], bias [O] or undefined -> [N, O, OL].
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Conv1dOptions& options = {},
              SourceLocation where = SourceLocation::current());

struct ConvTranspose2dOptions {
  std::array<int, 2> stride = {1, 1};
  std::array<int, 2> padding = {0, 0};
  std::array<int, 2> output_padding = {0, 0};  // rows and columns more, at the end; below stride or dilation
  std::array<int, 2> dilation = {1, 1};
  int groups = 1;
};
// x [N, C, H, W], weight [C, O / groups, KH, KW], bias [O] or undefined -> [N, O, OH, OW], where
// OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1.
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvTranspose2dOptions& options = {}, SourceLocation where = SourceLocation::current());

struct ConvTranspose1dOptions {
  int stride = 1;
  int padding = 0;
  int output_padding = 0;
  int dilation = 1;
  int groups = 1;
};
// x [N, C, L], weight [C, O / groups, K], bias [O] or undefined -> [N, O, OL].
Tensor conv_transpose1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvTranspose1dOptions& options = {}, SourceLocation where = SourceLocation::current());

struct MaxPool2dOptions {
  std::array<int, 2> kernel = {2, 2};
  std::array<int, 2> stride = {0, 0};  // 0: the kernel's size
  std::array<int, 2> padding = {0, 0};
  std::array<int, 2> dilation = {1, 1};
  bool ceil_mode = false;  // the last window may reach beyond the end
};
// NaN is larger than everything; of equal numbers the first gets the gradient.
Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct MaxPool1dOptions {
  int kernel = 2;
  int stride = 0;  // 0: the kernel's size
  int padding = 0;
  int dilation = 1;
  bool ceil_mode = false;
};
Tensor max_pool1d(const Tensor& x, const MaxPool1dOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct AvgPool2dOptions {
  std::array<int, 2> kernel = {2, 2};
  std::array<int, 2> stride = {0, 0};  // 0: the kernel's size
  std::array<int, 2> padding = {0, 0};
  bool ceil_mode = false;
  bool count_include_pad = true;  // the zeros of the padding count
  int divisor = 0;                // what sums are divided by; 0: the size of the window
};
Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct AvgPool1dOptions {
  int kernel = 2;
  int stride = 0;  // 0: the kernel's size
  int padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;
};
Tensor avg_pool1d(const Tensor& x, const AvgPool1dOptions& options = {},
                  SourceLocation where = SourceLocation::current());

// To images of `size` {height, width}, whatever those of x are; {1, 1} is the global average or maximum.
Tensor adaptive_avg_pool2d(const Tensor& x, std::array<std::int64_t, 2> size,
                           SourceLocation where = SourceLocation::current());
Tensor adaptive_max_pool2d(const Tensor& x, std::array<std::int64_t, 2> size,
                           SourceLocation where = SourceLocation::current());
Tensor adaptive_avg_pool1d(const Tensor& x, std::int64_t size, SourceLocation where = SourceLocation::current());
Tensor adaptive_max_pool1d(const Tensor& x, std::int64_t size, SourceLocation where = SourceLocation::current());

enum class UpsampleMode : std::uint8_t { kNearest, kBilinear };
struct UpsampleOptions {
  // One of the two: the output's height and width, or how many times those of x they are.
  std::array<std::int64_t, 2> size = {0, 0};
  std::array<float, 2> scale = {0, 0};
  UpsampleMode mode = UpsampleMode::kNearest;
  bool align_corners = false;  // bilinear: the centres of the corner elements of both images meet
};
// x [N, C, H, W] -> [N, C, OH, OW], as PyTorch's interpolate.
Tensor upsample(const Tensor& x, const UpsampleOptions& options, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
