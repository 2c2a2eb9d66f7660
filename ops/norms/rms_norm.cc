// rms_norm over the last dimension. Saves its input and one number a row.
#include "tidemark/ops/norms.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norms/rms_norm.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                     // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>

#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/sums.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

void rms_norm_forward(std::int64_t rows, std::int64_t width, float eps, const float* x, const float* gamma, float* y,
                      float* rstd) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const double mean = dot_row(width, x, x) / static_cast<double>(width);
    rstd[row] = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(eps)));
    const auto s = hn::Set(Wide(), rstd[row]);
    map(
        width, y, [&](auto v, auto g) HWY_ATTR { return hn::Mul(hn::Mul(v, s), g); }, x, gamma);
  }
}

// With h = x rstd and g = gy gamma: gx = rstd (g - h mean(g h)).
void rms_norm_gx(std::int64_t rows, std::int64_t width, const float* x, const float* gamma, const float* rstd,
                 const float* gy, float* gx) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, gy += width, gx += width) {
    const auto weighted = [](auto acc, auto v, auto g, auto w) HWY_ATTR { return hn::MulAdd(hn::Mul(g, w), v, acc); };
    const auto scale = static_cast<double>(rstd[row]);
    const double along = sum_of(width, weighted, x, gy, gamma) / static_cast<double>(width) * scale * scale;
    const auto s = hn::Set(Wide(), rstd[row]);
    const auto a = hn::Set(Wide(), static_cast<float>(along));
    const auto formula = [&](auto v, auto g, auto w)
                             HWY_ATTR { return hn::Mul(s, hn::NegMulAdd(v, a, hn::Mul(g, w))); };
    map(width, gx, formula, x, gy, gamma);
  }
}

// sums += gy x rstd, row by row.
void rms_norm_sums(std::int64_t rows, std::int64_t width, const float* x, const float* rstd, const float* gy,
                   float* sums) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, gy += width) {
    const auto s = hn::Set(Wide(), rstd[row]);
    map(
        width, sums, [&](auto v, auto g, auto acc) HWY_ATTR { return hn::MulAdd(hn::Mul(v, s), g, acc); }, x, gy, sums);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(rms_norm_forward);
HWY_EXPORT(rms_norm_gx);
HWY_EXPORT(rms_norm_sums);

struct RmsNorm {
  static constexpr std::string_view name = "rms_norm";
  float eps = 1e-6f;

  void describe(Attributes& a) const { a("eps", eps); }

  // Sums over rows are made in chunks that depend on the number of rows alone, each in double over runs of kSumRows
  // rows in float, and combined in their order.
  static std::int64_t chunk_rows(std::int64_t rows) {
    constexpr std::int64_t kMost = 32;
    return std::max<std::int64_t>(kSumRows, (rows + kMost - 1) / kMost);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_eps(prep, eps);
    require_f32(prep, "x", in[0]);
    require_f32(prep, "gamma", in[1]);
    const Shape& x = in[0].shape;
    prep.require(x.rank() > 0 && x[-1] > 0 && in[1].shape == Shape{x[-1]},
                 describe_all(in) + "; gamma must have the size of x's last dimension, which must not be empty");
    const std::int64_t width = x[-1];
    const std::int64_t rows = x.numel() / width;
    const Meta plain = Meta::plain(x);
    const double n = as_double(x.numel());
    Prepared out;
    out.outputs = {plain, Meta::plain({rows})};
    out.visible = 1;
    out.input_layouts = {kPlain, kPlain};
    out.work = {5 * n, 8 * n};
    out.overwrites = {{0, 0}};
    auto kinds = std::make_shared<std::vector<int>>();
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::output(1), Saved::input(1, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {8 * n, 12 * n};
      part.overwrites = {{3, 0}, {0, 0}};
      out.parts.push_back(std::move(part));
      kinds->push_back(0);
    }
    if (needs[1]) {
      Part part;
      part.inputs = {1};
      part.gx = {Meta::plain(in[1].shape)};
      part.saved = {Saved::input(0, kPlain), Saved::output(1)};
      part.gy = {{0, kPlain}};
      const std::int64_t chunks = (rows + chunk_rows(rows) - 1) / chunk_rows(rows);
      part.scratch = chunks * round_up(width, 8) * static_cast<std::int64_t>(sizeof(double) + sizeof(float));
      part.work = {3 * n, 8 * n};
      out.parts.push_back(std::move(part));
      kinds->push_back(1);
    }
    out.state = std::move(kinds);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[1].numel();
    for_range(ctx, out[1].numel(), 12 * width, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(rms_norm_forward)
      (end - begin, width, eps, in[0].as<>() + begin * width, in[1].as<>(), out[0].as<>() + begin * width,
       out[1].as<>() + begin);
    });
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const std::int64_t width = gy[0].shape()[-1];
    const std::int64_t rows = gy[0].numel() / width;
    if (ctx.state<std::vector<int>>()[static_cast<std::size_t>(part)] == 1) {
      return gamma_gradient(ctx, rows, width, saved, gy[0].as<const float>(), gx[0].as<>());
    }
    for_range(ctx, rows, 16 * width, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(rms_norm_gx)
      (end - begin, width, saved[0].as<>() + begin * width, saved[2].as<>(), saved[1].as<>() + begin,
       gy[0].as<>() + begin * width, gx[0].as<>() + begin * width);
    });
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{3, 5, 24}}, {{24}}}, any_op(RmsNorm{})},
            {"odd", {{{70, 19}}, {{19}}}, any_op(RmsNorm{1e-3f})},
            {"one row", {{{33}}, {{33}}}, any_op(RmsNorm{}), {false, false}}};
  }

 private:
  static std::string describe_all(std::span<const Meta> in) {
    return ops::describe("x", in[0]) + ", " + ops::describe("gamma", in[1]);
  }

  static void gamma_gradient(Ctx& ctx, std::int64_t rows, std::int64_t width, std::span<const Buf> saved,
                             const float* gy, float* gx) {
    const std::int64_t step = chunk_rows(rows);
    const std::int64_t chunks = (rows + step - 1) / step;
    const std::int64_t stride = round_up(width, 8);
    auto* const totals = ctx.scratch<double>();
    auto* const recent = reinterpret_cast<float*>(totals + chunks * stride);
    for_range(ctx, chunks, 8 * width * step, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        double* total = totals + chunk * stride;
        float* sums = recent + chunk * stride;
        std::fill_n(total, width, 0.0);
        const std::int64_t last = std::min(rows, (chunk + 1) * step);
        for (std::int64_t row = chunk * step; row < last; row += kSumRows) {
          std::fill_n(sums, width, 0.0f);
          HWY_DYNAMIC_DISPATCH(rms_norm_sums)
          (std::min(kSumRows, last - row), width, saved[0].as<>() + row * width, saved[1].as<>() + row,
           gy + row * width, sums);
          add_sums(width, sums, total);
        }
      }
    });
    for (std::int64_t i = 0; i < width; ++i) {
      double total = 0;
      for (std::int64_t chunk = 0; chunk < chunks; ++chunk) total += totals[chunk * stride + i];
      gx[i] = static_cast<float>(total);
    }
  }
};

}  // namespace

std::vector<Sample> rms_norm_samples() { return RmsNorm::samples(); }

}  // namespace ops

Tensor rms_norm(const Tensor& x, const Tensor& gamma, const RmsNormOptions& options, SourceLocation where) {
  return apply(ops::RmsNorm{options.eps}, {x, gamma}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
