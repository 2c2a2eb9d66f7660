// max_pool2d. Saves which tap of its window each maximum came from: a byte an output element, and all that backward
// reads.
//
// NaN is larger than everything, and the first of equal numbers counts, as in PyTorch. Of several NaN the last one gets
// the gradient.
#include "tidemark/ops.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pool.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"           // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <array>

#include "ops/kernels.h"
#include "ops/onednn.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

#ifndef TIDEMARK_OPS_POOL_SHARED_
#define TIDEMARK_OPS_POOL_SHARED_
namespace tidemark::ops {

struct Range {
  std::int64_t begin;
  std::int64_t end;
};

// Windows along one dimension.
struct Axis {
  std::int64_t in = 0;
  std::int64_t out = 0;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;

  std::int64_t start(std::int64_t at) const { return at * stride - padding; }
  // The taps of window `at` that lie inside of the input: at least one, since padding is at most half of a kernel.
  Range taps(std::int64_t at) const {
    return {std::max<std::int64_t>(0, -start(at)), std::min(kernel, in - start(at))};
  }
  // The windows of which the first `reach` elements lie inside of the input.
  Range inside(std::int64_t reach) const {
    const std::int64_t begin = std::min(out, (padding + stride - 1) / stride);
    const std::int64_t room = in + padding - reach;
    return {begin, room < 0 ? begin : std::max(begin, std::min(out, room / stride + 1))};
  }
  // The windows that input `at` lies in.
  Range windows(std::int64_t at) const {
    const std::int64_t first = at + padding - kernel + 1;
    return {first <= 0 ? 0 : (first + stride - 1) / stride, std::min(out, (at + padding) / stride + 1)};
  }
};

// `slabs` images of places, each of which holds `inner` channels side by side: all of them where channels come last, 8
// or 16 in blocked layouts, one in plain ones.
struct PoolGeometry {
  Axis rows;
  Axis columns;
  std::int64_t slabs = 0;
  std::int64_t inner = 1;
  Range inside{0, 0};  // the windows whose columns all lie inside of the input

  std::int64_t in_row() const { return columns.in * inner; }
  std::int64_t out_row() const { return columns.out * inner; }
};

// From so many channels side by side on they are a vector's lanes.
inline constexpr std::int64_t kChannelLanes = 8;

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// The larger of what was found and a new tap, and where it is.
template <class D>
struct Best {
  hn::Vec<D> value;
  hn::Vec<hn::Rebind<std::int32_t, D>> tap;

