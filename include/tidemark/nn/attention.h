// Attention with its projections, and the layers of transformers.
#pragma once

#include <cstdint>

#include "tidemark/nn/linear.h"
#include "tidemark/nn/module.h"
#include "tidemark/nn/norms.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

struct MultiheadAttentionOptions {
  std::int64_t width = 0;  // of queries and outputs; a multiple of heads
  int heads = 1;
  int kv_heads = 0;  // of keys and values: divides heads, and equals it where 0
  bool bias = true;
  float dropout = 0;      // of probabilities
  std::int64_t kdim = 0;  // features of keys and of values, where they are not `width`
  std::int64_t vdim = 0;
};
// What a query sees; see AttentionOptions.
struct AttentionMasks {
  Tensor key_padding_mask = {};  // u8 [N, S]: not zero where a key is hidden
  Tensor attn_mask = {};         // f32, added to the scores; broadcasts to [N, heads, T, S]
  bool causal = false;
};
// query [N, T, width], key [N, S, kdim], value [N, S, vdim] -> [N, T, width]: PyTorch's with batch_first, without the
// attention weights. Initial values are PyTorch's: projections xavier uniform, their biases zero.
class MultiheadAttention : public Module {
 public:
  explicit MultiheadAttention(const MultiheadAttentionOptions& options,
                              SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value, const AttentionMasks& masks = {},
                    SourceLocation where = SourceLocation::current()) const;
  // Of x to itself.
  Tensor operator()(const Tensor& x, const AttentionMasks& masks = {},
                    SourceLocation where = SourceLocation::current()) const {
    return (*this)(x, x, x, masks, where);
  }

  // Projections of queries, keys and values: one below the other [width + 2 * kv width, width], or where kdim or vdim
  // are given, each by itself. The kv width is that of kv_heads heads.
  Tensor in_proj_weight;
  Tensor q_proj_weight, k_proj_weight, v_proj_weight;
  Tensor in_proj_bias;  // [width + 2 * kv width], or undefined
  Linear out_proj;

 private:
  MultiheadAttentionOptions options_;
  std::int64_t kv_width_ = 0;
  bool training_ = true;
};

enum class TransformerActivation : std::uint8_t { kRelu, kGelu };

struct TransformerLayerOptions {
  std::int64_t width = 0;
  int heads = 1;
  std::int64_t feedforward = 2048;  // features between linear1 and linear2
  float dropout = 0.1f;
  TransformerActivation activation = TransformerActivation::kRelu;
  float eps = 1e-5f;        // of the norms
  bool norm_first = false;  // before attention and feed-forward; else after they are added
};

// x [N, T, width] -> the same: self attention and feed-forward, as PyTorch's with batch_first.
class TransformerEncoderLayer : public Module {
 public:
  explicit TransformerEncoderLayer(const TransformerLayerOptions& options,
                                   SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, const AttentionMasks& masks = {},
                    SourceLocation where = SourceLocation::current()) const;

  MultiheadAttention self_attn;
  Linear linear1, linear2;
  LayerNorm norm1, norm2;
  Dropout dropout, dropout1, dropout2;

 private:
  TransformerLayerOptions options_;
};

struct DecoderMasks {
  AttentionMasks self = {};    // of x to itself
  AttentionMasks memory = {};  // of x to the memory
};
// x [N, T, width], memory [N, S, width] -> [N, T, width]: the same with attention to a memory between the two.
class TransformerDecoderLayer : public Module {
 public:
  explicit TransformerDecoderLayer(const TransformerLayerOptions& options,
                                   SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, const Tensor& memory, const DecoderMasks& masks = {},
                    SourceLocation where = SourceLocation::current()) const;

  MultiheadAttention self_attn, multihead_attn;
  Linear linear1, linear2;
  LayerNorm norm1, norm2, norm3;
  Dropout dropout, dropout1, dropout2, dropout3;

 private:
  TransformerLayerOptions options_;
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
