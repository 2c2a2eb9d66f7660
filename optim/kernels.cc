#include "optim/kernels.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <type_traits>

#include "compute/half.h"
#include "compute/threads.h"

#ifndef TIDEMARK_OPTIM_KERNELS_
#define TIDEMARK_OPTIM_KERNELS_
namespace tidemark::optim {
namespace {

// What a step is for every element of a parameter; keys of the dither for the first moment and the second.
struct Dither {
  std::uint32_t keys[2];
  std::uint32_t step;
};
struct AdamWJob {
  float beta1, beta2, rest1, rest2, eps, decay;
  float rate;  // lr / (1 - beta1^step)
  float root;  // 1 / sqrt(1 - beta2^step)
  Dither dither;
};
struct SgdJob {
  float lr, momentum, weight_decay;
  bool nesterov;
  Dither dither;
};

// The moments of a block: values of type T (f16 bits, f32), and where their exponents are.
template <class T>
struct Moment {
  T* values;
  std::int8_t* exponent;
};
template <class T, int kMoments>
Moment<T> moment_of(void* state, int which, std::int64_t n, std::int64_t block) {
  auto* values = static_cast<T*>(state);
  auto* exponents = reinterpret_cast<std::int8_t*>(values + kMoments * n);
  return {values + which * n + block * kBlock, exponents + which * blocks_of(n) + block};
}

}  // namespace
}  // namespace tidemark::optim
#endif  // TIDEMARK_OPTIM_KERNELS_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "compute/half-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using compute::half;

using DF = hn::ScalableTag<float>;
using DU = hn::RebindToUnsigned<DF>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;
using VU = hn::Vec<DU>;
using VI = hn::Vec<DI>;

HWY_INLINE std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(DF())); }

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128 || (HWY_ARCH_X86 && HWY_TARGET > HWY_AVX2) || \
    !(HWY_ARCH_X86 || HWY_ARCH_ARM_A64 || HWY_ARCH_RVV)
// No fused multiply-add here. The product of two floats is exact in double; rounding its sum with c to odd leaves
// enough to round to f32 as if once.
HWY_INLINE float fused(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = c;
  const double sum = product + addend;
  const double part = sum - product;
  const double lost = (product - (sum - part)) + (addend - part);
  auto bits = std::bit_cast<std::int64_t>(sum);
  if ((lost > 0 || lost < 0) && (bits & 1) == 0) bits += (lost > 0) == (sum > 0) ? 1 : -1;
  return static_cast<float>(std::bit_cast<double>(bits));
}
HWY_INLINE VF fma(VF a, VF b, VF c) {
  const DF df;
  HWY_ALIGN float x[hn::MaxLanes(df)];
  HWY_ALIGN float y[hn::MaxLanes(df)];
  HWY_ALIGN float z[hn::MaxLanes(df)];
  hn::Store(a, df, x);
  hn::Store(b, df, y);
  hn::Store(c, df, z);
  for (std::size_t i = 0; i < hn::Lanes(df); ++i) z[i] = fused(x[i], y[i], z[i]);
  return hn::Load(df, z);
}
#else
HWY_INLINE VF fma(VF a, VF b, VF c) { return hn::MulAdd(a, b, c); }
#endif

HWY_INLINE VI magnitude_of(VI bits) { return hn::And(bits, hn::Set(DI(), 0x7fffffff)); }

HWY_INLINE float power_of_two(std::int32_t exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

constexpr std::uint32_t kSpread = 0x9E3779B1u;

// What tells the elements from `index` on apart.
HWY_INLINE VU spread(std::int64_t index) {
  const DU du;
  return hn::Add(hn::Mul(hn::Iota(du, 0), hn::Set(du, kSpread)),
                 hn::Set(du, static_cast<std::uint32_t>(index) * kSpread));
}

// 13 bits: the upper ones of a hash, to which more mixing of the lower ones would add nothing.
HWY_INLINE VU dither(VU spread_index, VU key, VU step) {
  const DU du;
  VU x = hn::Xor(spread_index, key);
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(du, 0x7FEB352Du));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<15>(x)), hn::Set(du, 0x846CA68Bu));
  return hn::ShiftRight<19>(hn::Add(x, step));
}

