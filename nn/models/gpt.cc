#include <cmath>
#include <string>

#include "nn/models/table.h"
#include "tidemark/ops.h"

namespace tidemark::nn {

namespace {

constexpr float kGptStddev = 0.02f;

}  // namespace

// The projections that add to the residual stream start smaller, so that its variance does not grow with the depth.
Gpt::Block::Block(const GptOptions& options, SourceLocation where)
    : heads(options.heads),
      norm1({.features = options.width}, where),
      norm2({.features = options.width}, where),
      qkv({.in = options.width, .out = 3 * options.width, .stddev = kGptStddev}, where),
      projection({.in = options.width,
                  .out = options.width,
                  .stddev = kGptStddev / std::sqrt(2.0f * static_cast<float>(options.layers))},
                 where),
      up({.in = options.width, .out = 4 * options.width, .stddev = kGptStddev}, where),
      down({.in = 4 * options.width,
            .out = options.width,
            .stddev = kGptStddev / std::sqrt(2.0f * static_cast<float>(options.layers))},
           where),
      dropout({.p = options.dropout}, where) {}

void Gpt::Block::visit(Visitor& visitor) {
  visitor.child("norm1", norm1);
  visitor.child("qkv", qkv);
  visitor.child("projection", projection);
  visitor.child("norm2", norm2);
  visitor.child("up", up);
  visitor.child("down", down);
  visitor.child("dropout", dropout);
}

Tensor Gpt::Block::operator()(const Tensor& x, SourceLocation where) const {
  const Tensor attended = causal_self_attention(qkv(norm1(x, where), where), heads, where);
  const Tensor y = add(x, dropout(projection(attended, where), where), where);
  const Tensor hidden = gelu(up(norm2(y, where), where), {.approximate = true}, where);
  return add(y, dropout(down(hidden, where), where), where);
}

Gpt::Gpt(const GptOptions& options, SourceLocation where)
    : options_(options),
      tokens_({.count = options.vocabulary, .width = options.width, .stddev = kGptStddev}, where),
      positions_({.count = options.context, .width = options.width, .stddev = kGptStddev}, where),
      dropout_({.p = options.dropout}, where),
      norm_({.features = options.width}, where) {
  require(options.layers > 0, "Gpt", ".layers must be at least 1, but is " + std::to_string(options.layers), where);
  require(options.heads > 0 && options.width % options.heads == 0, "Gpt",
          std::to_string(options.heads) + " heads do not divide a width of " + std::to_string(options.width), where);
  blocks_.reserve(static_cast<std::size_t>(options.layers));
  for (int i = 0; i < options.layers; ++i) blocks_.emplace_back(options, where);
}

void Gpt::visit(Visitor& visitor) {
  visitor.child("tokens", tokens_);
  visitor.child("positions", positions_);
  visitor.child("dropout", dropout_);
  visitor.child("blocks", blocks_);
  visitor.child("norm", norm_);
}

Tensor Gpt::features(const Tensor& tokens, SourceLocation where) const {
  require(tokens.shape(where).rank() == 2 && tokens.size(1, where) <= options_.context, "Gpt",
          "tokens must be [N, T] with T at most " + std::to_string(options_.context) + ", but are " +
              tokens.shape(where).to_string(),
          where);
  const Tensor positions = slice(positions_.weight, 0, 0, tokens.size(1, where), where);
  Tensor x = dropout_(add(tokens_(tokens, where), positions, where), where);
  for (const Block& block : blocks_) x = block(x, where);
  return norm_(x, where);
}

Tensor Gpt::operator()(const Tensor& tokens, SourceLocation where) const {
  return linear(features(tokens, where), tokens_.weight, {}, where);
}

Tensor Gpt::loss(const Tensor& tokens, const Tensor& next, SourceLocation where) const {
  return linear_cross_entropy(features(tokens, where), tokens_.weight, {}, next, {}, where);
}

NamedModel gpt_model() {
  return {.name = "gpt",
          .summary = "a decoder in GPT-2's form",
          .reads_tokens = true,
          .options = {NamedOption::whole("width", 128, 1, 1 << 20, "of a token"),
                      NamedOption::whole("layers", 4, 1, 10000, "blocks"),
                      NamedOption::whole("heads", 4, 1, 1 << 16, "of attention; they must divide the width"),
                      NamedOption::number("dropout", 0.1, 0, 0.99, "probability")},
          .make = [](const NamedValues& values, const Examples& examples, SourceLocation where) {
            return Sequential(Gpt({.layers = static_cast<int>(values.whole("layers")),
                                   .width = values.whole("width"),
                                   .heads = static_cast<int>(values.whole("heads")),
                                   .context = examples.shape[0],
                                   .vocabulary = examples.classes,
                                   .dropout = values.number("dropout")},
                                  where));
          }};
}

}  // namespace tidemark::nn
