// softmax and log_softmax. They save their output.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/softmax.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                         // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/reductions/dims.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

constexpr std::int64_t kSoftmaxColumns = 1024;

void softmax_forward(std::int64_t rows, std::int64_t width, const float* x, float* y) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const auto most = hn::Set(Wide(), max_row(width, x));
    map(
        width, y, [&](auto v) HWY_ATTR { return exp(Wide(), hn::Sub(v, most)); }, x);
    const auto scale = hn::Set(Wide(), static_cast<float>(1.0 / sum_row(width, y)));
    map(
        width, y, [&](auto v) HWY_ATTR { return hn::Mul(v, scale); }, y);
  }
}

void softmax_backward(std::int64_t rows, std::int64_t width, const float* y, const float* gy, float* gx) {
  for (std::int64_t row = 0; row < rows; ++row, y += width, gy += width, gx += width) {
    const auto mean = hn::Set(Wide(), static_cast<float>(dot_row(width, y, gy)));
    map(
        width, gx, [&](auto v, auto g) HWY_ATTR { return hn::Mul(v, hn::Sub(g, mean)); }, y, gy);
  }
}

void log_softmax_forward(std::int64_t rows, std::int64_t width, const float* x, float* y) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float most = max_row(width, x);
    const auto add_exp = [&](auto acc, auto v)
                             HWY_ATTR { return hn::Add(acc, exp(Eight(), hn::Sub(v, hn::Set(Eight(), most)))); };
    const auto m = hn::Set(Wide(), most);
    const auto rest = hn::Set(Wide(), static_cast<float>(std::log(sum_of(width, add_exp, x))));
    map(
        width, y, [&](auto v) HWY_ATTR { return hn::Sub(hn::Sub(v, m), rest); }, x);
  }
}

void log_softmax_backward(std::int64_t rows, std::int64_t width, const float* y, const float* gy, float* gx) {
  for (std::int64_t row = 0; row < rows; ++row, y += width, gy += width, gx += width) {
    const auto total = hn::Set(Wide(), static_cast<float>(sum_row(width, gy)));
    map(
        width, gx, [&](auto v, auto g) HWY_ATTR { return hn::NegMulAdd(exp(Wide(), v), total, g); }, y, gy);
  }
}

// sums[j] += x[j] y[j], in double; without y, x alone.
void add_to_columns(std::int64_t columns, const float* x, const float* y, double* sums) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> narrow;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t j = 0;
  for (; j + lanes <= columns; j += lanes) {
    const auto a = hn::PromoteTo(d, hn::LoadU(narrow, x + j));
    const auto sum = hn::LoadU(d, sums + j);
    // A product of two floats is exact in double, so that the rest below, without a fused addition, has the same bits.
    const auto term = y == nullptr ? a : hn::Mul(a, hn::PromoteTo(d, hn::LoadU(narrow, y + j)));
    hn::StoreU(hn::Add(sum, term), d, sums + j);
  }
  for (; j < columns; ++j) {
    const auto a = static_cast<double>(x[j]);
    sums[j] += y == nullptr ? a : a * static_cast<double>(y[j]);
  }
}

// The same of lines that lie beside each other: `size` rows of at most kSoftmaxColumns columns, `step` apart.
template <bool logarithm>
void columns_forward(std::int64_t size, std::int64_t columns, std::int64_t step, const float* x, float* y) {
  float most[kSoftmaxColumns];
  std::fill_n(most, columns, -std::numeric_limits<float>::infinity());
  for (std::int64_t row = 0; row < size; ++row) {
    map(
        columns, most, [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); }, most, x + row * step);
  }
  double sums[kSoftmaxColumns] = {};
  float terms[kSoftmaxColumns];
  for (std::int64_t row = 0; row < size; ++row) {
    float* to = logarithm ? terms : y + row * step;
    map(
        columns, to, [](auto v, auto m) HWY_ATTR { return exp(Wide(), hn::Sub(v, m)); }, x + row * step, most);
    add_to_columns(columns, to, nullptr, sums);
  }
  for (std::int64_t j = 0; j < columns; ++j) {
    terms[j] = static_cast<float>(logarithm ? std::log(sums[j]) : 1.0 / sums[j]);
  }
  for (std::int64_t row = 0; row < size; ++row) {
    float* to = y + row * step;
    if constexpr (logarithm) {
      map(
          columns, to, [](auto v, auto m, auto rest) HWY_ATTR { return hn::Sub(hn::Sub(v, m), rest); }, x + row * step,
          most, terms);
    } else {
      map(
          columns, to, [](auto v, auto scale) HWY_ATTR { return hn::Mul(v, scale); }, to, terms);
    }
  }
}

template <bool logarithm>
void columns_backward(std::int64_t size, std::int64_t columns, std::int64_t step, const float* y, const float* gy,
                      float* gx) {
  double sums[kSoftmaxColumns] = {};
  for (std::int64_t row = 0; row < size; ++row) {
    add_to_columns(columns, gy + row * step, logarithm ? nullptr : y + row * step, sums);
  }
  float totals[kSoftmaxColumns];
  for (std::int64_t j = 0; j < columns; ++j) totals[j] = static_cast<float>(sums[j]);
  for (std::int64_t row = 0; row < size; ++row) {
    const std::int64_t at = row * step;
    if constexpr (logarithm) {
      map(
          columns, gx + at, [](auto v, auto g, auto t) HWY_ATTR { return hn::NegMulAdd(exp(Wide(), v), t, g); }, y + at,
          gy + at, totals);
    } else {
      map(
          columns, gx + at, [](auto v, auto g, auto t) HWY_ATTR { return hn::Mul(v, hn::Sub(g, t)); }, y + at, gy + at,
          totals);
    }
  }
}

