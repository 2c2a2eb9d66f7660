// The kernels of max_pool2d, for pool.cc, which is compiled once for each instruction set.
#if defined(TIDEMARK_OPS_POOL_KERNELS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_POOL_KERNELS_INL_H_
#undef TIDEMARK_OPS_POOL_KERNELS_INL_H_
#else
#define TIDEMARK_OPS_POOL_KERNELS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "ops/images/pool_geometry.h"
#include "ops/simd-inl.h"

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
HWY_INLINE void store_taps(D /*d*/, hn::Vec<hn::Rebind<std::int32_t, D>> taps, std::uint8_t* to) {
  const hn::Rebind<std::uint8_t, D> d8;
  hn::StoreU(hn::DemoteTo(d8, taps), d8, to);
}

template <class D>
HWY_INLINE void store_taps(D /*d*/, hn::Vec<hn::Rebind<std::int32_t, D>> taps, std::int32_t* to) {
  hn::StoreU(taps, hn::Rebind<std::int32_t, D>(), to);
}

template <class D>
HWY_INLINE hn::Vec<hn::Rebind<std::int32_t, D>> load_taps(D /*d*/, const std::uint8_t* from) {
  return hn::PromoteTo(hn::Rebind<std::int32_t, D>(), hn::LoadU(hn::Rebind<std::uint8_t, D>(), from));
}

template <class D>
HWY_INLINE hn::Vec<hn::Rebind<std::int32_t, D>> load_taps(D /*d*/, const std::int32_t* from) {
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

#endif
