#include "tidemark/nn/attention.h"

#include <cmath>
#include <string>

#include "nn/checks.h"
#include "tidemark/ops/attention.h"
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/products.h"
#include "tidemark/ops/shapes.h"
#include "tidemark/session.h"

namespace tidemark::nn {

namespace {

constexpr char kAttention[] = "MultiheadAttention";

// Uniform, with the variance that keeps those of values and of gradients on average.
Tensor xavier_parameter(std::int64_t rows, std::int64_t columns, const char* name, SourceLocation where) {
  const float bound = std::sqrt(6.0f / (static_cast<float>(rows) + static_cast<float>(columns)));
  return parameter(uniform({rows, columns}, -bound, bound, where), name);
}

Tensor zero_parameter(std::int64_t size, const char* name, SourceLocation where) {
  return parameter(zeros({size}, f32, where), name);
}

MultiheadAttentionOptions checked(MultiheadAttentionOptions options, SourceLocation where) {
  require_positive(options.width, kAttention, ".width", where);
  require(options.heads > 0 && options.width % options.heads == 0, kAttention,
          std::to_string(options.heads) + " heads do not divide a width of " + std::to_string(options.width), where);
  if (options.kv_heads == 0) options.kv_heads = options.heads;
  require(options.kv_heads > 0 && options.heads % options.kv_heads == 0, kAttention,
          ".kv_heads = " + std::to_string(options.kv_heads) + " must divide .heads = " + std::to_string(options.heads),
          where);
  require(options.dropout >= 0 && options.dropout <= 1, kAttention,
          ".dropout must be in [0, 1], but is " + std::to_string(options.dropout), where);
  require(options.kdim >= 0 && options.vdim >= 0, kAttention, ".kdim and .vdim must not be negative", where);
  return options;
}

Linear projection(std::int64_t width, bool bias, SourceLocation where) {
  Linear linear({.in = width, .out = width, .bias = false}, where);
  if (bias) linear.bias = zero_parameter(width, "out_proj.bias", where);
  return linear;
}

MultiheadAttention attention_of(const TransformerLayerOptions& options, SourceLocation where) {
  return MultiheadAttention({.width = options.width, .heads = options.heads, .dropout = options.dropout}, where);
}

// The block of two products of a transformer's layer.
template <class Layer>
Tensor feed_forward(const Layer& layer, TransformerActivation activation, const Tensor& x, SourceLocation where) {
  const Tensor hidden = layer.linear1(x, where);
  const Tensor active = activation == TransformerActivation::kRelu ? relu(hidden, where) : gelu(hidden, {}, where);
  return layer.linear2(layer.dropout(active, where), where);
}

// x and what `block` makes of it, with the norm before the block or after the sum.
template <class F>
Tensor residual(bool norm_first, const LayerNorm& norm, const Dropout& dropout, const Tensor& x, SourceLocation where,
                F&& block) {
  if (norm_first) return add(x, dropout(block(norm(x, where)), where), where);
  return norm(add(x, dropout(block(x), where), where), where);
}

}  // namespace

MultiheadAttention::MultiheadAttention(const MultiheadAttentionOptions& options, SourceLocation where)
    : out_proj(projection(checked(options, where).width, options.bias, where)), options_(checked(options, where)) {
  const std::int64_t width = options_.width;
  kv_width_ = width / options_.heads * options_.kv_heads;
  const std::int64_t rows = width + 2 * kv_width_;
  if (options_.kdim == 0 && options_.vdim == 0) {
    in_proj_weight = xavier_parameter(rows, width, "in_proj_weight", where);
  } else {
    q_proj_weight = xavier_parameter(width, width, "q_proj_weight", where);
    k_proj_weight = xavier_parameter(kv_width_, options_.kdim == 0 ? width : options_.kdim, "k_proj_weight", where);
    v_proj_weight = xavier_parameter(kv_width_, options_.vdim == 0 ? width : options_.vdim, "v_proj_weight", where);
  }
  if (options_.bias) in_proj_bias = zero_parameter(rows, "in_proj_bias", where);
}

void MultiheadAttention::visit(Visitor& visitor) {
  visitor.parameter("in_proj_weight", in_proj_weight);
  visitor.parameter("q_proj_weight", q_proj_weight);
  visitor.parameter("k_proj_weight", k_proj_weight);
  visitor.parameter("v_proj_weight", v_proj_weight);
  visitor.parameter("in_proj_bias", in_proj_bias);
  visitor.child("out_proj", out_proj);
  visitor.training(training_);
}

Tensor MultiheadAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                      const AttentionMasks& masks, SourceLocation where) const {
  for (const Tensor& x : {query, key, value}) {
    require(x.shape(where).rank() == 3, kAttention,
            "queries, keys and values must be [N, T, features], but one is " + x.shape(where).to_string(), where);
  }
  // Rows of the weights that lie together are used as they lie.
  const auto project = [&](const Tensor& x, const Tensor& own, std::int64_t begin, std::int64_t size) {
    const Tensor weight = own.defined() ? own : slice(in_proj_weight, 0, begin, begin + size, where);
    return linear(x, weight, options_.bias ? slice(in_proj_bias, 0, begin, begin + size, where) : Tensor(), where);
  };
  const Tensor q = project(query, q_proj_weight, 0, options_.width);
  const Tensor k = project(key, k_proj_weight, options_.width, kv_width_);
  const Tensor v = project(value, v_proj_weight, options_.width + kv_width_, kv_width_);
  const Tensor y = scaled_dot_product_attention(q, k, v,
                                                {.heads = options_.heads,
                                                 .causal = masks.causal,
                                                 .dropout_p = options_.dropout,
                                                 .training = training_,
                                                 .key_padding_mask = masks.key_padding_mask,
                                                 .attn_mask = masks.attn_mask},
                                                where);
  return out_proj(y, where);
}

