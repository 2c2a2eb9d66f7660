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
#include "ops/images/taps.h"
#include "ops/images/windows.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// out[j] = the sum of weights[k] from[k step + j] over `count` k, for whole vectors of [begin, end); where they end.
template <class D>
HWY_INLINE std::int64_t mix_vectors(D d, std::int64_t count, const float* weights, const float* from, std::int64_t step,
                                    std::int64_t begin, std::int64_t end, float* out) {
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t j = begin;
  for (; j + width <= end; j += width) {
    auto sum = count == 0 ? hn::Zero(d) : hn::Mul(hn::Set(d, weights[0]), load(d, from + j));
    for (std::int64_t k = 1; k < count; ++k) {
      sum = hn::MulAdd(hn::Set(d, weights[k]), load(d, from + k * step + j), sum);
    }
    store(d, sum, out + j);
  }
  return j;
}

HWY_INLINE void mix(std::int64_t count, const float* weights, const float* from, std::int64_t n, float* out) {
  std::int64_t done = mix_vectors(Wide(), count, weights, from, n, 0, n, out);
  done = mix_vectors(Eight(), count, weights, from, n, done, n, out);
  done = mix_vectors(hn::CappedTag<float, 4>(), count, weights, from, n, done, n, out);
  mix_vectors(hn::CappedTag<float, 1>(), count, weights, from, n, done, n, out);
}

// The columns of a plain image's line.
HWY_INLINE void mix_columns(const Taps& columns, const float* line, float* y) {
  const std::int64_t n = columns.out();
  const std::int64_t* first = columns.first.data();
  if (columns.copies) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = line[first[i]];
    return;
  }
  const std::int64_t* start = columns.start.data();
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t count = start[i + 1] - start[i];
    const float* weights = columns.weights.data() + start[i];
    const float* from = line + first[i];
    if (count == 2) {  // as most have that images grow by
      y[i] = weights[0] * from[0] + weights[1] * from[1];
    } else {
      mix_vectors(hn::CappedTag<float, 1>(), count, weights, from, 1, 0, 1, y + i);
    }
  }
}

