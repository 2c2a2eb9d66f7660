// max, min, argmax and argmin of lines along a dimension.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/max.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                     // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/reductions/select.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// The first of n elements that is as large or small as any, or the first NaN.
template <bool largest>
HWY_INLINE std::int64_t extreme_at(std::int64_t n, const float* x) {
  constexpr float kFrom = largest ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
  const auto better = [](auto a, auto b) HWY_ATTR {
    const auto beyond = largest ? hn::Gt(b, a) : hn::Lt(b, a);
    return hn::IfThenElse(hn::Or(beyond, hn::IsNaN(b)), b, a);
  };
  HWY_ALIGN float lanes[hn::MaxLanes(Eight())];
  hn::Store(fold(n, kFrom, better, better, x), Eight(), lanes);
  float best = kFrom;
  for (const float lane : lanes) best = lane != lane || (largest ? lane > best : lane < best) ? lane : best;
  const Wide d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const auto wanted = hn::Set(d, best);
  const bool nan = best != best;
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    const auto v = load(d, x + i);
    const auto here = nan ? hn::IsNaN(v) : hn::Eq(v, wanted);
    const auto at = hn::FindFirstTrue(d, here);
    if (at >= 0) return i + at;
  }
  while (i < n - 1 && (nan ? x[i] == x[i] : x[i] != best)) ++i;
  return i;
}

// `vectors` of them from column j on, kept in registers over all rows.
template <bool largest, int vectors, class D>
HWY_INLINE void extreme_vectors(D d, std::int64_t rows, std::int64_t step, const float* x, float* best,
                                std::int32_t* index) {
  const hn::Rebind<std::int32_t, D> di;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<D> most[vectors];
  hn::Vec<decltype(di)> at[vectors];
  for (int k = 0; k < vectors; ++k) {
    most[k] = load(d, x + k * width);
    at[k] = hn::Zero(di);
  }
  for (std::int64_t row = 1; row < rows; ++row) {
    const auto here = hn::Set(di, static_cast<std::int32_t>(row));
    for (int k = 0; k < vectors; ++k) {
      const auto v = load(d, x + row * step + k * width);
      const auto beyond = largest ? hn::Gt(v, most[k]) : hn::Lt(v, most[k]);
      const auto taken = hn::Or(beyond, hn::AndNot(hn::IsNaN(most[k]), hn::IsNaN(v)));
      most[k] = hn::IfThenElse(taken, v, most[k]);
      at[k] = hn::IfThenElse(hn::RebindMask(di, taken), here, at[k]);
    }
  }
  for (int k = 0; k < vectors; ++k) {
    store(d, most[k], best + k * width);
    hn::StoreU(at[k], di, index + k * width);
  }
}

// Rows of `columns` lines beside each other, `step` apart.
template <bool largest>
HWY_INLINE void extreme_columns(std::int64_t rows, std::int64_t columns, std::int64_t step, const float* x, float* best,
                                std::int32_t* index) {
  const Wide d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t j = 0;
  for (; j + 4 * width <= columns; j += 4 * width) {
    extreme_vectors<largest, 4>(d, rows, step, x + j, best + j, index + j);
  }
  for (; j + width <= columns; j += width) extreme_vectors<largest, 1>(d, rows, step, x + j, best + j, index + j);
  for (; j < columns; ++j) {
    extreme_vectors<largest, 1>(hn::CappedTag<float, 1>(), rows, step, x + j, best + j, index + j);
  }
}

std::int64_t extreme_of_row(bool largest, std::int64_t n, const float* x) {
  return largest ? extreme_at<true>(n, x) : extreme_at<false>(n, x);
}

