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

}  // namespace
}  // namespace tidemark::test
