// Convolution and pooling.
#pragma once

#include <array>

#include "tidemark/tensor.h"

namespace tidemark {

struct Conv2dOptions {
  std::array<int, 2> stride = {1, 1};
  std::array<int, 2> padding = {0, 0};
  std::array<int, 2> dilation = {1, 1};
  int groups = 1;
};
// x [N, C, H, W], weight [O, C / groups, KH, KW], bias [O] or undefined -> [N, O, OH, OW].
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Conv2dOptions& options = {},
              SourceLocation where = SourceLocation::current());

struct MaxPool2dOptions {
  std::array<int, 2> kernel = {2, 2};
  std::array<int, 2> stride = {0, 0};  // 0: the kernel's size
  std::array<int, 2> padding = {0, 0};
};
Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options = {},
                  SourceLocation where = SourceLocation::current());

}  // namespace tidemark
