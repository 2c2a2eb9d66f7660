// Sums of columns over many rows, to float's precision however many rows there are: a few rows are added up in float,
// and their sums go into double ones.
#pragma once

#include <cstdint>

#include "tidemark/op.h"

namespace tidemark::ops {

// So many rows may be added up one after the other in float: their rounding stays below 1e-6 of a sum of equal signs.
inline constexpr std::int64_t kSumRows = 32;

// sums[j] += the sum of column j over `count` rows, `step` floats apart.
void add_rows(std::int64_t count, std::int64_t columns, const float* from, std::int64_t step, float* sums);

// totals[j] += sums[j]
void add_sums(std::int64_t columns, const float* sums, double* totals);

// out[j] = or += the sum of column j over `rows` rows, `step` floats apart, in order. The team shares the columns.
void sum_columns(const Ctx& ctx, std::int64_t rows, std::int64_t columns, const float* from, std::int64_t step,
                 bool add, float* out);

}  // namespace tidemark::ops