  HWY_INLINE void offer(hn::Vec<D> v, std::int64_t at) {
    const hn::Rebind<std::int32_t, D> di;
    const auto better = hn::Or(hn::Gt(v, value), hn::IsNaN(v));
    value = hn::IfThenElse(better, v, value);
    tap = hn::IfThenElse(hn::RebindMask(di, better), hn::Set(di, static_cast<std::int32_t>(at)), tap);
  }
};

template <class D>
HWY_INLINE void store_taps(D d, hn::Vec<hn::Rebind<std::int32_t, D>> taps, std::uint8_t* to) {
  const hn::Rebind<std::uint8_t, D> d8;
  (void)d;
  hn::StoreU(hn::DemoteTo(d8, taps), d8, to);
}

template <class D>
HWY_INLINE void store_taps(D d, hn::Vec<hn::Rebind<std::int32_t, D>> taps, std::int32_t* to) {
  (void)d;
  hn::StoreU(taps, hn::Rebind<std::int32_t, D>(), to);
}

template <class D>
HWY_INLINE hn::Vec<hn::Rebind<std::int32_t, D>> load_taps(D d, const std::uint8_t* from) {
  (void)d;
  return hn::PromoteTo(hn::Rebind<std::int32_t, D>(), hn::LoadU(hn::Rebind<std::uint8_t, D>(), from));
}

template <class D>
HWY_INLINE hn::Vec<hn::Rebind<std::int32_t, D>> load_taps(D d, const std::int32_t* from) {
  (void)d;
  return hn::LoadU(hn::Rebind<std::int32_t, D>(), from);
}

// f(i) for vectors of `width` elements that cover [begin, end): the last one overlaps its neighbour where they are no
// whole number. Where the range began if not even one fits.
template <class F>
HWY_INLINE std::int64_t cover(std::int64_t begin, std::int64_t end, std::int64_t width, F f) {
  if (end - begin < width) return begin;
  std::int64_t i = begin;
  for (; i + width <= end; i += width) f(i);
  if (i < end) f(end - width);
  return end;
}

template <class D, class Tap>
HWY_INLINE void store(D d, const Best<D>& best, float* y, Tap* taps) {
  hn::StoreU(best.value, d, y);
  store_taps(d, best.tap, taps);
}

// `places` of an output row, channels in lanes.
template <class D, class Tap>
HWY_INLINE void pool_places(D d, const PoolGeometry& g, Range rows, Range places, const float* x, float* y, Tap* taps) {
  const hn::Rebind<std::int32_t, D> di;
  for (std::int64_t ow = places.begin; ow < places.end; ++ow) {
    const Range columns = g.columns.taps(ow);
    const std::int64_t first = rows.begin * g.columns.kernel + columns.begin;
    cover(0, g.inner, static_cast<std::int64_t>(hn::Lanes(d)), [&](std::int64_t c) HWY_ATTR {
      const float* row = x + rows.begin * g.in_row() + g.columns.start(ow) * g.inner + c;
      Best<D> best{hn::LoadU(d, row + columns.begin * g.inner), hn::Set(di, static_cast<std::int32_t>(first))};
      for (std::int64_t kh = rows.begin; kh < rows.end; ++kh, row += g.in_row()) {
        for (std::int64_t kw = columns.begin; kw < columns.end; ++kw) {
          best.offer(hn::LoadU(d, row + kw * g.inner), kh * g.columns.kernel + kw);
        }
      }
      store(d, best, y + ow * g.inner + c, taps + ow * g.inner + c);
    });
  }
}

// The same for numbers, and whole windows of kSize x kSize. False where there may be a NaN: the sum of all shows it.
template <std::int64_t kSize, class D, class Tap>
HWY_INLINE bool pool_numbers(D d, const PoolGeometry& g, Range places, const float* x, float* y, Tap* taps) {
  const hn::Rebind<std::int32_t, D> di;
  const std::int64_t row_step = g.in_row();
  const std::int64_t step = g.inner;
  auto sum = hn::Zero(d);
  for (std::int64_t ow = places.begin; ow < places.end; ++ow) {
    const float* window = x + g.columns.start(ow) * step;
    cover(0, step, static_cast<std::int64_t>(hn::Lanes(d)), [&](std::int64_t c) HWY_ATTR {
      Best<D> best{hn::LoadU(d, window + c), hn::Zero(di)};
      auto all = best.value;
#pragma GCC unroll 9
      for (std::int64_t tap = 1; tap < kSize * kSize; ++tap) {
        const auto v = hn::LoadU(d, window + tap / kSize * row_step + tap % kSize * step + c);
        const auto larger = hn::Gt(v, best.value);
        all = hn::Add(all, v);
        best.value = hn::IfThenElse(larger, v, best.value);
        best.tap = hn::IfThenElse(hn::RebindMask(di, larger), hn::Set(di, static_cast<std::int32_t>(tap)), best.tap);
      }
      sum = hn::Add(sum, all);
      store(d, best, y + ow * step + c, taps + ow * step + c);
    });
  }
  return hn::AllFalse(d, hn::IsNaN(sum));
}

// `places` of a row of a plain image whose windows lie inside of their rows, places in lanes. Where it stopped.
template <class D, class Tap>
HWY_INLINE std::int64_t pool_lanes(D d, const PoolGeometry& g, Range rows, Range places, const float* x, float* y,
                                   Tap* taps) {
  const std::int64_t kernel = g.columns.kernel;
  const hn::Rebind<std::int32_t, D> di;
  return cover(places.begin, places.end, static_cast<std::int64_t>(hn::Lanes(d)), [&](std::int64_t ow) HWY_ATTR {
    const float* row = x + g.columns.start(ow) + rows.begin * g.columns.in;
    // The first tap is named from the start, in case that it is no larger than this.
    const auto first = hn::Set(di, static_cast<std::int32_t>(rows.begin * kernel));
    Best<D> best{hn::Set(d, -std::numeric_limits<float>::infinity()), first};
    for (std::int64_t kh = rows.begin; kh < rows.end; ++kh, row += g.columns.in) {
      const std::int64_t at = kh * kernel;
      if (g.columns.stride == 1) {
        for (std::int64_t kw = 0; kw < kernel; ++kw) best.offer(hn::LoadU(d, row + kw), at + kw);
        continue;
      }
      for (std::int64_t kw = 0; kw < kernel; kw += 2) {
        hn::Vec<D> even;
        hn::Vec<D> odd;
        hn::LoadInterleaved2(d, row + kw, even, odd);
        best.offer(even, at + kw);
        if (kw + 1 < kernel) best.offer(odd, at + kw + 1);
      }
    }
    store(d, best, y + ow, taps + ow);
  });
}

template <class Tap>
HWY_INLINE void pool_plain_row(const PoolGeometry& g, Range rows, const float* x, float* y, Tap* taps) {
  std::int64_t at = pool_lanes(Wide(), g, rows, g.inside, x, y, taps);
  at = pool_lanes(Eight(), g, rows, {at, g.inside.end}, x, y, taps);
  at = pool_lanes(hn::CappedTag<float, 4>(), g, rows, {at, g.inside.end}, x, y, taps);
  const hn::CappedTag<float, 1> one;
  pool_places(one, g, rows, {0, g.inside.begin}, x, y, taps);
  pool_places(one, g, rows, {at, g.columns.out}, x, y, taps);
}

template <class D, class Tap>
HWY_INLINE void pool_channels_row(D d, const PoolGeometry& g, Range rows, const float* x, float* y, Tap* taps) {
  const std::int64_t size =
      rows.end - rows.begin == g.rows.kernel && g.rows.kernel == g.columns.kernel ? g.rows.kernel : 0;
  const bool done = (size == 2 && pool_numbers<2>(d, g, g.inside, x, y, taps)) ||
                    (size == 3 && pool_numbers<3>(d, g, g.inside, x, y, taps));
  if (!done) return pool_places(d, g, rows, {0, g.columns.out}, x, y, taps);
  pool_places(d, g, rows, {0, g.inside.begin}, x, y, taps);
  pool_places(d, g, rows, {g.inside.end, g.columns.out}, x, y, taps);
}

template <class Tap>
HWY_INLINE void pool_row(const PoolGeometry& g, std::int64_t oh, const float* slab, float* y, Tap* taps) {
  const Range rows = g.rows.taps(oh);
  const float* x = slab + g.rows.start(oh) * g.in_row();
  if (g.inner == 1 && g.columns.stride <= 2) return pool_plain_row(g, rows, x, y, taps);
  if (g.inner >= static_cast<std::int64_t>(hn::Lanes(Wide()))) {
    return pool_channels_row(Wide(), g, rows, x, y, taps);
  }
  if (g.inner >= kChannelLanes) return pool_channels_row(Eight(), g, rows, x, y, taps);
  pool_places(hn::CappedTag<float, 1>(), g, rows, {0, g.columns.out}, x, y, taps);
}

// Rows of all slabs' outputs. `bytes`: taps are bytes, else i32.
void pool_forward(const PoolGeometry& g, std::int64_t begin, std::int64_t end, const float* x, float* y, void* taps,
                  bool bytes) {
  const float* slab = x + begin / g.rows.out * g.rows.in * g.in_row();
  std::int64_t oh = begin % g.rows.out;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t to = row * g.out_row();
    if (bytes) {
      pool_row(g, oh, slab, y + to, static_cast<std::uint8_t*>(taps) + to);
    } else {
      pool_row(g, oh, slab, y + to, static_cast<std::int32_t*>(taps) + to);
    }
    if (++oh == g.rows.out) {
      oh = 0;
      slab += g.rows.in * g.in_row();
    }
  }
}

