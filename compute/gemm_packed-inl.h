// The packed product, for gemm.cc, which is compiled once for each instruction set. C is made in tiles whose sums stay
// in registers; blocks of A and B are packed so that a tile reads both in order.
#if defined(TIDEMARK_COMPUTE_GEMM_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_COMPUTE_GEMM_PACKED_INL_H_
#undef TIDEMARK_COMPUTE_GEMM_PACKED_INL_H_
#else
#define TIDEMARK_COMPUTE_GEMM_PACKED_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "compute/gemm_piece.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::compute::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// A tile is kTileRows rows by up to three vectors. With 32 registers that is 24 sums, with 16 it is 12.
inline constexpr int kTileRows = HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3 ? 8 : 4;
inline constexpr int kTileVectors = 3;

// From this size on C is written past the caches, where k is so small that writing it is most of the work.
inline constexpr std::int64_t kStreamBytes = 16 << 20;
inline constexpr std::int64_t kStreamDepth = 64;

HWY_INLINE std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

// How far apart the packed columns lie in the panel that starts at `column` of `columns`: whole vectors, at most three.
HWY_INLINE std::int64_t panel_width(std::int64_t columns, std::int64_t column) {
  return std::min(kTileVectors * lanes(), round_up(columns - column, lanes()));
}

// target[p * unit + r] = source[r * ld + p] for r < rows, zero for the other r < unit: rows become columns.
HWY_INLINE void pack_transposed(const float* source, std::int64_t ld, std::int64_t rows, std::int64_t depth,
                                std::int64_t unit, float* target) {
  std::int64_t r = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d4;
  for (; r + 4 <= rows; r += 4) {
    const float* s = source + r * ld;
    float* t = target + r;
    std::int64_t p = 0;
    for (; p + 4 <= depth; p += 4) {
      const auto x0 = hn::LoadU(d4, s + p);
      const auto x1 = hn::LoadU(d4, s + ld + p);
      const auto x2 = hn::LoadU(d4, s + 2 * ld + p);
      const auto x3 = hn::LoadU(d4, s + 3 * ld + p);
      const auto low02 = hn::InterleaveLower(d4, x0, x2);
      const auto low13 = hn::InterleaveLower(d4, x1, x3);
      const auto high02 = hn::InterleaveUpper(d4, x0, x2);
      const auto high13 = hn::InterleaveUpper(d4, x1, x3);
      hn::StoreU(hn::InterleaveLower(d4, low02, low13), d4, t + p * unit);
      hn::StoreU(hn::InterleaveUpper(d4, low02, low13), d4, t + (p + 1) * unit);
      hn::StoreU(hn::InterleaveLower(d4, high02, high13), d4, t + (p + 2) * unit);
      hn::StoreU(hn::InterleaveUpper(d4, high02, high13), d4, t + (p + 3) * unit);
    }
    for (; p < depth; ++p) {
      for (int i = 0; i < 4; ++i) t[p * unit + i] = s[i * ld + p];
    }
  }
#endif
  for (; r < unit; ++r) {
    for (std::int64_t p = 0; p < depth; ++p) target[p * unit + r] = r < rows ? source[r * ld + p] : 0.0f;
  }
}

// Rows of kTileRows columns of a transposed A, for each of its panels: target[t * depth + p * kTileRows + r] =
// source[p * ld + t + r], zero beyond `rows`.
HWY_INLINE void pack_a_straight(const float* source, std::int64_t ld, std::int64_t rows, std::int64_t depth,
                                float* target) {
  const std::int64_t whole = rows / kTileRows * kTileRows;
  for (std::int64_t p = 0; p < depth; ++p, source += ld, target += kTileRows) {
    for (std::int64_t t = 0; t < whole; t += kTileRows) {
      std::memcpy(target + t * depth, source + t, kTileRows * sizeof(float));
    }
    if (whole == rows) continue;
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      target[whole * depth + r] = whole + r < rows ? source[whole + r] : 0.0f;
    }
  }
}

