// The pass over a parameter's blocks that all optimizers have in common, compiled once for each instruction set:
// include it after hwy/foreach_target.h. An optimizer adds its arithmetic, as a rule:
//
//   struct Rule {
//     static constexpr int kMoments = 2;
//     // Kept as a root in f16: of these, advance() sees the squares and finish() the roots.
//     static constexpr bool kRoot[] = {false, true, false};
//     // finish() runs in the pass that stores the moments: good for a division, which that pass can hide.
//     static constexpr bool kLate = true;
//     void advance(VF& p, VF g, VF& m0, VF& m1, VF& m2) const;  // the moments after the step
//     void finish(VF& p, VF g, VF& m0, VF& m1, VF& m2) const;   // the parameter, and moments that need the roots
//   };
//
// Where kLate is true only finish() changes p, and no moment. A rule is copied to every block: the compiler then knows
// that no store changes it. Lanes are passed one by one, since arrays of vectors are not allowed on every machine.
#include <algorithm>
#include <bit>
#include <cstdint>

#include "compute/half-inl.h"
#include "hwy/highway.h"
#include "optim/blocks.h"

#if defined(TIDEMARK_OPTIM_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPTIM_BLOCKS_INL_H_
#undef TIDEMARK_OPTIM_BLOCKS_INL_H_
#else
#define TIDEMARK_OPTIM_BLOCKS_INL_H_
#endif

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
HWY_INLINE VF set(float x) { return hn::Set(DF(), x); }

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

// The gradient with weight_decay p added, and kept where it can be squared: p may be anything that is finite.
HWY_INLINE VF decayed(float weight_decay, VF p, VF g) {
  const VF most = set(kGradientLimit);
  return hn::Min(hn::Max(fma(set(weight_decay), p, g), hn::Neg(most)), most);
}

HWY_INLINE VI magnitude_of(VI bits) { return hn::And(bits, hn::Set(DI(), 0x7fffffff)); }
HWY_INLINE VI magnitude_of(VF x) { return magnitude_of(hn::BitCast(DI(), x)); }

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

// One moment of a block: values of type T (f16 bits, f32), and where their exponent is.
template <class T>
struct Moment {
  T* values = nullptr;
  std::int8_t* exponent = nullptr;
};
template <class T>
HWY_INLINE Moment<T> moment_of(const Blocks& blocks, int moments, int which, std::int64_t element, std::int64_t block) {
  const std::int64_t n = blocks.n;
  auto* values = static_cast<T*>(blocks.state);
  auto* exponents = reinterpret_cast<std::int8_t*>(values + moments * n);
  return {values + which * n + element, exponents + which * blocks.count + block};
}

// Moment K of a block while its step is computed; K may be one that the rule does not have.
template <class Rule, int K, class T>
class Lanes;

template <class Rule, int K>
class Lanes<Rule, K, half> {
 public:
  static constexpr bool kThere = K < Rule::kMoments;
  // `waiting` has room for the values of all moments between the two passes.
  HWY_INLINE Lanes(const Moment<half>& at, float* waiting)
      : at_(at), waiting_(waiting + (kThere ? K * kBlock : 0)), scale_(kThere ? power_of_two(*at.exponent) : 0) {}

