// embedding: rows of a table by index. Its gradient is scattered straight into the table's.
#include "tidemark/ops/embedding.h"

#include <algorithm>
#include <vector>

#include "ops/embedding/rows.h"
#include "ops/kernels.h"
#include "ops/table.h"

namespace tidemark {
namespace ops {
namespace {

struct Embedding {
  static constexpr std::string_view name = "embedding";
  std::optional<std::int64_t> padding;
  bool sparse = false;

  void describe(Attributes& a) const {
    if (padding) a("padding", *padding);
    a("sparse", sparse);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& indices = in[0];
    const Meta& table = in[1];
    prep.require(
        indices.dtype == i32 && table.dtype == f32 && table.shape.rank() == 2 && indices.shape.rank() < Shape::kMaxRank,
        ops::describe("indices", indices) + ", " + ops::describe("table", table) +
            "; indices must be i32 and the table f32 of two dimensions");
    require_padding(prep, padding, table);
    std::vector<std::int64_t> dims(indices.shape.dims().begin(), indices.shape.dims().end());
    dims.push_back(table.shape[1]);
    Prepared out;
    out.outputs = {Meta::plain(Shape(dims))};
    out.input_layouts = {kPlain, kPlain};
    const double bytes = as_double(out.outputs[0].bytes);
    out.work = {0, 2 * bytes};
    if (needs[1]) {
      Part part;
      part.inputs = {1};
      part.gx = {table_gradient_meta(table, indices.shape.numel(), sparse)};
      part.saved = {Saved::input(0, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {bytes / 4, 3 * bytes + as_double(part.gx[0].bytes)};
      part.scratch = row_scratch(indices.shape.numel(), table.shape[1]);
      part.accumulates = !sparse;
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    check_indices(name, in[0], in[1]);
    const std::int32_t* indices = in[0].as<std::int32_t>();
    const std::int64_t width = in[1].shape()[1];
    for_range(ctx, in[0].numel(), 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::copy_n(in[1].as<>() + indices[i] * width, width, out[0].as<>() + i * width);
      }
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    RowSamples samples;
    samples.count = saved[0].numel();
    samples.indices = saved[0].as<std::int32_t>();
    samples.padding = padding_row(padding, gx[0].shape());
    samples.gy = gy[0].as<>();
    table_gradient(ctx, samples, ctx.scratch(), gx[0]);
  }

  static std::vector<Sample> samples() {
    const auto indices = [](Shape shape, std::int64_t below) {
      return SampleInput{shape, i32, SampleInput::Fill::kIndices, below, false};
    };
    return {{"repeated", {indices({3, 5}, 7), {{7, 6}}}, any_op(Embedding{})},
            {"sparse", {indices({9}, 50), {{50, 33}}}, any_op(Embedding{})},
            {"rows", {indices({40}, 31), {{31, 18}}}, any_op(Embedding{{}, true})}};
  }
};

}  // namespace

std::vector<Sample> embedding_samples() { return Embedding::samples(); }

}  // namespace ops

Tensor embedding(const Tensor& indices, const Tensor& table, const EmbeddingOptions& options, SourceLocation where) {
  return apply(ops::Embedding{options.padding, options.sparse}, {indices, table}, where);
}

}  // namespace tidemark
