// layer_norm over the last dimension. Saves its input and two numbers a row.
#include "tidemark/ops/norms.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norms/layer_norm.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                       // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/sums.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

void layer_norm_forward(std::int64_t rows, std::int64_t width, float eps, const float* x, const float* gamma,
                        const float* beta, float* y, float* mean, float* rstd) {
  const auto size = static_cast<float>(width);
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const float centre = static_cast<float>(sum_row(width, x)) / size;
    const auto squares = [&](auto acc, auto v) HWY_ATTR {
      const auto off = hn::Sub(v, hn::Set(Eight(), centre));
      return hn::MulAdd(off, off, acc);
    };
    const float scale = 1.0f / std::sqrt(static_cast<float>(sum_of(width, squares, x)) / size + eps);
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
    const float direct = static_cast<float>(dot_row(width, gy, gamma)) / size;
    const auto weighted = [&](auto acc, auto v, auto g, auto w)
                              HWY_ATTR { return hn::MulAdd(hn::Mul(g, w), hn::Sub(v, hn::Set(Eight(), centre)), acc); };
    const float along = static_cast<float>(sum_of(width, weighted, x, gy, gamma)) / size * scale * scale;
    const auto m = hn::Set(Wide(), centre);
    const auto s = hn::Set(Wide(), scale);
    const auto d = hn::Set(Wide(), direct);
    const auto a = hn::Set(Wide(), along);
    const auto formula = [&](auto v, auto g, auto w)
                             HWY_ATTR { return hn::Mul(s, hn::NegMulAdd(hn::Sub(v, m), a, hn::MulSub(g, w, d))); };
    map(width, gx, formula, x, gy, gamma);
  }
}

