// embedding_bag: the sum, mean or largest value of each bag of rows of a table.
#include "tidemark/ops/embedding.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/embedding/embedding_bag.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                              // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/embedding/rows.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/sums.h"
#include "ops/table.h"

#ifndef TIDEMARK_OPS_EMBEDDING_BAG_SHARED_
#define TIDEMARK_OPS_EMBEDDING_BAG_SHARED_
namespace tidemark::ops {

inline constexpr std::int64_t kColumns = 256;  // of a piece, whose sums in double lie on the stack

// At most kColumns columns of a bag. `table`, `out` and `winners` point to the first of them.
struct BagPiece {
  std::int64_t count;  // of the bag's indices
  const std::int32_t* indices;
  const float* weights;  // or none
  std::int64_t padding;
  const float* table;
  std::int64_t width;  // of the table
  std::int64_t columns;
  float* out;
  std::int32_t* winners;  // or none
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Each kSumRows rows go to a sum in double, and the next ones begin anew.
void sum_bag(const BagPiece& b, bool mean) {
  double totals[kColumns];
  std::int64_t taken = 0;
  std::int64_t added = 0;
  std::fill_n(b.out, b.columns, 0.0f);
  for (std::int64_t i = 0; i < b.count; ++i) {
    if (b.indices[i] == b.padding) continue;
    if (added == kSumRows) {
      if (taken == kSumRows) std::fill_n(totals, b.columns, 0.0);
      for (std::int64_t k = 0; k < b.columns; ++k) totals[k] += static_cast<double>(b.out[k]);
      std::fill_n(b.out, b.columns, 0.0f);
      added = 0;
    }
    const float* from = b.table + b.indices[i] * b.width;
    if (b.weights != nullptr) {
      const float weight = b.weights[i];
      for (std::int64_t k = 0; k < b.columns; ++k) b.out[k] += weight * from[k];
    } else {
      for (std::int64_t k = 0; k < b.columns; ++k) b.out[k] += from[k];
    }
    ++added;
    ++taken;
  }
  if (taken > kSumRows) {
    const double divisor = mean ? static_cast<double>(taken) : 1.0;
    for (std::int64_t k = 0; k < b.columns; ++k) {
      b.out[k] = static_cast<float>((totals[k] + static_cast<double>(b.out[k])) / divisor);
    }
  } else if (mean && taken > 1) {
    const auto divisor = static_cast<float>(taken);
    for (std::int64_t k = 0; k < b.columns; ++k) b.out[k] /= divisor;
  }
}

void max_bag(const BagPiece& b) {
  bool empty = true;
  std::fill_n(b.out, b.columns, 0.0f);
  if (b.winners != nullptr) std::fill_n(b.winners, b.columns, -1);
  for (std::int64_t i = 0; i < b.count; ++i) {
    const std::int32_t row = b.indices[i];
    if (row == b.padding) continue;
    const float* from = b.table + row * b.width;
    if (std::exchange(empty, false)) {
      std::copy_n(from, b.columns, b.out);
      if (b.winners != nullptr) std::fill_n(b.winners, b.columns, row);
      continue;
    }
    for (std::int64_t k = 0; k < b.columns; ++k) {
      const bool larger = from[k] > b.out[k] || (std::isnan(from[k]) && !std::isnan(b.out[k]));
      b.out[k] = larger ? from[k] : b.out[k];
      if (b.winners != nullptr) b.winners[k] = larger ? row : b.winners[k];
    }
  }
}

float product_of_rows(std::int64_t n, const float* x, const float* y) { return static_cast<float>(dot_row(n, x, y)); }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(sum_bag);
HWY_EXPORT(max_bag);
HWY_EXPORT(product_of_rows);

using Mode = EmbeddingBagOptions::Mode;

// Takes {indices, table}, and behind them offsets and weights where there are some.
struct EmbeddingBag {
  static constexpr std::string_view name = "embedding_bag";
  Mode mode = Mode::kMean;
  std::optional<std::int64_t> padding = {};
  bool offsets = false;
  bool include_last = false;
  bool weights = false;
  bool sparse = false;

