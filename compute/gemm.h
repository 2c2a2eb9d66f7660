// Matrix product without hidden memory: all packing goes into scratch that the caller provides. Each element of C is
// summed over k in one order, so the result is the same bits at every number of threads.
#pragma once

#include <cstdint>

namespace tidemark::compute {

// C[m, n] = A[m, k] B[k, n], all row-major; a transposed operand lies as [k, m] or [n, k]. `ld*` is the distance
// between rows as they lie.
struct Gemm {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  std::int64_t lda = 0;
  std::int64_t ldb = 0;
  std::int64_t ldc = 0;

  // Operands without gaps between rows.
  static Gemm dense(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a = false,
                    bool transpose_b = false) {
    return {m, n, k, transpose_a, transpose_b, transpose_a ? m : k, transpose_b ? k : n, n};
  }
};

// Bytes of scratch for gemm() and gemm_batch() with a team of `threads`.
std::int64_t gemm_scratch(const Gemm& gemm, int threads);

// `bias` (n elements, or null) is added to each row; `accumulate` adds the product to what C holds.
void gemm(const Gemm& gemm, const float* a, const float* b, const float* bias, float* c, bool accumulate, void* scratch,
          int threads);

// `count` products; operand i of A is at a + i * stride_a, and so on.
void gemm_batch(const Gemm& gemm, std::int64_t count, const float* a, std::int64_t stride_a, const float* b,
                std::int64_t stride_b, float* c, std::int64_t stride_c, bool accumulate, void* scratch, int threads);

}  // namespace tidemark::compute
