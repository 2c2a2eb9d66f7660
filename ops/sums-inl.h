// Sums of columns in float, compiled once per instruction set; see simd-inl.h.
#if defined(TIDEMARK_OPS_SUMS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_SUMS_INL_H_
#undef TIDEMARK_OPS_SUMS_INL_H_
#else
#define TIDEMARK_OPS_SUMS_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// term(d, row, column) for whole vectors of [begin, end); where they end. Four rows are added up before they go to the
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

// sums[j] += the sum of term(d, i, j) over `count` rows i, where a term is the vector d from column j on.
template <class F>
HWY_INLINE void add_terms(std::int64_t count, std::int64_t columns, F term, float* sums) {
  const std::int64_t wide = add_vectors(Wide(), count, 0, columns, term, sums);
  const std::int64_t eight = add_vectors(Eight(), count, wide, columns, term, sums);
  add_vectors(hn::CappedTag<float, 1>(), count, eight, columns, term, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