  void describe(Attributes& a) const {
    a("mode", static_cast<int>(mode));
    if (padding) a("padding", *padding);
    a("offsets", offsets);
    a("include_last", include_last);
    a("weights", weights);
    a("sparse", sparse);
  }

  std::size_t weights_at() const { return offsets ? 3 : 2; }

  // Where each bag begins.
  struct Bags {
    std::int64_t count;          // of bags
    std::int64_t indices;        // of all of them
    const std::int32_t* begins;  // none: all are of one size
    std::int64_t size;

    std::int64_t first(std::int64_t bag) const {
      if (begins == nullptr) return bag * size;
      return bag == count ? indices : begins[bag];
    }
    std::int64_t of(std::int64_t sample) const {
      if (begins == nullptr) return sample / size;
      return std::upper_bound(begins, begins + count, sample) - begins - 1;
    }
  };
  Bags bags_of(const Shape& indices, const Buf* starts) const {
    if (!offsets) return {indices[0], indices.numel(), nullptr, indices[1]};
    return {starts->numel() - (include_last ? 1 : 0), indices.numel(), starts->as<std::int32_t>(), 0};
  }

  void check(Prep& prep, std::span<const Meta> in) const {
    const Meta& indices = in[0];
    const Meta& table = in[1];
    const std::string here = ops::describe("indices", indices) + ", " + ops::describe("table", table);
    prep.require(indices.dtype == i32 && table.dtype == f32 && table.shape.rank() == 2,
                 here + "; indices must be i32 and the table f32 of two dimensions");
    require_padding(prep, padding, table);
    if (offsets) {
      const std::string text = here + ", " + ops::describe("offsets", in[2]);
      prep.require(indices.shape.rank() == 1 && in[2].shape.rank() == 1 && in[2].dtype == i32,
                   text + "; with offsets, indices and offsets must be i32 of one dimension");
      prep.require(!include_last || in[2].shape[0] > 0, text + "; include_last_offset needs one offset at least");
      prep.require(include_last || in[2].shape[0] > 0 || indices.shape[0] == 0,
                   text + "; without a bag there may be no index");
    } else {
      prep.require(indices.shape.rank() == 2,
                   here + "; without offsets, indices must have two dimensions, a bag in each row");
      prep.require(!include_last, "include_last_offset is set, and there are no offsets");
    }
    if (!weights) return;
    prep.require(mode == Mode::kSum, "per_sample_weights are for Mode::kSum alone");
    const Meta& factors = in[weights_at()];
    prep.require(factors.dtype == f32 && factors.shape == indices.shape,
                 here + ", " + ops::describe("per_sample_weights", factors) +
                     "; the weights must be f32, of the shape of the indices");
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    check(prep, in);
    const std::int64_t samples = in[0].shape.numel();
    const std::int64_t width = in[1].shape[1];
    const std::int64_t count = offsets ? in[2].shape[0] - (include_last ? 1 : 0) : in[0].shape[0];
    Prepared out;
    out.outputs = {Meta::plain({count, width})};
    const bool winners = mode == Mode::kMax && needs[1];
    if (winners) out.outputs.push_back(Meta::plain({count, width}, i32));
    out.visible = 1;
    out.input_layouts.assign(in.size(), kPlain);
    const double rows = as_double(samples) * as_double(width);
    const double bytes = as_double(out.outputs[0].bytes);
    out.work = {2 * rows, 4 * rows + bytes};
    std::vector<Saved> places = {Saved::input(0, kPlain)};
    if (offsets) places.push_back(Saved::input(2, kPlain));
    if (needs[1]) {
      Part part;
      part.inputs = {1};
      part.gx = {table_gradient_meta(in[1], samples, sparse)};
      part.saved = places;
      if (weights) part.saved.push_back(Saved::input(static_cast<int>(weights_at()), kPlain));
      if (winners) part.saved.push_back(Saved::output(1));
      part.gy = {{0, kPlain}};
      part.work = {2 * rows, 12 * rows + as_double(part.gx[0].bytes)};
      part.scratch =
          row_scratch(samples, width) + samples * std::int64_t{sizeof(std::int32_t)} * (mode == Mode::kMean ? 2 : 1);
      part.accumulates = !sparse;
      out.parts.push_back(std::move(part));
    }
    if (weights && needs[weights_at()]) {
      Part part;
      part.inputs = {static_cast<int>(weights_at())};
      part.gx = {Meta::plain(in[0].shape)};
      part.saved = places;
      part.saved.push_back(Saved::input(1, kPlain));
      part.gy = {{0, kPlain}};
      part.work = {2 * rows, 8 * rows};
      out.parts.push_back(std::move(part));
    }
    out.state = std::make_shared<const bool>(needs[1]);
    return out;
  }