// |x| < 2^15 as f16 bits: up where the dither passes what is cut off, down elsewhere.
HWY_INLINE VI dithered(VI magnitude, VU noise) {
  const DF df;
  const DU du;
  const DI di;
  // Below 2^-14 the steps of f16 stay 2^-24. Adding 2^-14 brings such an x to where the lowest 13 bits of an f32 count
  // parts of a step, as they do above; there, x is the larger of the two.
  const VF lifted = hn::Add(hn::BitCast(df, magnitude), hn::Set(df, 0x1p-14f));
  const VI fixed = hn::Max(magnitude, hn::Sub(hn::BitCast(di, lifted), hn::Set(di, 1 << 23)));
  const VU cut = hn::ShiftRight<13>(hn::Add(hn::BitCast(du, fixed), noise));
  return hn::Sub(hn::BitCast(di, cut), hn::Set(di, 112 << 10));
}

// A moment on its way through a block: from its values, and as values back. kWhich is 0 for the first moment, or 1 for
// the second. `largest` passes from store() to store() and to finish().
template <class T, int kWhich>
class Passing;

template <int kWhich>
class Passing<float, kWhich> {
 public:
  explicit Passing(const Moment<float>& moment) : values_(moment.values) {}
  HWY_INLINE VF load(std::int64_t i) const { return hn::LoadU(DF(), values_ + i); }
  HWY_INLINE void store(std::int64_t i, VF x, VI& /*largest*/) { hn::StoreU(x, DF(), values_ + i); }
  void finish(const Dither&, std::int64_t, VI) {}

 private:
  float* values_;
};

// The block's new exponent follows from its largest value, so what is stored waits here until all are known.
template <int kWhich>
class Passing<half, kWhich> {
 public:
  explicit Passing(const Moment<half>& moment) : moment_(moment), scale_(power_of_two(*moment.exponent)) {}
  HWY_INLINE VF load(std::int64_t i) const {
    return hn::Mul(compute::HWY_NAMESPACE::load_halves(DF(), moment_.values + i), hn::Set(DF(), scale_));
  }
  HWY_INLINE void store(std::int64_t i, VF x, VI& largest) {
    hn::Store(x, DF(), waiting_ + i);
    largest = hn::Max(largest, magnitude(hn::BitCast(DI(), x)));
  }
  HWY_INLINE void finish(const Dither& job, std::int64_t first, VI largest_bits) {
    const DF df;
    const DU du;
    const DI di;
    const std::int32_t largest = hn::GetLane(hn::MaxOfLanes(di, largest_bits));
    const std::int32_t exponent = std::max(-126, (largest >> 23) - 127 - 14);
    *moment_.exponent = static_cast<std::int8_t>(exponent);
    const VF scale = hn::Set(df, power_of_two(-exponent));
    const VU key = hn::Set(du, job.keys[kWhich]);
    const VU step = hn::Set(du, job.step * 0x9E3779B9u);
    const VU stride = hn::Set(du, static_cast<std::uint32_t>(lanes()) * kSpread);
    VU index = spread(first);
    half* const values = moment_.values;
    for (std::int64_t i = 0; i < kBlock; i += lanes()) {
      const VI x = hn::BitCast(di, hn::Mul(hn::Load(df, waiting_ + i), scale));
      const VU noise = dither(index, key, step);
      index = hn::Add(index, stride);
      VI bits = dithered(magnitude(x), noise);
      if constexpr (kWhich == 0) {
        bits = hn::Or(bits, hn::BitCast(di, hn::ShiftRight<16>(hn::BitCast(du, hn::Xor(x, magnitude(x))))));
      } else {
        // A root of a second moment above 0 stays above 0: one that vanished would make an update a division by eps.
        bits = hn::Max(bits, hn::Min(x, hn::Set(di, 1)));
      }
      compute::HWY_NAMESPACE::store_half_bits(du, hn::BitCast(du, bits), values + i);
    }
  }