// Adds the rows' share of gamma's gradient to `width` sums, and of beta's to those `stride` behind. Without x only
// beta's is wanted.
void layer_norm_sums(std::int64_t rows, std::int64_t width, const float* x, const float* mean, const float* rstd,
                     const float* gy, float* sums, std::int64_t stride) {
  for (std::int64_t row = 0; row < rows; ++row, gy += width) {
    map(
        width, sums + stride, [](auto g, auto acc) HWY_ATTR { return hn::Add(g, acc); }, gy, sums + stride);
    if (x == nullptr) continue;
    const auto m = hn::Set(Wide(), mean[row]);
    const auto s = hn::Set(Wide(), rstd[row]);
    const auto share = [&](auto v, auto g, auto acc) HWY_ATTR { return hn::MulAdd(hn::Mul(hn::Sub(v, m), s), g, acc); };
    map(width, sums, share, x, gy, sums);
    x += width;
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
      : rows(std::max<std::int64_t>(kSumRows, (count + kMost - 1) / kMost)), chunks((count + rows - 1) / rows) {}
  static constexpr std::int64_t kMost = 64;
  std::int64_t rows;
  std::int64_t chunks;
};

// Where the gradients of gamma and beta are summed, in scratch: both lie side by side, each padded to `stride`. First
// the sums of all chunks; then, for each thread, totals in double and the sums of a few rows.
struct SumsPlace {
  SumsPlace(std::int64_t width, std::int64_t chunk_count, int threads)
      : stride(round_up(width, 16)), chunks(chunk_count), members(std::clamp<std::int64_t>(chunk_count, 1, threads)) {}
  std::int64_t stride;
  std::int64_t chunks;
  std::int64_t members;

  std::int64_t each() const { return 2 * stride; }
  std::int64_t floats() const { return each() * (chunks + 3 * members); }
  float* of_chunk(float* scratch, std::int64_t chunk) const { return scratch + chunk * each(); }
  double* totals(float* scratch, std::int64_t member) const {
    return reinterpret_cast<double*>(scratch + each() * (chunks + 2 * member));
  }
  float* recent(float* scratch, std::int64_t member) const {
    return scratch + each() * (chunks + 2 * members + member);
  }
};

// to[i] = the sum of column i of `rows` rows, `step` apart.
void combine(std::int64_t rows, std::int64_t width, const float* from, std::int64_t step, float* to) {
  constexpr std::int64_t kStrip = 64;
  for (std::int64_t first = 0; first < width; first += kStrip) {
    const std::int64_t count = std::min(kStrip, width - first);
    double totals[kStrip] = {};
    for (std::int64_t row = 0; row < rows; ++row) add_sums(count, from + row * step + first, totals);
    for (std::int64_t i = 0; i < count; ++i) to[first + i] = static_cast<float>(totals[i]);
  }
}

struct LayerNorm {
  static constexpr std::string_view name = "layer_norm";
  float eps = 1e-5f;

  void describe(Attributes& a) const { a("eps", eps); }

  // The one gradient part's wishes.
  struct State {
    bool x = false;
    bool sums = false;
    int gamma_at = -1;  // in gx
    int beta_at = -1;
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_eps(prep, eps);
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
    if (state->sums) part.scratch = SumsPlace(width, Chunks(rows).chunks, prep.threads()).floats() * size_of(f32);
    part.work = {(needs[0] ? 12 * n : 0) + (state->sums ? 5 * n : 0), (needs[0] ? 12 : 8) * n};
    out.parts.push_back(std::move(part));
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[1].numel();
    for_range(ctx, out[1].numel(), 16 * width, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(layer_norm_forward)
      (end - begin, width, eps, in[0].as<>() + begin * width, in[1].as<>(), in[2].as<>(), out[0].as<>() + begin * width,
       out[1].as<>() + begin, out[2].as<>() + begin);
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const std::int64_t width = gy[0].shape()[-1];
    const std::int64_t rows = gy[0].numel() / width;
    const Chunks split(rows);
    const SumsPlace place(width, split.chunks, ctx.threads());
    auto* const scratch = ctx.scratch<float>();
    const bool small = rows * width * 24 < kParallelBytes;
    for_members(
        ctx, split.chunks, small ? 1 : place.members, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
          for (std::int64_t chunk = begin; chunk < end; ++chunk) {
            float* const sums = place.of_chunk(scratch, chunk);
            double* const totals = place.totals(scratch, member);
            const bool one_run = split.rows <= kSumRows;
            if (state.sums && !one_run) std::fill_n(totals, place.each(), 0.0);
            const std::int64_t last = std::min(rows, (chunk + 1) * split.rows);
            for (std::int64_t row = chunk * split.rows; row < last; row += kSumRows) {
              const std::int64_t count = std::min(kSumRows, last - row);
              // gx may take the place of x or gy: the sums read these rows before.
              if (state.sums) {
                add_rows(saved, gy[0], row, count, place, one_run ? sums : place.recent(scratch, member),
                         one_run ? nullptr : totals);
              }
              if (!state.x) continue;
              HWY_DYNAMIC_DISPATCH(layer_norm_gx)
              (count, width, saved[0].as<>() + row * width, saved[3].as<>(), saved[1].as<>() + row,
               saved[2].as<>() + row, gy[0].as<>() + row * width, gx[0].as<>() + row * width);
            }
            if (!state.sums || one_run) continue;
            std::transform(totals, totals + place.each(), sums, [](double total) { return static_cast<float>(total); });
          }
        });
    const auto give = [&](int at, const float* from) {
      if (at < 0) return;
      combine(split.chunks, width, from, place.each(), gx[static_cast<std::size_t>(at)].as<>());
    };
    give(state.gamma_at, scratch);
    give(state.beta_at, scratch + place.stride);
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{3, 5, 24}}, {{24}}, {{24}}}, any_op(LayerNorm{})},
            {"odd", {{{70, 19}}, {{19}}, {{19}}}, any_op(LayerNorm{1e-3f})}};
  }

 private:
  static std::string describe_all(std::span<const Meta> in) {
    return ops::describe("x", in[0]) + ", " + ops::describe("gamma", in[1]) + ", " + ops::describe("beta", in[2]) +
           "; gamma and beta must have the size of x's last dimension, which must not be empty";
  }

  // What `count` rows from `row` on give to gamma's and beta's gradients: to `recent`, and from there to `totals`
  // unless that is null. `saved` is empty where beta's gradient is wanted alone.
  static void add_rows(std::span<const Buf> saved, const Buf& gy, std::int64_t row, std::int64_t count,
                       const SumsPlace& place, float* recent, double* totals) {
    const std::int64_t width = gy.shape()[-1];
    const auto from = [&](std::size_t i, std::int64_t at) { return saved.empty() ? nullptr : saved[i].as<>() + at; };
    std::fill_n(recent, place.each(), 0.0f);
    HWY_DYNAMIC_DISPATCH(layer_norm_sums)
    (count, width, from(0, row * width), from(1, row), from(2, row), gy.as<>() + row * width, recent, place.stride);
    if (totals != nullptr) add_sums(place.each(), recent, totals);
  }
};

}  // namespace

std::vector<Sample> layer_norm_samples() { return LayerNorm::samples(); }

}  // namespace ops

Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const LayerNormOptions& options,
                  SourceLocation where) {
  ops::require_defined("layer_norm", {&x}, where);
  const Shape& shape = x.shape(where);
  const int first = shape.rank() - options.dims;
  if (options.dims < 1 || first < 0) {
    throw ShapeError("[layer_norm] x is " + shape.to_string() + "; dims is " + std::to_string(options.dims) +
                     ", which must lie between 1 and its rank (at " + to_string(where) + ")");
  }
  const Shape normalized(shape.dims().subspan(static_cast<std::size_t>(first)));
  const auto vector_of = [&](const char* name, const Tensor& given, float otherwise) {
    if (!given.defined()) return full({normalized.numel()}, otherwise, where);
    if (given.shape(where) != normalized) {
      throw ShapeError(std::string("[layer_norm] ") + name + " is " + given.shape(where).to_string() + "; for x " +
                       shape.to_string() + " it must be " + normalized.to_string() + " (at " + to_string(where) + ")");
    }
    return options.dims == 1 ? given : reshape(given, {normalized.numel()}, where);
  };
  const Tensor g = vector_of("gamma", gamma, 1);
  const Tensor b = vector_of("beta", beta, 0);
  const ops::LayerNorm op{options.eps};
  if (options.dims == 1) return apply(op, {x, g, b}, where);
  std::vector<std::int64_t> rows(shape.dims().begin(), shape.dims().begin() + first);
  rows.push_back(normalized.numel());
  return reshape(apply(op, {reshape(x, Shape(rows), where), g, b}, where), shape, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
