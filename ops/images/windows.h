// Windows of images as lists: for pooling whose windows follow no fixed step, or are summed.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ops/kernels.h"
#include "ops/onednn.h"

namespace tidemark::ops {

// The windows along one dimension: input [begin, end), never empty, and the number that an average divides by.
struct Windows {
  std::int64_t in = 0;
  std::vector<std::int64_t> begin, end, count;

  std::int64_t out() const { return static_cast<std::int64_t>(begin.size()); }
  bool whole() const { return out() == 1 && begin[0] == 0 && end[0] == in; }  // one, of everything
  void add(std::int64_t from, std::int64_t to, std::int64_t size) {
    begin.push_back(from);
    end.push_back(to);
    count.push_back(size);
  }
};

// The number of windows of `kernel` elements, `dilation` apart, every `stride`: the last one may reach beyond the end
// where `ceil`, if it starts before it, as in PyTorch.
inline std::int64_t windows_along(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                                  std::int64_t dilation, bool ceil) {
  const std::int64_t room = in + 2 * padding - dilation * (kernel - 1) - 1;
  std::int64_t out = (room + (ceil ? stride - 1 : 0)) / stride + 1;
  if (ceil && (out - 1) * stride >= in + padding) --out;
  return out;
}

// Where adaptive pooling parts `in` elements into `out` windows, as PyTorch: they meet or overlap by one.
inline Windows adaptive_windows(std::int64_t in, std::int64_t out) {
  Windows windows;
  windows.in = in;
  for (std::int64_t i = 0; i < out; ++i) {
    const std::int64_t begin = i * in / out;
    const std::int64_t end = ((i + 1) * in + out - 1) / out;
    windows.add(begin, end, end - begin);
  }
  return windows;
}

// The layouts of images that kernels of our own know, with the channels that lie side by side in them; 0: all.
struct KnownLayout {
  compute::FormatTag tag;
  std::int64_t inner;
};
inline constexpr std::array<KnownLayout, 4> kKnownLayouts = {{{compute::FormatTag::nchw, 1},
                                                              {compute::FormatTag::nhwc, 0},
                                                              {compute::FormatTag::nChw16c, 16},
                                                              {compute::FormatTag::nChw8c, 8}}};

inline Meta in_layout(compute::Machine& machine, const Shape& shape, const KnownLayout& known) {
  return machine.meta(shape, {dims_of(shape), dnnl::memory::data_type::f32, known.tag});
}

// An input is taken as it comes; in a layout that no kernel knows it is brought into plain order first.
inline KnownLayout known_layout(compute::Machine& machine, const Meta& x) {
  for (const KnownLayout& known : kKnownLayouts) {
    if (in_layout(machine, x.shape, known).layout == x.layout) return known;
  }
  return kKnownLayouts[0];
}

}  // namespace tidemark::ops
