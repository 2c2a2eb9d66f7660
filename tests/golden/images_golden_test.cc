#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Conv2d) {
  check_family("conv2d", {{"padding",
                           [](const Inputs& in) {
                             return conv2d(in[0], in[1], in[2], {.padding = {1, 1}});
                           }},
                          {"stride",
                           [](const Inputs& in) {
                             return conv2d(in[0], in[1], {}, {.stride = {2, 1}, .padding = {0, 2}});
                           }},
                          {"dilation",
                           [](const Inputs& in) {
                             return conv2d(in[0], in[1], {}, {.padding = {2, 2}, .dilation = {2, 2}});
                           }},
                          {"groups", [](const Inputs& in) { return conv2d(in[0], in[1], in[2], {.groups = 2}); }}});
}

TEST(Golden, MaxPool) {
  check_family("max_pool", {{"plain", [](const Inputs& in) { return max_pool2d(in[0]); }},
                            {"overlap", [](const Inputs& in) {
                               return max_pool2d(in[0], {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
                             }}});
}

TEST(Golden, ConvMore) {
  check_family(
      "conv_more",
      {{"same",
        [](const Inputs& in) {
          return conv2d(in[0], in[1], in[2], {.dilation = {1, 2}, .same_padding = true});
        }},
       {"one_dimension", [](const Inputs& in) { return conv1d(in[0], in[1], in[2], {.stride = 2, .padding = 1}); }},
       {"transposed",
        [](const Inputs& in) {
          return conv_transpose2d(in[0], in[1], in[2], {.stride = {2, 2}, .padding = {1, 1}, .output_padding = {1, 1}});
        }},
       {"transposed_groups",
        [](const Inputs& in) {
          return conv_transpose2d(in[0], in[1], {}, {.stride = {1, 2}, .dilation = {2, 1}, .groups = 2});
        }},
       {"transposed_output_padding",
        [](const Inputs& in) {
          return conv_transpose2d(in[0], in[1], {}, {.output_padding = {2, 2}, .dilation = {3, 3}});
        }},
       {"transposed_one_dimension",
        [](const Inputs& in) { return conv_transpose1d(in[0], in[1], in[2], {.stride = 3, .padding = 1}); }},
       {"transposed_more_than_stride",
        [](const Inputs& in) {
          return conv_transpose2d(in[0], in[1], in[2],
                                  {.stride = {1, 2}, .padding = {1, 2}, .output_padding = {2, 3}, .dilation = {3, 4}});
        }},
       {"transposed_more_than_padding", [](const Inputs& in) {
          return conv_transpose1d(in[0], in[1], in[2], {.padding = 1, .output_padding = 3, .dilation = 4});
        }}});
}

TEST(Golden, Pool) {
  const auto average = [](const AvgPool2dOptions& options) {
    return [options](const Inputs& in) { return avg_pool2d(in[0], options); };
  };
  const auto largest = [](const MaxPool2dOptions& options) {
    return [options](const Inputs& in) { return max_pool2d(in[0], options); };
  };
  const AvgPool2dOptions inside = {
      .kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .ceil_mode = true, .count_include_pad = false};
  check_family(
      "pool", {{"max_ceil", largest({.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .ceil_mode = true})},
               {"max_dilation", largest({.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 1}, .dilation = {2, 3}})},
               {"max_one_dimension", [](const Inputs& in) { return max_pool1d(in[0], {.kernel = 3, .stride = 2}); }},
               {"average", average({.kernel = {2, 3}, .stride = {1, 2}})},
               {"average_padding", average({.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .ceil_mode = true})},
               {"average_inside", average(inside)},
               {"average_divisor", average({.divisor = 3})},
               {"average_one_dimension",
                [](const Inputs& in) { return avg_pool1d(in[0], {.kernel = 3, .stride = 2, .padding = 1}); }},
               {"adaptive_average",
                [](const Inputs& in) {
                  return adaptive_avg_pool2d(in[0], {3, 4});
                }},
               {"adaptive_max",
                [](const Inputs& in) {
                  return adaptive_max_pool2d(in[0], {3, 2});
                }},
               {"global_average", [](const Inputs& in) {
                  return adaptive_avg_pool2d(in[0], {1, 1});
                }}});
}

TEST(Golden, Resample) {
  const auto with = [](const UpsampleOptions& options) {
    return [options](const Inputs& in) { return upsample(in[0], options); };
  };
  const auto kBilinear = UpsampleMode::kBilinear;
  check_family("resample", {{"nearest", with({.scale = {2, 2}})},
                            {"nearest_size", with({.size = {7, 4}})},
                            {"bilinear", with({.scale = {1.5f, 2.5f}, .mode = kBilinear})},
                            {"bilinear_corners", with({.size = {7, 9}, .mode = kBilinear, .align_corners = true})},
                            {"bilinear_smaller", with({.size = {3, 4}, .mode = kBilinear})},
                            {"nearest_same", with({.scale = {1.1f, 2}})},
                            {"bilinear_same", with({.scale = {1.1f, 1.5f}, .mode = kBilinear})},
                            {"nearest_rounding", with({.scale = {0.6f, 1.0f / 3}})}});
}

}  // namespace
}  // namespace tidemark::test