  HWY_INLINE VF read(std::int64_t i) const {
    if constexpr (!kThere) return hn::Zero(DF());
    const VF value = hn::Mul(compute::HWY_NAMESPACE::load_halves(DF(), at_.values + i), set(scale_));
    return Rule::kRoot[K] ? hn::Mul(value, value) : value;
  }
  HWY_INLINE void advanced(std::int64_t /*i*/, VF& x) const {
    if constexpr (kThere && Rule::kRoot[K]) x = hn::Sqrt(x);
  }
  HWY_INLINE void finished(std::int64_t i, VF x, VI& largest) {
    if constexpr (!kThere) return;
    hn::Store(x, DF(), waiting_ + i);
    largest = hn::Max(largest, Rule::kRoot[K] ? hn::BitCast(DI(), x) : magnitude_of(x));
  }
  HWY_INLINE void encode(const Dither& dither, std::int64_t index, VI largest) {
    if constexpr (kThere) encoding_ = set_exponent(largest, at_.exponent, dither.keys[K], dither.time, index);
  }
  HWY_INLINE VF waiting(std::int64_t i) const {
    if constexpr (!kThere) return hn::Zero(DF());
    return hn::Load(DF(), waiting_ + i);
  }
  HWY_INLINE void write(std::int64_t i, VF x) const {
    if constexpr (kThere) write_halves<!Rule::kRoot[K]>(encoding_, i, x, at_.values);
  }

 private:
  Moment<half> at_;
  float* waiting_;
  float scale_;
  Encoding encoding_ = {};
};

// In f32 a root is kept as its square, which is what a step needs.
template <class Rule, int K>
class Lanes<Rule, K, float> {
 public:
  static constexpr bool kThere = K < Rule::kMoments;
  HWY_INLINE explicit Lanes(const Moment<float>& at) : values_(at.values) {}

  HWY_INLINE VF read(std::int64_t i) const {
    if constexpr (!kThere) return hn::Zero(DF());
    return hn::LoadU(DF(), values_ + i);
  }
  HWY_INLINE void advanced(std::int64_t i, VF& x) const {
    if constexpr (kThere && Rule::kRoot[K]) {
      hn::StoreU(x, DF(), values_ + i);
      x = hn::Sqrt(x);
    }
  }
  HWY_INLINE void finished(std::int64_t i, VF x, VI& /*largest*/) const {
    if constexpr (kThere && !Rule::kRoot[K]) hn::StoreU(x, DF(), values_ + i);
  }

 private:
  float* values_;
};

// One block of a step; the largest magnitude of the new parameters goes into `most`.
template <class Rule>
HWY_INLINE void update_block(const Rule rule, const Dither& /*dither*/, std::int64_t /*index*/, float* HWY_RESTRICT p,
                             const float* HWY_RESTRICT g, const Moment<float>* at, VI& most) {
  const DF df;
  const Lanes<Rule, 0, float> first(at[0]);
  const Lanes<Rule, 1, float> second(at[1]);
  const Lanes<Rule, 2, float> third(at[2]);
  VI unused = hn::Zero(DI());
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    VF position = hn::LoadU(df, p + i);
    const VF gradient = hn::LoadU(df, g + i);
    VF m0 = first.read(i);
    VF m1 = second.read(i);
    VF m2 = third.read(i);
    rule.advance(position, gradient, m0, m1, m2);
    first.advanced(i, m0);
    second.advanced(i, m1);
    third.advanced(i, m2);
    rule.finish(position, gradient, m0, m1, m2);
    hn::StoreU(position, df, p + i);
    most = hn::Max(most, magnitude_of(position));
    first.finished(i, m0, unused);
    second.finished(i, m1, unused);
    third.finished(i, m2, unused);
  }
}

