// Maxima of windows that follow no fixed step (adaptive_max_pool2d) or have gaps (max_pool2d with a dilation). Saves
// where in its image each maximum lies. NaN is larger than everything, and the first of equal numbers counts.
#include "ops/images/max_windows.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/images/max_windows.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                         // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <limits>

#include "ops/images/max_windows_geometry.h"
#include "ops/images/windows.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

template <class D>
using Places = hn::Vec<hn::Rebind<std::int32_t, D>>;

// The maxima of a window for each lane, whose rows are window `row`, and where they are. The columns of a window are
// `count` from `begin` on; load(place of its first column in this row, k) has the values of column k.
template <class D, class F>
HWY_INLINE void max_of_lanes(D d, const MaxWindowsGeometry& g, std::size_t row, Places<D> begin, std::int64_t count,
                             F load, float* y, std::int32_t* places) {
  const hn::Rebind<std::int32_t, D> di;
  const auto step = hn::Set(di, static_cast<std::int32_t>(g.columns.step));
  std::int64_t line = g.rows.begin[row] * g.columns.in;
  auto most = load(line, 0);
  auto best = hn::Add(begin, hn::Set(di, static_cast<std::int32_t>(line)));
  for (std::int64_t h = g.rows.begin[row]; h < g.rows.end[row]; h += g.rows.step) {
    line = h * g.columns.in;
    auto place = hn::Add(begin, hn::Set(di, static_cast<std::int32_t>(line)));
    for (std::int64_t k = 0; k < count; ++k) {
      const auto v = load(line, k);
      const auto better = hn::Or(hn::Gt(v, most), hn::AndNot(hn::IsNaN(most), hn::IsNaN(v)));
      most = hn::IfThenElse(better, v, most);
      best = hn::IfThenElse(hn::RebindMask(di, better), place, best);
      place = hn::Add(place, step);
    }
  }
  hn::StoreU(most, d, y);
  hn::StoreU(best, di, places);
}

// An output row of a plain image from column `at` on, with columns in lanes; where it stopped.
template <class D>
HWY_INLINE std::int64_t max_of_columns(D d, const MaxWindowsGeometry& g, std::size_t row, std::int64_t at,
                                       const float* x, float* y, std::int32_t* places) {
  const hn::Rebind<std::int32_t, D> di;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const GappedWindows& columns = g.columns;
  for (; at + width <= columns.out(); at += width) {
    const auto begin = hn::LoadU(di, columns.begin.data() + at);
    if (columns.together[static_cast<std::size_t>(at)] >= width) {
      const float* first = x + columns.begin[static_cast<std::size_t>(at)];
      const auto load = [&](std::int64_t line, std::int64_t k)
                            HWY_ATTR { return hn::LoadU(d, first + line + k * columns.step); };
      max_of_lanes(d, g, row, begin, columns.taps, load, y + at, places + at);
      continue;
    }
    // In place of a column that a smaller window lacks its first one is read again, which changes nothing.
    const auto end = hn::LoadU(di, columns.end.data() + at);
    const auto load = [&](std::int64_t line, std::int64_t k) HWY_ATTR {
      const auto place = hn::Add(begin, hn::Set(di, static_cast<std::int32_t>(k * columns.step)));
      return hn::GatherIndex(d, x + line, hn::IfThenElse(hn::Lt(place, end), place, begin));
    };
    max_of_lanes(d, g, row, begin, columns.taps, load, y + at, places + at);
  }
  return at;
}

// An output place from channel `at` on, with channels in lanes; where it stopped.
template <class D>
HWY_INLINE std::int64_t max_of_channels(D d, const MaxWindowsGeometry& g, std::size_t row, std::size_t column,
                                        std::int64_t at, const float* x, float* y, std::int32_t* places) {
  const auto begin = hn::Set(hn::Rebind<std::int32_t, D>(), g.columns.begin[column]);
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  for (; at + width <= g.inner; at += width) {
    const float* first = x + g.columns.begin[column] * g.inner + at;
    const auto load = [&](std::int64_t line, std::int64_t k)
                          HWY_ATTR { return hn::LoadU(d, first + (line + k * g.columns.step) * g.inner); };
    max_of_lanes(d, g, row, begin, g.columns.count(column), load, y + at, places + at);
  }
  return at;
}

