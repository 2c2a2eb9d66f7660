// How windows lie in images: what max_pool2d and its kernels agree on.
#pragma once

#include <algorithm>
#include <cstdint>

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