void extreme_of_columns(bool largest, std::int64_t rows, std::int64_t columns, std::int64_t step, const float* x,
                        float* best, std::int32_t* index) {
  if (largest) {
    extreme_columns<true>(rows, columns, step, x, best, index);
  } else {
    extreme_columns<false>(rows, columns, step, x, best, index);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(extreme_of_row);
HWY_EXPORT(extreme_of_columns);

constexpr std::int64_t kPiece = std::int64_t{32} * 1024;  // elements of a long line that are searched as one
constexpr std::int64_t kColumns = 64;

struct ExtremeSearch {
  Lines lines;
  std::int64_t pieces() const { return lines.inner == 1 ? (lines.size + kPiece - 1) / kPiece : 1; }
  std::int64_t scratch() const { return pieces() == 1 ? 0 : lines.outer * pieces() * size_of(i32); }

  // `values` may be null.
  void run(const Ctx& ctx, bool largest, const float* x, float* values, std::int32_t* indices) const {
    if (lines.inner > 1) {
      search_columns(ctx, largest, x, values, indices);
      return;
    }
    const std::int64_t count = pieces();
    std::int32_t* found = count == 1 ? indices : ctx.scratch<std::int32_t>();
    for_range(ctx, lines.outer * count, 4 * std::min(lines.size, kPiece), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t item = begin; item < end; ++item) {
        const std::int64_t first = item % count * kPiece;
        const float* from = x + item / count * lines.size + first;
        found[item] = static_cast<std::int32_t>(
            first + HWY_DYNAMIC_DISPATCH(extreme_of_row)(largest, std::min(kPiece, lines.size - first), from));
      }
    });
    if (count == 1 && values == nullptr) return;
    for_range(ctx, lines.outer, 16 * count, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t line = begin; line < end; ++line) {
        const float* from = x + line * lines.size;
        std::int32_t best = found[line * count];
        for (std::int64_t piece = 1; piece < count; ++piece) {
          const std::int32_t other = found[line * count + piece];
          const float a = from[best];
          const float b = from[other];
          if ((largest ? b > a : b < a) || (std::isnan(b) && !std::isnan(a))) best = other;
        }
        indices[line] = best;
        if (values != nullptr) values[line] = from[best];
      }
    });
  }

 private:
  void search_columns(const Ctx& ctx, bool largest, const float* x, float* values, std::int32_t* indices) const {
    const std::int64_t blocks = (lines.inner + kColumns - 1) / kColumns;
    const std::int64_t bytes = 4 * lines.size * std::min(lines.inner, kColumns);
    for_range(ctx, lines.outer * blocks, bytes, [&](std::int64_t begin, std::int64_t end) {
      float best[kColumns];
      for (std::int64_t item = begin; item < end; ++item) {
        const std::int64_t first = item % blocks * kColumns;
        const std::int64_t count = std::min(kColumns, lines.inner - first);
        const std::int64_t to = item / blocks * lines.inner + first;
        const float* from = x + item / blocks * lines.size * lines.inner + first;
        HWY_DYNAMIC_DISPATCH(extreme_of_columns)(largest, lines.size, count, lines.inner, from, best, indices + to);
        if (values != nullptr) std::copy_n(best, count, values + to);
      }
    });
  }
};

std::shared_ptr<ExtremeSearch> search_of(const Prep& prep, const Meta& x, const Lines& lines) {
  prep.require(lines.size > 0 || lines.count() == 0, describe("x", x) + "; what is searched must not be empty");
  require_indexable(prep, x, lines.size);
  return std::make_shared<ExtremeSearch>(ExtremeSearch{lines});
}

template <bool largest>
struct ExtremeOfLine {
  static constexpr std::string_view name = largest ? "max" : "min";
  int dim = 0;
  bool keepdim = false;

  void describe(Attributes& a) const {
    a("dim", dim);
    a("keepdim", keepdim);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const int at = dim_of(prep, in[0], dim);
    auto search = search_of(prep, in[0], Lines(in[0].shape, at));
    const Shape shape = reduced_shape(in[0].shape, {false, 1u << at}, keepdim);
    const double n = as_double(in[0].shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(shape), Meta::plain(shape, i32)};
    out.input_layouts = {kPlain};
    out.scratch = search->scratch();
    out.work = {n, 4 * n};
    if (needs[0]) out.parts.push_back(selection_part(in[0], out.outputs[0]));
    out.state = std::move(search);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    ctx.state<ExtremeSearch>().run(ctx, largest, in[0].as<>(), out[0].as<>(), out[1].as<std::int32_t>());
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Lines& lines = ctx.state<ExtremeSearch>().lines;
    scatter_selected(ctx, lines, 1, saved[0].as<std::int32_t>(), gy[0].as<>(), gx[0].as<>());
  }

