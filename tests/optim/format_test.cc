// The 16-bit format by itself: what one step stores for moments that are known exactly.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "tests/optim/arrays.h"

namespace tidemark::optim {
namespace {

using testing::Arrays;

// From a state of zeros, momentum and s are exactly |g| of the step.
constexpr SgdStep remember_gradient(std::int64_t step) { return {.lr = 0, .momentum = 0.5f, .step = step}; }
constexpr AdamWStep remember_magnitude(std::int64_t step) {
  return {.lr = 0, .beta1 = 0, .beta2 = 0, .eps = 1, .step = step};
}

// The unit of the f16 that x of a block with this exponent becomes.
double unit_of(double x, int exponent) {
  return std::ldexp(1.0, std::max(std::ilogb(x) - exponent, -14) - 10 + exponent);
}

TEST(Format, StateHasTwoBytesAValueAndOneABlock) {
  EXPECT_EQ(state_bytes(Format::kF16, 2, 1), 6);
  EXPECT_EQ(state_bytes(Format::kF16, 2, 256), 1026);
  EXPECT_EQ(state_bytes(Format::kF16, 2, 257), 1032);
  EXPECT_EQ(state_bytes(Format::kF16, 1, 257), 516);
  EXPECT_EQ(state_bytes(Format::kF32, 2, 257), 2056);
  EXPECT_EQ(state_bytes(Format::kF32, 1, 257), 1028);
}

// Blocks at every scale that a gradient can have, each with values down to 2^-45 of its largest.
TEST(Format, ErrorIsLessThanAUnitAndThatIsLessThanTwoToTheMinusTen) {
  constexpr int kBlocks = 160;
  Arrays momentum(Format::kF16, 1, kBlocks * kBlock);
  testing::fill_spread(momentum.g, 1, 45);
  for (std::int64_t i = 0; i < momentum.size(); ++i) {
    float& x = momentum.g[static_cast<std::size_t>(i)];
    const int scale = static_cast<int>(i / kBlock) - 100;  // 2^-100 to 2^59
    x = std::ldexp(i % kBlock == 0 ? 1.9999f : std::clamp(x, -1.0f, 1.0f), scale);
  }
  Arrays root(Format::kF16, 2, momentum.size());
  root.g = momentum.g;
  for (std::int64_t t = 1; t <= 50; ++t) {
    momentum.forget();
    root.forget();
    momentum.step(remember_gradient(t));
    root.step(remember_magnitude(t));
    for (std::int64_t i = 0; i < momentum.size(); ++i) {
      const double x = momentum.g[static_cast<std::size_t>(i)];
      const double largest = std::abs(momentum.g[static_cast<std::size_t>(i / kBlock * kBlock)]);
      const double m = momentum.value(0, i);
      ASSERT_LT(std::abs(m - x), unit_of(x, momentum.exponent(0, i))) << "value " << x << " in step " << t;
      ASSERT_GE(m * x, 0);
      if (std::abs(x) >= std::ldexp(largest, -28)) {
        ASSERT_LT(std::abs(m - x), std::ldexp(std::abs(x), -10)) << "value " << x << " in step " << t;
      }
      // A square below 2^-126 has lost bits before the root is taken.
      if (std::abs(x) < 0x1p-62) continue;
      const double s = root.value(1, i);
      ASSERT_LT(std::abs(s - std::abs(x)), unit_of(x, root.exponent(1, i)) * (1 + 1e-6))
          << "root " << x << " in step " << t;
      if (std::abs(x) >= std::ldexp(largest, -28)) {
        ASSERT_LT(std::abs(s - std::abs(x)), std::ldexp(std::abs(x), -10)) << "root " << x << " in step " << t;
      }
    }
  }
}

// What a value is stored as is, on the average over steps and over places, the value: also where it is less than the
// smallest f16 of its block.
TEST(Format, DitherIsUnbiasedOverStepsAndOverPlaces) {
  constexpr std::int64_t kSteps = 4096;
  constexpr std::int64_t kBlocks = 8;
  Arrays arrays(Format::kF16, 1, kBlocks * kBlock);
  testing::fill_spread(arrays.g, 2, 42);
  for (std::int64_t block = 0; block < kBlocks; ++block) arrays.g[static_cast<std::size_t>(block * kBlock)] = 1.75f;
  std::vector<double> error(arrays.g.size());  // in units
  double worst_step = 0;
  for (std::int64_t t = 1; t <= kSteps; ++t) {
    arrays.forget();
    arrays.step(remember_gradient(t));
    double step_error = 0;
    for (std::int64_t i = 0; i < arrays.size(); ++i) {
      const double x = arrays.g[static_cast<std::size_t>(i)];
      const double off = (arrays.value(0, i) - x) / unit_of(x, arrays.exponent(0, i)) * (x < 0 ? -1 : 1);
      error[static_cast<std::size_t>(i)] += off / kSteps;
      step_error += off / static_cast<double>(arrays.size());
    }
    worst_step = std::max(worst_step, std::abs(step_error));
  }
  // In time the dither is spread evenly, not drawn: errors cancel far better than as 1/sqrt(steps), which is 0.008.
  for (std::size_t i = 0; i < error.size(); ++i) EXPECT_LT(std::abs(error[i]), 0.002) << arrays.g[i];
  EXPECT_LT(worst_step, 0.05);  // 2048 places: 1/sqrt(places) is 0.011
}

// The same values everywhere: neighbours, blocks, parameters, seeds and the two moments are rounded independently.
TEST(Format, DitherDiffersByPlaceMomentParameterAndSeed) {
  constexpr std::int64_t n = 64 * kBlock;
  const auto ups = [&](State state, int moment, std::int64_t t) {  // which values were rounded up
    Arrays arrays(Format::kF16, 2, n);
    std::fill(arrays.g.begin(), arrays.g.end(), 1 + 0x1p-11f);  // half a unit above 1
    state.bytes = arrays.bytes.data();
    adamw(remember_magnitude(t), n, arrays.p.data(), arrays.g.data(), state, 1);
    std::vector<bool> up(n);
    for (std::int64_t i = 0; i < n; ++i) up[static_cast<std::size_t>(i)] = arrays.value(moment, i) > 1;
    return up;
  };
  const auto agreement = [&](const std::vector<bool>& a, const std::vector<bool>& b) {
    double equal = 0;
    for (std::size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i];
    return equal / static_cast<double>(a.size());
  };
  const State base{.seed = 1, .parameter = 0};
  const std::vector<bool> first = ups(base, 0, 1);
  EXPECT_NEAR(static_cast<double>(std::count(first.begin(), first.end(), true)) / n, 0.5, 0.03);
  EXPECT_EQ(agreement(first, ups(base, 0, 1)), 1);
  EXPECT_NEAR(agreement(first, ups(base, 1, 1)), 0.5, 0.1);
  EXPECT_NEAR(agreement(first, ups({.seed = 2, .parameter = 0}, 0, 1)), 0.5, 0.1);
  EXPECT_NEAR(agreement(first, ups({.seed = 1ull << 40 | 1, .parameter = 0}, 0, 1)), 0.5, 0.1);
  EXPECT_NEAR(agreement(first, ups({.seed = 1, .parameter = 1}, 0, 1)), 0.5, 0.1);
  for (const std::int64_t lag : {std::int64_t{1}, std::int64_t{2}, std::int64_t{16}, kBlock, 2 * kBlock}) {
    const std::vector<bool> here(first.begin(), first.end() - lag);
    const std::vector<bool> there(first.begin() + lag, first.end());
    EXPECT_NEAR(agreement(here, there), 0.5, 0.15) << lag;
  }
}

// Whatever the other values of its block are, a root above 0 is stored above 0, and a zero as zero.
TEST(Format, PositiveRootNeverBecomesZeroAndZeroStaysZero) {
  Arrays arrays(Format::kF16, 2, kBlock);
  for (std::size_t i = 0; i < arrays.g.size(); ++i) {
    arrays.g[i] = i % 3 == 2 ? 0.0f : std::ldexp(1.0f, -static_cast<int>(i / 5));  // to 2^-51
  }
  arrays.g[0] = 1024;
  for (std::int64_t t = 1; t <= 2000; ++t) {
    arrays.forget();
    arrays.step(remember_magnitude(t));
    for (std::int64_t i = 0; i < kBlock; ++i) {
      ASSERT_EQ(arrays.value(1, i) > 0, arrays.g[static_cast<std::size_t>(i)] > 0) << i << " in step " << t;
    }
  }
}

TEST(Format, ZerosOfABlockAndOfTheStartAreExact) {
  Arrays arrays(Format::kF16, 2, 3 * kBlock);
  arrays.g[300] = 1;  // in the second of three blocks
  arrays.step(remember_magnitude(1));
  for (std::int64_t i = 0; i < arrays.size(); ++i) {
    if (i == 300) continue;
    EXPECT_EQ(arrays.half(0, i), 0);
    EXPECT_EQ(arrays.half(1, i), 0);
  }
  EXPECT_EQ(arrays.value(0, 300), 1);
  EXPECT_EQ(arrays.value(1, 300), 1);
  EXPECT_EQ(arrays.exponent(1, 300), -14);
}

TEST(Gradients, AreRefusedFromTheLimitOnWhereverTheyAre) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float bad[] = {kInf,
                       -kInf,
                       std::nanf(""),
                       -std::nanf(""),
                       kGradientLimit,
                       -kGradientLimit,
                       std::bit_cast<float>(0x7f800001u)};  // a signalling NaN
  for (const std::int64_t n : {1, 15, 16, 255, 256, 257, 4096, 20000}) {
    std::vector<float> g(static_cast<std::size_t>(n));
    testing::fill_normal(g, 3, 1);
    g[0] = std::nextafter(kGradientLimit, 0.0f);
    ASSERT_TRUE(all_below(g.data(), n, kGradientLimit, 2));
    for (const std::int64_t at : {std::int64_t{0}, n / 3, n / 2, n - 1}) {
      for (const float x : bad) {
        const float good = std::exchange(g[static_cast<std::size_t>(at)], x);
        for (const int threads : {1, 2, 3}) {
          EXPECT_FALSE(all_below(g.data(), n, kGradientLimit, threads)) << x << " at " << at << " of " << n;
        }
        EXPECT_EQ(all_finite(g.data(), n, 2), std::isfinite(x));
        g[static_cast<std::size_t>(at)] = good;
      }
    }
  }
  EXPECT_TRUE(all_finite(nullptr, 0, 2));
}

}  // namespace
}  // namespace tidemark::optim
