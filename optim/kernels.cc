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

constexpr std::uint32_t kGolden = 0x9E3779B9u;  // 2^32 times the golden ratio's fraction

constexpr std::uint32_t mix32(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

// The dither of element i in step t is the upper 13 bits of
//   phase[i mod 256] + mix32(key ^ i / 256) + t * kGolden,
// uniform over elements, and in time the sequence whose parts of any length are spread the most evenly.
struct Phases {
  alignas(64) std::uint32_t values[kBlock];
};
constexpr Phases make_phases() {
  Phases phases{};
  for (std::uint32_t i = 0; i < kBlock; ++i) phases.values[i] = mix32(i * kGolden);
  return phases;
}
constexpr Phases kPhases = make_phases();
struct Dither {
  std::uint32_t keys[2];  // of the first moment and the second
  std::uint32_t time;     // step * kGolden
};

// What a step is for every element of a parameter.
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

// How a block's values become halves.
struct Encoding {
  float scale;  // brings the largest into [2^14, 2^15)
  float half_scale;
  std::uint32_t time;  // of the dither
};

// The exponent follows from the largest magnitude of the block.
HWY_INLINE Encoding set_exponent(VI largest_bits, std::int8_t* exponent_at, std::uint32_t key, std::uint32_t time,
                                 std::int64_t index) {
  const std::int32_t largest = hn::GetLane(hn::MaxOfLanes(DI(), largest_bits));
  const std::int32_t exponent = std::max(-126, (largest >> 23) - 127 - 14);
  *exponent_at = static_cast<std::int8_t>(exponent);
  const float scale = power_of_two(-exponent);
  return {scale, 0.5f * scale, mix32(key ^ static_cast<std::uint32_t>(index)) + time};
}

// Lanes of the block from i on, as f16: up where the dither passes what is cut off, down elsewhere.
template <bool kSigned>
HWY_INLINE void write_halves(const Encoding encoding, std::int64_t i, VF x, half* to) {
  const DF df;
  const DU du;
  const DI di;
  const VI raw = hn::BitCast(di, x);
  const VI magnitude = kSigned ? magnitude_of(raw) : raw;
  const VF scaled = hn::Mul(hn::BitCast(df, magnitude), hn::Set(df, encoding.scale));
  // Below 2^-14 the steps of f16 stay 2^-24. x / 2 + 2^-15 brings such an x to where the lowest 13 bits of an f32 count
  // parts of a step, as they do above; there, x is the larger of the two. (Halving is exact: fused or not, same bits.)
  const VF lifted = hn::MulAdd(hn::BitCast(df, magnitude), hn::Set(df, encoding.half_scale), hn::Set(df, 0x1p-15f));
  const VI fixed = hn::Max(hn::BitCast(di, scaled), hn::BitCast(di, lifted));
  const VU noise = hn::ShiftRight<19>(hn::Add(hn::Load(du, kPhases.values + i), hn::Set(du, encoding.time)));
  const VU cut = hn::ShiftRight<13>(hn::Add(hn::BitCast(du, fixed), noise));
  VI bits = hn::Sub(hn::BitCast(di, cut), hn::Set(di, 112 << 10));  // the exponents' biases are 127 and 15
  if constexpr (kSigned) {
    bits = hn::Or(bits, hn::BitCast(di, hn::ShiftRight<16>(hn::BitCast(du, hn::Xor(raw, magnitude)))));
  } else {
    // A root of a second moment above 0 stays above 0: one that vanished would make an update a division by eps.
    bits = hn::Max(bits, hn::Min(raw, hn::Set(di, 1)));
  }
  compute::HWY_NAMESPACE::store_half_bits(du, hn::BitCast(du, bits), to + i);
}

HWY_INLINE VF read_halves(const half* from, float scale) {
  return hn::Mul(compute::HWY_NAMESPACE::load_halves(DF(), from), hn::Set(DF(), scale));
}

HWY_INLINE VF first_moment(const AdamWJob& job, VF before, VF gradient) {
  const DF df;
  return fma(hn::Set(df, job.beta1), before, hn::Mul(hn::Set(df, job.rest1), gradient));
}
HWY_INLINE VF second_moment(const AdamWJob& job, VF before, VF gradient) {
  const DF df;
  return fma(hn::Set(df, job.beta2), before, hn::Mul(hn::Set(df, job.rest2), hn::Mul(gradient, gradient)));
}
HWY_INLINE void descend(const AdamWJob& job, VF m, VF s, float* p) {
  const DF df;
  const VF direction = hn::Div(m, fma(s, hn::Set(df, job.root), hn::Set(df, job.eps)));
  const VF decayed = hn::Mul(hn::LoadU(df, p), hn::Set(df, job.decay));
  hn::StoreU(fma(hn::Set(df, -job.rate), direction, decayed), df, p);
}

// Jobs come by value: the compiler then knows that no store changes them.
HWY_INLINE void adamw_block(const AdamWJob job, std::int64_t /*index*/, float* HWY_RESTRICT p,
                            const float* HWY_RESTRICT g, const Moment<float>& m_at, const Moment<float>& v_at) {
  const DF df;
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    const VF gradient = hn::LoadU(df, g + i);
    const VF m = first_moment(job, hn::LoadU(df, m_at.values + i), gradient);
    const VF v = second_moment(job, hn::LoadU(df, v_at.values + i), gradient);
    hn::StoreU(m, df, m_at.values + i);
    hn::StoreU(v, df, v_at.values + i);
    descend(job, m, hn::Sqrt(v), p + i);
  }
}