// Images [begin, end): their rows first, which takes `mixed` of an input row, then columns.
void resample_images(const Taps& rows, const Taps& columns, std::int64_t inner, std::int64_t begin, std::int64_t end,
                     const float* x, float* mixed, float* y) {
  const std::int64_t in_row = columns.in * inner;
  const std::int64_t out_row = columns.out() * inner;
  y += begin * rows.out() * out_row;
  for (std::int64_t image = begin; image < end; ++image) {
    for (std::size_t row = 0; row < rows.first.size(); ++row, y += out_row) {
      if (rows.copies && row > 0 && rows.first[row] == rows.first[row - 1]) {
        std::copy_n(y - out_row, out_row, y);
        continue;
      }
      const float* line = x + (image * rows.in + rows.first[row]) * in_row;
      if (!rows.copies) {
        const std::int64_t count = rows.start[row + 1] - rows.start[row];
        mix(count, rows.weights.data() + rows.start[row], line, in_row, mixed);
        line = mixed;
      }
      if (inner == 1) {
        mix_columns(columns, line, y);
        continue;
      }
      for (std::size_t i = 0; i < columns.first.size(); ++i) {
        mix(columns.start[i + 1] - columns.start[i], columns.weights.data() + columns.start[i],
            line + columns.first[i] * inner, inner, y + static_cast<std::int64_t>(i) * inner);
      }
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

HWY_EXPORT(resample_images);

struct UpsampleState {
  Taps rows, columns;
  Taps back_rows, back_columns;  // of gradients
  std::int64_t slabs = 0;
  std::int64_t inner = 1;
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
    state->slabs = raw_floats(from) / (x[2] * x[3] * state->inner);
    Prepared out;
    out.outputs = {to};
    out.input_layouts = {from.layout};
    out.scratch = prep.threads() * line_bytes(state->columns, state->inner);
    out.work = {4 * as_double(raw_floats(to)), as_double(from.bytes + to.bytes)};
    if (needs[0]) {
      state->back_rows = state->rows.transposed();
      state->back_columns = state->columns.transposed();
      Part part;
      part.inputs = {0};
      part.gx = {from};
      part.gy = {{0, to.layout}};
      part.scratch = prep.threads() * line_bytes(state->back_columns, state->inner);
      part.work = out.work;
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<UpsampleState>();
    resample(ctx, state.rows, state.columns, in[0], out[0]);
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<UpsampleState>();
    resample(ctx, state.back_rows, state.back_columns, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    return {{"nearest", {{{2, 3, 3, 4}}}, any_op(Upsample{{6, 8}, {2, 2}, false, false})},
            {"nearest odd", {{{1, 16, 5, 3}}}, any_op(Upsample{{7, 4}, {}, false, false})},
            {"bilinear", {{{2, 5, 4, 3}}}, any_op(Upsample{{8, 6}, {2, 2}, true, false})},
            {"bilinear corners", {{{1, 8, 3, 5}}}, any_op(Upsample{{7, 9}, {}, true, true})},
            {"bilinear smaller", {{{1, 2, 7, 6}}}, any_op(Upsample{{3, 4}, {}, true, false})},
            {"nearest large", {{{1, 1, 4, 5}}}, any_op(Upsample{{64, 64}, {}, false, false})},
            {"bilinear large", {{{1, 1, 4, 5}}}, any_op(Upsample{{64, 64}, {}, true, false})},
            {"single", {{{2, 2, 1, 1}}}, any_op(Upsample{{3, 1}, {}, true, true})}};
  }

 private:
  // PyTorch's coordinates: those of nearest neighbours are rounded to float, and what keeps its size is copied,
  // whatever the factor.
  Taps taps(std::int64_t in, std::size_t d) const {
    Taps out;
    out.in = in;
    const double given = static_cast<double>(scale[d]);
    const double step = align_corners ? (size[d] > 1 ? as_double(in - 1) / as_double(size[d] - 1) : 0.0)
                        : given > 0   ? 1.0 / given
                                      : as_double(in) / as_double(size[d]);
    const auto nearest = [&](std::int64_t i) {
      return size[d] == 2 * in ? i / 2 : static_cast<std::int64_t>(static_cast<float>(i) * static_cast<float>(step));
    };
    for (std::int64_t i = 0; i < size[d]; ++i) {
      const double place = size[d] == in   ? as_double(i)
                           : !bilinear     ? as_double(nearest(i))
                           : align_corners ? as_double(i) * step
                                           : std::max(0.0, (as_double(i) + 0.5) * step - 0.5);
      const std::int64_t first = std::min(in - 1, static_cast<std::int64_t>(place));
      const bool between = bilinear && first + 1 < in;
      out.add(first, between ? static_cast<float>(place - as_double(first)) : 0.0f);
    }
    return out;
  }

  // What the rows of one thread's images are mixed in.
  static std::int64_t line_bytes(const Taps& columns, std::int64_t inner) {
    return round_up(columns.in * inner * size_of(f32), 64);
  }

  static void resample(Ctx& ctx, const Taps& rows, const Taps& columns, const Buf& from, const Buf& to) {
    const auto& state = ctx.state<UpsampleState>();
    const std::int64_t bytes = from.meta->bytes + to.meta->bytes;
    const std::int64_t stride = line_bytes(columns, state.inner) / size_of(f32);
    for_members(ctx, state.slabs, bytes < kParallelBytes ? 1 : ctx.threads(),
                [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                  HWY_DYNAMIC_DISPATCH(resample_images)
                  (rows, columns, state.inner, begin, end, from.as<const float>(),
                   ctx.scratch<float>() + member * stride, to.as<>());
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
