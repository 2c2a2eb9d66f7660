// Attention and the layers of transformers: names, initial values, options.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/nn/support.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

using test::names;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

float largest(const Tensor& x) {
  float most = 0;
  for (const float value : x.to_vector()) most = std::max(most, std::fabs(value));
  return most;
}

class AttentionLayers : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 4}};
};

TEST_F(AttentionLayers, ParametersHavePyTorchsNames) {
  MultiheadAttention packed({.width = 8, .heads = 2});
  EXPECT_THAT(names(packed.parameters()),
              ElementsAre("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"));
  MultiheadAttention apart({.width = 8, .heads = 2, .bias = false, .vdim = 3});
  EXPECT_THAT(names(apart.parameters()),
              ElementsAre("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"));
  TransformerDecoderLayer decoder({.width = 4, .heads = 2, .feedforward = 6});
  EXPECT_THAT(names(decoder.parameters()),
              ElementsAre("self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight",
                          "self_attn.out_proj.bias", "multihead_attn.in_proj_weight", "multihead_attn.in_proj_bias",
                          "multihead_attn.out_proj.weight", "multihead_attn.out_proj.bias", "linear1.weight",
                          "linear1.bias", "linear2.weight", "linear2.bias", "norm1.weight", "norm1.bias",
                          "norm2.weight", "norm2.bias", "norm3.weight", "norm3.bias"));
}

TEST_F(AttentionLayers, InitialValuesAreThoseOfPyTorch) {
  const MultiheadAttention layer({.width = 96, .heads = 4});
  const float bound = std::sqrt(6.0f / (4 * 96));
  EXPECT_LE(largest(layer.in_proj_weight), bound);
  EXPECT_GT(largest(layer.in_proj_weight), 0.99f * bound);
  EXPECT_EQ(largest(layer.in_proj_bias), 0);
  EXPECT_EQ(largest(layer.out_proj.bias), 0);
  EXPECT_GT(largest(layer.out_proj.weight), 0.99f / std::sqrt(96.0f));
}

// Heads of keys that are given twice, as weights of more heads.
TEST_F(AttentionLayers, FewerHeadsOfKeysAreSharedOnes) {
  const MultiheadAttention few({.width = 8, .heads = 4, .kv_heads = 2});
  EXPECT_EQ(few.in_proj_weight.shape(), Shape({16, 8}));
  MultiheadAttention many({.width = 8, .heads = 4});
  const auto rows = [&](std::int64_t begin) { return slice(few.in_proj_weight, 0, begin, begin + 2); };
  many.in_proj_weight = concat({slice(few.in_proj_weight, 0, 0, 8), rows(8), rows(8), rows(10), rows(10), rows(12),
                                rows(12), rows(14), rows(14)},
                               0);
  many.out_proj = few.out_proj;
  const Tensor x = normal({2, 5, 8}, 0, 1);
  EXPECT_EQ(few(x, {.causal = true}).to_vector(), many(x, {.causal = true}).to_vector());
}

TEST_F(AttentionLayers, DropoutIsOfTrainingAlone) {
  TransformerEncoderLayer layer({.width = 8, .heads = 2, .feedforward = 16, .dropout = 0.5f});
  MultiheadAttention attention({.width = 8, .heads = 2, .dropout = 0.5f});
  const Tensor x = normal({2, 5, 8}, 0, 1);
  EXPECT_NE(layer(x).to_vector(), layer(x).to_vector());
  EXPECT_NE(attention(x).to_vector(), attention(x).to_vector());
  layer.eval();
  attention.eval();
  EXPECT_EQ(layer(x).to_vector(), layer(x).to_vector());
  EXPECT_EQ(attention(x).to_vector(), attention(x).to_vector());
}

TEST_F(AttentionLayers, WrongOptionsAndShapesNameTheLine) {
  const std::string here = "attention_test.cc:";
  const auto says = [&](const char* text) {
    return ThrowsMessage<ShapeError>(AllOf(HasSubstr(text), HasSubstr(here)));
  };
  EXPECT_THAT([] { MultiheadAttention({.heads = 2}); }, says(".width"));
  EXPECT_THAT([] { MultiheadAttention({.width = 10, .heads = 4}); }, says("4 heads do not divide a width of 10"));
  EXPECT_THAT([] { MultiheadAttention({.width = 8, .heads = 4, .kv_heads = 3}); }, says(".kv_heads = 3"));
  EXPECT_THAT([] { MultiheadAttention({.width = 8, .heads = 4, .dropout = NAN}); }, says(".dropout"));
  const MultiheadAttention layer({.width = 8, .heads = 2});
  EXPECT_THAT([&] { (void)layer(zeros({5, 8})); }, says("[5, 8]"));
  EXPECT_THAT([&] { (void)layer(zeros({2, 5, 8}), {.key_padding_mask = zeros({2, 4}, u8)}); }, says("[2, 4] u8"));
}

}  // namespace
}  // namespace tidemark::nn
