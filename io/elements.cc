#include "io/elements.h"

#include <bit>
#include <cstring>

namespace tidemark::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "elements are swapped where the file's are not little-endian");

constexpr std::uint8_t swapped(std::uint8_t bits) { return bits; }
constexpr std::uint16_t swapped(std::uint16_t bits) { return __builtin_bswap16(bits); }
constexpr std::uint32_t swapped(std::uint32_t bits) { return __builtin_bswap32(bits); }
constexpr std::uint64_t swapped(std::uint64_t bits) { return __builtin_bswap64(bits); }

constexpr std::uint32_t mask(bool all) { return all ? ~0U : 0U; }

// Without branches, so that compilers make vectors of it. A NaN stays one, and becomes quiet.
constexpr std::uint32_t f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  const std::uint32_t subnormal = mask(magnitude < 0x0400u);
  const std::uint32_t special = mask(magnitude >= 0x7c00u);
  const std::uint32_t nan = mask(magnitude > 0x7c00u);
  // The exponents' biases are 15 and 127.
  const std::uint32_t scaled = (magnitude << 13) + (112u << 23) + (special & (112u << 23));
  const auto counted = std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24f);
  return sign | (scaled & ~subnormal) | (counted & subnormal) | (nan & 0x00400000u);
}

template <class T>
struct Same {
  using From = T;
  using To = T;
  static constexpr T convert(T bits) { return bits; }
};
struct F16 {
  using From = std::uint16_t;
  using To = std::uint32_t;
  static constexpr To convert(From bits) { return f16_to_f32(bits); }
};
struct BF16 {
  using From = std::uint16_t;
  using To = std::uint32_t;
  static constexpr To convert(From bits) { return To{bits} << 16; }
};
struct F64 {
  using From = std::uint64_t;
  using To = std::uint32_t;
  static constexpr To convert(From bits) { return std::bit_cast<To>(static_cast<float>(std::bit_cast<double>(bits))); }
};

template <class Conversion, bool kSwap>
void convert_one(const std::uint8_t* from, std::uint8_t* to) {
  typename Conversion::From bits;
  std::memcpy(&bits, from, sizeof bits);
  if constexpr (kSwap) bits = swapped(bits);
  const typename Conversion::To out = Conversion::convert(bits);
  std::memcpy(to, &out, sizeof out);
}

template <class Conversion, bool kSwap>
void convert_all(const std::uint8_t* __restrict from, std::int64_t count, std::uint8_t* __restrict to,
                 std::int64_t stride) {
  constexpr std::int64_t kFrom = sizeof(typename Conversion::From);
  constexpr std::int64_t kTo = sizeof(typename Conversion::To);
  if (stride == 1) {
    for (std::int64_t i = 0; i < count; ++i) convert_one<Conversion, kSwap>(from + i * kFrom, to + i * kTo);
  } else {
    for (std::int64_t i = 0; i < count; ++i) convert_one<Conversion, kSwap>(from + i * kFrom, to + i * stride * kTo);
  }
}

template <class Conversion>
Place choose(bool swap) {
  return swap ? &convert_all<Conversion, true> : &convert_all<Conversion, false>;
}

}  // namespace

Place placer(StoredType type, bool big_endian) {
  switch (size_of(type)) {
    case 1:
      return choose<Same<std::uint8_t>>(false);
    case 2:
      return choose<Same<std::uint16_t>>(big_endian);
    case 4:
      return choose<Same<std::uint32_t>>(big_endian);
    default:
      return choose<Same<std::uint64_t>>(big_endian);
  }
}

Place float_placer(StoredType type, bool big_endian) {
  switch (type) {
    case StoredType::kF16:
      return choose<F16>(big_endian);
    case StoredType::kBF16:
      return choose<BF16>(big_endian);
    case StoredType::kF64:
      return choose<F64>(big_endian);
    default:
      return nullptr;
  }
}

}  // namespace tidemark::io