 private:
  // The second moment's root is never negative.
  static HWY_INLINE VI magnitude(VI bits) { return kWhich == 0 ? magnitude_of(bits) : bits; }

  Moment<half> moment_;
  float scale_;
  HWY_ALIGN float waiting_[kBlock];
};

// What the optimizer without momentum remembers.
struct Nothing {};
template <>
class Passing<Nothing, 0> {
 public:
  explicit Passing(const Moment<Nothing>&) {}
  HWY_INLINE VF load(std::int64_t) const { return hn::Zero(DF()); }
  void store(std::int64_t, VF, VI&) {}
  void finish(const Dither&, std::int64_t, VI) {}
};

template <class T>
HWY_INLINE void adamw_block(const AdamWJob& job, std::int64_t first, float* HWY_RESTRICT p, const float* HWY_RESTRICT g,
                            const Moment<T>& first_moment, const Moment<T>& second_moment) {
  const DF df;
  const VF beta1 = hn::Set(df, job.beta1), rest1 = hn::Set(df, job.rest1);
  const VF beta2 = hn::Set(df, job.beta2), rest2 = hn::Set(df, job.rest2);
  const VF eps = hn::Set(df, job.eps), root = hn::Set(df, job.root);
  const VF decay = hn::Set(df, job.decay), rate = hn::Set(df, -job.rate);
  Passing<T, 0> first_passing(first_moment);
  Passing<T, 1> second_passing(second_moment);
  VI first_largest = hn::Zero(DI());
  VI second_largest = hn::Zero(DI());
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    const VF gradient = hn::LoadU(df, g + i);
    const VF m = fma(beta1, first_passing.load(i), hn::Mul(rest1, gradient));
    VF before = second_passing.load(i);
    if constexpr (std::is_same_v<T, half>) before = hn::Mul(before, before);
    const VF v = fma(beta2, before, hn::Mul(rest2, hn::Mul(gradient, gradient)));
    const VF s = hn::Sqrt(v);
    first_passing.store(i, m, first_largest);
    second_passing.store(i, std::is_same_v<T, half> ? s : v, second_largest);
    const VF direction = hn::Div(m, fma(s, root, eps));
    hn::StoreU(fma(rate, direction, hn::Mul(hn::LoadU(df, p + i), decay)), df, p + i);
  }
  first_passing.finish(job.dither, first, first_largest);
  second_passing.finish(job.dither, first, second_largest);
}

template <class T>
HWY_INLINE void sgd_block(const SgdJob& job, std::int64_t first, float* HWY_RESTRICT p, const float* HWY_RESTRICT g,
                          const Moment<T>& moment) {
  const DF df;
  const VF momentum = hn::Set(df, job.momentum);
  const VF weight_decay = hn::Set(df, job.weight_decay);
  const VF rate = hn::Set(df, -job.lr);
  Passing<T, 0> passing(moment);
  VI largest = hn::Zero(DI());
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    const VF before = hn::LoadU(df, p + i);
    const VF gradient = fma(weight_decay, before, hn::LoadU(df, g + i));
    const VF moved = fma(momentum, passing.load(i), gradient);
    passing.store(i, moved, largest);
    const VF direction = job.nesterov ? fma(momentum, moved, gradient) : moved;
    hn::StoreU(fma(rate, direction, before), df, p + i);
  }
  passing.finish(job.dither, first, largest);
}