void rows_of_softmax(bool logarithm, std::int64_t rows, std::int64_t width, const float* x, float* y) {
  (logarithm ? log_softmax_forward : softmax_forward)(rows, width, x, y);
}
void rows_of_softmax_backward(bool logarithm, std::int64_t rows, std::int64_t width, const float* y, const float* gy,
                              float* gx) {
  (logarithm ? log_softmax_backward : softmax_backward)(rows, width, y, gy, gx);
}
void columns_of_softmax(bool logarithm, std::int64_t size, std::int64_t columns, std::int64_t step, const float* x,
                        float* y) {
  (logarithm ? columns_forward<true> : columns_forward<false>)(size, columns, step, x, y);
}
void columns_of_softmax_backward(bool logarithm, std::int64_t size, std::int64_t columns, std::int64_t step,
                                 const float* y, const float* gy, float* gx) {
  (logarithm ? columns_backward<true> : columns_backward<false>)(size, columns, step, y, gy, gx);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(rows_of_softmax);
HWY_EXPORT(rows_of_softmax_backward);
HWY_EXPORT(columns_of_softmax);
HWY_EXPORT(columns_of_softmax_backward);

constexpr std::int64_t kMostColumns = HWY_NAMESPACE::kSoftmaxColumns;
constexpr std::int64_t kFewColumns = 128;

template <bool logarithm>
struct Softmax {
  static constexpr std::string_view name = logarithm ? "log_softmax" : "softmax";
  int dim = -1;

  void describe(Attributes& a) const { a("dim", dim); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Meta plain = Meta::plain(in[0].shape);
    const double n = as_double(plain.shape.numel());
    auto lines = std::make_shared<Lines>(plain.shape, dim_of(prep, in[0], dim));
    Prepared out;
    out.outputs = {plain};
    out.input_layouts = {kPlain};
    out.work = {20 * n, 8 * n};
    out.overwrites = {{0, 0}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::output(0, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {(logarithm ? 20 : 4) * n, 12 * n};
      part.overwrites = {{1, 0}, {0, 0}};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(lines);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Lines& lines = ctx.state<Lines>();
    const float* x = in[0].as<>();
    float* y = out[0].as<>();
    for_blocks(ctx, lines, [&](std::int64_t at, std::int64_t count) {
      if (lines.inner == 1) {
        HWY_DYNAMIC_DISPATCH(rows_of_softmax)(logarithm, count, lines.size, x + at, y + at);
      } else {
        HWY_DYNAMIC_DISPATCH(columns_of_softmax)(logarithm, lines.size, count, lines.inner, x + at, y + at);
      }
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Lines& lines = ctx.state<Lines>();
    const float* y = saved[0].as<>();
    const float* g = gy[0].as<>();
    for_blocks(ctx, lines, [&](std::int64_t at, std::int64_t count) {
      float* to = gx[0].as<>() + at;
      if (lines.inner == 1) {
        HWY_DYNAMIC_DISPATCH(rows_of_softmax_backward)(logarithm, count, lines.size, y + at, g + at, to);
      } else {
        HWY_DYNAMIC_DISPATCH(columns_of_softmax_backward)
        (logarithm, lines.size, count, lines.inner, y + at, g + at, to);
      }
    });
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{3, 4, 19}}}, any_op(Softmax{})},
            {"wide", {{{2, 257}}}, any_op(Softmax{})},
            {"middle", {{{2, 9, 143}}}, any_op(Softmax{1})},
            {"first", {{{5, 6}}}, any_op(Softmax{0})},
            {"number", {{Shape{}}}, any_op(Softmax{}), {false}}};
  }

 private:
  // f(element, count) for `count` lines from one on: those that follow one another where they are rows, else those that
  // lie beside each other.
  template <class F>
  static void for_blocks(const Ctx& ctx, const Lines& lines, F&& f) {
    if (lines.inner == 1) {
      for_range(ctx, lines.outer, 16 * lines.size,
                [&](std::int64_t begin, std::int64_t end) { f(begin * lines.size, end - begin); });
      return;
    }
    // Long stretches of memory are read faster; short ones give each thread something to do.
    const bool many = lines.outer * (lines.inner / kMostColumns) >= ctx.threads();
    const std::int64_t width = many ? kMostColumns : kFewColumns;
    const std::int64_t blocks = (lines.inner + width - 1) / width;
    for_range(ctx, lines.outer * blocks, 16 * lines.size * std::min(lines.inner, width),
              [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t item = begin; item < end; ++item) {
                  const std::int64_t first = item % blocks * width;
                  f(item / blocks * lines.size * lines.inner + first, std::min(width, lines.inner - first));
                }
              });
  }
};

}  // namespace

std::vector<Sample> softmax_samples() { return Softmax<false>::samples(); }
std::vector<Sample> log_softmax_samples() { return Softmax<true>::samples(); }

}  // namespace ops

Tensor softmax(const Tensor& x, int dim, SourceLocation where) { return apply(ops::Softmax<false>{dim}, {x}, where); }
Tensor log_softmax(const Tensor& x, int dim, SourceLocation where) {
  return apply(ops::Softmax<true>{dim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
