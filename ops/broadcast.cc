#include "ops/broadcast.h"

#include <algorithm>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/broadcast.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/sums.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

template <class F>
HWY_INLINE void binary_row(std::int64_t n, F f, const float* a, std::int64_t a_stride, const float* b,
                           std::int64_t b_stride, float* out) {
  if (a_stride != 0 && b_stride != 0) {
    map(n, out, f, a, b);
  } else if (a_stride == 0 && b_stride == 0) {
    map(1, out, f, a, b);
    std::fill(out + 1, out + n, out[0]);
  } else if (a_stride != 0) {
    const auto right = hn::Set(Wide(), *b);
    map(
        n, out, [&](auto v) HWY_ATTR { return f(v, right); }, a);
  } else if (b_stride != 0) {
    const auto left = hn::Set(Wide(), *a);
    map(
        n, out, [&](auto v) HWY_ATTR { return f(left, v); }, b);
  } else {
    const auto value = hn::GetLane(f(hn::Set(Wide(), *a), hn::Set(Wide(), *b)));
    for (std::int64_t i = 0; i < n; ++i) out[i] = value;
  }
}

// Strides are 0 or 1.
void binary(Binary kind, std::int64_t n, const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
            float* out) {
  switch (kind) {
    case Binary::kAdd:
      return binary_row(
          n, [](auto v, auto w) HWY_ATTR { return hn::Add(v, w); }, a, a_stride, b, b_stride, out);
    case Binary::kSub:
      return binary_row(
          n, [](auto v, auto w) HWY_ATTR { return hn::Sub(v, w); }, a, a_stride, b, b_stride, out);
    case Binary::kMul:
      return binary_row(
          n, [](auto v, auto w) HWY_ATTR { return hn::Mul(v, w); }, a, a_stride, b, b_stride, out);
  }
}

void affine_row(std::int64_t n, float scale, float shift, const float* x, float* out) {
  const auto s = hn::Set(Wide(), scale);
  const auto t = hn::Set(Wide(), shift);
  map(
      n, out, [&](auto v) HWY_ATTR { return hn::Add(hn::Mul(v, s), t); }, x);
}

// The sum of a row, of its products with b where there is one (stride 0 or 1).
double reduce_row(std::int64_t n, const float* a, const float* b, std::int64_t b_stride) {
  if (b == nullptr) return sum_row(n, a);
  return b_stride != 0 ? dot_row(n, a, b) : static_cast<double>(*b) * sum_row(n, a);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::ops {
namespace {

HWY_EXPORT(binary);
HWY_EXPORT(affine_row);
HWY_EXPORT(reduce_row);

// The size of dimension i of `shape` when it is brought to `rank` dimensions with ones in front.
std::int64_t size_at(const Shape& shape, int i, int rank) {
  const int own = i - (rank - shape.rank());
  return own < 0 ? 1 : shape[own];
}

// Strides of `shape` broadcast to `rank` dimensions: 0 where a size is 1.
std::vector<std::int64_t> strides_of(const Shape& shape, int rank) {
  std::vector<std::int64_t> strides(static_cast<std::size_t>(rank), 0);
  std::int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    const std::int64_t size = size_at(shape, i, rank);
    if (size != 1) strides[static_cast<std::size_t>(i)] = stride;
    stride *= size;
  }
  return strides;
}

struct GroupedDim {
  Reduction::Dim dim;
  bool kept;
};

// Neighbouring dimensions that both operands step through evenly become one; those of size 1 vanish.
std::vector<GroupedDim> collapse(const Shape& shape, const std::vector<std::int64_t>& a,
                                 const std::vector<std::int64_t>& b, const std::vector<bool>& kept) {
  std::vector<GroupedDim> out;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const std::int64_t size = shape[static_cast<int>(i)];
    if (size == 1) continue;
    if (!out.empty()) {
      GroupedDim& last = out.back();
      if (last.kept == kept[i] && last.dim.a == a[i] * size && last.dim.b == b[i] * size) {
        last.dim = {last.dim.size * size, a[i], b[i]};
        continue;
      }
    }
    out.push_back({{size, a[i], b[i]}, kept[i]});
  }
  return out;
}

// Where row `index` of the outer dimensions begins in both operands.
std::pair<std::int64_t, std::int64_t> offsets(const std::vector<Reduction::Dim>& dims, std::int64_t index) {
  std::int64_t a = 0;
  std::int64_t b = 0;
  for (std::size_t i = dims.size(); i-- > 0;) {
    const std::int64_t at = index % dims[i].size;
    index /= dims[i].size;
    a += at * dims[i].a;
    b += at * dims[i].b;
  }
  return {a, b};
}

constexpr std::int64_t kChunk = std::int64_t{32} * 1024;  // floats that are summed as one
constexpr std::int64_t kColumns = 1024;                   // sums that are kept in the cache together
constexpr std::int64_t kChunkRows = 32;
constexpr std::int64_t kMostChunks = 64;
constexpr std::int64_t kManyOutputs = 16;  // enough to share out without chunks

}  // namespace

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<std::int64_t> dims;
  for (int i = 0; i < rank; ++i) {
    const std::int64_t x = size_at(a, i, rank);
    const std::int64_t y = size_at(b, i, rank);
    if (x != y && x != 1 && y != 1) return {};
    dims.push_back(x == 1 ? y : x);
  }
  return Shape(dims);
}

