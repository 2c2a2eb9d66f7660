#include "bench/op_rows.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tidemark {
namespace {

struct Usual {
  std::string_view op;
  std::string_view sample;  // whose attributes are taken
  std::vector<Shape> shapes;
  std::int64_t below = 0;  // indices are drawn from [0, below); 0: as the sample says
};

// 16 MiB, which second-level caches do not hold.
const Shape& large() {
  static const Shape shape = {4096, 1024};
  return shape;
}

// What is not simply element by element: attributes of a sample, with these operands.
const std::vector<Usual>& usual() {
  static const std::vector<Usual> rows = {
      // pointwise
      {"glu", "last", {{4096, 2048}}},
      {"swiglu", "last", {{4096, 2048}}},
      {"lerp", "number", {large(), large()}},
      {"masked_fill", "row", {{1024}, {16, 256, 1024}}},
      {"where", "equal", {large(), large(), large()}},
      {"add", "row", {{1024}, large()}},
      {"prelu", "channel", {{16, 64, 64, 64}, {64, 1, 1}}},
      {"to", "f32 to i32", {large()}},
      {"to", "u8 to f32", {large()}},
      // reductions
      {"sum", "all", {large()}},
      {"sum", "last", {large()}},
      {"sum", "rows", {large()}},
      {"sum", "channels", {{32, 64, 32, 64}}},
      {"mean", "last", {large()}},
      {"prod", "last", {large()}},
      {"var", "last", {large()}},
      {"std", "rows", {large()}},
      {"norm", "all", {large()}},
      {"norm", "three", {large()}},
      {"amax", "last", {large()}},
      {"amin", "channels", {{32, 64, 32, 64}}},
      {"max_of_all", "all", {large()}},
      {"min_of_all", "all", {large()}},
      {"logsumexp", "last", {large()}},
      {"any", "last", {large()}},
      {"all", "last", {large()}},
      {"count_nonzero", "last", {large()}},
      {"max", "last", {large()}},
      {"min", "first", {large()}},
      {"argmax", "last", {large()}},
      {"argmin", "middle", {{64, 64, 1024}}},
      {"sort", "last", {{1024, 1024}}},
      {"argsort", "last", {{1024, 1024}}},
      {"topk", "last", {{1024, 4096}}},
      {"topk", "long", {{256, 16384}}},
      {"cumsum", "last", {large()}},
      {"cumsum", "first", {large()}},
      {"cumprod", "last", {large()}},
      {"multinomial", "again", {{256, 1024}}},
      // losses
      {"softmax", "rows", {large()}},
      {"softmax", "middle", {{64, 64, 1024}}},
      {"log_softmax", "rows", {large()}},
      {"cross_entropy", "batch", {{4096, 1000}, {4096}}, 1000},
      {"cross_entropy", "smooth", {{4096, 1000}, {4096}}, 1000},
      {"cross_entropy_of_probabilities", "batch", {{4096, 1000}, {4096, 1000}}},
      {"linear_cross_entropy", "batch", {{1024, 256}, {1024}, {16384, 256}, {16384}}, 16384},
      {"nll_loss", "batch", {{4096, 1000}, {4096}}, 1000},
      {"multi_margin_loss", "batch", {{4096, 1000}, {4096}}, 1000},
      {"cosine_similarity", "rows", {large(), large()}},
      {"pairwise_distance", "two", {large(), large()}},
      // attention
      {"causal_self_attention", "two_heads", {{8, 256, 384}}},
      {"scaled_dot_product_attention", "tiles", {{4, 8, 512, 64}, {4, 8, 512, 64}, {4, 8, 512, 64}}},
      {"scaled_dot_product_attention", "dropout", {{4, 8, 512, 64}, {4, 8, 512, 64}, {4, 8, 512, 64}}},
      {"rotary_embedding", "halves", {{8, 8, 512, 64}}},
      // recurrent
      {"gate_products", "lstm", {{32, 512}, {32, 512}, {2048, 512}, {2048, 512}, {2048}, {2048}}},
      {"lstm_gates", "many", {{32, 2048}, {32, 512}}},
      {"gru_gates", "many", {{32, 2048}, {32, 512}}},
      {"until_length", "steps", {{64, 32, 1024}, {32}}, 64},
      {"time_steps", "one by one", {{64, 32, 1024}}},
      // shapes
      {"transpose", "matrix", {{2048, 2048}}},
      {"permute", "rows", {{16, 128, 8, 128}}},
      {"slice", "columns", {{4096, 7, 128}}},
      {"slice", "odd rows", {{64, 64, 1024}}},
      {"concat", "channels", {{16, 64, 1024}, {16, 64, 1024}, {16, 64, 1024}}},
      {"expand", "columns", {{4096, 1, 3}}},
      {"flip", "last", {large()}},
      {"roll", "columns", {large()}},
      {"pad", "images", {{16, 64, 56, 56}}},
      {"pad", "reflect", {{2048, 2048}}},
      {"tril", "square", {{2048, 2048}}},
      {"triu", "square", {{2048, 2048}}},
      {"gather", "last", {{4096, 1024}, {4096, 256}}, 1024},
      {"scatter", "last", {{4096, 1024}, {4096, 256}, {4096, 256}}, 1024},
      {"scatter_add", "last", {{4096, 1024}, {4096, 256}, {4096, 256}}, 1024},
      {"index_select", "rows", {{10000, 512}, {4096}}, 10000},
      {"index_add", "rows", {{10000, 512}, {4096}, {4096, 512}}, 10000},
      {"one_hot", "classes", {{65536}}},
      {"unfold", "same", {{8, 32, 56, 56}}},
      {"fold", "same", {{512, 288, 20}}},
      // products
      {"linear", "batch", {{1024, 1024}, {1024, 1024}, {1024}}},
      {"matmul", "square", {{1024, 1024}, {1024, 1024}}},
      {"matmul", "batch", {{64, 256, 64}, {64, 64, 256}}},
      {"matmul", "transposed b", {{64, 256, 64}, {64, 256, 64}}},
      {"matmul", "transposed a", {{64, 64, 256}, {64, 64, 256}}},
      {"matmul", "vector b", {{4, 1024, 1024}, {1024}}},
      {"dot", "long", {{4194304}, {4194304}}},
      {"bilinear", "batch", {{256, 128}, {256, 128}, {64, 128, 128}, {64}}},
      // images
      {"conv2d", "3x3", {{16, 64, 56, 56}, {64, 64, 3, 3}, {64}}},
      {"conv2d", "1x1", {{16, 256, 28, 28}, {256, 256, 1, 1}, {256}}},
      {"conv2d", "depthwise", {{16, 8, 56, 56}, {8, 1, 3, 3}, {8}}},
      {"conv_transpose2d", "stride", {{16, 64, 28, 28}, {64, 64, 2, 2}}},
      {"conv_transpose2d", "plain", {{16, 64, 28, 28}, {64, 64, 3, 3}}},
      {"max_pool2d", "2x2", {{16, 64, 56, 56}}},
      {"max_pool2d", "overlapping", {{16, 64, 56, 56}}},
      {"max_windows", "gaps", {{16, 64, 56, 56}}},
      {"avg_pool2d", "2x2", {{16, 64, 56, 56}}},
      {"adaptive_avg_pool2d", "whole", {{16, 256, 28, 28}}},
      {"upsample", "nearest", {{256, 64, 3, 4}}},
      {"upsample", "bilinear", {{256, 64, 4, 3}}},
      {"upsample", "nearest large", {{16, 64, 32, 32}}},
      {"upsample", "bilinear large", {{16, 64, 32, 32}}},
      // norms
      {"layer_norm", "rows", {large(), {1024}, {1024}}},
      {"rms_norm", "rows", {large(), {1024}}},
      {"group_norm", "images", {{16, 96, 56, 56}, {96}, {96}}},
      {"batch_norm", "image", {{16, 64, 56, 56}, {64}, {64}}},
      {"batch_norm", "features", {large(), {1024}, {1024}}},
      {"dropout", "tenth", {large()}},
      {"dropout_rows", "channels", {{16, 64, 64, 64}}},
      // embedding
      {"embedding", "repeated", {{4096}, {10000, 512}}, 10000},
      {"embedding", "rows", {{4096}, {10000, 512}}, 10000},
      {"embedding_bag", "mean", {{4096, 8}, {10000, 128}}, 10000},
  };
  return rows;
}

Sample grown(Sample sample, const Usual& row) {
  for (std::size_t i = 0; i < row.shapes.size(); ++i) {
    sample.inputs.at(i).shape = row.shapes[i];
    if (row.below > 0 && sample.inputs[i].fill == SampleInput::Fill::kIndices) sample.inputs[i].below = row.below;
  }
  return sample;
}

}  // namespace

std::vector<Sample> rows_of(const ops::OpEntry& op) {
  const std::vector<Sample> samples = op.samples();
  std::vector<Sample> rows;
  for (const Usual& row : usual()) {
    if (row.op != op.name) continue;
    const auto sample = std::ranges::find(samples, row.sample, &Sample::label);
    if (sample == samples.end()) {
      throw std::logic_error("op " + std::string(op.name) + " has no sample '" + std::string(row.sample) + "'");
    }
    rows.push_back(grown(*sample, row));
  }
  // Element by element: operands of one shape take any other.
  for (const std::string_view label : {"matrix", "equal"}) {
    const auto sample = std::ranges::find(samples, label, &Sample::label);
    if (!rows.empty() || sample == samples.end()) continue;
    if (!std::ranges::all_of(sample->inputs, [&](const auto& x) { return x.shape == sample->inputs[0].shape; }))
      continue;
    rows.push_back(grown(*sample, {op.name, label, std::vector<Shape>(sample->inputs.size(), large())}));
  }
  return rows;
}

}  // namespace tidemark