// What an output row gives to an input row, which is row `kh` of its windows; channels [begin, end), whole vectors, in
// lanes. Where windows do not overlap the sums have one term, and are stored.
template <std::int64_t kKernel, bool kAdd, class D, class Tap>
HWY_INLINE void unpool_places(D d, const PoolGeometry& g, std::int64_t kh, Range channels, const float* gy,
                              const Tap* taps, float* gx) {
  const hn::Rebind<std::int32_t, D> di;
  const std::int64_t first = kh * g.columns.kernel;
  for (std::int64_t ow = 0; ow < g.columns.out; ++ow) {
    const Range columns = g.columns.taps(ow);
    float* window = gx + g.columns.start(ow) * g.inner;
    const bool whole = columns.end - columns.begin == kKernel;
    for (std::int64_t c = channels.begin; c < channels.end; c += static_cast<std::int64_t>(hn::Lanes(d))) {
      const auto value = hn::LoadU(d, gy + ow * g.inner + c);
      const auto tap = load_taps(d, taps + ow * g.inner + c);
      const auto give = [&](std::int64_t kw) HWY_ATTR {
        float* to = window + kw * g.inner + c;
        const auto here = hn::Eq(tap, hn::Set(di, static_cast<std::int32_t>(first + kw)));
        const auto share = hn::IfThenElseZero(hn::RebindMask(d, here), value);
        hn::StoreU(kAdd ? hn::Add(hn::LoadU(d, to), share) : share, d, to);
      };
      if (whole) {
#pragma GCC unroll 3
        for (std::int64_t kw = 0; kw < kKernel; ++kw) give(kw);
      } else {
        for (std::int64_t kw = columns.begin; kw < columns.end; ++kw) give(kw);
      }
    }
  }
}

