#include "compute/gemm.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "hwy/cache_control.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compute/gemm.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"               // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef TIDEMARK_COMPUTE_GEMM_ONCE
#define TIDEMARK_COMPUTE_GEMM_ONCE
namespace tidemark::compute {
namespace {

// Tiles of C are kTileRows rows by three vectors: twelve sums, three loads and four broadcasts a step of k.
constexpr std::int64_t kTileRows = 4;
constexpr std::int64_t kTileVectors = 3;
constexpr std::int64_t kMaxTileColumns = kTileVectors * 16;

// A block of A (kBlockRows x kBlockDepth) stays in the second cache; a block of B (kBlockDepth x kBlockColumns) in the
// third. kBlockColumns is a multiple of every tile's width.
constexpr std::int64_t kBlockRows = 96;
constexpr std::int64_t kBlockDepth = 256;
constexpr std::int64_t kBlockColumns = 576;

// Up to this many rows against a transposed B the product is taken as dot products, with nothing packed: the weights of
// a linear layer stream by once.
constexpr std::int64_t kDotRows = 32;
constexpr std::int64_t kDotDepth = 2048;

// From this size on C is written past the caches, where k is so small that writing it is most of the work.
constexpr std::int64_t kStreamBytes = 16 << 20;
constexpr std::int64_t kStreamDepth = 64;

// Less work than this (multiply-adds) is not shared.
constexpr std::int64_t kWorkPerThread = 32 * 1024;

std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// The part of C that one thread makes.
struct Piece {
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
};

bool by_dots(const Gemm& g) { return g.transpose_b && !g.transpose_a && g.m <= kDotRows; }

std::int64_t floats_per_thread(const Gemm& g) {
  if (by_dots(g)) return 0;
  const std::int64_t depth = std::min(g.k, kBlockDepth);
  const std::int64_t rows = std::min(round_up(g.m, kTileRows), kBlockRows);
  const std::int64_t columns = std::min(round_up(g.n, kMaxTileColumns), kBlockColumns);
  return round_up(depth * (rows + columns), 16);
}

}  // namespace
}  // namespace tidemark::compute
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::compute {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// target[p * unit + r] = source[r * ld + p] for r < rows, zero for the other r < unit: rows become columns.
HWY_ATTR void pack_transposed(const float* source, std::int64_t ld, std::int64_t rows, std::int64_t depth,
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

// target[p * unit + r] = source[p * ld + r] for r < columns, zero beyond.
HWY_ATTR void pack_straight(const float* source, std::int64_t ld, std::int64_t columns, std::int64_t depth,
                            std::int64_t unit, float* target) {
  const auto used = static_cast<std::size_t>(columns) * sizeof(float);
  const auto rest = static_cast<std::size_t>(unit - columns) * sizeof(float);
  for (std::int64_t p = 0; p < depth; ++p, source += ld, target += unit) {
    std::memcpy(target, source, used);
    if (rest > 0) std::memset(target + columns, 0, rest);
  }
}

// How a tile leaves the registers.
enum class Store { kSet, kAdd, kStream };

// One tile: kTileRows x three vectors, over `depth` packed steps. `start` holds what is added once to each row, or
// null.
template <Store kStore>
HWY_ATTR HWY_INLINE void tile(std::int64_t depth, const float* a, const float* b, const float* start, float* c,
                              std::int64_t ldc) {
  const D d;
  const auto w = static_cast<std::int64_t>(hn::Lanes(d));
  V c00 = hn::Zero(d), c01 = c00, c02 = c00, c10 = c00, c11 = c00, c12 = c00;
  V c20 = c00, c21 = c00, c22 = c00, c30 = c00, c31 = c00, c32 = c00;
  for (std::int64_t p = 0; p < depth; ++p, a += kTileRows, b += kTileVectors * w) {
    const V b0 = hn::Load(d, b);
    const V b1 = hn::Load(d, b + w);
    const V b2 = hn::Load(d, b + 2 * w);
    const V a0 = hn::Set(d, a[0]);
    c00 = hn::MulAdd(a0, b0, c00);
    c01 = hn::MulAdd(a0, b1, c01);
    c02 = hn::MulAdd(a0, b2, c02);
    const V a1 = hn::Set(d, a[1]);
    c10 = hn::MulAdd(a1, b0, c10);
    c11 = hn::MulAdd(a1, b1, c11);
    c12 = hn::MulAdd(a1, b2, c12);
    const V a2 = hn::Set(d, a[2]);
    c20 = hn::MulAdd(a2, b0, c20);
    c21 = hn::MulAdd(a2, b1, c21);
    c22 = hn::MulAdd(a2, b2, c22);
    const V a3 = hn::Set(d, a[3]);
    c30 = hn::MulAdd(a3, b0, c30);
    c31 = hn::MulAdd(a3, b1, c31);
    c32 = hn::MulAdd(a3, b2, c32);
  }
  const V s0 = start ? hn::LoadU(d, start) : hn::Zero(d);
  const V s1 = start ? hn::LoadU(d, start + w) : hn::Zero(d);
  const V s2 = start ? hn::LoadU(d, start + 2 * w) : hn::Zero(d);
  const auto put = [&](float* row, V x, V y, V z) HWY_ATTR {
    x = hn::Add(x, s0);
    y = hn::Add(y, s1);
    z = hn::Add(z, s2);
    if constexpr (kStore == Store::kStream) {
      hn::Stream(x, d, row);
      hn::Stream(y, d, row + w);
      hn::Stream(z, d, row + 2 * w);
    } else if constexpr (kStore == Store::kAdd) {
      hn::StoreU(hn::Add(hn::LoadU(d, row), x), d, row);
      hn::StoreU(hn::Add(hn::LoadU(d, row + w), y), d, row + w);
      hn::StoreU(hn::Add(hn::LoadU(d, row + 2 * w), z), d, row + 2 * w);
    } else {
      hn::StoreU(x, d, row);
      hn::StoreU(y, d, row + w);
      hn::StoreU(z, d, row + 2 * w);
    }
  };
  put(c, c00, c01, c02);
  put(c + ldc, c10, c11, c12);
  put(c + 2 * ldc, c20, c21, c22);
  put(c + 3 * ldc, c30, c31, c32);
}

// A tile at C's edge is made in full beside C, and what belongs to C is moved.
template <Store kStore>
HWY_ATTR void edge_tile(std::int64_t depth, const float* a, const float* b, const float* bias, float* c,
                        std::int64_t ldc, std::int64_t rows, std::int64_t columns) {
  const std::int64_t width = kTileVectors * static_cast<std::int64_t>(hn::Lanes(D()));
  HWY_ALIGN float out[kTileRows * kMaxTileColumns];
  HWY_ALIGN float start[kMaxTileColumns] = {};
  if (bias) std::copy(bias, bias + columns, start);
  tile<Store::kSet>(depth, a, b, bias ? start : nullptr, out, width);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      if constexpr (kStore == Store::kAdd) {
        c[i * ldc + j] += out[i * width + j];
      } else {
        c[i * ldc + j] = out[i * width + j];
      }
    }
  }
}