// Rows of B, each a piece of every panel.
HWY_INLINE void pack_b_straight(const float* source, std::int64_t ld, std::int64_t columns, std::int64_t depth,
                                float* target) {
  const D d;
  const std::int64_t w = lanes();
  for (std::int64_t p = 0; p < depth; ++p, source += ld) {
    for (std::int64_t t = 0; t < columns;) {
      const std::int64_t width = panel_width(columns, t);
      float* to = target + t * depth + p * width;
      for (const std::int64_t end = t + width; t < end; t += w, to += w) {
        if (t + w <= columns) {
          hn::StoreU(hn::LoadU(d, source + t), d, to);
        } else {
          for (std::int64_t i = 0; i < w; ++i) to[i] = t + i < columns ? source[t + i] : 0.0f;
        }
      }
    }
  }
}

// How a tile leaves the registers.
enum class Store { kSet, kAdd, kStream };

// One tile, over `depth` packed steps. `start` holds what is added once to each row, or null.
template <int kVectors, Store kStore>
HWY_INLINE void tile(std::int64_t depth, const float* a, const float* b, const float* start, float* c,
                     std::int64_t ldc) {
  const D d;
  const std::int64_t w = lanes();
  V sums[kTileRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i) {
    for (int j = 0; j < kVectors; ++j) sums[i][j] = hn::Zero(d);
  }
  for (std::int64_t p = 0; p < depth; ++p, a += kTileRows, b += kVectors * w) {
    V columns[kVectors];
    for (int j = 0; j < kVectors; ++j) columns[j] = hn::LoadU(d, b + j * w);
    for (int i = 0; i < kTileRows; ++i) {
      const V factor = hn::Set(d, a[i]);
      for (int j = 0; j < kVectors; ++j) sums[i][j] = hn::MulAdd(factor, columns[j], sums[i][j]);
    }
  }
  V first[kVectors];
  for (int j = 0; j < kVectors; ++j) first[j] = start ? hn::LoadU(d, start + j * w) : hn::Zero(d);
#pragma GCC unroll 8
  for (int i = 0; i < kTileRows; ++i, c += ldc) {
    for (int j = 0; j < kVectors; ++j) {
      float* to = c + j * w;
      const V sum = hn::Add(sums[i][j], first[j]);
      if constexpr (kStore == Store::kStream) {
        hn::Stream(sum, d, to);
      } else if constexpr (kStore == Store::kAdd) {
        hn::StoreU(hn::Add(hn::LoadU(d, to), sum), d, to);
      } else {
        hn::StoreU(sum, d, to);
      }
    }
  }
}

// A tile at C's edge is made in full beside C, and what belongs to C is moved.
template <int kVectors, Store kStore>
HWY_NOINLINE void edge_tile(std::int64_t depth, const float* a, const float* b, const float* start, float* c,
                            std::int64_t ldc, std::int64_t rows, std::int64_t columns) {
  HWY_ALIGN float out[kMaxTileRows * kMaxTileColumns];
  HWY_ALIGN float padded[kMaxTileColumns] = {};
  const std::int64_t width = kVectors * lanes();
  if (start) std::copy(start, start + columns, padded);
  tile<kVectors, Store::kSet>(depth, a, b, start ? padded : nullptr, out, width);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      float& to = c[i * ldc + j];
      to = kStore == Store::kAdd ? to + out[i * width + j] : out[i * width + j];
    }
  }
}

template <int kVectors, Store kStore>
HWY_INLINE void tile_at(std::int64_t rows, std::int64_t columns, std::int64_t depth, const float* a, const float* b,
                        const float* start, float* c, std::int64_t ldc) {
  if (rows >= kTileRows && columns >= kVectors * lanes()) {
    tile<kVectors, kStore>(depth, a, b, start, c, ldc);
  } else {
    edge_tile<kVectors, kStore>(depth, a, b, start, c, ldc, std::min<std::int64_t>(kTileRows, rows),
                                std::min(kVectors * lanes(), columns));
  }
}

