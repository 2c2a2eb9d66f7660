// Vectors of f32 from and to f16 in memory, for kernels that are compiled once for each instruction set: include it
// after hwy/foreach_target.h. The bits are those of compute/half.h.
#include <cstdint>

#include "hwy/highway.h"

#if defined(TIDEMARK_COMPUTE_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_COMPUTE_HALF_INL_H_
#undef TIDEMARK_COMPUTE_HALF_INL_H_
#else
#define TIDEMARK_COMPUTE_HALF_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::compute::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Lanes(df) halves as f32.
template <class DF, class V = hn::Vec<DF>>
HWY_INLINE V load_halves(DF df, const std::uint16_t* from) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2  // F16C does exactly this
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<std::uint16_t, DF> du16;
  return hn::PromoteTo(df, hn::BitCast(dh, hn::LoadU(du16, from)));
#else
  const hn::RebindToUnsigned<DF> du;
  const hn::RebindToSigned<DF> di;
  const hn::Rebind<std::uint16_t, DF> du16;
  const auto h = hn::PromoteTo(du, hn::LoadU(du16, from));
  const auto magnitude = hn::And(h, hn::Set(du, 0x7fffu));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(h, magnitude));
  const auto bias = hn::Set(du, 112u << 23);
  const auto normal = hn::Add(hn::ShiftLeft<13>(magnitude), bias);
  const auto subnormal = hn::BitCast(du, hn::Mul(hn::ConvertTo(df, hn::BitCast(di, magnitude)), hn::Set(df, 0x1p-24f)));
  const auto quiet = hn::IfThenElseZero(hn::Gt(magnitude, hn::Set(du, 0x7c00u)), hn::Set(du, 0x00400000u));
  const auto special = hn::Or(hn::Add(normal, bias), quiet);
  const auto finite = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 0x0400u)), subnormal, normal);
  const auto bits = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x7bffu)), special, finite);
  return hn::BitCast(df, hn::Or(sign, bits));
#endif
}

// Lanes whose bits are halves already, one in the low 16 bits of each, to memory.
template <class DU, class V = hn::Vec<DU>>
HWY_INLINE void store_half_bits(DU /*du*/, V bits, std::uint16_t* to) {
  const hn::Rebind<std::uint16_t, DU> du16;
  const hn::RebindToSigned<DU> di;
  hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di, bits)), du16, to);
}

// Lanes(df) values, rounded to nearest even.
template <class DF, class V = hn::Vec<DF>>
HWY_INLINE void store_halves(DF df, V v, std::uint16_t* to) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, DF> dh;
  const hn::Rebind<std::uint16_t, DF> du16;
  hn::StoreU(hn::BitCast(du16, hn::DemoteTo(dh, v)), du16, to);
#else
  const hn::RebindToUnsigned<DF> du;
  const auto bits = hn::BitCast(du, v);
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7fffffffu));
  const auto sign = hn::ShiftRight<16>(hn::Xor(bits, magnitude));
  const auto cut = hn::ShiftRight<13>(magnitude);
  const auto odd = hn::And(cut, hn::Set(du, 1u));
  const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, hn::Set(du, 0x0fffu - (112u << 23))), odd));
  const auto half_value = hn::Set(df, 0.5f);
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(df, magnitude), half_value)), hn::BitCast(du, half_value));
  const auto nan = hn::Or(hn::And(cut, hn::Set(du, 0x03ffu)), hn::Set(du, 0x7e00u));
  auto rounded = hn::IfThenElse(hn::Lt(magnitude, hn::Set(du, 0x38800000u)), subnormal, normal);
  rounded = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x477fffffu)), hn::Set(du, 0x7c00u), rounded);
  rounded = hn::IfThenElse(hn::Gt(magnitude, hn::Set(du, 0x7f800000u)), nan, rounded);
  store_half_bits(du, hn::Or(sign, rounded), to);
#endif
}

}  // namespace tidemark::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