  void check_offsets(const Buf& starts, const Buf& indices) const {
    const std::int64_t count = starts.numel();
    const auto* at = starts.as<std::int32_t>();
    const auto refuse = [&](std::int64_t i, const std::string& rule) {
      throw ShapeError("[embedding_bag] offset " + std::to_string(at[i]) + " at position " + std::to_string(i) +
                       " of " + std::to_string(count) + " for " + std::to_string(indices.numel()) +
                       " indices: " + rule);
    };
    for (std::int64_t i = 0; i < count; ++i) {
      if (i == 0 && at[0] != 0) refuse(i, "the first one must be 0");
      if (i > 0 && at[i] < at[i - 1]) refuse(i, "none may be below the one before it");
      if (at[i] > indices.numel()) refuse(i, "none may be above the number of indices");
    }
    if (include_last && at[count - 1] != indices.numel()) {
      refuse(count - 1, "with include_last_offset the last one must be the number of indices");
    }
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    check_indices(name, in[0], in[1]);
    if (offsets) check_offsets(in[2], in[0]);
    const Bags bags = bags_of(in[0].shape(), offsets ? &in[2] : nullptr);
    const std::int64_t width = in[1].shape()[1];
    const std::int64_t row = padding_row(padding, in[1].shape());
    const std::int64_t pieces = (width + kColumns - 1) / kColumns;
    const std::int64_t each = bags.count == 0 ? 0 : 4 * bags.indices * std::min(width, kColumns) / bags.count;
    for_range(ctx, bags.count * pieces, each, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t item = begin; item < end; ++item) {
        const std::int64_t bag = item / pieces;
        const std::int64_t column = item % pieces * kColumns;
        const std::int64_t first = bags.first(bag);
        const std::int64_t place = bag * width + column;
        const BagPiece piece = {bags.first(bag + 1) - first,
                                in[0].as<std::int32_t>() + first,
                                weights ? in[weights_at()].as<>() + first : nullptr,
                                row,
                                in[1].as<>() + column,
                                width,
                                std::min(kColumns, width - column),
                                out[0].as<>() + place,
                                out.size() > 1 ? out[1].as<std::int32_t>() + place : nullptr};
        if (mode == Mode::kMax) {
          HWY_DYNAMIC_DISPATCH(max_bag)(piece);
        } else {
          HWY_DYNAMIC_DISPATCH(sum_bag)(piece, mode == Mode::kMean);
        }
      }
    });
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const Bags bags = bags_of(saved[0].shape(), offsets ? &saved[1] : nullptr);
    const std::span<const Buf> rest = saved.subspan(offsets ? 2 : 1);
    if (part == 0 && ctx.state<bool>()) {
      table_part(ctx, bags, saved[0], rest, gy[0], gx[0]);
    } else {
      weights_part(ctx, bags, saved[0], rest[0], gy[0], gx[0]);
    }
  }

  // `rest`: the weights, or what gave the largest values.
  void table_part(const Ctx& ctx, const Bags& bags, const Buf& indices, std::span<const Buf> rest, const Buf& gy,
                  const Buf& gx) const {
    const std::int64_t width = gx.shape()[1];
    RowSamples samples;
    samples.count = indices.numel();
    samples.indices = indices.as<std::int32_t>();
    samples.padding = padding_row(padding, gx.shape());
    samples.gy = gy.as<>();
    auto* const bag_of = reinterpret_cast<std::int32_t*>(ctx.scratch<std::byte>() + row_scratch(samples.count, width));
    auto* const scales = reinterpret_cast<float*>(bag_of + samples.count);
    for (std::int64_t bag = 0; bag < bags.count; ++bag) {
      const std::int64_t first = bags.first(bag);
      const std::int64_t last = bags.first(bag + 1);
      std::fill(bag_of + first, bag_of + last, static_cast<std::int32_t>(bag));
      if (mode != Mode::kMean) continue;
      const std::int64_t left_out = std::count(samples.indices + first, samples.indices + last, samples.padding);
      std::fill(scales + first, scales + last, 1.0f / static_cast<float>(last - first - left_out));
    }
    samples.bags = bag_of;
    if (mode == Mode::kMean) samples.scales = scales;
    if (weights) samples.scales = rest[0].as<>();
    if (mode == Mode::kMax) samples.winners = rest[0].as<std::int32_t>();
    table_gradient(ctx, samples, ctx.scratch(), gx);
  }

