// What the kernels of all optimizers need that is not compiled into each of them: dithers, and the check of gradients.
#include "optim/kernels.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "compute/threads.h"
#include "optim/blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

// The largest bits of a magnitude: they order like the values, with infinity and what is not a number above all.
std::int32_t LargestBits(const float* x, std::int64_t n) {
  const DF df;
  const std::int64_t width = lanes();
  VI even = hn::Zero(DI());
  VI odd = hn::Zero(DI());
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    even = hn::Max(even, magnitude_of(hn::LoadU(df, x + i)));
    odd = hn::Max(odd, magnitude_of(hn::LoadU(df, x + i + width)));
  }
  std::int32_t largest = hn::GetLane(hn::MaxOfLanes(DI(), hn::Max(even, odd)));
  for (; i < n; ++i) largest = std::max(largest, std::bit_cast<std::int32_t>(x[i]) & 0x7fffffff);
  return largest;
}

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(LargestBits);

namespace {

std::uint32_t dither_key(std::uint64_t seed, std::uint64_t parameter, std::uint32_t moment) {
  std::uint32_t key = 0x243F6A88u;
  for (const std::uint64_t value : {seed, parameter, std::uint64_t{moment}}) {
    key = mix32(key ^ static_cast<std::uint32_t>(value));
    key = mix32(key ^ static_cast<std::uint32_t>(value >> 32) ^ kGolden);
  }
  return key;
}

}  // namespace

Dither dither_of(const State& state, std::int64_t step) {
  Dither dither{};
  for (std::uint32_t k = 0; k < kMostMoments; ++k) dither.keys[k] = dither_key(state.seed, state.parameter, k);
  dither.time = static_cast<std::uint32_t>(step) * kGolden;
  return dither;
}

double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base) {
    if (exponent % 2 == 1) result *= base;
  }
  return result;
}

bool all_below(const float* x, std::int64_t n, float limit, int threads) {
  constexpr std::int64_t kGrain = 4096;  // less is not worth a thread
  const auto kernel = HWY_DYNAMIC_DISPATCH(LargestBits);
  const auto limit_bits = std::bit_cast<std::int32_t>(limit);
  std::atomic<bool> below = true;
  compute::parallel_for(n, kGrain, threads, [&](std::int64_t first, std::int64_t last) {
    if (kernel(x + first, last - first) >= limit_bits) below = false;
  });
  return below;
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
