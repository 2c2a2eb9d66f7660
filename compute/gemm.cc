#include "compute/gemm.h"

#include <omp.h>

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compute/gemm.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"               // IWYU pragma: keep
// After foreach_target.h.
#include "compute/gemm_packed-inl.h"
#include "compute/gemm_piece.h"
#include "compute/gemm_skinny-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::compute::HWY_NAMESPACE {

void gemm_piece(const Gemm& g, const Piece& piece, const float* a, const float* b, const float* bias, float* c,
                bool accumulate, float* scratch) {
  switch (method_of(g)) {
    case GemmMethod::kPacked:
      return packed_piece(g, piece, a, b, bias, c, accumulate, scratch);
    case GemmMethod::kDots:
      return dot_piece(g, piece, a, b, bias, c, accumulate);
    case GemmMethod::kRows:
      return row_piece(g, piece, a, b, bias, c, accumulate);
  }
}

}  // namespace tidemark::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::compute {
namespace {

HWY_EXPORT(gemm_piece);

// Less work than this (multiply-adds) is not shared.
constexpr std::int64_t kWorkPerThread = std::int64_t{32} * 1024;

std::int64_t floats_per_thread(const Gemm& g) { return method_of(g) == GemmMethod::kPacked ? packed_floats(g) : 0; }

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
    const GemmMethod method = method_of(g);
    const std::int64_t unit = method == GemmMethod::kDots ? 3 : kMaxTileColumns;
    double best = 0;
    for (std::int64_t d = 1; d <= team; ++d) {
      if (team % d != 0 || (method != GemmMethod::kPacked && d > 1)) continue;
      const std::int64_t r = round_up((g.m + d - 1) / d, kMaxTileRows);
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

// C is one column without gaps, and so is B: as a row of the transposed product it needs no packing of A.
bool is_column(const Gemm& g) { return g.n == 1 && g.m > 1 && g.ldc == 1 && (g.transpose_b || g.ldb == 1); }
Gemm as_row(const Gemm& g) { return {1, g.m, g.k, false, !g.transpose_a, g.k, g.lda, g.m}; }

}  // namespace

std::int64_t gemm_scratch(const Gemm& g, int threads) {
  if (is_column(g)) return gemm_scratch(as_row(g), threads);
  return floats_per_thread(g) * threads * static_cast<std::int64_t>(sizeof(float));
}

void gemm(const Gemm& g, const float* a, const float* b, const float* bias, float* c, bool accumulate, void* scratch,
          int threads) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0) return clear(g, bias, c, accumulate);
  if (is_column(g)) {
    if (bias != nullptr) clear(g, bias, c, accumulate);
    return gemm(as_row(g), b, a, nullptr, c, accumulate || bias != nullptr, scratch, threads);
  }
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
  if (is_column(g)) {
    return gemm_batch(as_row(g), count, b, stride_b, a, stride_a, c, stride_c, accumulate, scratch, threads);
  }
  if (count < threads || g.k == 0) {
    for (std::int64_t i = 0; i < count; ++i) {
      gemm(g, a + i * stride_a, b + i * stride_b, nullptr, c + i * stride_c, accumulate, scratch, threads);
    }
    return;
  }
  // NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): the pragma reads it.
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
