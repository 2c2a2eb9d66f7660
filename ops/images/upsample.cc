// upsample: nearest neighbours, and bilinear. Each is linear in the image and separable: rows are mixed first, then
// columns. It saves nothing.
#include "tidemark/ops/images.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/images/upsample.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                      // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>

#include "ops/defined.h"
#include "ops/images/windows.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// out = wa a + wb b.
void mix_rows(std::int64_t n, float wa, const float* a, float wb, const float* b, float* out) {
  const auto va = hn::Set(Wide(), wa);
  const auto vb = hn::Set(Wide(), wb);
  map(
      n, out, [&](auto v, auto w) HWY_ATTR { return hn::MulAdd(v, va, hn::Mul(w, vb)); }, a, b);
}

// to += weight from.
void add_weighted(std::int64_t n, float weight, const float* from, float* to) {
  const auto w = hn::Set(Wide(), weight);
  map(
      n, to, [&](auto v, auto acc) HWY_ATTR { return hn::MulAdd(v, w, acc); }, from, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(mix_rows);
HWY_EXPORT(add_weighted);

// Output i along one dimension is (1 - weight[i]) x[first[i]] + weight[i] x[second[i]].
struct Taps {
  std::int64_t in = 0;
  std::vector<std::int64_t> first, second;
  std::vector<float> weight;

  std::int64_t out() const { return static_cast<std::int64_t>(first.size()); }
};

struct UpsampleState {
  Taps rows, columns;
  std::int64_t slabs = 0;
  std::int64_t inner = 1;

  std::int64_t in_row() const { return columns.in * inner; }
  std::int64_t out_row() const { return columns.out() * inner; }
};

}  // namespace

struct Upsample {
  static constexpr std::string_view name = "upsample";
  std::array<std::int64_t, 2> size{};
  // Of the input's coordinates to the output's; 0: what the sizes say.
  std::array<float, 2> scale{};
  bool bilinear = false;
  bool align_corners = false;

  void describe(Attributes& a) const {
    a("height", size[0]);
    a("width", size[1]);
    a("scale_h", scale[0]);
    a("scale_w", scale[1]);
    a("bilinear", bilinear);
    a("align_corners", align_corners);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& x = in[0].shape;
    prep.require(x.rank() == 4 && x.with(0, 1).numel() > 0,
                 "x " + x.to_string() + " must be [N, C, H, W], of which only N may be 0: nothing else may be empty");
    prep.require(size[0] >= 1 && size[1] >= 1, "x " + x.to_string() + " would become " + std::to_string(size[0]) +
                                                   " x " + std::to_string(size[1]) + "; both must be at least 1");
    auto state = std::make_shared<UpsampleState>();
    state->rows = taps(x[2], 0);
    state->columns = taps(x[3], 1);
    compute::Machine& machine = prep.machine();
    const KnownLayout layout = known_layout(machine, in[0]);
    const Meta from = in_layout(machine, x, layout);
    const Meta to = in_layout(machine, Shape({x[0], x[1], size[0], size[1]}), layout);
    state->inner = layout.inner == 0 ? x[1] : layout.inner;
    state->slabs = raw_floats(from) / (state->rows.in * state->in_row());
    Prepared out;
    out.outputs = {to};
    out.input_layouts = {from.layout};
    out.scratch = prep.threads() * round_up(state->in_row() * size_of(f32), 64);
    out.work = {4 * as_double(raw_floats(to)), as_double(from.bytes + to.bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {from};
      part.gy = {{0, to.layout}};
      part.scratch = out.scratch;
      part.work = out.work;
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<UpsampleState>();
    const Taps& columns = state.columns;
    for_slabs(ctx, state, [&](std::int64_t slab, float* mixed) {
      const float* from = in[0].as<const float>() + slab * state.rows.in * state.in_row();
      float* to = out[0].as<>() + slab * state.rows.out() * state.out_row();
      for (std::int64_t row = 0; row < state.rows.out(); ++row) {
        const auto r = static_cast<std::size_t>(row);
        const float* line = from + state.rows.first[r] * state.in_row();
        if (state.rows.weight[r] != 0) {
          HWY_DYNAMIC_DISPATCH(mix_rows)
          (state.in_row(), 1 - state.rows.weight[r], line, state.rows.weight[r],
           from + state.rows.second[r] * state.in_row(), mixed);
          line = mixed;
        }
        for (std::int64_t column = 0; column < columns.out(); ++column, to += state.inner) {
          const auto c = static_cast<std::size_t>(column);
          const float* a = line + columns.first[c] * state.inner;
          const float* b = line + columns.second[c] * state.inner;
          const float weight = columns.weight[c];
          if (weight == 0) {
            std::copy_n(a, state.inner, to);
          } else {
            for (std::int64_t i = 0; i < state.inner; ++i) to[i] = (1 - weight) * a[i] + weight * b[i];
          }
        }
      }
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<UpsampleState>();
    const Taps& columns = state.columns;
    for_slabs(ctx, state, [&](std::int64_t slab, float* gathered) {
      const float* from = gy[0].as<const float>() + slab * state.rows.out() * state.out_row();
      float* to = gx[0].as<>() + slab * state.rows.in * state.in_row();
      std::fill_n(to, state.rows.in * state.in_row(), 0.0f);
      for (std::int64_t row = 0; row < state.rows.out(); ++row) {
        std::fill_n(gathered, state.in_row(), 0.0f);
        for (std::int64_t column = 0; column < columns.out(); ++column, from += state.inner) {
          const auto c = static_cast<std::size_t>(column);
          float* a = gathered + columns.first[c] * state.inner;
          float* b = gathered + columns.second[c] * state.inner;
          const float weight = columns.weight[c];
          for (std::int64_t i = 0; i < state.inner; ++i) a[i] += (1 - weight) * from[i];
          for (std::int64_t i = 0; weight != 0 && i < state.inner; ++i) b[i] += weight * from[i];
        }
        const auto r = static_cast<std::size_t>(row);
        const float weight = state.rows.weight[r];
        HWY_DYNAMIC_DISPATCH(add_weighted)
        (state.in_row(), 1 - weight, gathered, to + state.rows.first[r] * state.in_row());
        if (weight == 0) continue;
        HWY_DYNAMIC_DISPATCH(add_weighted)
        (state.in_row(), weight, gathered, to + state.rows.second[r] * state.in_row());
      }
    });
  }

  static std::vector<Sample> samples() {
    return {{"nearest", {{{2, 3, 3, 4}}}, any_op(Upsample{{6, 8}, {2, 2}, false, false})},
            {"nearest odd", {{{1, 16, 5, 3}}}, any_op(Upsample{{7, 4}, {}, false, false})},
            {"bilinear", {{{2, 5, 4, 3}}}, any_op(Upsample{{8, 6}, {2, 2}, true, false})},
            {"bilinear corners", {{{1, 8, 3, 5}}}, any_op(Upsample{{7, 9}, {}, true, true})},
            {"bilinear smaller", {{{1, 2, 7, 6}}}, any_op(Upsample{{3, 4}, {}, true, false})},
            {"single", {{{2, 2, 1, 1}}}, any_op(Upsample{{3, 1}, {}, true, true})}};
  }

 private:
  // PyTorch's coordinates.
  Taps taps(std::int64_t in, std::size_t d) const {
    Taps out;
    out.in = in;
    const double given = static_cast<double>(scale[d]);
    const double step = align_corners ? (size[d] > 1 ? as_double(in - 1) / as_double(size[d] - 1) : 0.0)
                        : given > 0   ? 1.0 / given
                                      : as_double(in) / as_double(size[d]);
    for (std::int64_t i = 0; i < size[d]; ++i) {
      const double place = !bilinear       ? as_double(i) * step
                           : align_corners ? as_double(i) * step
                                           : std::max(0.0, (as_double(i) + 0.5) * step - 0.5);
      const std::int64_t first = std::min(in - 1, static_cast<std::int64_t>(place));
      out.first.push_back(first);
      out.second.push_back(std::min(in - 1, first + 1));
      const bool between = bilinear && first + 1 < in;
      out.weight.push_back(between ? static_cast<float>(place - as_double(first)) : 0.0f);
    }
    return out;
  }

  // f(slab, row buffer) for all slabs, on the team.
  template <class F>
  static void for_slabs(Ctx& ctx, const UpsampleState& state, F&& f) {
    const std::int64_t bytes = state.slabs * state.rows.out() * state.out_row() * size_of(f32);
    const std::int64_t stride = round_up(state.in_row(), 16);
    for_members(ctx, state.slabs, bytes < kParallelBytes ? 1 : ctx.threads(),
                [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                  for (std::int64_t slab = begin; slab < end; ++slab) f(slab, ctx.scratch<float>() + member * stride);
                });
  }
};

std::vector<Sample> upsample_samples() { return Upsample::samples(); }

}  // namespace ops

Tensor upsample(const Tensor& x, const UpsampleOptions& options, SourceLocation where) {
  ops::require_defined("upsample", {&x}, where);
  const auto fail = [&](const std::string& message) {
    throw ShapeError("[upsample] " + message + " (at " + to_string(where) + ")");
  };
  const Shape& shape = x.shape(where);
  if (shape.rank() != 4) fail("x is " + shape.to_string() + "; it must be [N, C, H, W]");
  const bool by_size = options.size[0] != 0 || options.size[1] != 0;
  const bool by_scale = options.scale[0] != 0 || options.scale[1] != 0;
  if (by_size == by_scale) fail("one of size and scale must be given, and not both");
  if (options.align_corners && options.mode == UpsampleMode::kNearest) fail("align_corners is for bilinear alone");
  ops::Upsample op{options.size, options.scale, options.mode == UpsampleMode::kBilinear, options.align_corners};
  for (std::size_t d = 0; by_scale && d < 2; ++d) {
    const double scale = static_cast<double>(options.scale[d]);
    if (!(scale > 0) || !std::isfinite(scale)) fail("scale is " + std::to_string(scale) + "; it must be above 0");
    const double size = std::floor(static_cast<double>(shape[static_cast<int>(d) + 2]) * scale);
    if (size >= 0x1p31) fail("scale " + std::to_string(scale) + " on x " + shape.to_string() + " is too large");
    op.size[d] = static_cast<std::int64_t>(size);
  }
  return apply(op, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