void elementwise(const Ctx& ctx, Binary kind, std::int64_t n, const float* a, const float* b, float* out) {
  for_elements(ctx, n, 12, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(binary)(kind, end - begin, a + begin, 1, b + begin, 1, out + begin);
  });
}

void affine_elements(const Ctx& ctx, std::int64_t n, float scale, float shift, const float* x, float* out) {
  for_elements(ctx, n, 8, [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(affine_row)(end - begin, scale, shift, x + begin, out + begin);
  });
}

void broadcast_elementwise(const Ctx& ctx, Binary kind, const Shape& shape, const float* a, const Shape& a_shape,
                           const float* b, const Shape& b_shape, float* out) {
  const int rank = shape.rank();
  const auto groups = collapse(shape, strides_of(a_shape, rank), strides_of(b_shape, rank),
                               std::vector<bool>(static_cast<std::size_t>(rank), true));
  std::vector<Reduction::Dim> outer;
  outer.reserve(groups.size());
  for (const GroupedDim& group : groups) outer.push_back(group.dim);
  Reduction::Dim inner{1, 1, 1};
  if (!outer.empty()) {
    inner = outer.back();
    outer.pop_back();
  }
  for_elements(ctx, shape.numel(), 12, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t in_row = begin % inner.size;
      const std::int64_t count = std::min(end - begin, inner.size - in_row);
      const auto [a_at, b_at] = offsets(outer, begin / inner.size);
      HWY_DYNAMIC_DISPATCH(binary)
      (kind, count, a + a_at + in_row * inner.a, inner.a, b + b_at + in_row * inner.b, inner.b, out + begin);
      begin += count;
    }
  });
}

Reduction::Reduction(const Shape& from, const Shape& to, const std::optional<Shape>& factor) {
  const int rank = from.rank();
  const auto a = strides_of(from, rank);
  const auto b = factor ? strides_of(*factor, rank) : std::vector<std::int64_t>(a.size(), 0);
  std::vector<bool> kept;
  kept.reserve(a.size());
  for (int i = 0; i < rank; ++i) kept.push_back(size_at(to, i, rank) != 1);
  std::vector<GroupedDim> groups = collapse(from, a, b, kept);
  if (!groups.empty()) {
    walk_.inner = groups.back().dim;
    walk_.inner_kept = groups.back().kept;
    groups.pop_back();
  }
  for (const GroupedDim& group : groups) {
    (group.kept ? walk_.kept : walk_.reduced).push_back(group.dim);
    (group.kept ? walk_.outputs : walk_.rows) *= group.dim.size;
  }
  walk_.chunk_rows = walk_.rows;
  walk_.chunk_width = walk_.inner.size;
  if (walk_.inner_kept) {
    if (walk_.outputs < kManyOutputs && walk_.rows > kChunkRows) {
      walk_.chunk_rows = std::max(kChunkRows, (walk_.rows + kMostChunks - 1) / kMostChunks);
      walk_.chunks = (walk_.rows + walk_.chunk_rows - 1) / walk_.chunk_rows;
    }
  } else if (walk_.inner.size > kChunk) {
    walk_.chunk_rows = 1;
    walk_.chunk_width = kChunk;
    walk_.chunks = walk_.rows * ((walk_.inner.size + kChunk - 1) / kChunk);
  } else if (walk_.inner.size > 0) {
    walk_.chunk_rows = std::max<std::int64_t>(1, kChunk / walk_.inner.size);
    walk_.chunks = (walk_.rows + walk_.chunk_rows - 1) / walk_.chunk_rows;
  }
}

