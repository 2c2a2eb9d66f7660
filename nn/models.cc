#include "tidemark/models.h"

#include <cmath>
#include <string>

namespace tidemark::nn {
namespace {

void require(bool holds, const char* model, const std::string& message, SourceLocation where) {
  if (!holds) throw ShapeError(std::string("[nn::") + model + "] " + message + " (at " + to_string(where) + ")");
}

constexpr float kGptStddev = 0.02f;

}  // namespace

Sequential mlp(const MlpOptions& options, SourceLocation where) {
  require(options.sizes.size() >= 2, "mlp", ".sizes must name at least the inputs and the outputs", where);
  Sequential net(Flatten{});
  for (std::size_t i = 0; i + 1 < options.sizes.size(); ++i) {
    if (i > 0) net.add(ReLU());
    net.add(Linear({.in = options.sizes[i], .out = options.sizes[i + 1]}, where));
  }
  return net;
}

Sequential small_cnn(const SmallCnnOptions& options, SourceLocation where) {
  require(options.image >= 4, "small_cnn", ".image must be at least 4, but is " + std::to_string(options.image), where);
  const std::int64_t side = options.image / 2 / 2;
  return Sequential(
      Conv2d({.in = options.channels, .out = options.width, .kernel = 3, .padding = 1}, where), ReLU(), MaxPool2d(),
      Conv2d({.in = options.width, .out = 2 * options.width, .kernel = 3, .padding = 1}, where), ReLU(), MaxPool2d(),
      Flatten(), Linear({.in = 2 * options.width * side * side, .out = 4 * options.width}, where), ReLU(),
      Dropout({.p = options.dropout}, where), Linear({.in = 4 * options.width, .out = options.classes}, where));
}

Sequential vgg16(const Vgg16Options& options, SourceLocation where) {
  require(options.image > 0, "vgg16", ".image must be at least 1, but is " + std::to_string(options.image), where);
  require(options.width > 0, "vgg16", ".width must be at least 1, but is " + std::to_string(options.width), where);
  struct Stage {
    int layers;
    int widths;  // in units of the first stage's width
  };
  constexpr Stage kStages[] = {{2, 1}, {2, 2}, {3, 4}, {3, 8}, {3, 8}};

  Sequential net;
  std::int64_t channels = options.channels;
  std::int64_t side = options.image;
  for (const Stage& stage : kStages) {
    const std::int64_t out = stage.widths * options.width;
    for (int i = 0; i < stage.layers; ++i) {
      net.add(Conv2d({.in = channels, .out = out, .kernel = 3, .padding = 1, .bias = !options.batch_norm}, where));
      if (options.batch_norm) net.add(BatchNorm2d({.features = out}, where));
      net.add(ReLU());
      channels = out;
    }
    if (side >= 2) {
      net.add(MaxPool2d());
      side /= 2;
    }
  }
  const std::int64_t hidden = 64 * options.width;
  net.add(Flatten());
  std::int64_t in = channels * side * side;
  for (int i = 0; i < 2; ++i) {
    net.add(Linear({.in = in, .out = hidden}, where)).add(ReLU());
    if (options.dropout > 0) net.add(Dropout({.p = options.dropout}, where));
    in = hidden;
  }
  net.add(Linear({.in = hidden, .out = options.classes}, where));
  return net;
}

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

Tensor Gpt::operator()(const Tensor& tokens, SourceLocation where) const {
  require(tokens.shape(where).rank() == 2 && tokens.size(1, where) <= options_.context, "Gpt",
          "tokens must be [N, T] with T at most " + std::to_string(options_.context) + ", but are " +
              tokens.shape(where).to_string(),
          where);
  const Tensor positions = slice(positions_.weight, 0, 0, tokens.size(1, where), where);
  Tensor x = dropout_(add(tokens_(tokens, where), positions, where), where);
  for (const Block& block : blocks_) x = block(x, where);
  return linear(norm_(x, where), tokens_.weight, {}, where);
}

}  // namespace tidemark::nn