void max_of_image(const MaxWindowsGeometry& g, const float* x, float* y, std::int32_t* places) {
  const hn::CappedTag<float, 4> four;
  const hn::CappedTag<float, 1> one;
  for (std::size_t row = 0; row < g.rows.begin.size(); ++row) {
    if (g.inner == 1) {
      std::int64_t at = max_of_columns(Wide(), g, row, 0, x, y, places);
      at = max_of_columns(four, g, row, at, x, y, places);
      max_of_columns(one, g, row, at, x, y, places);
      y += g.columns.out();
      places += g.columns.out();
      continue;
    }
    for (std::size_t column = 0; column < g.columns.begin.size(); ++column, y += g.inner, places += g.inner) {
      std::int64_t at = max_of_channels(Wide(), g, row, column, 0, x, y, places);
      at = max_of_channels(four, g, row, column, at, x, y, places);
      max_of_channels(one, g, row, column, at, x, y, places);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(max_of_image);

struct MaxWindows {
  static constexpr std::string_view name = "max_windows";
  // kernel 0: adaptive, to `size`.
  std::array<std::int64_t, 2> size{};
  MaxPool2dOptions options;

  void describe(Attributes& a) const {
    static constexpr std::array<const char*, 2> kSizes = {"height", "width"};
    static constexpr std::array<const char*, 2> kKernels = {"kernel_h", "kernel_w"};
    static constexpr std::array<const char*, 2> kStrides = {"stride_h", "stride_w"};
    static constexpr std::array<const char*, 2> kPaddings = {"padding_h", "padding_w"};
    static constexpr std::array<const char*, 2> kDilations = {"dilation_h", "dilation_w"};
    for (std::size_t d = 0; d < 2; ++d) {
      a(kSizes[d], size[d]);
      a(kKernels[d], options.kernel[d]);
      a(kStrides[d], options.stride[d]);
      a(kPaddings[d], options.padding[d]);
      a(kDilations[d], options.dilation[d]);
    }
    a("ceil", options.ceil_mode);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& x = in[0].shape;
    prep.require(x.rank() == 4 && x.with(0, 1).numel() > 0,
                 "x " + x.to_string() + " must be [N, C, H, W], of which only N may be 0: nothing else may be empty");
    auto state = std::make_shared<MaxWindowsGeometry>();
    state->rows = windows(prep, x, 0);
    state->columns = windows(prep, x, 1);
    prep.require(state->in_places() <= std::numeric_limits<std::int32_t>::max(),
                 "x " + x.to_string() + " must have less than 2^31 places in an image");
    compute::Machine& machine = prep.machine();
    const KnownLayout layout = known_layout(machine, in[0]);
    const Meta from = in_layout(machine, x, layout);
    const Meta to = in_layout(machine, Shape({x[0], x[1], state->rows.out(), state->columns.out()}), layout);
    state->inner = layout.inner == 0 ? x[1] : layout.inner;
    state->slabs = raw_floats(from) / (state->in_places() * state->inner);
    Prepared out;
    out.outputs = {to, Meta::plain(Shape({raw_floats(to)}), i32)};
    out.visible = 1;
    out.input_layouts = {from.layout};
    out.work = {as_double(raw_floats(from)), as_double(from.bytes + 2 * to.bytes)};
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
    const auto& state = ctx.state<MaxWindowsGeometry>();
    for_range(ctx, state.slabs, 8 * state.in_places() * state.inner, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t slab = begin; slab < end; ++slab) {
        const std::int64_t at = slab * state.out_places() * state.inner;
        HWY_DYNAMIC_DISPATCH(max_of_image)
        (state, in[0].as<const float>() + slab * state.in_places() * state.inner, out[0].as<>() + at,
         out[1].as<std::int32_t>() + at);
      }
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<MaxWindowsGeometry>();
    const std::int64_t inner = state.inner;
    for_range(ctx, state.slabs, 8 * state.in_places() * inner, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t slab = begin; slab < end; ++slab) {
        float* to = gx[0].as<>() + slab * state.in_places() * inner;
        std::fill_n(to, state.in_places() * inner, 0.0f);
        const std::int64_t first = slab * state.out_places() * inner;
        const float* g = gy[0].as<const float>() + first;
        const auto* places = saved[0].as<const std::int32_t>() + first;
        for (std::int64_t i = 0; i < state.out_places() * inner; ++i) to[places[i] * inner + i % inner] += g[i];
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const MaxWindows& op) {
      return Sample{std::move(label), {{x}}, any_op(op)};
    };
    return {
        sample("adaptive", {2, 5, 7, 5}, {{3, 2}, {.kernel = {0, 0}}}),
        sample("adaptive whole", {1, 16, 4, 3}, {{1, 1}, {.kernel = {0, 0}}}),
        sample("gaps", {2, 3, 8, 9}, {{}, {.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 1}, .dilation = {2, 3}}}),
        sample("gaps, ceil", {1, 8, 6, 7}, {{}, {.kernel = {2, 2}, .dilation = {2, 2}, .ceil_mode = true}}),
    };
  }

 private:
  GappedWindows windows(const Prep& prep, const Shape& x, std::size_t d) const {
    const Windows found = found_windows(prep, x, d);
    GappedWindows out;
    out.in = found.in;
    out.step = options.kernel[d] == 0 ? 1 : options.dilation[d];
    out.begin.assign(found.begin.begin(), found.begin.end());
    out.end.assign(found.end.begin(), found.end.end());
    for (std::size_t i = 0; i < out.begin.size(); ++i) out.taps = std::max(out.taps, out.count(i));
    out.together.assign(out.begin.size() + 1, 0);
    for (std::size_t i = out.begin.size(); i-- > 0;) {
      if (out.count(i) < out.taps) continue;
      const bool joined = i + 1 < out.begin.size() && out.begin[i + 1] == out.begin[i] + 1;
      out.together[i] = 1 + (joined ? out.together[i + 1] : 0);
    }
    return out;
  }

  Windows found_windows(const Prep& prep, const Shape& x, std::size_t d) const {
    const std::int64_t in = x[static_cast<int>(d) + 2];
    const std::int64_t kernel = options.kernel[d];
    if (kernel == 0) {
      prep.require(size[d] >= 1, "the output's size is " + std::to_string(size[0]) + " x " + std::to_string(size[1]) +
                                     "; both must be at least 1");
      return adaptive_windows(in, size[d]);
    }
    const std::int64_t stride = options.stride[d] == 0 ? kernel : options.stride[d];
    const std::int64_t padding = options.padding[d];
    const std::int64_t dilation = options.dilation[d];
    prep.require(kernel >= 1 && stride >= 1 && dilation >= 1 && padding >= 0 && 2 * padding <= kernel,
                 "kernel, stride and dilation must be at least 1, padding between 0 and half of the kernel");
    const std::int64_t reach = dilation * (kernel - 1) + 1;
    prep.require(in + 2 * padding >= reach,
                 "window [" + std::to_string(options.kernel[0]) + ", " + std::to_string(options.kernel[1]) +
                     "] with its dilation is larger than x " + x.to_string() + " with its padding");
    Windows out;
    out.in = in;
    const std::int64_t count = windows_along(in, kernel, stride, padding, dilation, options.ceil_mode);
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t begin = i * stride - padding;
      const std::int64_t end = std::min(begin + reach, in);
      if (begin < 0) begin += (-begin + dilation - 1) / dilation * dilation;
      prep.require(begin < end,
                   "a window of x " + x.to_string() + " lies in the padding alone; padding must be smaller");
      out.add(begin, end, 1);
    }
    return out;
  }
};

std::vector<Sample> max_windows_samples() { return MaxWindows::samples(); }

Tensor max_of_windows(const Tensor& x, const MaxPool2dOptions& options, SourceLocation where) {
  return apply(MaxWindows{{}, options}, {x}, where);
}

}  // namespace ops

Tensor adaptive_max_pool2d(const Tensor& x, std::array<std::int64_t, 2> size, SourceLocation where) {
  return apply(ops::MaxWindows{size, {.kernel = {0, 0}}}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
