// IEEE binary16 and f32. Round to nearest, ties to even; overflow gives infinity; subnormals are kept; a NaN stays a
// quiet NaN with the upper bits of its payload. One element or many, on any instruction set: the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace tidemark::compute {

// The bits of an IEEE binary16.
using half = std::uint16_t;

constexpr float half_to_float(half h) {
  const std::uint32_t sign = (h & 0x8000u) << 16;
  const std::uint32_t magnitude = h & 0x7fffu;
  std::uint32_t bits = (magnitude << 13) + (112u << 23);  // the exponents' biases are 15 and 127
  if (magnitude < 0x0400u) {
    bits = std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
  } else if (magnitude >= 0x7c00u) {
    bits = (bits + (112u << 23)) | (magnitude > 0x7c00u ? 0x00400000u : 0u);
  }
  return std::bit_cast<float>(sign | bits);
}

constexpr half float_to_half(float f) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t rounded = 0;
  if (magnitude > 0x7f800000u) {
    rounded = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
  } else if (magnitude >= 0x47800000u) {
    rounded = 0x7c00u;
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14 the steps of f16 are 2^-24, which is what f32 has from 0.5 up: the addition rounds.
    rounded = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    rounded = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<half>(sign | rounded);
}

// Arrays of n elements that do not overlap; no alignment needed.
void halves_to_floats(const half* from, float* to, std::int64_t n);
void floats_to_halves(const float* from, half* to, std::int64_t n);

}  // namespace tidemark::compute