std::int64_t Reduction::scratch() const {
  if (walk_.chunks <= 1) return 0;
  return walk_.outputs * walk_.chunks * (walk_.inner_kept ? walk_.inner.size : 1) * size_of(f32);
}

void Reduction::run(const Ctx& ctx, const float* a, const float* b, float scale, float* out) const {
  const Walk& w = walk_;
  float* partial = w.chunks > 1 ? ctx.scratch<float>() : out;
  const std::int64_t width = w.inner_kept ? w.inner.size : 1;
  if (w.inner_kept) {
    // Items: an output, a chunk of its rows, a block of columns.
    const std::int64_t blocks = (width + kColumns - 1) / kColumns;
    const Dim even = w.reduced.empty() ? Dim{1, 0, 0} : w.reduced.back();  // rows that follow in equal steps
    const std::int64_t bytes = 4 * w.chunk_rows * std::min(width, kColumns);
    for_range(ctx, w.outputs * w.chunks * blocks, bytes, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t item = begin; item < end; ++item) {
        const std::int64_t column = item % blocks * kColumns;
        const std::int64_t chunk = item / blocks % w.chunks;
        const std::int64_t output = item / blocks / w.chunks;
        const std::int64_t count = std::min(kColumns, width - column);
        float* sums = partial + (output * w.chunks + chunk) * width + column;
        double totals[kColumns];
        std::fill_n(totals, count, 0.0);
        const auto base = offsets(w.kept, output);
        const std::int64_t last = std::min(w.rows, (chunk + 1) * w.chunk_rows);
        for (std::int64_t row = chunk * w.chunk_rows; row < last;) {
          std::fill_n(sums, count, 0.0f);
          for (const std::int64_t stop = std::min(last, row + kSumRows); row < stop;) {
            const auto at = offsets(w.reduced, row);
            const Rows left{a + base.first + at.first + column, even.a, 1};
            const Rows right{b == nullptr ? nullptr : b + base.second + at.second + column * w.inner.b, even.b,
                             w.inner.b};
            const std::int64_t rows = std::min(stop - row, even.size - row % even.size);
            add_rows(rows, count, left, right, sums);
            row += rows;
          }
          add_sums(count, sums, totals);
        }
        std::transform(totals, totals + count, sums, [](double total) { return static_cast<float>(total); });
      }
    });
  } else {
    const std::int64_t pieces = w.inner.size > w.chunk_width ? w.chunks / std::max<std::int64_t>(1, w.rows) : 1;
    for_range(ctx, w.outputs * w.chunks, 4 * w.chunk_rows * w.chunk_width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t item = begin; item < end; ++item) {
        const std::int64_t chunk = item % w.chunks;
        const auto base = offsets(w.kept, item / w.chunks);
        const std::int64_t column = chunk % pieces * w.chunk_width;
        const std::int64_t count = std::min(w.chunk_width, w.inner.size - column);
        const std::int64_t first = chunk / pieces * w.chunk_rows;
        const std::int64_t last = std::min(w.rows, first + w.chunk_rows);
        double sum = 0;
        for (std::int64_t row = first; row < last; ++row) {
          const auto at = offsets(w.reduced, row);
          const float* factor = b == nullptr ? nullptr : b + base.second + at.second + column * w.inner.b;
          sum += HWY_DYNAMIC_DISPATCH(reduce_row)(count, a + base.first + at.first + column, factor, w.inner.b);
        }
        partial[item] = static_cast<float>(sum);
      }
    });
  }
  if (w.chunks == 1 && scale == 1.0f) return;
  for_elements(ctx, w.outputs * width, 4 * w.chunks, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* from = partial + i / width * w.chunks * width + i % width;
      double sum = 0;
      for (std::int64_t chunk = 0; chunk < w.chunks; ++chunk) sum += static_cast<double>(from[chunk * width]);
      out[i] = static_cast<float>(static_cast<double>(scale) * sum);
    }
  });
}

}  // namespace tidemark::ops
#endif  // HWY_ONCE