  static std::vector<Sample> samples() {
    return {{"last", {{{6, 45}}}, any_op(ExtremeOfLine{-1})},
            {"middle", {{{2, 9, 71}}}, any_op(ExtremeOfLine{1, true})},
            {"first", {{{13, 5}}}, any_op(ExtremeOfLine{0}), {false}},
            {"long", {{{2, 70000}}}, any_op(ExtremeOfLine{-1})},
            {"number", {{Shape{}}}, any_op(ExtremeOfLine{0}), {false}}};
  }
};

template <bool largest>
struct PlaceOfExtreme {
  static constexpr std::string_view name = largest ? "argmax" : "argmin";
  bool all = true;
  int dim = 0;
  bool keepdim = false;

  void describe(Attributes& a) const {
    a("all", all);
    a("dim", dim);
    a("keepdim", keepdim);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    const Meta& x = in[0];
    require_f32(prep, "x", x);
    const Dims dims = all ? Dims{} : Dims{false, 1u << dim_of(prep, x, dim)};
    auto search = search_of(prep, x, all ? Lines({x.shape.numel()}, 0) : Lines(x.shape, dim_of(prep, x, dim)));
    Prepared out;
    out.outputs = {Meta::plain(reduced_shape(x.shape, dims, keepdim), i32)};
    out.input_layouts = {kPlain};
    out.scratch = search->scratch();
    out.work = {as_double(x.shape.numel()), as_double(x.bytes)};
    out.state = std::move(search);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    ctx.state<ExtremeSearch>().run(ctx, largest, in[0].as<>(), nullptr, out[0].as<std::int32_t>());
  }

  static std::vector<Sample> samples() {
    const auto of = [](const Shape& shape) { return SampleInput{shape, f32, SampleInput::Fill::kNormal, 0, false}; };
    return {{"last", {of({6, 45})}, any_op(PlaceOfExtreme{false, -1})},
            {"middle", {of({2, 9, 71})}, any_op(PlaceOfExtreme{false, 1, true})},
            {"all", {of({3, 4, 5})}, any_op(PlaceOfExtreme{}), {false}},
            {"long", {of({70000})}, any_op(PlaceOfExtreme{}), {false}}};
  }
};

std::pair<Tensor, Tensor> both(const std::shared_ptr<const AnyOp>& op, const Tensor& x, SourceLocation where) {
  std::vector<Tensor> out = apply_all(op, {&x, 1}, where);
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace

std::vector<Sample> max_samples() { return ExtremeOfLine<true>::samples(); }
std::vector<Sample> min_samples() { return ExtremeOfLine<false>::samples(); }
std::vector<Sample> argmax_samples() { return PlaceOfExtreme<true>::samples(); }
std::vector<Sample> argmin_samples() { return PlaceOfExtreme<false>::samples(); }

}  // namespace ops

std::pair<Tensor, Tensor> max(const Tensor& x, int dim, const ReduceOptions& options, SourceLocation where) {
  return ops::both(any_op(ops::ExtremeOfLine<true>{dim, options.keepdim}), x, where);
}
std::pair<Tensor, Tensor> min(const Tensor& x, int dim, const ReduceOptions& options, SourceLocation where) {
  return ops::both(any_op(ops::ExtremeOfLine<false>{dim, options.keepdim}), x, where);
}
Tensor argmax(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::PlaceOfExtreme<true>{true, 0, options.keepdim}, {x}, where);
}
Tensor argmax(const Tensor& x, int dim, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::PlaceOfExtreme<true>{false, dim, options.keepdim}, {x}, where);
}
Tensor argmin(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::PlaceOfExtreme<false>{true, 0, options.keepdim}, {x}, where);
}
Tensor argmin(const Tensor& x, int dim, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::PlaceOfExtreme<false>{false, dim, options.keepdim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