template <class Rule>
HWY_INLINE void update_block(const Rule rule, const Dither& dither, std::int64_t index, float* HWY_RESTRICT p,
                             const float* HWY_RESTRICT g, const Moment<half>* at, VI& most) {
  const DF df;
  HWY_ALIGN float waiting[std::max(1, Rule::kMoments) * kBlock];
  Lanes<Rule, 0, half> first(at[0], waiting);
  Lanes<Rule, 1, half> second(at[1], waiting);
  Lanes<Rule, 2, half> third(at[2], waiting);
  VI first_largest = hn::Zero(DI());
  VI second_largest = hn::Zero(DI());
  VI third_largest = hn::Zero(DI());
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    VF position = hn::LoadU(df, p + i);
    const VF gradient = hn::LoadU(df, g + i);
    VF m0 = first.read(i);
    VF m1 = second.read(i);
    VF m2 = third.read(i);
    rule.advance(position, gradient, m0, m1, m2);
    first.advanced(i, m0);
    second.advanced(i, m1);
    third.advanced(i, m2);
    if constexpr (!Rule::kLate) {
      rule.finish(position, gradient, m0, m1, m2);
      hn::StoreU(position, df, p + i);
      most = hn::Max(most, magnitude_of(position));
    }
    first.finished(i, m0, first_largest);
    second.finished(i, m1, second_largest);
    third.finished(i, m2, third_largest);
  }
  if constexpr (Rule::kMoments == 0) return;
  first.encode(dither, index, first_largest);
  second.encode(dither, index, second_largest);
  third.encode(dither, index, third_largest);
  for (std::int64_t i = 0; i < kBlock; i += lanes()) {
    VF m0 = first.waiting(i);
    VF m1 = second.waiting(i);
    VF m2 = third.waiting(i);
    if constexpr (Rule::kLate) {
      VF position = hn::LoadU(df, p + i);
      rule.finish(position, hn::LoadU(df, g + i), m0, m1, m2);
      hn::StoreU(position, df, p + i);
      most = hn::Max(most, magnitude_of(position));
    }
    first.write(i, m0);
    second.write(i, m1);
    third.write(i, m2);
  }
}

// The last block where it is not full, as a full one with zeros behind.
template <class T>
class Padded {
 public:
  void read(const T* at, std::int64_t count) { std::copy_n(at, count, values); }
  void write(T* at, std::int64_t count) const { std::copy_n(values, count, at); }
  T values[kBlock] = {};
};

template <class Rule, class T>
std::int32_t update_all(const Rule rule, const Blocks& blocks) {
  VI most = hn::Zero(DI());
  const std::int64_t a_row = blocks_of(blocks.width);  // blocks
  std::int64_t row = blocks.first / a_row;
  std::int64_t column = blocks.first % a_row * kBlock;
  for (std::int64_t i = blocks.first; i < blocks.last; ++i) {
    const std::int64_t place = blocks.rows == nullptr ? row : blocks.rows[row];
    const std::int64_t start = place * blocks.width + column;
    const std::int64_t block = place * a_row + column / kBlock;
    const float* const g = blocks.g + row * blocks.width + column;
    const std::int64_t count = blocks.width - column;
    column += kBlock;
    if (column >= blocks.width) {
      column = 0;
      ++row;
    }
    Moment<T> at[kMostMoments];
    for (int k = 0; k < Rule::kMoments; ++k) at[k] = moment_of<T>(blocks, Rule::kMoments, k, start, block);
    if (count >= kBlock) {
      update_block<Rule>(rule, blocks.dither, block, blocks.p + start, g, at, most);
      continue;
    }
    Padded<float> parameter;
    Padded<float> gradient;
    Padded<T> moments[kMostMoments];
    Moment<T> padded[kMostMoments];
    parameter.read(blocks.p + start, count);
    gradient.read(g, count);
    for (int k = 0; k < Rule::kMoments; ++k) {
      moments[k].read(at[k].values, count);
      padded[k] = {moments[k].values, at[k].exponent};
    }
    update_block<Rule>(rule, blocks.dither, block, parameter.values, gradient.values, padded, most);
    parameter.write(blocks.p + start, count);
    for (int k = 0; k < Rule::kMoments; ++k) moments[k].write(at[k].values, count);
  }
  return hn::GetLane(hn::MaxOfLanes(DI(), most));
}

// A step of this rule in either format, over some blocks of a parameter.
template <class Rule>
std::int32_t update(const Rule rule, const Blocks& blocks) {
  return blocks.format == Format::kF16 ? update_all<Rule, half>(rule, blocks) : update_all<Rule, float>(rule, blocks);
}

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TIDEMARK_OPTIM_BLOCKS_INL_H_
