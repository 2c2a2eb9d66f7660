// Sums of columns over many rows, to float's precision however many rows there are: a few rows are added up in float,
// and their sums go into double ones.
#pragma once

#include <cstdint>

namespace tidemark::ops {

// So many rows may be added up one after the other in float: their rounding stays below 1e-6 of a sum of equal signs.
inline constexpr std::int64_t kSumRows = 32;

// Rows of floats, `step` apart, each of which goes on in steps of `inner` (1, or 0: one number for all columns).
struct Rows {
  const float* data = nullptr;
  std::int64_t step = 0;
  std::int64_t inner = 1;
};

// sums[j] += the sum of a[i][j] over `count` rows, of a[i][j] * b[i][j] where b has data. a.inner is 1.
void add_rows(std::int64_t count, std::int64_t columns, const Rows& a, const Rows& b, float* sums);

// totals[j] += sums[j]
void add_sums(std::int64_t columns, const float* sums, double* totals);

}  // namespace tidemark::ops