TransformerEncoderLayer::TransformerEncoderLayer(const TransformerLayerOptions& options, SourceLocation where)
    : self_attn(attention_of(options, where)),
      linear1({.in = options.width, .out = options.feedforward}, where),
      linear2({.in = options.feedforward, .out = options.width}, where),
      norm1({.features = options.width, .eps = options.eps}, where),
      norm2({.features = options.width, .eps = options.eps}, where),
      dropout({.p = options.dropout}, where),
      dropout1({.p = options.dropout}, where),
      dropout2({.p = options.dropout}, where),
      options_(options) {}

void TransformerEncoderLayer::visit(Visitor& visitor) {
  visitor.child("self_attn", self_attn);
  visitor.child("linear1", linear1);
  visitor.child("linear2", linear2);
  visitor.child("norm1", norm1);
  visitor.child("norm2", norm2);
  visitor.child("dropout", dropout);
  visitor.child("dropout1", dropout1);
  visitor.child("dropout2", dropout2);
}

Tensor TransformerEncoderLayer::operator()(const Tensor& x, const AttentionMasks& masks, SourceLocation where) const {
  const Tensor y = residual(options_.norm_first, norm1, dropout1, x, where,
                            [&](const Tensor& h) { return self_attn(h, masks, where); });
  return residual(options_.norm_first, norm2, dropout2, y, where,
                  [&](const Tensor& h) { return feed_forward(*this, options_.activation, h, where); });
}

TransformerDecoderLayer::TransformerDecoderLayer(const TransformerLayerOptions& options, SourceLocation where)
    : self_attn(attention_of(options, where)),
      multihead_attn(attention_of(options, where)),
      linear1({.in = options.width, .out = options.feedforward}, where),
      linear2({.in = options.feedforward, .out = options.width}, where),
      norm1({.features = options.width, .eps = options.eps}, where),
      norm2({.features = options.width, .eps = options.eps}, where),
      norm3({.features = options.width, .eps = options.eps}, where),
      dropout({.p = options.dropout}, where),
      dropout1({.p = options.dropout}, where),
      dropout2({.p = options.dropout}, where),
      dropout3({.p = options.dropout}, where),
      options_(options) {}

void TransformerDecoderLayer::visit(Visitor& visitor) {
  visitor.child("self_attn", self_attn);
  visitor.child("multihead_attn", multihead_attn);
  visitor.child("linear1", linear1);
  visitor.child("linear2", linear2);
  visitor.child("norm1", norm1);
  visitor.child("norm2", norm2);
  visitor.child("norm3", norm3);
  visitor.child("dropout", dropout);
  visitor.child("dropout1", dropout1);
  visitor.child("dropout2", dropout2);
  visitor.child("dropout3", dropout3);
}

Tensor TransformerDecoderLayer::operator()(const Tensor& x, const Tensor& memory, const DecoderMasks& masks,
                                           SourceLocation where) const {
  const Tensor y = residual(options_.norm_first, norm1, dropout1, x, where,
                            [&](const Tensor& h) { return self_attn(h, masks.self, where); });
  const Tensor z = residual(options_.norm_first, norm2, dropout2, y, where,
                            [&](const Tensor& h) { return multihead_attn(h, memory, memory, masks.memory, where); });
  return residual(options_.norm_first, norm3, dropout3, z, where,
                  [&](const Tensor& h) { return feed_forward(*this, options_.activation, h, where); });
}

}  // namespace tidemark::nn
