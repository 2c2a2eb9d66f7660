// embedding: rows of a table by index. Its gradient is scattered straight into the table's.
#include <algorithm>
#include <cstring>

#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops.h"

namespace tidemark {
namespace ops {
namespace {

struct Embedding {
  static constexpr std::string_view name = "embedding";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& indices = in[0];
    const Meta& table = in[1];
    prep.require(
        indices.dtype == i32 && table.dtype == f32 && table.shape.rank() == 2 && indices.shape.rank() < Shape::kMaxRank,
        ops::describe("indices", indices) + ", " + ops::describe("table", table) +
            "; indices must be i32 and the table f32 of two dimensions");
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
      part.gx = {Meta::plain(table.shape)};
      part.saved = {Saved::input(0, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {bytes / 4, 3 * bytes + as_double(part.gx[0].bytes)};
      part.accumulates = true;
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int32_t* indices = in[0].as<std::int32_t>();
    const std::int64_t entries = in[1].shape()[0];
    const std::int64_t width = in[1].shape()[1];
    for (std::int64_t i = 0; i < in[0].numel(); ++i) {
      if (indices[i] >= 0 && indices[i] < entries) continue;
      throw ShapeError("[embedding] index " + std::to_string(indices[i]) + " at position " + std::to_string(i) +
                       " is outside [0, " + std::to_string(entries) + "): indices are " + in[0].shape().to_string() +
                       ", the table " + in[1].shape().to_string());
    }
    for_range(ctx, in[0].numel(), 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::copy_n(in[1].as<>() + indices[i] * width, width, out[0].as<>() + i * width);
      }
    });
  }

  // Each thread has its own columns and goes through the indices in their order: equal bits on every team.
  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const std::int32_t* indices = saved[0].as<std::int32_t>();
    const std::int64_t count = saved[0].numel();
    const std::int64_t width = gx[0].shape()[1];
    if (!ctx.accumulate()) {
      for_elements(ctx, gx[0].numel(), 4, [&](std::int64_t begin, std::int64_t end) {
        std::memset(gx[0].as<>() + begin, 0, static_cast<std::size_t>(end - begin) * sizeof(float));
      });
    }
    for_elements(ctx, width, 12 * count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = 0; i < count; ++i) {
        float* to = gx[0].as<>() + indices[i] * width;
        const float* from = gy[0].as<>() + i * width;
        for (std::int64_t k = begin; k < end; ++k) to[k] += from[k];
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto indices = [](Shape shape, std::int64_t below) {
      return SampleInput{shape, i32, SampleInput::Fill::kIndices, below, false};
    };
    return {{"repeated", {indices({3, 5}, 7), {{7, 6}}}, any_op(Embedding{})},
            {"sparse", {indices({9}, 50), {{50, 33}}}, any_op(Embedding{})}};
  }
};

}  // namespace

std::vector<Sample> embedding_samples() { return Embedding::samples(); }

}  // namespace ops

Tensor embedding(const Tensor& indices, const Tensor& table, SourceLocation where) {
  return apply(ops::Embedding{}, {indices, table}, where);
}

}  // namespace tidemark
