#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Attention) {
  check_family("attention", {{"two_heads", [](const Inputs& in) { return causal_self_attention(in[0], 2); }},
                             {"one_head", [](const Inputs& in) { return causal_self_attention(in[0], 1); }}});
}

Function attention(AttentionOptions options) {
  return [options](const Inputs& in) mutable {
    if (in.size() > 3) options.key_padding_mask = in[3];
    if (in.size() > 4) options.attn_mask = in[4];
    return scaled_dot_product_attention(in[0], in[1], in[2], options);
  };
}

TEST(Golden, ScaledDotProductAttention) {
  check_family("scaled_dot_product", {{"cross", attention({})},
                                      {"grouped", attention({.causal = true})},
                                      {"scale", attention({.scale = 0.2f})},
                                      {"side_by_side", attention({.heads = 4, .causal = true})},
                                      {"masks", attention({.causal = true})}});
}

TEST(Golden, RotaryEmbedding) {
  check_family(
      "rotary",
      {{"halves", [](const Inputs& in) { return rotary_embedding(in[0]); }},
       {"neighbours",
        [](const Inputs& in) { return rotary_embedding(in[0], {.base = 500, .offset = 100000, .interleaved = true}); }},
       {"positions", [](const Inputs& in) { return rotary_embedding(in[0], {.positions = in[1]}); }}});
}

// Gives a layer the inputs from `next` on as parameters.
class Replace : public nn::Visitor {
 public:
  Replace(const Inputs& inputs, std::size_t next) : inputs_(inputs), next_(next) {}
  std::size_t next() const { return next_; }

 private:
  void on_parameter(const std::string& name, Tensor& tensor) override {
    EXPECT_EQ(tensor.shape(), inputs_[next_].shape()) << name;
    tensor = inputs_[next_++];
  }
  const Inputs& inputs_;
  std::size_t next_;
};

template <class Layer>
Layer with_parameters(Layer layer, const Inputs& in, std::size_t first) {
  Replace replace(in, first);
  layer.visit(replace);
  return layer;
}

Function encoder(const nn::TransformerLayerOptions& options) {
  return [=](const Inputs& in) { return with_parameters(nn::TransformerEncoderLayer(options), in, 1)(in[0]); };
}

Function decoder(const nn::TransformerLayerOptions& options) {
  return [=](const Inputs& in) {
    return with_parameters(nn::TransformerDecoderLayer(options), in, 2)(in[0], in[1], {.self = {.causal = true}});
  };
}

TEST(Golden, TransformerLayers) {
  const nn::TransformerLayerOptions plain{.width = 4, .heads = 2, .feedforward = 6, .dropout = 0};
  nn::TransformerLayerOptions first = plain;
  first.norm_first = true;
  nn::TransformerLayerOptions with_gelu = first;
  with_gelu.activation = nn::TransformerActivation::kGelu;
  check_family("transformer",
               {{"attention",
                 [](const Inputs& in) {
                   return with_parameters(nn::MultiheadAttention({.width = 4, .heads = 2}), in, 1)(
                       in[0], {.key_padding_mask = in[5], .attn_mask = in[6]});
                 }},
                {"attention_kdim",
                 [](const Inputs& in) {
                   const nn::MultiheadAttention layer({.width = 4, .heads = 2, .bias = false, .kdim = 3, .vdim = 5});
                   return with_parameters(layer, in, 3)(in[0], in[1], in[2]);
                 }},
                {"encoder", encoder(plain)},
                {"encoder_first", encoder(with_gelu)},
                {"decoder", decoder(plain)},
                {"decoder_first", decoder(first)}});
}

}  // namespace
}  // namespace tidemark::test