// A packed block of A times a packed block of B.
template <Store kStore>
HWY_ATTR void block(std::int64_t rows, std::int64_t columns, std::int64_t depth, const float* a, const float* b,
                    const float* bias, float* c, std::int64_t ldc) {
  const std::int64_t width = kTileVectors * static_cast<std::int64_t>(hn::Lanes(D()));
  const auto one = [&](std::int64_t i, std::int64_t j) HWY_ATTR {
    const float* pa = a + i * depth;
    const float* pb = b + j * depth;
    const float* start = bias ? bias + j : nullptr;
    float* pc = c + i * ldc + j;
    if (i + kTileRows <= rows && j + width <= columns) {
      tile<kStore>(depth, pa, pb, start, pc, ldc);
    } else {
      edge_tile<kStore>(depth, pa, pb, start, pc, ldc, std::min(kTileRows, rows - i), std::min(width, columns - j));
    }
  };
  if (depth <= kStreamDepth) {
    // Little arithmetic a tile: C is walked along its rows, as memory likes it.
    for (std::int64_t i = 0; i < rows; i += kTileRows) {
      for (std::int64_t j = 0; j < columns; j += width) one(i, j);
    }
  } else {
    for (std::int64_t j = 0; j < columns; j += width) {
      for (std::int64_t i = 0; i < rows; i += kTileRows) one(i, j);
    }
  }
}

