// max_pool2d. Saves which tap of its window each maximum came from: a byte an output element, and all that backward
// reads.
//
// NaN is larger than everything, and the first of equal numbers counts, as in PyTorch. Of several NaN the last one gets
// the gradient.
#include "tidemark/ops/images.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/images/pool.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                  // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/images/pool_kernels-inl.h"

#include <algorithm>
#include <array>
#include <limits>

#include "ops/images/max_windows.h"
#include "ops/images/windows.h"
#include "ops/kernels.h"
#include "ops/table.h"

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(pool_forward);
HWY_EXPORT(pool_backward);

// So many taps are named by a byte.
constexpr std::int64_t kByteTaps = 256;

struct PoolState {
  PoolGeometry geometry;
  bool bytes = true;                              // taps are bytes, else i32
  std::array<std::int64_t, kByteTaps> offsets{};  // of such taps in the input, from their window's start

  std::int64_t offset(std::uint8_t tap) const { return offsets[tap]; }
  std::int64_t offset(std::int32_t tap) const {
    const PoolGeometry& g = geometry;
    return tap / g.columns.kernel * g.in_row() + tap % g.columns.kernel * g.inner;
  }
};

// A slab of few channels: each output adds to the place that its tap names. Rows are cleared when a window first
// reaches them.
template <class Tap>
void scatter(const PoolState& state, const float* gy, const Tap* taps, float* gx) {
  const PoolGeometry& g = state.geometry;
  std::int64_t cleared = 0;
  const auto clear_to = [&](std::int64_t row) {
    if (row > cleared) std::fill(gx + cleared * g.in_row(), gx + row * g.in_row(), 0.0f);
    cleared = std::max(cleared, row);
  };
  for (std::int64_t oh = 0; oh < g.rows.out; ++oh) {
    clear_to(std::min(g.rows.in, g.rows.start(oh) + g.rows.kernel));
    for (std::int64_t ow = 0; ow < g.columns.out; ++ow) {
      float* window = gx + g.rows.start(oh) * g.in_row() + g.columns.start(ow) * g.inner;
      for (std::int64_t c = 0; c < g.inner; ++c) {
        const std::int64_t from = oh * g.out_row() + ow * g.inner + c;
        window[state.offset(taps[from]) + c] += gy[from];
      }
    }
  }
  clear_to(g.rows.in);
}

}  // namespace

struct MaxPool2d {
  static constexpr std::string_view name = "max_pool2d";
  MaxPool2dOptions options;

