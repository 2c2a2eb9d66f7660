// Models that are built in. Each maps a batch to logits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/named_options.h"
#include "tidemark/nn.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

struct MlpOptions {
  std::vector<std::int64_t> sizes;  // inputs, hidden layers, outputs
};
// Linear layers with ReLU between them; the input is flattened.
Sequential mlp(const MlpOptions& options, SourceLocation where = SourceLocation::current());

struct SmallCnnOptions {
  std::int64_t channels = 1;
  std::int64_t image = 28;  // height and width
  std::int64_t classes = 10;
  std::int64_t width = 32;  // channels of the first convolution; the second has twice as many
  float dropout = 0.25f;
};
// Two 3x3 convolutions with max-pooling and two linear layers.
Sequential small_cnn(const SmallCnnOptions& options = {}, SourceLocation where = SourceLocation::current());

struct Vgg16Options {
  std::int64_t channels = 3;
  std::int64_t image = 224;  // height and width; below 32 the last poolings that do not fit are left out
  std::int64_t classes = 1000;
  std::int64_t width = 64;  // channels of the first stage; everything else scales with it
  bool batch_norm = false;
  float dropout = 0.5f;  // between the linear layers; 0: none
};
Sequential vgg16(const Vgg16Options& options = {}, SourceLocation where = SourceLocation::current());

struct GptOptions {
  int layers = 4;
  std::int64_t width = 128;
  int heads = 4;
  std::int64_t context = 64;  // the most tokens of one row
  std::int64_t vocabulary = 256;
  float dropout = 0.1f;
};
// A decoder in GPT-2's form: learned positions, normalisation first, tanh GELU, output weights tied to the embedding.
class Gpt : public Module {
 public:
  explicit Gpt(const GptOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  // tokens (i32) [N, T], T <= context -> [N, T, vocabulary].
  Tensor operator()(const Tensor& tokens, SourceLocation where = SourceLocation::current()) const;
  // The mean cross entropy of the tokens that follow, next (i32) [N, T] -> []. It never holds the logits of all rows.
  Tensor loss(const Tensor& tokens, const Tensor& next, SourceLocation where = SourceLocation::current()) const;
  const GptOptions& options() const { return options_; }

 private:
  // Of the last block, normalised: [N, T, width].
  Tensor features(const Tensor& tokens, SourceLocation where) const;

  struct Block {
    Block(const GptOptions& options, SourceLocation where);
    void visit(Visitor& visitor);
    Tensor operator()(const Tensor& x, SourceLocation where) const;

    int heads;
    LayerNorm norm1, norm2;
    Linear qkv, projection, up, down;
    Dropout dropout;
  };

  GptOptions options_;
  Embedding tokens_, positions_;
  Dropout dropout_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
};

// What a model that is chosen by name is made for.
struct Examples {
  Shape shape;                // of one: [channels, height, width], or [tokens]
  std::int64_t classes = 10;  // or different tokens
};

struct NamedModel {
  std::string name;
  std::string summary;
  bool reads_tokens = false;  // else images
  std::vector<NamedOption> options;
  // Throws ShapeError where the values do not fit each other or the examples.
  Sequential (*make)(const NamedValues& values, const Examples& examples, SourceLocation where) = nullptr;
};

// All of them, in the order in which they are listed to people.
const std::vector<NamedModel>& models();
// make_model("vgg16", {.shape = {3, 32, 32}, .classes = 10}, {{"width", 16}, {"batch-norm", 1}})
Sequential make_model(std::string_view name, const Examples& examples, const NamedValues::Given& given = {},
                      SourceLocation where = SourceLocation::current());

}  // namespace tidemark::nn
#pragma GCC visibility pop