// The last block where it is not full, as a full one with zeros behind.
template <class T>
class Padded {
 public:
  Padded(T* at, std::int64_t count) : at_(at), count_(count) { std::copy_n(at, count, values); }
  void write_back() const { std::copy_n(values, count_, at_); }
  T values[kBlock] = {};

 private:
  T* at_;
  std::int64_t count_;
};

template <class T>
void AdamWBlocks(const AdamWJob& job, std::int64_t n, float* p, const float* g, void* state, std::int64_t first,
                 std::int64_t last) {
  for (std::int64_t block = first; block < last; ++block) {
    const std::int64_t start = block * kBlock;
    Moment<T> m = moment_of<T, 2>(state, 0, n, block);
    Moment<T> s = moment_of<T, 2>(state, 1, n, block);
    const std::int64_t count = n - start;
    if (count >= kBlock) {
      adamw_block(job, start, p + start, g + start, m, s);
      continue;
    }
    Padded<float> parameter(p + start, count);
    float gradient[kBlock] = {};
    std::copy_n(g + start, count, gradient);
    Padded<T> first_moment(m.values, count);
    Padded<T> second_moment(s.values, count);
    m.values = first_moment.values;
    s.values = second_moment.values;
    adamw_block(job, start, parameter.values, gradient, m, s);
    parameter.write_back();
    first_moment.write_back();
    second_moment.write_back();
  }
}

template <class T>
void SgdBlocks(const SgdJob& job, std::int64_t n, float* p, const float* g, void* state, std::int64_t first,
               std::int64_t last) {
  for (std::int64_t block = first; block < last; ++block) {
    const std::int64_t start = block * kBlock;
    const std::int64_t count = n - start;
    Moment<T> m{};
    if constexpr (!std::is_same_v<T, Nothing>) m = moment_of<T, 1>(state, 0, n, block);
    if (count >= kBlock) {
      sgd_block(job, start, p + start, g + start, m);
      continue;
    }
    Padded<float> parameter(p + start, count);
    float gradient[kBlock] = {};
    std::copy_n(g + start, count, gradient);
    if constexpr (std::is_same_v<T, Nothing>) {
      sgd_block(job, start, parameter.values, gradient, m);
    } else {
      Padded<T> moment(m.values, count);
      m.values = moment.values;
      sgd_block(job, start, parameter.values, gradient, m);
      moment.write_back();
    }
    parameter.write_back();
  }
}

void AdamWHalf(const AdamWJob& job, std::int64_t n, float* p, const float* g, void* state, std::int64_t first,
               std::int64_t last) {
  AdamWBlocks<half>(job, n, p, g, state, first, last);
}
void AdamWFloat(const AdamWJob& job, std::int64_t n, float* p, const float* g, void* state, std::int64_t first,
                std::int64_t last) {
  AdamWBlocks<float>(job, n, p, g, state, first, last);
}
void SgdHalf(const SgdJob& job, std::int64_t n, float* p, const float* g, void* state, std::int64_t first,
             std::int64_t last) {
  SgdBlocks<half>(job, n, p, g, state, first, last);
}
void SgdFloat(const SgdJob& job, std::int64_t n, float* p, const float* g, void* state, std::int64_t first,
              std::int64_t last) {
  SgdBlocks<float>(job, n, p, g, state, first, last);
}
void SgdPlain(const SgdJob& job, std::int64_t n, float* p, const float* g, void* state, std::int64_t first,
              std::int64_t last) {
  SgdBlocks<Nothing>(job, n, p, g, state, first, last);
}

