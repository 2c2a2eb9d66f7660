#include "ops/sums.h"

#include <algorithm>
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/sums.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

void add_rows_to(std::int64_t count, std::int64_t columns, const float* from, std::int64_t step, float* sums) {
  add_terms(
      count, columns,
      [&](auto d, std::int64_t i, std::int64_t j) HWY_ATTR { return hn::LoadU(d, from + i * step + j); }, sums);
}

void add_sums_to(std::int64_t columns, const float* sums, double* totals) {
  for (std::int64_t j = 0; j < columns; ++j) totals[j] += static_cast<double>(sums[j]);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::ops {

HWY_EXPORT(add_rows_to);
HWY_EXPORT(add_sums_to);

void add_rows(std::int64_t count, std::int64_t columns, const float* from, std::int64_t step, float* sums) {
  HWY_DYNAMIC_DISPATCH(add_rows_to)(count, columns, from, step, sums);
}

void add_sums(std::int64_t columns, const float* sums, double* totals) {
  HWY_DYNAMIC_DISPATCH(add_sums_to)(columns, sums, totals);
}

void sum_columns(const Ctx& ctx, std::int64_t rows, std::int64_t columns, const float* from, std::int64_t step,
                 bool add, float* out) {
  for_elements(ctx, columns, rows * size_of(f32), [&](std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t kStrip = 512;
    for (std::int64_t first = begin; first < end; first += kStrip) {
      const std::int64_t width = std::min(kStrip, end - first);
      double totals[kStrip] = {};
      for (std::int64_t row = 0; row < rows; row += kSumRows) {
        float sums[kStrip] = {};
        add_rows(std::min(kSumRows, rows - row), width, from + row * step + first, step, sums);
        add_sums(width, sums, totals);
      }
      for (std::int64_t j = 0; j < width; ++j) {
        out[first + j] = (add ? out[first + j] : 0.0f) + static_cast<float>(totals[j]);
      }
    }
  });
}

}  // namespace tidemark::ops
#endif  // HWY_ONCE