  void weights_part(const Ctx& ctx, const Bags& bags, const Buf& indices, const Buf& table, const Buf& gy,
                    const Buf& gx) const {
    const std::int64_t width = table.shape()[1];
    const std::int64_t row = padding_row(padding, table.shape());
    const auto* at = indices.as<std::int32_t>();
    for_range(ctx, gx.numel(), 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        gx.as<>()[i] = at[i] == row ? 0.0f
                                    : HWY_DYNAMIC_DISPATCH(product_of_rows)(width, gy.as<>() + bags.of(i) * width,
                                                                            table.as<>() + at[i] * width);
      }
    });
  }

  static std::vector<Sample> samples() {
    using Fill = SampleInput::Fill;
    const auto indices = [](Shape shape, std::int64_t below) {
      return SampleInput{shape, i32, Fill::kIndices, below, false};
    };
    const SampleInput starts = {{3}, i32, Fill::kZeros, 0, false};  // two empty bags, and one of everything
    return {
        {"mean", {indices({3, 5}, 7), {{7, 6}}}, any_op(EmbeddingBag{}), {true, false}},
        {"sum", {indices({4, 2}, 9), {{9, 17}}}, any_op(EmbeddingBag{.mode = Mode::kSum, .padding = 3}), {true, false}},
        {"max", {indices({5, 4}, 6), {{6, 19}}}, any_op(EmbeddingBag{.mode = Mode::kMax}), {true, false}},
        {"weights",
         {indices({2, 6}, 5), {{5, 33}}, {{2, 6}}},
         any_op(EmbeddingBag{.mode = Mode::kSum, .padding = -1, .weights = true}),
         {true, false, true}},
        {"offsets",
         {indices({11}, 5), {{5, 3}}, starts, {{11}}},
         any_op(EmbeddingBag{.mode = Mode::kSum, .offsets = true, .weights = true}),
         {true, false, false, true}},
        {"offsets mean",
         {indices({70}, 3), {{3, 270}}, starts},
         any_op(EmbeddingBag{.padding = 1, .offsets = true}),
         {true, false, false}},
        {"offsets max",
         {indices({9}, 8), {{8, 5}}, starts},
         any_op(EmbeddingBag{.mode = Mode::kMax, .padding = 0, .offsets = true}),
         {true, false, false}},
        {"rows", {indices({3, 4}, 40), {{40, 21}}}, any_op(EmbeddingBag{.sparse = true}), {true, false}},
        {"rows max",
         {indices({4, 5}, 9), {{9, 3}}},
         any_op(EmbeddingBag{.mode = Mode::kMax, .sparse = true}),
         {true, false}},
    };
  }
};

}  // namespace

std::vector<Sample> embedding_bag_samples() { return EmbeddingBag::samples(); }

}  // namespace ops

Tensor embedding_bag(const Tensor& indices, const Tensor& table, const Tensor& offsets,
                     const EmbeddingBagOptions& options, SourceLocation where) {
  const ops::EmbeddingBag op = {.mode = options.mode,
                                .padding = options.padding,
                                .offsets = offsets.defined(),
                                .include_last = options.include_last_offset,
                                .weights = options.per_sample_weights.defined(),
                                .sparse = options.sparse};
  std::vector<Tensor> inputs = {indices, table};
  if (op.offsets) inputs.push_back(offsets);
  if (op.weights) inputs.push_back(options.per_sample_weights);
  return apply_one(any_op(op), inputs, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