// The largest bits of a magnitude: they order like the values, with infinity and what is not a number above all.
std::int32_t LargestBits(const float* x, std::int64_t n) {
  const DF df;
  const std::int64_t width = lanes();
  VI even = hn::Zero(DI());
  VI odd = hn::Zero(DI());
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    even = hn::Max(even, magnitude_of(hn::BitCast(DI(), hn::LoadU(df, x + i))));
    odd = hn::Max(odd, magnitude_of(hn::BitCast(DI(), hn::LoadU(df, x + i + width))));
  }
  std::int32_t largest = hn::GetLane(hn::MaxOfLanes(DI(), hn::Max(even, odd)));
  for (; i < n; ++i) largest = std::max(largest, std::bit_cast<std::int32_t>(x[i]) & 0x7fffffff);
  return largest;
}

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(AdamWHalf);
HWY_EXPORT(AdamWFloat);
HWY_EXPORT(SgdHalf);
HWY_EXPORT(SgdFloat);
HWY_EXPORT(SgdPlain);
HWY_EXPORT(LargestBits);

namespace {

constexpr std::int64_t kGrain = 16;  // blocks: less is not worth a thread

std::uint32_t mix32(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

std::uint32_t dither_key(std::uint64_t seed, std::uint64_t parameter, std::uint32_t moment) {
  std::uint32_t key = 0x243F6A88u;
  for (const std::uint64_t value : {seed, parameter, std::uint64_t{moment}}) {
    key = mix32(key ^ static_cast<std::uint32_t>(value));
    key = mix32(key ^ static_cast<std::uint32_t>(value >> 32) ^ 0x9E3779B9u);
  }
  return key;
}

Dither dither_of(const State& state, std::int64_t step) {
  return {{dither_key(state.seed, state.parameter, 0), dither_key(state.seed, state.parameter, 1)},
          static_cast<std::uint32_t>(step)};
}

// By multiplication alone: the C library's pow() may differ in its last bit from machine to machine.
double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base) {
    if (exponent % 2 == 1) result *= base;
  }
  return result;
}

}  // namespace

void adamw(const AdamWStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const double correction1 = 1 - power(step.beta1, step.step);
  const double correction2 = 1 - power(step.beta2, step.step);
  const AdamWJob job{.beta1 = step.beta1,
                     .beta2 = step.beta2,
                     .rest1 = 1 - step.beta1,
                     .rest2 = 1 - step.beta2,
                     .eps = step.eps,
                     .decay = static_cast<float>(1 - static_cast<double>(step.lr) * step.weight_decay),
                     .rate = static_cast<float>(step.lr / correction1),
                     .root = static_cast<float>(1 / std::sqrt(correction2)),
                     .dither = dither_of(state, step.step)};
  const auto kernel = state.format == Format::kF16 ? HWY_DYNAMIC_DISPATCH(AdamWHalf) : HWY_DYNAMIC_DISPATCH(AdamWFloat);
  compute::parallel_for(blocks_of(n), kGrain, threads,
                        [&](std::int64_t first, std::int64_t last) { kernel(job, n, p, g, state.bytes, first, last); });
}

void sgd(const SgdStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const SgdJob job{.lr = step.lr,
                   .momentum = step.momentum,
                   .weight_decay = step.weight_decay,
                   .nesterov = step.nesterov,
                   .dither = dither_of(state, step.step)};
  auto kernel = state.format == Format::kF16 ? HWY_DYNAMIC_DISPATCH(SgdHalf) : HWY_DYNAMIC_DISPATCH(SgdFloat);
  if (step.momentum == 0) kernel = HWY_DYNAMIC_DISPATCH(SgdPlain);
  compute::parallel_for(blocks_of(n), kGrain, threads,
                        [&](std::int64_t first, std::int64_t last) { kernel(job, n, p, g, state.bytes, first, last); });
}

bool all_below(const float* x, std::int64_t n, float limit, int threads) {
  const auto kernel = HWY_DYNAMIC_DISPATCH(LargestBits);
  const auto limit_bits = std::bit_cast<std::int32_t>(limit);
  std::atomic<bool> below = true;
  compute::parallel_for(n, kGrain * kBlock, threads, [&](std::int64_t first, std::int64_t last) {
    if (kernel(x + first, last - first) >= limit_bits) below = false;
  });
  return below;
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