HWY_ATTR void packed_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias,
                           float* c, bool accumulate, float* scratch) {
  const D d;
  const auto w = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t width = kTileVectors * w;
  const bool stream = !accumulate && g.k <= kStreamDepth &&
                      g.m * g.n * static_cast<std::int64_t>(sizeof(float)) >= kStreamBytes && g.ldc % w == 0 &&
                      reinterpret_cast<std::uintptr_t>(c) % (static_cast<std::uintptr_t>(w) * sizeof(float)) == 0;
  float* packed_b = scratch;
  float* packed_a = scratch + std::min(round_up(g.n, kMaxTileColumns), kBlockColumns) * std::min(g.k, kBlockDepth);
  for (std::int64_t j = 0; j < piece.columns; j += kBlockColumns) {
    const std::int64_t columns = std::min(kBlockColumns, piece.columns - j);
    const std::int64_t column = piece.column + j;
    for (std::int64_t p = 0; p < g.k; p += kBlockDepth) {
      const std::int64_t depth = std::min(kBlockDepth, g.k - p);
      for (std::int64_t t = 0; t < columns; t += width) {
        const std::int64_t used = std::min(width, columns - t);
        if (g.transpose_b) {
          pack_transposed(b + (column + t) * g.ldb + p, g.ldb, used, depth, width, packed_b + t * depth);
        } else {
          pack_straight(b + p * g.ldb + column + t, g.ldb, used, depth, width, packed_b + t * depth);
        }
      }
      const bool first = p == 0;
      for (std::int64_t i = 0; i < piece.rows; i += kBlockRows) {
        const std::int64_t rows = std::min(kBlockRows, piece.rows - i);
        const std::int64_t row = piece.row + i;
        for (std::int64_t t = 0; t < rows; t += kTileRows) {
          const std::int64_t used = std::min(kTileRows, rows - t);
          if (g.transpose_a) {
            pack_straight(a + p * g.lda + row + t, g.lda, used, depth, kTileRows, packed_a + t * depth);
          } else {
            pack_transposed(a + (row + t) * g.lda + p, g.lda, used, depth, kTileRows, packed_a + t * depth);
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

// kRows rows of A against kColumns rows of the transposed B: as many dot products over `depth`.
template <int kRows, int kColumns>
HWY_ATTR HWY_INLINE void dots(std::int64_t depth, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                              float* out) {
  const D d;
  const auto w = static_cast<std::int64_t>(hn::Lanes(d));
  const auto row_a = [&](int i) { return a + (i < kRows ? i : 0) * lda; };
  const auto row_b = [&](int j) { return b + (j < kColumns ? j : 0) * ldb; };
  const float *a0 = row_a(0), *a1 = row_a(1), *a2 = row_a(2), *a3 = row_a(3);
  const float *b0 = row_b(0), *b1 = row_b(1), *b2 = row_b(2);
  V s00 = hn::Zero(d), s01 = s00, s02 = s00, s10 = s00, s11 = s00, s12 = s00;
  V s20 = s00, s21 = s00, s22 = s00, s30 = s00, s31 = s00, s32 = s00;
  std::int64_t p = 0;
  for (; p + w <= depth; p += w) {
    const V x0 = hn::LoadU(d, b0 + p);
    const V x1 = hn::LoadU(d, b1 + p);
    const V x2 = hn::LoadU(d, b2 + p);
    const V y0 = hn::LoadU(d, a0 + p);
    s00 = hn::MulAdd(y0, x0, s00);
    if constexpr (kColumns > 1) s01 = hn::MulAdd(y0, x1, s01);
    if constexpr (kColumns > 2) s02 = hn::MulAdd(y0, x2, s02);
    if constexpr (kRows > 1) {
      const V y1 = hn::LoadU(d, a1 + p);
      s10 = hn::MulAdd(y1, x0, s10);
      if constexpr (kColumns > 1) s11 = hn::MulAdd(y1, x1, s11);
      if constexpr (kColumns > 2) s12 = hn::MulAdd(y1, x2, s12);
    }
    if constexpr (kRows > 2) {
      const V y2 = hn::LoadU(d, a2 + p);
      const V y3 = hn::LoadU(d, a3 + p);
      s20 = hn::MulAdd(y2, x0, s20);
      s30 = hn::MulAdd(y3, x0, s30);
      if constexpr (kColumns > 1) {
        s21 = hn::MulAdd(y2, x1, s21);
        s31 = hn::MulAdd(y3, x1, s31);
      }
      if constexpr (kColumns > 2) {
        s22 = hn::MulAdd(y2, x2, s22);
        s32 = hn::MulAdd(y3, x2, s32);
      }
    }
  }
  const V sums[] = {s00, s01, s02, s10, s11, s12, s20, s21, s22, s30, s31, s32};
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[i * 3 + j]));
      for (std::int64_t q = p; q < depth; ++q) sum += row_a(i)[q] * row_b(j)[q];
      out[i * 3 + j] = sum;
    }
  }
}

HWY_ATTR void dots_of(std::int64_t rows, std::int64_t columns, std::int64_t depth, const float* a, std::int64_t lda,
                      const float* b, std::int64_t ldb, float* out) {
  // Rows go four, two or one at a time: the sums of an element do not depend on its neighbours.
  if (columns == 3) {
    if (rows == 4) return dots<4, 3>(depth, a, lda, b, ldb, out);
    if (rows == 2) return dots<2, 3>(depth, a, lda, b, ldb, out);
    return dots<1, 3>(depth, a, lda, b, ldb, out);
  }
  if (rows == 4) return dots<4, 1>(depth, a, lda, b, ldb, out);
  if (rows == 2) return dots<2, 1>(depth, a, lda, b, ldb, out);
  return dots<1, 1>(depth, a, lda, b, ldb, out);
}

HWY_ATTR void dot_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias, float* c,
                        bool accumulate) {
  for (std::int64_t p = 0; p < g.k; p += kDotDepth) {
    const std::int64_t depth = std::min(kDotDepth, g.k - p);
    const bool add = accumulate || p > 0;
    for (std::int64_t j = piece.column; j < piece.column + piece.columns;) {
      const std::int64_t columns = piece.column + piece.columns - j >= 3 ? 3 : 1;
      for (std::int64_t i = 0; i < g.m;) {
        const std::int64_t left = g.m - i;
        const std::int64_t rows = left >= 4 ? 4 : left >= 2 ? 2 : 1;
        float out[12];
        dots_of(rows, columns, depth, a + i * g.lda + p, g.lda, b + j * g.ldb + p, g.ldb, out);
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t s = 0; s < columns; ++s) {
            float& target = c[(i + r) * g.ldc + j + s];
            const float start = bias && p == 0 ? bias[j + s] : 0.0f;
            target = (add ? target : 0.0f) + (out[r * 3 + s] + start);
          }
        }
        i += rows;
      }
      j += columns;
    }
  }
}

