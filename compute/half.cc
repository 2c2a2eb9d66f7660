#include "compute/half.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compute/half.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "compute/half-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::compute::HWY_NAMESPACE {

// A last vector that is not full goes through a buffer, so that every element takes the same path.
void ToFloats(const half* from, float* to, std::int64_t n) {
  const hn::ScalableTag<float> df;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(load_halves(df, from + i), df, to + i);
  if (i == n) return;
  half source[hn::MaxLanes(df)] = {};
  float target[hn::MaxLanes(df)];
  std::copy_n(from + i, n - i, source);
  hn::StoreU(load_halves(df, source), df, target);
  std::copy_n(target, n - i, to + i);
}

void ToHalves(const float* from, half* to, std::int64_t n) {
  const hn::ScalableTag<float> df;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(df));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store_halves(df, hn::LoadU(df, from + i), to + i);
  if (i == n) return;
  float source[hn::MaxLanes(df)] = {};
  half target[hn::MaxLanes(df)];
  std::copy_n(from + i, n - i, source);
  store_halves(df, hn::LoadU(df, source), target);
  std::copy_n(target, n - i, to + i);
}

}  // namespace tidemark::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::compute {

HWY_EXPORT(ToFloats);
HWY_EXPORT(ToHalves);

void halves_to_floats(const half* from, float* to, std::int64_t n) { HWY_DYNAMIC_DISPATCH(ToFloats)(from, to, n); }
void floats_to_halves(const float* from, half* to, std::int64_t n) { HWY_DYNAMIC_DISPATCH(ToHalves)(from, to, n); }

}  // namespace tidemark::compute
#endif  // HWY_ONCE
