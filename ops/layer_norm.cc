// layer_norm over the last dimension. Saves its input and two numbers a row.
#include "tidemark/ops.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/layer_norm.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                 // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

void layer_norm_forward(std::int64_t rows, std::int64_t width, float eps, const float* x, const float* gamma,
                        const float* beta, float* y, float* mean, float* rstd) {
  const auto size = static_cast<float>(width);
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float centre = sum_row(width, x) / size;
    const auto squares = [&](auto acc, auto v) HWY_ATTR {
      const auto off = hn::Sub(v, hn::Set(Eight(), centre));
      return hn::MulAdd(off, off, acc);
    };
    const float scale = 1.0f / std::sqrt(sum_of(width, squares, x) / size + eps);
    const auto m = hn::Set(Wide(), centre);
    const auto s = hn::Set(Wide(), scale);
    map(
        width, y, [&](auto v, auto g, auto b) HWY_ATTR { return hn::MulAdd(hn::Mul(hn::Sub(v, m), s), g, b); }, x,
        gamma, beta);
    mean[row] = centre;
    rstd[row] = scale;
  }
}

// With h = (x - mean) rstd and g = gy gamma: gx = rstd (g - mean(g) - h mean(g h)).
void layer_norm_gx(std::int64_t rows, std::int64_t width, const float* x, const float* gamma, const float* mean,
                   const float* rstd, const float* gy, float* gx) {
  const auto size = static_cast<float>(width);
  for (std::int64_t row = 0; row < rows; ++row, x += width, gy += width, gx += width) {
    const float centre = mean[row];
    const float scale = rstd[row];
    const float direct = dot_row(width, gy, gamma) / size;
    const auto weighted = [&](auto acc, auto v, auto g, auto w)
                              HWY_ATTR { return hn::MulAdd(hn::Mul(g, w), hn::Sub(v, hn::Set(Eight(), centre)), acc); };
    const float along = sum_of(width, weighted, x, gy, gamma) / size * scale * scale;
    const auto m = hn::Set(Wide(), centre);
    const auto s = hn::Set(Wide(), scale);
    const auto d = hn::Set(Wide(), direct);
    const auto a = hn::Set(Wide(), along);
    const auto formula = [&](auto v, auto g, auto w)
                             HWY_ATTR { return hn::Mul(s, hn::NegMulAdd(hn::Sub(v, m), a, hn::MulSub(g, w, d))); };
    map(width, gx, formula, x, gy, gamma);
  }
}