void gemm_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias, float* c,
                bool accumulate, float* scratch) {
  if (by_dots(g)) {
    dot_piece(g, piece, a, b, bias, c, accumulate);
  } else {
    packed_piece(g, piece, a, b, bias, c, accumulate, scratch);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::compute
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::compute {
namespace {

HWY_EXPORT(gemm_piece);

void clear(const Gemm& g, const float* bias, float* c, bool accumulate) {
  if (accumulate) return;
  for (std::int64_t i = 0; i < g.m; ++i) {
    for (std::int64_t j = 0; j < g.n; ++j) c[i * g.ldc + j] = bias ? bias[j] : 0.0f;
  }
}

void run_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias, float* c,
               bool accumulate, float* scratch) {
  if (piece.rows > 0 && piece.columns > 0) {
    HWY_DYNAMIC_DISPATCH(gemm_piece)(g, piece, a, b, bias, c, accumulate, scratch);
  }
}

// C in a grid of pieces, one a thread, cut at whole tiles.
struct Grid {
  std::int64_t down = 1;
  std::int64_t across = 1;
  std::int64_t rows = 0;
  std::int64_t columns = 0;

  Grid(const Gemm& g, int threads) {
    const std::int64_t work = g.m * g.n * g.k;
    const std::int64_t team = std::clamp<std::int64_t>(work / kWorkPerThread, 1, threads);
    const std::int64_t unit = by_dots(g) ? 3 : kMaxTileColumns;
    double best = 0;
    for (std::int64_t d = 1; d <= team; ++d) {
      if (team % d != 0 || (by_dots(g) && d > 1)) continue;
      const std::int64_t r = round_up((g.m + d - 1) / d, kTileRows);
      const std::int64_t c = round_up((g.n + team / d - 1) / (team / d), unit);
      // The largest piece's arithmetic, and what packing costs beside it.
      const double cost = static_cast<double>(r) * static_cast<double>(c) + 16.0 * static_cast<double>(r + c);
      if (best == 0 || cost < best) {
        best = cost;
        down = d;
        across = team / d;
        rows = r;
        columns = c;
      }
    }
  }

  Piece piece(const Gemm& g, std::int64_t i) const {
    const std::int64_t row = i / across * rows;
    const std::int64_t column = i % across * columns;
    return {row, std::min(rows, g.m - row), column, std::min(columns, g.n - column)};
  }
};

}  // namespace

std::int64_t gemm_scratch(const Gemm& g, int threads) {
  return floats_per_thread(g) * threads * static_cast<std::int64_t>(sizeof(float));
}

void gemm(const Gemm& g, const float* a, const float* b, const float* bias, float* c, bool accumulate, void* scratch,
          int threads) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0) return clear(g, bias, c, accumulate);
  const Grid grid(g, threads);
  const std::int64_t pieces = grid.down * grid.across;
  float* const space = static_cast<float*>(scratch);
  const std::int64_t each = floats_per_thread(g);
  if (pieces == 1) return run_piece(g, grid.piece(g, 0), a, b, bias, c, accumulate, space);
#pragma omp parallel num_threads(static_cast <int>(pieces))
  {
    // OpenMP may give fewer threads than asked for.
    for (std::int64_t i = omp_get_thread_num(); i < pieces; i += omp_get_num_threads()) {
      run_piece(g, grid.piece(g, i), a, b, bias, c, accumulate, space + omp_get_thread_num() * each);
    }
  }
}

void gemm_batch(const Gemm& g, std::int64_t count, const float* a, std::int64_t stride_a, const float* b,
                std::int64_t stride_b, float* c, std::int64_t stride_c, bool accumulate, void* scratch, int threads) {
  if (count < threads || g.k == 0) {
    for (std::int64_t i = 0; i < count; ++i) {
      gemm(g, a + i * stride_a, b + i * stride_b, nullptr, c + i * stride_c, accumulate, scratch, threads);
    }
    return;
  }
  const std::int64_t team = std::clamp<std::int64_t>(count * g.m * g.n * g.k / kWorkPerThread, 1, threads);
  const std::int64_t each = floats_per_thread(g);
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(team))
  for (std::int64_t i = 0; i < count; ++i) {
    float* const space = static_cast<float*>(scratch) + omp_get_thread_num() * each;
    run_piece(g, {0, g.m, 0, g.n}, a + i * stride_a, b + i * stride_b, nullptr, c + i * stride_c, accumulate, space);
  }
}

}  // namespace tidemark::compute
#endif  // HWY_ONCE