HWY_INLINE void adamw_block(const AdamWJob job, std::int64_t index, float* HWY_RESTRICT p, const float* HWY_RESTRICT g,
                            const Moment<half>& m_at, const Moment<half>& s_at) {
  const DF df;
  const float m_scale = power_of_two(*m_at.exponent);
  const float s_scale = power_of_two(*s_at.exponent);
  HWY_ALIGN float m_waiting[kBlock];
  HWY_ALIGN float s_waiting[kBlock];
  VI m_largest = hn::Zero(DI());
  VI s_largest = hn::Zero(DI());
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    const VF gradient = hn::LoadU(df, g + i);
    const VF m = first_moment(job, read_halves(m_at.values + i, m_scale), gradient);
    const VF before = read_halves(s_at.values + i, s_scale);
    const VF s = hn::Sqrt(second_moment(job, hn::Mul(before, before), gradient));
    hn::Store(m, df, m_waiting + i);
    hn::Store(s, df, s_waiting + i);
    m_largest = hn::Max(m_largest, magnitude_of(hn::BitCast(DI(), m)));
    s_largest = hn::Max(s_largest, hn::BitCast(DI(), s));
  }
  const Encoding m_encoding = set_exponent(m_largest, m_at.exponent, job.dither.keys[0], job.dither.time, index);
  const Encoding s_encoding = set_exponent(s_largest, s_at.exponent, job.dither.keys[1], job.dither.time, index);
  // The division is here, and not beside the root, because this loop has more for the processor to do meanwhile.
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    const VF m = hn::Load(df, m_waiting + i);
    const VF s = hn::Load(df, s_waiting + i);
    descend(job, m, s, p + i);
    write_halves<true>(m_encoding, i, m, m_at.values);
    write_halves<false>(s_encoding, i, s, s_at.values);
  }
}

// Moves p; the momentum after the step.
HWY_INLINE VF descend(const SgdJob& job, VF momentum_before, const float* g, float* p) {
  const DF df;
  const VF momentum = hn::Set(df, job.momentum);
  const VF before = hn::LoadU(df, p);
  const VF gradient = fma(hn::Set(df, job.weight_decay), before, hn::LoadU(df, g));
  const VF moved = fma(momentum, momentum_before, gradient);
  const VF direction = job.nesterov ? fma(momentum, moved, gradient) : moved;
  hn::StoreU(fma(hn::Set(df, -job.lr), direction, before), df, p);
  return moved;
}

// What the optimizer without momentum remembers.
struct Nothing {};
HWY_INLINE void sgd_block(const SgdJob job, std::int64_t /*index*/, float* HWY_RESTRICT p, const float* HWY_RESTRICT g,
                          const Moment<Nothing>& /*at*/) {
  for (std::int64_t i = 0; i < kBlock; i += lanes()) descend(job, hn::Zero(DF()), g + i, p + i);
}

HWY_INLINE void sgd_block(const SgdJob job, std::int64_t /*index*/, float* HWY_RESTRICT p, const float* HWY_RESTRICT g,
                          const Moment<float>& at) {
  const DF df;
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    hn::StoreU(descend(job, hn::LoadU(df, at.values + i), g + i, p + i), df, at.values + i);
  }
}

HWY_INLINE void sgd_block(const SgdJob job, std::int64_t index, float* HWY_RESTRICT p, const float* HWY_RESTRICT g,
                          const Moment<half>& at) {
  const DF df;
  const float scale = power_of_two(*at.exponent);
  HWY_ALIGN float waiting[kBlock];
  VI largest = hn::Zero(DI());
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    const VF m = descend(job, read_halves(at.values + i, scale), g + i, p + i);
    hn::Store(m, df, waiting + i);
    largest = hn::Max(largest, magnitude_of(hn::BitCast(DI(), m)));
  }
  const Encoding encoding = set_exponent(largest, at.exponent, job.dither.keys[0], job.dither.time, index);
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    write_halves<true>(encoding, i, hn::Load(df, waiting + i), at.values);
  }
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
      adamw_block(job, block, p + start, g + start, m, s);
      continue;
    }
    Padded<float> parameter(p + start, count);
    float gradient[kBlock] = {};
    std::copy_n(g + start, count, gradient);
    Padded<T> first_moment(m.values, count);
    Padded<T> second_moment(s.values, count);
    m.values = first_moment.values;
    s.values = second_moment.values;
    adamw_block(job, block, parameter.values, gradient, m, s);
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
      sgd_block(job, block, p + start, g + start, m);
      continue;
    }
    Padded<float> parameter(p + start, count);
    float gradient[kBlock] = {};
    std::copy_n(g + start, count, gradient);
    if constexpr (std::is_same_v<T, Nothing>) {
      sgd_block(job, block, parameter.values, gradient, m);
    } else {
      Padded<T> moment(m.values, count);
      m.values = moment.values;
      sgd_block(job, block, parameter.values, gradient, m);
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

std::uint32_t dither_key(std::uint64_t seed, std::uint64_t parameter, std::uint32_t moment) {
  std::uint32_t key = 0x243F6A88u;
  for (const std::uint64_t value : {seed, parameter, std::uint64_t{moment}}) {
    key = mix32(key ^ static_cast<std::uint32_t>(value));
    key = mix32(key ^ static_cast<std::uint32_t>(value >> 32) ^ kGolden);
  }
  return key;
}

Dither dither_of(const State& state, std::int64_t step) {
  return {{dither_key(state.seed, state.parameter, 0), dither_key(state.seed, state.parameter, 1)},
          static_cast<std::uint32_t>(step) * kGolden};
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
