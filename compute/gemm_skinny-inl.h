// Products of few rows, for gemm.cc, which is compiled once for each instruction set. Nothing is packed: what counts is
// that B, the larger operand, comes from memory once and in order.
#if defined(TIDEMARK_COMPUTE_GEMM_SKINNY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_COMPUTE_GEMM_SKINNY_INL_H_
#undef TIDEMARK_COMPUTE_GEMM_SKINNY_INL_H_
#else
#define TIDEMARK_COMPUTE_GEMM_SKINNY_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "compute/gemm_packed-inl.h"
#include "compute/gemm_piece.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::compute::HWY_NAMESPACE {

// Of each row of A and B this much is multiplied at a time: a part of A that stays in the caches.
inline constexpr std::int64_t kDotDepth = 4096;

// Rows of B that are read side by side: each is a stream from memory.
inline constexpr std::int64_t kStreams = 32;
// So many strips of a row are fetched ahead.
inline constexpr std::int64_t kAhead = 2;

HWY_INLINE void prefetch(const float* line) { __builtin_prefetch(line, 0, 2); }

// kRows rows of A against kColumns rows of the transposed B: as many dot products over `depth`. Each line of B has the
// one `ahead` of it fetched.
template <int kRows, int kColumns>
HWY_INLINE void dots(std::int64_t depth, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                     std::int64_t ahead, float* out) {
  const D d;
  const std::int64_t w = lanes();
  V sums[kRows][kColumns];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) sums[i][j] = hn::Zero(d);
  }
  std::int64_t p = 0;
  for (; p + w <= depth; p += w) {
    V column[kColumns];
    for (int j = 0; j < kColumns; ++j) {
      column[j] = hn::LoadU(d, b + j * ldb + p);
      prefetch(b + j * ldb + p + ahead);
    }
    for (int i = 0; i < kRows; ++i) {
      const V row = hn::LoadU(d, a + i * lda + p);
      for (int j = 0; j < kColumns; ++j) sums[i][j] = hn::MulAdd(row, column[j], sums[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      float sum = hn::GetLane(hn::SumOfLanes(d, sums[i][j]));
      for (std::int64_t q = p; q < depth; ++q) sum += a[i * lda + q] * b[j * ldb + q];
      out[i * kColumns + j] = sum;
    }
  }
}

template <int kRows, int kColumns>
HWY_INLINE void dots_to(std::int64_t depth, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                        std::int64_t ahead, const float* start, bool add, float* c, std::int64_t ldc) {
  float out[kRows * kColumns];
  dots<kRows, kColumns>(depth, a, lda, b, ldb, ahead, out);
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      float& to = c[i * ldc + j];
      to = (add ? to : 0.0f) + (out[i * kColumns + j] + (start ? start[j] : 0.0f));
    }
  }
}

// How many of the rows that are left go together. An element's sum does not depend on its neighbours.
HWY_INLINE std::int64_t rows_together(std::int64_t left) {
  if (left >= kTileRows) return kTileRows;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

template <int kColumns>
HWY_INLINE void dot_columns(const Gemm& g, std::int64_t depth, const float* a, const float* b, std::int64_t ahead,
                            const float* start, bool add, float* c) {
  for (std::int64_t i = 0; i < g.m;) {
    const std::int64_t rows = rows_together(g.m - i);
    const float* from = a + i * g.lda;
    float* to = c + i * g.ldc;
    if (rows == kTileRows) {
      dots_to<kTileRows, kColumns>(depth, from, g.lda, b, g.ldb, ahead, start, add, to, g.ldc);
    } else if (rows == 4) {
      dots_to<4, kColumns>(depth, from, g.lda, b, g.ldb, ahead, start, add, to, g.ldc);
    } else if (rows == 2) {
      dots_to<2, kColumns>(depth, from, g.lda, b, g.ldb, ahead, start, add, to, g.ldc);
    } else {
      dots_to<1, kColumns>(depth, from, g.lda, b, g.ldb, ahead, start, add, to, g.ldc);
    }
    i += rows;
    ahead = 0;  // fetched already
  }
}

inline void dot_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias, float* c,
                      bool accumulate) {
  for (std::int64_t p = 0; p < g.k; p += kDotDepth) {
    const std::int64_t depth = std::min(kDotDepth, g.k - p);
    const bool add = accumulate || p > 0;
    const std::int64_t end = piece.column + piece.columns;
    for (std::int64_t j = piece.column; j < end;) {
      const float* start = bias && p == 0 ? bias + j : nullptr;
      const float* from = b + j * g.ldb + p;
      // The next rows of B, as far as there are any.
      const std::int64_t ahead = j + 6 <= end ? 3 * g.ldb : 0;
      if (j + 3 <= end) {
        dot_columns<3>(g, depth, a + p, from, ahead, start, add, c + j);
        j += 3;
      } else {
        dot_columns<1>(g, depth, a + p, from, 0, start, add, c + j);
        j += 1;
      }
    }
  }
}

