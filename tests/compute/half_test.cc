#include "compute/half.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/compute/targets.h"

namespace tidemark::compute {
namespace {

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t to_bits(float f) { return std::bit_cast<std::uint32_t>(f); }

// The definition of the format, in doubles.
double value_of(half h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

// Every sign, exponent and leading ten bits of an f32, with low bits at and beside zero, the tie, and all ones.
std::vector<float> interesting_floats() {
  std::vector<float> all;
  for (std::uint32_t high = 0; high < (1u << 19); ++high) {
    for (const std::uint32_t low : {0x0000u, 0x0001u, 0x0fffu, 0x1000u, 0x1001u, 0x1fffu}) {
      all.push_back(from_bits(high << 13 | low));
    }
  }
  return all;
}

TEST(Half, EveryHalfHasItsValue) {
  for (int h = 0; h < 65536; ++h) {
    const float f = half_to_float(static_cast<half>(h));
    if ((h & 0x7c00) == 0x7c00) {
      EXPECT_EQ((h & 1023) == 0, std::isinf(f));
      EXPECT_EQ((h & 1023) != 0, std::isnan(f));
      EXPECT_EQ((h & 0x8000) != 0, std::signbit(f));
      continue;
    }
    ASSERT_EQ(f, value_of(static_cast<half>(h)));
    ASSERT_EQ(std::signbit(f), (h & 0x8000) != 0);
    ASSERT_EQ(float_to_half(f), h);
  }
}

// Against a search among all halves for the nearest, the even one of two.
TEST(Half, RoundsToNearestEven) {
  for (const float f : interesting_floats()) {
    const half h = float_to_half(f);
    ASSERT_EQ(std::signbit(f), (h & 0x8000) != 0);
    if (std::isnan(f)) {
      ASSERT_TRUE(std::isnan(half_to_float(h)));
      continue;
    }
    const double x = std::abs(static_cast<double>(f));
    int low = 0;  // the largest half not above x
    for (int step = 1 << 14; step != 0; step /= 2) {
      if (low + step < 0x7c00 && value_of(static_cast<half>(low + step)) <= x) low += step;
    }
    // The step after the largest finite half counts as the next power of two: half way to it is infinity.
    const double below = value_of(static_cast<half>(low));
    const double above = low == 0x7bff ? 65536.0 : value_of(static_cast<half>(low + 1));
    int nearest = low;
    if (x - below > above - x || (x - below == above - x && low % 2 == 1)) nearest = low + 1;
    ASSERT_EQ(h & 0x7fff, nearest) << f;
  }
}

TEST(Half, VectorsGiveTheScalarBitsOnEveryTarget) {
  std::vector<half> halves(65536);
  std::iota(halves.begin(), halves.end(), half{0});
  std::vector<float> expected_floats(halves.size());
  std::transform(halves.begin(), halves.end(), expected_floats.begin(), half_to_float);
  const std::vector<float> floats = interesting_floats();
  std::vector<half> expected_halves(floats.size());
  std::transform(floats.begin(), floats.end(), expected_halves.begin(), float_to_half);
  int targets = 0;
  for_each_target([&](const std::string& target) {
    ++targets;
    std::vector<float> to_floats(halves.size());
    halves_to_floats(halves.data(), to_floats.data(), std::ssize(halves));
    for (std::size_t i = 0; i < halves.size(); ++i) {
      ASSERT_EQ(to_bits(to_floats[i]), to_bits(expected_floats[i])) << target << " " << i;
    }
    std::vector<half> to_halves(floats.size());
    floats_to_halves(floats.data(), to_halves.data(), std::ssize(floats));
    for (std::size_t i = 0; i < floats.size(); ++i) {
      ASSERT_EQ(to_halves[i], expected_halves[i]) << target << " " << std::hexfloat << floats[i];
    }
  });
  EXPECT_GE(targets, 1);
}

TEST(Half, OddSizesTouchNothingBeyond) {
  for_each_target([](const std::string& target) {
    for (int n = 0; n <= 33; ++n) {
      std::vector<float> floats(static_cast<std::size_t>(n) + 1, 7.0f);
      std::vector<half> halves(static_cast<std::size_t>(n) + 1, float_to_half(0.1f));
      halves_to_floats(halves.data(), floats.data(), n);
      EXPECT_EQ(floats.back(), 7.0f) << target;
      for (int i = 0; i < n; ++i) ASSERT_EQ(floats[static_cast<std::size_t>(i)], half_to_float(halves[0])) << target;
      std::fill(halves.begin(), halves.end(), half{0x1234});
      std::fill(floats.begin(), floats.end(), -1.0f);
      floats_to_halves(floats.data(), halves.data(), n);
      EXPECT_EQ(halves.back(), 0x1234) << target;
      for (int i = 0; i < n; ++i) ASSERT_EQ(halves[static_cast<std::size_t>(i)], 0xbc00) << target;
    }
  });
}

}  // namespace
}  // namespace tidemark::compute
