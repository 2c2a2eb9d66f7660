// What oneDNN's AVX2 and AVX-512 GEMM takes from malloc inside execute: packed panels of A and B in every thread, or
// for small products one panel of a fixed size.
#include <algorithm>

#include "compute/machine.h"

namespace tidemark::compute {

std::int64_t hidden_bytes(std::string_view implementation, std::int64_t m, std::int64_t n, std::int64_t k,
                          int threads) {
  if (implementation.find("gemm") == std::string_view::npos) return 0;
  constexpr std::int64_t kRows = 10000;
  constexpr std::int64_t kColumns = 384;
  constexpr std::int64_t kDepth = 384;
  constexpr std::int64_t kPages = std::int64_t{6} * 4096;
  constexpr std::int64_t kSmallPanel = std::int64_t{4} * 48 * 384 + 256;
  const std::int64_t rows = std::min(m + 48, kRows);
  const std::int64_t columns = std::min(n + 8, kColumns);
  const std::int64_t depth = std::min(k + 4, kDepth);
  const std::int64_t panels = std::max(4 * depth * (rows + columns) + kPages, kSmallPanel);
  const std::int64_t partial_sums = threads > 1 ? 4 * (m + 64) * n : 0;
  return threads * (panels + partial_sums);
}

}  // namespace tidemark::compute