// C[kRows x kVectors] += the sum of A's columns, packed, times B's rows. Each line of B has the one `ahead` of it
// fetched.
template <int kRows, int kVectors>
HWY_INLINE void add_rows(std::int64_t depth, const float* a, const float* b, std::int64_t ldb, std::int64_t ahead,
                         float* c, std::int64_t ldc) {
  const D d;
  const std::int64_t w = lanes();
  V sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) sums[i][j] = hn::LoadU(d, c + i * ldc + j * w);
  }
  for (std::int64_t p = 0; p < depth; ++p, a += kSkinnyRows, b += ldb) {
    V row[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      row[j] = hn::LoadU(d, b + j * w);
      prefetch(b + j * w + ahead);
    }
    for (int i = 0; i < kRows; ++i) {
      const V factor = hn::Set(d, a[i]);
      for (int j = 0; j < kVectors; ++j) sums[i][j] = hn::MulAdd(factor, row[j], sums[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::StoreU(sums[i][j], d, c + i * ldc + j * w);
  }
}

template <int kVectors>
HWY_INLINE void add_rows_to(std::int64_t m, std::int64_t depth, const float* a, const float* b, std::int64_t ldb,
                            std::int64_t ahead, float* c, std::int64_t ldc) {
  for (std::int64_t i = 0; i < m;) {
    const std::int64_t rows = rows_together(m - i);
    float* to = c + i * ldc;
    if (rows == kTileRows) {
      add_rows<kTileRows, kVectors>(depth, a + i, b, ldb, ahead, to, ldc);
    } else if (rows == 4) {
      add_rows<4, kVectors>(depth, a + i, b, ldb, ahead, to, ldc);
    } else if (rows == 2) {
      add_rows<2, kVectors>(depth, a + i, b, ldb, ahead, to, ldc);
    } else {
      add_rows<1, kVectors>(depth, a + i, b, ldb, ahead, to, ldc);
    }
    i += rows;
    ahead = 0;  // fetched already
  }
}

inline void row_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias, float* c,
                      bool accumulate) {
  const std::int64_t w = lanes();
  const std::int64_t strip = kTileVectors * w;
  const std::int64_t whole = piece.columns / w * w;
  const std::int64_t rest = piece.columns - whole;
  for (std::int64_t i = 0; i < g.m && !accumulate; ++i) {
    float* row = c + i * g.ldc + piece.column;
    for (std::int64_t j = 0; j < piece.columns; ++j) row[j] = bias ? bias[piece.column + j] : 0.0f;
  }
  // Rows of A are far apart, and often by a power of two, where caches hold few of them.
  float packed[kStreams * kSkinnyRows];
  for (std::int64_t p = 0; p < g.k; p += kStreams) {
    const std::int64_t depth = std::min(kStreams, g.k - p);
    for (std::int64_t i = 0; i < g.m; ++i) {
      for (std::int64_t q = 0; q < depth; ++q) packed[q * kSkinnyRows + i] = a[i * g.lda + p + q];
    }
    const float* from = b + p * g.ldb + piece.column;
    float* to = c + piece.column;
    std::int64_t j = 0;
    for (; j + strip <= whole; j += strip) {
      const std::int64_t ahead = j + kAhead * strip <= whole - strip ? kAhead * strip : 0;
      add_rows_to<kTileVectors>(g.m, depth, packed, from + j, g.ldb, ahead, to + j, g.ldc);
    }
    for (; j < whole; j += w) add_rows_to<1>(g.m, depth, packed, from + j, g.ldb, 0, to + j, g.ldc);
    if (rest == 0) continue;
    // A last vector that is not full: beside B and C, so that its elements take the same path.
    HWY_ALIGN float last_b[kStreams * hn::MaxLanes(D())] = {};
    HWY_ALIGN float last_c[kSkinnyRows * hn::MaxLanes(D())] = {};
    const auto bytes = static_cast<std::size_t>(rest) * sizeof(float);
    for (std::int64_t q = 0; q < depth; ++q) std::memcpy(last_b + q * w, from + q * g.ldb + whole, bytes);
    for (std::int64_t i = 0; i < g.m; ++i) std::memcpy(last_c + i * w, to + i * g.ldc + whole, bytes);
    add_rows_to<1>(g.m, depth, packed, last_b, w, 0, last_c, w);
    for (std::int64_t i = 0; i < g.m; ++i) std::memcpy(to + i * g.ldc + whole, last_c + i * w, bytes);
  }
}

}  // namespace tidemark::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