  void describe(Attributes& a) const {
    a("kernel_h", options.kernel[0]);
    a("kernel_w", options.kernel[1]);
    a("stride_h", options.stride[0]);
    a("stride_w", options.stride[1]);
    a("padding_h", options.padding[0]);
    a("padding_w", options.padding[1]);
    a("ceil", options.ceil_mode);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    require_f32(prep, "input", in[0]);
    prep.require(
        x.rank() == 4 && x.with(0, 1).numel() > 0,
        "input " + x.to_string() + " must be [N, C, H, W], of which only N may be 0: nothing else may be empty");
    auto state = std::make_shared<PoolState>();
    PoolGeometry& g = state->geometry;
    g.rows = axis(prep, x, 0);
    g.columns = axis(prep, x, 1);
    const Shape y({x[0], x[1], g.rows.out, g.columns.out});
    compute::Machine& machine = prep.machine();
    const KnownLayout layout = known_layout(machine, in[0]);
    const Meta from = in_layout(machine, x, layout);
    const Meta to = in_layout(machine, y, layout);
    g.inner = layout.inner == 0 ? x[1] : layout.inner;
    // Strided loads of plain rows come in pairs: the second of the last one must lie inside of the row too.
    g.inside = g.columns.inside(round_up(g.columns.kernel, g.inner == 1 && g.columns.stride > 1 ? 2 : 1));
    g.slabs = raw_floats(from) / (g.rows.in * g.in_row());
    const std::int64_t taps = g.rows.kernel * g.columns.kernel;
    prep.require(taps <= std::numeric_limits<std::int32_t>::max(),
                 "window [" + std::to_string(g.rows.kernel) + ", " + std::to_string(g.columns.kernel) + "] on input " +
                     x.to_string() + " must have less than 2^31 elements");
    state->bytes = taps <= kByteTaps;
    for (std::int32_t tap = 0; state->bytes && tap < taps; ++tap) {
      state->offsets[static_cast<std::size_t>(tap)] = state->offset(tap);
    }

    Prepared out;
    out.outputs = {to, Meta::plain(Shape({raw_floats(to)}), state->bytes ? u8 : i32)};
    out.visible = 1;
    out.input_layouts = {from.layout};
    const double work = as_double(y.numel() * taps);
    out.work = {work, as_double(from.bytes + to.bytes + out.outputs[1].bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {from};
      part.saved = {Saved::output(1)};
      part.gy = {{0, to.layout}};
      part.work = out.work;
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<PoolState>();
    const PoolGeometry& g = state.geometry;
    const std::int64_t bytes_each = size_of(f32) * (g.in_row() * g.rows.stride + g.out_row());
    for_range(ctx, g.slabs * g.rows.out, bytes_each, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(pool_forward)(g, begin, end, in[0].as<>(), out[0].as<>(), out[1].data, state.bytes);
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<PoolState>();
    const PoolGeometry& g = state.geometry;
    const std::int64_t row_bytes = 2 * size_of(f32) * g.in_row();
    if (g.inner >= kChannelLanes) {
      for_range(ctx, g.slabs * g.rows.in, row_bytes, [&](std::int64_t begin, std::int64_t end) {
        HWY_DYNAMIC_DISPATCH(pool_backward)(g, begin, end, gy[0].as<>(), saved[0].data, state.bytes, gx[0].as<>());
      });
      return;
    }
    for_range(ctx, g.slabs, row_bytes * g.rows.in, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t slab = begin; slab < end; ++slab) {
        const std::int64_t from = slab * g.rows.out * g.out_row();
        float* to = gx[0].as<>() + slab * g.rows.in * g.in_row();
        if (state.bytes) {
          scatter(state, gy[0].as<>() + from, saved[0].as<std::uint8_t>() + from, to);
        } else {
          scatter(state, gy[0].as<>() + from, saved[0].as<std::int32_t>() + from, to);
        }
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const MaxPool2dOptions& options) {
      return Sample{std::move(label), {{x}}, any_op(MaxPool2d{options})};
    };
    return {
        sample("2x2", {2, 8, 6, 4}, {}),
        sample("odd size", {1, 3, 7, 5}, {}),
        sample("overlapping", {1, 16, 7, 7}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}),
        sample("odd channels", {2, 5, 6, 6}, {.kernel = {3, 2}, .stride = {1, 2}}),
        sample("whole image", {2, 4, 3, 3}, {.kernel = {3, 3}}),
        sample("wide", {1, 2, 5, 71}, {.kernel = {2, 3}, .stride = {1, 2}, .padding = {0, 1}}),
        sample("every place", {1, 2, 4, 45}, {.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}}),
        sample("far apart", {1, 9, 8, 40}, {.kernel = {2, 2}, .stride = {3, 3}}),
        sample("ceil", {2, 9, 6, 8}, {.kernel = {3, 3}, .stride = {2, 2}, .ceil_mode = true}),
        sample("ceil of rows", {1, 2, 5, 6},
               {.kernel = {2, 3}, .stride = {2, 2}, .padding = {1, 1}, .ceil_mode = true}),
        sample("large window", {1, 2, 18, 20}, {.kernel = {17, 18}, .stride = {1, 1}}),
    };
  }

 private:
  // Dimension d of the image.
  Axis axis(const Prep& prep, const Shape& x, std::size_t d) const {
    Axis out;
    out.in = x[static_cast<int>(d) + 2];
    out.kernel = options.kernel[d];
    out.stride = options.stride[d] == 0 ? out.kernel : options.stride[d];
    out.padding = options.padding[d];
    prep.require(out.kernel >= 1 && out.stride >= 1 && out.padding >= 0 && 2 * out.padding <= out.kernel,
                 "kernel and stride must be at least 1, padding between 0 and half of the kernel");
    const std::int64_t padded = out.in + 2 * out.padding;
    prep.require(padded >= out.kernel, "window [" + std::to_string(options.kernel[0]) + ", " +
                                           std::to_string(options.kernel[1]) + "] is larger than input " +
                                           x.to_string() + " with its padding");
    out.out = windows_along(out.in, out.kernel, out.stride, out.padding, 1, options.ceil_mode);
    return out;
  }
};

std::vector<Sample> max_pool2d_samples() { return MaxPool2d::samples(); }

}  // namespace ops

Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options, SourceLocation where) {
  if (options.dilation != std::array{1, 1}) return ops::max_of_windows(x, options, where);
  return apply(ops::MaxPool2d{options}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