// A packed block of A times a packed block of B.
template <Store kStore>
HWY_INLINE void block(std::int64_t rows, std::int64_t columns, std::int64_t depth, const float* a, const float* b,
                      const float* start, float* c, std::int64_t ldc) {
  const auto one = [&](std::int64_t i, std::int64_t j, std::int64_t width) HWY_ATTR {
    const float* panel_a = a + i * depth;
    const float* panel_b = b + j * depth;
    const float* first = start ? start + j : nullptr;
    float* to = c + i * ldc + j;
    if (width == 3 * lanes()) {
      tile_at<3, kStore>(rows - i, columns - j, depth, panel_a, panel_b, first, to, ldc);
    } else if (width == 2 * lanes()) {
      tile_at<2, kStore>(rows - i, columns - j, depth, panel_a, panel_b, first, to, ldc);
    } else {
      tile_at<1, kStore>(rows - i, columns - j, depth, panel_a, panel_b, first, to, ldc);
    }
  };
  if (depth <= kStreamDepth) {
    // Little arithmetic a tile: C is walked along its rows, as memory likes it.
    for (std::int64_t i = 0; i < rows; i += kTileRows) {
      for (std::int64_t j = 0; j < columns; j += kTileVectors * lanes()) one(i, j, panel_width(columns, j));
    }
  } else {
    for (std::int64_t j = 0; j < columns; j += kTileVectors * lanes()) {
      for (std::int64_t i = 0; i < rows; i += kTileRows) one(i, j, panel_width(columns, j));
    }
  }
}

inline void packed_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias, float* c,
                         bool accumulate, float* scratch) {
  const std::int64_t w = lanes();
  const bool stream = !accumulate && g.k <= kStreamDepth &&
                      g.m * g.n * static_cast<std::int64_t>(sizeof(float)) >= kStreamBytes && g.ldc % w == 0 &&
                      reinterpret_cast<std::uintptr_t>(c) % (static_cast<std::uintptr_t>(w) * sizeof(float)) == 0;
  float* packed_b = scratch;
  float* packed_a = scratch + packed_b_floats(g);
  for (std::int64_t j = 0; j < piece.columns; j += kBlockColumns) {
    const std::int64_t columns = std::min(kBlockColumns, piece.columns - j);
    const std::int64_t column = piece.column + j;
    for (std::int64_t p = 0; p < g.k; p += kBlockDepth) {
      const std::int64_t depth = std::min(kBlockDepth, g.k - p);
      if (g.transpose_b) {
        for (std::int64_t t = 0; t < columns; t += kTileVectors * w) {
          const std::int64_t width = panel_width(columns, t);
          pack_transposed(b + (column + t) * g.ldb + p, g.ldb, std::min(width, columns - t), depth, width,
                          packed_b + t * depth);
        }
      } else {
        pack_b_straight(b + p * g.ldb + column, g.ldb, columns, depth, packed_b);
      }
      const bool first = p == 0;
      for (std::int64_t i = 0; i < piece.rows; i += kBlockRows) {
        const std::int64_t rows = std::min(kBlockRows, piece.rows - i);
        const std::int64_t row = piece.row + i;
        if (g.transpose_a) {
          pack_a_straight(a + p * g.lda + row, g.lda, rows, depth, packed_a);
        } else {
          for (std::int64_t t = 0; t < rows; t += kTileRows) {
            pack_transposed(a + (row + t) * g.lda + p, g.lda, std::min<std::int64_t>(kTileRows, rows - t), depth,
                            kTileRows, packed_a + t * depth);
          }
        }
        float* target = c + row * g.ldc + column;
        const float* start = first && bias ? bias + column : nullptr;
        if (accumulate || !first) {
          block<Store::kAdd>(rows, columns, depth, packed_a, packed_b, start, target, g.ldc);
        } else if (stream && column % w == 0) {
          block<Store::kStream>(rows, columns, depth, packed_a, packed_b, start, target, g.ldc);
        } else {
          block<Store::kSet>(rows, columns, depth, packed_a, packed_b, start, target, g.ldc);
        }
      }
    }
  }
  if (stream) hwy::FlushStream();
}

}  // namespace tidemark::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
