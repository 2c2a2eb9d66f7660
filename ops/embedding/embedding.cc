// embedding: rows of a table by index. Its gradient is scattered straight into the table's.
#include "tidemark/ops/embedding.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/embedding/embedding.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                          // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>

#include "ops/kernels.h"
#include "ops/sums.h"
#include "ops/table.h"

#ifndef TIDEMARK_OPS_EMBEDDING_SHARED_
#define TIDEMARK_OPS_EMBEDDING_SHARED_
namespace tidemark::ops {

// What the gradient's rows of columns [begin, end) are added to. Rows that are added to often carry their sum in
// double: each kSumRows-th time it goes there, and the row starts again.
struct Scatter {
  std::int64_t count;    // of indices
  std::int64_t entries;  // of the table
  std::int64_t width;
  std::int64_t begin;
  std::int64_t end;
  const std::int32_t* indices;
  const float* rows;
  float* table;
  // Of each entry: how often it was added to since its sum went to double, and kSumRows times the place of that sum in
  // `totals`, counted from 1.
  std::uint32_t* states;
  double* totals;
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

void scatter_rows(const Scatter& s) {
  constexpr auto kRun = static_cast<std::uint32_t>(kSumRows);
  const std::int64_t width = s.end - s.begin;
  std::uint32_t places = 0;
  std::fill_n(s.states, s.entries, 0u);
  for (std::int64_t i = 0; i < s.count; ++i) {
    std::uint32_t& state = s.states[s.indices[i]];
    const float* from = s.rows + i * s.width + s.begin;
    float* to = s.table + s.indices[i] * s.width + s.begin;
    if (state % kRun == 0 && state > 0) {
      std::copy_n(from, width, to);
    } else {
      for (std::int64_t k = 0; k < width; ++k) to[k] += from[k];
    }
    if (++state % kRun != 0) continue;
    if (state == kRun) {
      state = ++places * kRun;
      std::fill_n(s.totals + (places - 1) * s.width + s.begin, width, 0.0);
    } else {
      state -= kRun;
    }
    double* total = s.totals + (state / kRun - 1) * s.width + s.begin;
    for (std::int64_t k = 0; k < width; ++k) total[k] += static_cast<double>(to[k]);
  }
  for (std::int64_t entry = 0; entry < s.entries; ++entry) {
    const std::uint32_t state = s.states[entry];
    if (state < kRun) continue;
    float* to = s.table + entry * s.width + s.begin;
    const double* total = s.totals + (state / kRun - 1) * s.width + s.begin;
    const bool open = state % kRun != 0;
    for (std::int64_t k = 0; k < width; ++k) {
      to[k] = static_cast<float>(total[k] + (open ? static_cast<double>(to[k]) : 0.0));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(scatter_rows);

constexpr std::int64_t kLine = 16;  // floats of a cache line, which belong to one thread

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
      // An entry takes a place for its sum in double when it has been added to kSumRows times.
      part.scratch = indices.shape.numel() / kSumRows * table.shape[1] * std::int64_t{sizeof(double)} +
                     prep.threads() * table.shape[0] * std::int64_t{sizeof(std::uint32_t)};
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
    const std::int64_t count = saved[0].numel();
    const std::int64_t entries = gx[0].shape()[0];
    const std::int64_t width = gx[0].shape()[1];
    if (!ctx.accumulate()) {
      for_elements(ctx, gx[0].numel(), 4, [&](std::int64_t begin, std::int64_t end) {
        std::fill(gx[0].as<>() + begin, gx[0].as<>() + end, 0.0f);
      });
    }
    auto* const totals = ctx.scratch<double>();
    auto* const states = reinterpret_cast<std::uint32_t*>(totals + count / kSumRows * width);
    const bool small = 12 * count * width < kParallelBytes;
    const std::int64_t lines = (width + kLine - 1) / kLine;
    for_members(ctx, lines, small ? 1 : ctx.threads(), [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(scatter_rows)
      ({count, entries, width, begin * kLine, std::min(width, end * kLine), saved[0].as<std::int32_t>(), gy[0].as<>(),
        gx[0].as<>(), states + member * entries, totals});
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
#endif  // HWY_ONCE
