#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Shape) {
  check_family("shape", {{"transpose", [](const Inputs& in) { return transpose(in[0], 1, 2); }},
                         {"slice", [](const Inputs& in) { return slice(in[0], 1, 1, 3); }},
                         {"concat",
                          [](const Inputs& in) {
                            return concat({in[0], in[1]}, 1);
                          }},
                         {"flatten", [](const Inputs& in) { return flatten(in[0]); }}});
}

TEST(Golden, Order) {
  check_family("order", {{"permute",
                          [](const Inputs& in) {
                            return permute(in[0], {2, 0, -1, 1});
                          }},
                         {"flip",
                          [](const Inputs& in) {
                            return flip(in[0], {0, -1});
                          }},
                         {"roll",
                          [](const Inputs& in) {
                            return roll(in[0], {2, -1}, {0, 2});
                          }},
                         {"pixel_shuffle", [](const Inputs& in) { return pixel_shuffle(in[0], 2); }},
                         {"pixel_unshuffle", [](const Inputs& in) { return pixel_unshuffle(in[0], 3); }}});
}

Tensor reversed(std::vector<Tensor> parts, int dim) {
  std::reverse(parts.begin(), parts.end());
  return concat(parts, dim);
}

TEST(Golden, Parts) {
  check_family("parts", {{"step", [](const Inputs& in) { return slice(in[0], 1, 1, 6, 2); }},
                         {"narrow", [](const Inputs& in) { return narrow(in[0], -1, 1, 3); }},
                         {"select", [](const Inputs& in) { return select(in[0], 1, -2); }},
                         {"unbind",
                          [](const Inputs& in) {
                            const std::vector<Tensor> parts = unbind(in[0], 1);
                            return mul(parts.at(0), parts.at(2));
                          }},
                         {"split",
                          [](const Inputs& in) {
                            return split(in[0], {1, 3}, 1).at(1);
                          }},
                         {"split_size", [](const Inputs& in) { return reversed(split(in[0], 3, 1), 1); }},
                         {"chunk", [](const Inputs& in) { return reversed(chunk(in[0], 3), 0); }},
                         {"diagonal", [](const Inputs& in) { return diagonal(in[0], -1, 1, 2); }},
                         {"tril", [](const Inputs& in) { return tril(in[0], -1); }},
                         {"triu", [](const Inputs& in) { return triu(in[0], 1); }}});
}

TEST(Golden, Join) {
  check_family("join", {{"stack",
                         [](const Inputs& in) {
                           return stack({in[0], in[1]}, -1);
                         }},
                        {"expand",
                         [](const Inputs& in) {
                           return expand(in[0], {2, 3, -1, 4});
                         }},
                        {"repeat",
                         [](const Inputs& in) {
                           return repeat(in[0], {2, 1, 3});
                         }},
                        {"repeat_interleave", [](const Inputs& in) { return repeat_interleave(in[0], 3, 1); }}});
}

TEST(Golden, Pad) {
  const auto padded = [](PadMode mode) -> Function {
    return [mode](const Inputs& in) { return pad(in[0], {{1, 2}, {2, 3}}, {.mode = mode}); };
  };
  check_family("pad", {{"constant",
                        [](const Inputs& in) {
                          return pad(in[0], {{1, 3}, {2, 0}}, {.value = 1.5f});
                        }},
                       {"crop",
                        [](const Inputs& in) {
                          return pad(in[0], {{1, -2}, {-1, 2}});
                        }},
                       {"reflect", padded(PadMode::kReflect)},
                       {"replicate", padded(PadMode::kReplicate)},
                       {"circular", padded(PadMode::kCircular)}});
}

TEST(Golden, Index) {
  check_family("index", {{"gather", [](const Inputs& in) { return gather(in[0], 1, in[1]); }},
                         {"gather_last", [](const Inputs& in) { return gather(in[0], -1, in[1]); }},
                         {"take_along_dim", [](const Inputs& in) { return take_along_dim(in[0], in[1], 1); }},
                         {"scatter", [](const Inputs& in) { return scatter(in[0], 1, in[2], in[1]); }},
                         {"scatter_add", [](const Inputs& in) { return scatter_add(in[0], 0, in[2], in[1]); }},
                         {"index_select", [](const Inputs& in) { return index_select(in[0], 1, in[1]); }},
                         {"index_add", [](const Inputs& in) { return index_add(in[0], 1, in[2], in[1]); }}});
}

TEST(Golden, Window) {
  const UnfoldOptions options{.kernel = {2, 3}, .dilation = {2, 1}, .padding = {1, 2}, .stride = {2, 1}};
  check_family("window", {{"unfold", [&](const Inputs& in) { return unfold(in[0], options); }},
                          {"fold", [&](const Inputs& in) {
                             return fold(in[0], {4, 3}, options);
                           }}});
}

}  // namespace
}  // namespace tidemark::test