template <bool kAdd, class Tap>
HWY_INLINE void unpool_row(const PoolGeometry& g, std::int64_t kh, const float* gy, const Tap* taps, float* gx) {
  const auto channels = [&](auto d, Range range) HWY_ATTR {
    switch (g.columns.kernel) {
      case 2:
        return unpool_places<2, kAdd>(d, g, kh, range, gy, taps, gx);
      case 3:
        return unpool_places<3, kAdd>(d, g, kh, range, gy, taps, gx);
      default:
        return unpool_places<0, kAdd>(d, g, kh, range, gy, taps, gx);
    }
  };
  const auto wide = static_cast<std::int64_t>(hn::Lanes(Wide()));
  const auto eight = static_cast<std::int64_t>(hn::Lanes(Eight()));
  const std::int64_t first = g.inner / wide * wide;
  const std::int64_t second = first + (g.inner - first) / eight * eight;
  if (first > 0) channels(Wide(), {0, first});
  if (second > first) channels(Eight(), {first, second});
  if (second < g.inner) channels(hn::CappedTag<float, 1>(), {second, g.inner});
}

template <class Tap>
HWY_INLINE void unpool_rows(const PoolGeometry& g, std::int64_t begin, std::int64_t end, const float* gy,
                            const Tap* taps, float* gx) {
  const bool apart = g.rows.stride >= g.rows.kernel && g.columns.stride >= g.columns.kernel;
  const bool tiled = apart && g.columns.stride == g.columns.kernel && g.columns.padding == 0;
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t ih = row % g.rows.in;
    const Range windows = g.rows.windows(ih);
    float* to = gx + row * g.in_row();
    const bool written = tiled && windows.begin < windows.end;
    std::fill(to + (written ? g.columns.out * g.columns.stride * g.inner : 0), to + g.in_row(), 0.0f);
    for (std::int64_t oh = windows.begin; oh < windows.end; ++oh) {
      const std::int64_t from = (row / g.rows.in * g.rows.out + oh) * g.out_row();
      const std::int64_t kh = ih - g.rows.start(oh);
      if (apart) {
        unpool_row<false>(g, kh, gy + from, taps + from, to);
      } else {
        unpool_row<true>(g, kh, gy + from, taps + from, to);
      }
    }
  }
}

// Rows of all slabs' inputs.
void pool_backward(const PoolGeometry& g, std::int64_t begin, std::int64_t end, const float* gy, const void* taps,
                   bool bytes, float* gx) {
  if (bytes) return unpool_rows(g, begin, end, gy, static_cast<const std::uint8_t*>(taps), gx);
  unpool_rows(g, begin, end, gy, static_cast<const std::int32_t*>(taps), gx);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(pool_forward);
HWY_EXPORT(pool_backward);

struct PoolState {
  PoolGeometry geometry;
  bool bytes = true;                  // taps are bytes, else i32
  std::vector<std::int64_t> offsets;  // of taps in the input, from their window's start
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
        window[state.offsets[static_cast<std::size_t>(taps[from])] + c] += gy[from];
      }
    }
  }
  clear_to(g.rows.in);
}

// The layouts that the kernels know, with the channels that lie side by side in them; 0: all.
struct Known {
  dnnl::memory::format_tag tag;
  std::int64_t inner;
};
constexpr std::array<Known, 4> kKnown = {{{dnnl::memory::format_tag::nchw, 1},
                                          {dnnl::memory::format_tag::nhwc, 0},
                                          {dnnl::memory::format_tag::nChw16c, 16},
                                          {dnnl::memory::format_tag::nChw8c, 8}}};

Meta in_layout(compute::Machine& machine, const Shape& shape, const Known& known) {
  return machine.meta(shape, {dims_of(shape), dnnl::memory::data_type::f32, known.tag});
}

// An input is taken as it comes; in a layout that no kernel knows it is brought into plain order first.
Known known_layout(compute::Machine& machine, const Meta& x) {
  for (const Known& known : kKnown) {
    if (in_layout(machine, x.shape, known).layout == x.layout) return known;
  }
  return kKnown[0];
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
    const Known layout = known_layout(machine, in[0]);
    const Meta from = in_layout(machine, x, layout);
    const Meta to = in_layout(machine, y, layout);
    g.inner = layout.inner == 0 ? x[1] : layout.inner;
    // Strided loads of plain rows come in pairs: the second of the last one must lie inside of the row too.
    g.inside = g.columns.inside(round_up(g.columns.kernel, g.inner == 1 && g.columns.stride > 1 ? 2 : 1));
    g.slabs = raw_floats(from) / (g.rows.in * g.in_row());
    const std::int64_t taps = g.rows.kernel * g.columns.kernel;
    state->bytes = taps <= 256;
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      state->offsets.push_back(tap / g.columns.kernel * g.in_row() + tap % g.columns.kernel * g.inner);
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
    out.out = (padded - out.kernel) / out.stride + 1;
    return out;
  }
};

std::vector<Sample> max_pool2d_samples() { return MaxPool2d::samples(); }

}  // namespace ops

Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options, SourceLocation where) {
  return apply(ops::MaxPool2d{options}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
