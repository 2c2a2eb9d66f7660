#include "ops/sums.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/sums.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// term(row, column) for whole vectors of [begin, end); where they end. Four rows are added up before they go to the
// sums, which are read and written once for them.
template <class D, class F>
HWY_INLINE std::int64_t add_vectors(D d, std::int64_t count, std::int64_t begin, std::int64_t end, F term,
                                    float* sums) {
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t last = begin + (end - begin) / width * width;
  std::int64_t row = 0;
  for (; row + 4 <= count; row += 4) {
    for (std::int64_t j = begin; j < last; j += width) {
      const auto first = hn::Add(term(d, row, j), term(d, row + 1, j));
      const auto second = hn::Add(term(d, row + 2, j), term(d, row + 3, j));
      hn::StoreU(hn::Add(hn::LoadU(d, sums + j), hn::Add(first, second)), d, sums + j);
    }
  }
  for (; row < count; ++row) {
    for (std::int64_t j = begin; j < last; j += width) {
      hn::StoreU(hn::Add(hn::LoadU(d, sums + j), term(d, row, j)), d, sums + j);
    }
  }
  return last;
}

template <class F>
HWY_INLINE void add_terms(std::int64_t count, std::int64_t columns, F term, float* sums) {
  const std::int64_t wide = add_vectors(Wide(), count, 0, columns, term, sums);
  const std::int64_t eight = add_vectors(Eight(), count, wide, columns, term, sums);
  add_vectors(hn::CappedTag<float, 1>(), count, eight, columns, term, sums);
}

void add_rows_of(std::int64_t count, std::int64_t columns, const Rows& a, const Rows& b, float* sums) {
  const auto left = [&](auto d, std::int64_t i, std::int64_t j)
                        HWY_ATTR { return hn::LoadU(d, a.data + i * a.step + j); };
  if (b.data == nullptr) return add_terms(count, columns, left, sums);
  if (b.inner == 0) {
    const auto product = [&](auto d, std::int64_t i, std::int64_t j)
                             HWY_ATTR { return hn::Mul(left(d, i, j), hn::Set(d, b.data[i * b.step])); };
    return add_terms(count, columns, product, sums);
  }
  const auto product = [&](auto d, std::int64_t i, std::int64_t j)
                           HWY_ATTR { return hn::Mul(left(d, i, j), hn::LoadU(d, b.data + i * b.step + j)); };
  add_terms(count, columns, product, sums);
}

void add_sums_to(std::int64_t columns, const float* sums, double* totals) {
  for (std::int64_t j = 0; j < columns; ++j) totals[j] += static_cast<double>(sums[j]);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::ops {

HWY_EXPORT(add_rows_of);
HWY_EXPORT(add_sums_to);

void add_rows(std::int64_t count, std::int64_t columns, const Rows& a, const Rows& b, float* sums) {
  HWY_DYNAMIC_DISPATCH(add_rows_of)(count, columns, a, b, sums);
}

void add_sums(std::int64_t columns, const float* sums, double* totals) {
  HWY_DYNAMIC_DISPATCH(add_sums_to)(columns, sums, totals);
}

}  // namespace tidemark::ops
#endif  // HWY_ONCE