// Adds the rows' share of gamma's and beta's gradients to two sums of `width`.
void layer_norm_sums(std::int64_t rows, std::int64_t width, const float* x, const float* mean, const float* rstd,
                     const float* gy, float* gamma_sum, float* beta_sum) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, gy += width) {
    const auto m = hn::Set(Wide(), mean[row]);
    const auto s = hn::Set(Wide(), rstd[row]);
    const auto share = [&](auto v, auto g, auto acc) HWY_ATTR { return hn::MulAdd(hn::Mul(hn::Sub(v, m), s), g, acc); };
    map(width, gamma_sum, share, x, gy, gamma_sum);
    map(
        width, beta_sum, [](auto g, auto acc) HWY_ATTR { return hn::Add(g, acc); }, gy, beta_sum);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(layer_norm_forward);
HWY_EXPORT(layer_norm_gx);
HWY_EXPORT(layer_norm_sums);

// Sums over rows are made in chunks that depend on the number of rows alone, and combined in their order.
struct Chunks {
  explicit Chunks(std::int64_t count)
      : rows(std::max<std::int64_t>(32, (count + kMost - 1) / kMost)), chunks((count + rows - 1) / rows) {}
  static constexpr std::int64_t kMost = 64;
  std::int64_t rows;
  std::int64_t chunks;
};

struct LayerNorm {
  static constexpr std::string_view name = "layer_norm";
  LayerNormOptions options;

  void describe(Attributes& a) const { a("eps", options.eps); }

  // The one gradient part's wishes.
  struct State {
    bool x = false;
    bool sums = false;
    int gamma_at = -1;  // in gx
    int beta_at = -1;
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_eps(prep, options.eps);
    for (std::size_t i = 0; i < 3; ++i) require_f32(prep, i == 0 ? "x" : i == 1 ? "gamma" : "beta", in[i]);
    const Shape& shape = in[0].shape;
    const bool fits = shape.rank() > 0 && shape[-1] > 0 && in[1].shape == Shape{shape[-1]};
    prep.require(fits && in[2].shape == in[1].shape, describe_all(in));
    const std::int64_t width = shape[-1];
    const std::int64_t rows = shape.numel() / width;
    const Meta plain = Meta::plain(shape);
    const Meta weight = Meta::plain(in[1].shape);
    const double n = as_double(shape.numel());
    Prepared out;
    out.outputs = {plain, Meta::plain({rows}), Meta::plain({rows})};
    out.visible = 1;
    out.input_layouts = {kPlain, kPlain, kPlain};
    out.work = {8 * n, 8 * n};
    out.overwrites = {{0, 0}};
    if (!needs.any()) return out;
    Part part;
    auto state = std::make_shared<State>();
    state->x = needs[0];
    state->sums = needs[1] || needs[2];
    part.gy = {{0, kPlain}};
    if (needs[0] || needs[1]) {
      part.saved = {Saved::input(0, kPlain), Saved::output(1), Saved::output(2)};
      if (needs[0]) part.saved.push_back(Saved::input(1, kPlain));
    }
    for (int i = 0; i < 3; ++i) {
      if (!needs[static_cast<std::size_t>(i)]) continue;
      if (i == 1) state->gamma_at = static_cast<int>(part.inputs.size());
      if (i == 2) state->beta_at = static_cast<int>(part.inputs.size());
      part.inputs.push_back(i);
      part.gx.push_back(i == 0 ? plain : weight);
    }
    if (needs[0]) part.overwrites = {{static_cast<int>(part.saved.size()), 0}, {0, 0}};
    if (state->sums) part.scratch = Chunks(rows).chunks * 2 * round_up(width, 16) * 4;
    part.work = {(needs[0] ? 12 * n : 0) + (state->sums ? 5 * n : 0), (needs[0] ? 12 : 8) * n};
    out.parts.push_back(std::move(part));
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[1].numel();
    for_range(ctx, out[1].numel(), 16 * width, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(layer_norm_forward)
      (end - begin, width, options.eps, in[0].as<>() + begin * width, in[1].as<>(), in[2].as<>(),
       out[0].as<>() + begin * width, out[1].as<>() + begin, out[2].as<>() + begin);
    });
  }

  // Each chunk of rows adds to its own sums before its gx is written, which may take the place of x or gy.
  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const std::int64_t width = gy[0].shape()[-1];
    const std::int64_t rows = gy[0].numel() / width;
    const bool has_x = !saved.empty();
    const float* x = has_x ? saved[0].as<>() : nullptr;
    const float* mean = has_x ? saved[1].as<>() : nullptr;
    const float* rstd = has_x ? saved[2].as<>() : nullptr;
    const Chunks split(rows);
    const std::int64_t stride = round_up(width, 16);
    float* sums = ctx.scratch<float>();
    for_range(ctx, split.chunks, split.rows * width * 24, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        const std::int64_t first = chunk * split.rows;
        const std::int64_t count = std::min(rows - first, split.rows);
        const std::int64_t at = first * width;
        if (state.sums) chunk_sums(count, width, x, mean, rstd, first, gy[0].as<>() + at, sums + chunk * 2 * stride);
        if (state.x) {
          HWY_DYNAMIC_DISPATCH(layer_norm_gx)
          (count, width, x + at, saved[3].as<>(), mean + first, rstd + first, gy[0].as<>() + at, gx[0].as<>() + at);
        }
      }
    });
    const auto combine = [&](int index, std::int64_t offset) {
      if (index < 0) return;
      float* to = gx[static_cast<std::size_t>(index)].as<>();
      std::fill_n(to, width, 0.0f);
      for (std::int64_t chunk = 0; chunk < split.chunks; ++chunk) {
        const float* from = sums + chunk * 2 * stride + offset;
        for (std::int64_t i = 0; i < width; ++i) to[i] += from[i];
      }
    };
    combine(state.gamma_at, 0);
    combine(state.beta_at, stride);
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{3, 5, 24}}, {{24}}, {{24}}}, any_op(LayerNorm{})},
            {"odd", {{{70, 19}}, {{19}}, {{19}}}, any_op(LayerNorm{{.eps = 1e-3f}})}};
  }

 private:
  static std::string describe_all(std::span<const Meta> in) {
    return ops::describe("x", in[0]) + ", " + ops::describe("gamma", in[1]) + ", " + ops::describe("beta", in[2]) +
           "; gamma and beta must have the size of x's last dimension";
  }

  // `to`: gamma's sums, then beta's at the next multiple of 16 floats. Without x only beta's are wanted.
  static void chunk_sums(std::int64_t count, std::int64_t width, const float* x, const float* mean, const float* rstd,
                         std::int64_t first, const float* gy, float* to) {
    float* beta = to + round_up(width, 16);
    std::fill_n(to, width, 0.0f);
    std::fill_n(beta, width, 0.0f);
    if (x == nullptr) {
      for (std::int64_t row = 0; row < count; ++row) {
        for (std::int64_t i = 0; i < width; ++i) beta[i] += gy[row * width + i];
      }
      return;
    }
    HWY_DYNAMIC_DISPATCH(layer_norm_sums)
    (count, width, x + first * width, mean + first, rstd + first, gy, to, beta);
  }
};

}  // namespace

std::vector<Sample> layer_norm_samples() { return LayerNorm::samples(); }

}  // namespace ops

Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const LayerNormOptions& options,
                  SourceLocation where) {
  return apply(ops::LayerNorm{options}, {x, gamma, beta}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
