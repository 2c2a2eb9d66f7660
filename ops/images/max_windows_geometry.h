// How the windows of max_windows lie in images: what the op and its kernels agree on.
#pragma once

#include <cstdint>
#include <vector>

namespace tidemark::ops {

// Windows along one dimension: every `step`-th element of [begin, end), at least one.
struct GappedWindows {
  std::int64_t in = 0;
  std::int64_t step = 1;
  std::vector<std::int32_t> begin, end;
  // So many windows from here on have `taps` elements each and begin one element after the other; 0: this has fewer.
  std::vector<std::int64_t> together;
  std::int64_t taps = 0;  // of the largest

  std::int64_t out() const { return static_cast<std::int64_t>(begin.size()); }
  std::int64_t count(std::size_t i) const { return (end[i] - begin[i] + step - 1) / step; }
};

// `slabs` images of places, each of which holds `inner` channels side by side.
struct MaxWindowsGeometry {
  GappedWindows rows, columns;
  std::int64_t slabs = 0;
  std::int64_t inner = 1;

  std::int64_t in_places() const { return rows.in * columns.in; }
  std::int64_t out_places() const { return rows.out() * columns.out(); }
};

}  // namespace tidemark::ops
