// Many steps of the kernels against the same optimizers in double precision: where plain f16 goes wrong.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "tests/optim/arrays.h"

namespace tidemark::optim {
namespace {

using testing::AdamW64;
using testing::Arrays;
using testing::deviation;
using testing::Sgd64;

constexpr AdamWStep kAdamW{.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0, .step = 1};

// (1 - beta2) g^2 has no f16 here: with a plain f16 second moment the update would be m / eps, millions of times too
// large.
TEST(AdamW, FollowsDoublePrecisionWhereAPlainSecondMomentUnderflows) {
  for (const float gradient : {1e-3f, 1e-4f, 1e-5f, 1e-6f, 1e-7f, 1e-8f}) {
    ASSERT_EQ(compute::float_to_half(0.001f * gradient * gradient), 0);
    Arrays arrays(Format::kF16, 2, 300);
    for (std::size_t i = 0; i < arrays.g.size(); ++i) arrays.g[i] = i % 2 == 0 ? gradient : -gradient;
    testing::fill_normal(arrays.parameters(), 1, 1);
    const std::vector<float> from(arrays.p);
    AdamW64 reference(arrays.parameters());
    AdamWStep step = kAdamW;
    step.eps = 1e-12f;
    for (step.step = 1; step.step <= 1000; ++step.step) {
      arrays.step(step);
      reference.step(step, arrays.g);
    }
    EXPECT_LT(deviation(arrays.parameters(), from, reference.p), 4e-3) << gradient;
  }
}

// Gradients in one block that differ by up to 2^27, with signs and sizes that change from step to step.
TEST(AdamW, FollowsDoublePrecisionWhereABlockHoldsManyScales) {
  Arrays arrays(Format::kF16, 2, 4 * kBlock);
  const std::vector<float> from(arrays.p);
  AdamW64 reference(arrays.parameters());
  AdamWStep step = kAdamW;
  step.eps = 1e-15f;
  for (step.step = 1; step.step <= 1000; ++step.step) {
    testing::fill_spread(arrays.g, static_cast<std::uint64_t>(step.step), 26);
    arrays.step(step);
    reference.step(step, arrays.g);
  }
  for (std::int64_t i = 0; i < arrays.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_NEAR(arrays.value(1, i) / std::sqrt(reference.v[at]), 1, 0.02) << "2^-" << i % 26;
    EXPECT_NEAR(arrays.p[at], reference.p[at], 0.03 * 0.03) << "2^-" << i % 26;  // 0.03: a walk of 1000 steps
  }
}

// With nearest rounding s stands still while |g^2 / v - 1| < ulp / (1 - beta2): 0.49 at 0.999, always at 0.9999.
TEST(AdamW, SecondMomentReachesItsFixedPointAfterASmallChange) {
  struct Case {
    float beta2;
    int steps;
  };
  for (const auto [beta2, steps] : {Case{0.999f, 8000}, Case{0.9999f, 80000}}) {
    for (const double change : {1.1, 1.01, 1.001, 0.999, 0.99, 0.9}) {
      Arrays arrays(Format::kF16, 2, kBlock);
      testing::fill_normal(arrays.g, 4, 1);
      AdamWStep step = kAdamW;
      step.beta2 = 0;
      arrays.step(step);  // s = |g|
      const std::vector<float> before(arrays.g);
      for (float& g : arrays.g) g = static_cast<float>(g * std::sqrt(change));
      step.beta2 = beta2;
      for (step.step = 2; step.step <= steps; ++step.step) arrays.step(step);
      double bias = 0;
      for (std::int64_t i = 0; i < kBlock; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double s = arrays.value(1, i) / std::abs(arrays.g[at]);
        EXPECT_NEAR(s, 1, 0.01) << "beta2 " << beta2 << ", change " << change;
        bias += (s - 1) / kBlock;
      }
      EXPECT_NEAR(bias, 0, 2e-4) << "beta2 " << beta2 << ", change " << change;
    }
  }
}

// The median error of s where gradients are drawn anew in each step.
TEST(AdamW, SecondMomentIsAccurateOnTheAverage) {
  Arrays arrays(Format::kF16, 2, 16 * kBlock);
  AdamW64 reference(arrays.parameters());
  AdamWStep step = kAdamW;
  for (step.step = 1; step.step <= 4000; ++step.step) {
    testing::fill_normal(arrays.g, static_cast<std::uint64_t>(step.step), 1e-4f);
    arrays.step(step);
    reference.step(step, arrays.g);
  }
  std::vector<double> errors;
  double bias = 0;
  for (std::int64_t i = 0; i < arrays.size(); ++i) {
    const double off = arrays.value(1, i) / std::sqrt(reference.v[static_cast<std::size_t>(i)]) - 1;
    errors.push_back(std::abs(off));
    bias += off / static_cast<double>(arrays.size());
  }
  std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2), errors.end());
  EXPECT_LT(errors[errors.size() / 2], 0.004);
  EXPECT_NEAR(bias, 0, 2e-4);
}

// The scale of all gradients falls by 1000: s must fall with it, as slowly as beta2 says.
TEST(AdamW, SecondMomentDecaysAfterADropOfTheScale) {
  Arrays arrays(Format::kF16, 2, 2 * kBlock);
  AdamW64 reference(arrays.parameters());
  AdamWStep step = kAdamW;
  for (step.step = 1; step.step <= 20000; ++step.step) {
    const float scale = step.step <= 500 ? 1e-2f : 1e-5f;
    testing::fill_normal(arrays.g, static_cast<std::uint64_t>(step.step), scale);
    arrays.step(step);
    reference.step(step, arrays.g);
    if (step.step % 500 != 0) continue;
    double mean = 0;
    for (std::int64_t i = 0; i < arrays.size(); ++i) {
      const double ratio = arrays.value(1, i) / std::sqrt(reference.v[static_cast<std::size_t>(i)]);
      ASSERT_NEAR(ratio, 1, 0.05) << "step " << step.step;
      mean += ratio / static_cast<double>(arrays.size());
    }
    ASSERT_NEAR(mean, 1, 4e-3) << "step " << step.step;
  }
}

TEST(AdamW, ZeroGradientsFromTheStartChangeNothingButByWeightDecay) {
  Arrays arrays(Format::kF16, 2, 300);
  testing::fill_normal(arrays.parameters(), 6, 1);
  std::vector<float> expected(arrays.p);
  AdamWStep step = kAdamW;
  for (step.step = 1; step.step <= 1000; ++step.step) arrays.step(step);
  EXPECT_EQ(arrays.p, expected);
  step.weight_decay = 0.1f;
  arrays.step(step);
  for (std::size_t i = 0; i < arrays.g.size(); ++i) expected[i] *= static_cast<float>(1 - 1e-3 * 0.1);
  for (std::size_t i = 0; i < arrays.g.size(); ++i) EXPECT_FLOAT_EQ(arrays.p[i], expected[i]);
  for (std::int64_t i = 0; i < arrays.size(); ++i) EXPECT_EQ(arrays.value(0, i) + arrays.value(1, i), 0);
}

// A block that had gradients once and has none any more, with and without one that goes on.
TEST(AdamW, ZeroGradientsForeverNeverGiveAZeroRootOrNan) {
  for (const float beta2 : {0.5f, 0.9f, 0.999f}) {
    for (const bool one_goes_on : {false, true}) {
      Arrays arrays(Format::kF16, 2, kBlock);
      testing::fill_spread(arrays.g, 7, 20);
      AdamWStep step = kAdamW;
      step.beta1 = 0.5f;
      step.beta2 = beta2;
      arrays.step(step);
      std::vector<double> first;
      for (std::int64_t i = 0; i < kBlock; ++i) first.push_back(arrays.value(1, i));
      std::fill(arrays.g.begin(), arrays.g.end(), 0.0f);
      if (one_goes_on) arrays.g[5] = 1;
      for (step.step = 2; step.step <= 30000; ++step.step) {
        arrays.step(step);
        if (step.step > 300 && step.step % 97 != 0) continue;
        const double decay = std::pow(static_cast<double>(beta2), 0.5 * static_cast<double>(step.step - 1));
        for (std::int64_t i = 0; i < kBlock; ++i) {
          const double s = arrays.value(1, i);
          const double m = arrays.value(0, i);
          // A root below 2^-74 has no square in f32.
          if (one_goes_on || first[static_cast<std::size_t>(i)] * decay > 0x1p-74) {
            ASSERT_GT(s, 0) << beta2 << ", step " << step.step << ", " << i;
          }
          ASSERT_TRUE(std::isfinite(m) && std::isfinite(s) && std::isfinite(arrays.p[static_cast<std::size_t>(i)]));
        }
      }
      for (std::int64_t i = 0; i < kBlock; ++i) {
        ASSERT_LT(std::abs(arrays.p[static_cast<std::size_t>(i)]), one_goes_on && i == 5 ? 31 : 0.02);
      }
    }
  }
}

// The bound of exact arithmetic, sup |M| / S = (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)) = 7.27, is reached by
// gradients that grow by b2 / b1 a step.
TEST(AdamW, UpdatesAreBounded) {
  constexpr double kBound = 7.27;
  AdamWStep step = kAdamW;
  step.lr = 1;
  step.eps = std::numeric_limits<float>::min();
  const auto largest_update = [&](auto&& fill, int steps) {
    Arrays arrays(Format::kF16, 2, 2 * kBlock);
    double largest = 0;
    for (int t = 0; t < steps; ++t) {
      step.step = 10'000'000 + t;  // no bias correction
      fill(arrays, t);
      std::fill(arrays.p.begin(), arrays.p.end(), 0.0f);
      arrays.step(step);
      for (std::int64_t i = 0; i < arrays.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(arrays.p[static_cast<std::size_t>(i)])));
      }
    }
    return largest;
  };
  const auto growing = [&](int octaves) {  // of scales in a block
    return largest_update(
        [octaves](Arrays& arrays, int t) {
          for (int i = 0; i < static_cast<int>(arrays.size()); ++i) {
            const double g = 1e-3 * (1 + i / 300.0) * std::pow(1.11, t);
            arrays.g[static_cast<std::size_t>(i)] = static_cast<float>(std::ldexp(g, -(i % octaves)));
          }
        },
        300);
  };
  EXPECT_GT(growing(1), 0.99 * kBound);  // the bound is one that is met
  EXPECT_LT(growing(1), 1.005 * kBound);
  EXPECT_LT(growing(28), 1.005 * kBound);
  EXPECT_LT(growing(46), 16);  // units of f16 stand for values that are less: twice, at most
  const double heavy_tailed = largest_update(
      [](Arrays& arrays, int t) {
        testing::fill_normal(arrays.g, static_cast<std::uint64_t>(t), 1);
        for (float& g : arrays.g) g = std::abs(g) < 1e-6f ? 0 : 1 / g;  // a variable without variance
      },
      3000);
  EXPECT_GT(heavy_tailed, 3);
  EXPECT_LT(heavy_tailed, 1.005 * kBound);
}

TEST(AdamW, WithF32StateIsDoublePrecisionButForRounding) {
  Arrays arrays(Format::kF32, 2, 1000);
  testing::fill_normal(arrays.parameters(), 8, 1);
  const std::vector<float> from(arrays.p);
  AdamW64 reference(arrays.parameters());
  AdamWStep step{.lr = 1e-2f, .beta1 = 0.8f, .beta2 = 0.95f, .eps = 1e-6f, .weight_decay = 0.1f, .step = 1};
  for (; step.step <= 500; ++step.step) {
    testing::fill_normal(arrays.g, static_cast<std::uint64_t>(step.step), 1e-3f);
    arrays.step(step);
    reference.step(step, arrays.g);
  }
  EXPECT_LT(deviation(arrays.parameters(), from, reference.p), 1e-5);
  for (std::int64_t i = 0; i < arrays.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_NEAR(arrays.value(0, i), reference.m[at], 1e-8);
    EXPECT_NEAR(arrays.value(1, i) / std::sqrt(reference.v[at]), 1, 1e-5);
  }
}

TEST(AdamW, WithF16StateStaysNearDoublePrecision) {
  Arrays arrays(Format::kF16, 2, 1000);
  testing::fill_normal(arrays.parameters(), 8, 1);
  const std::vector<float> from(arrays.p);
  AdamW64 reference(arrays.parameters());
  AdamWStep step = kAdamW;
  step.weight_decay = 0.1f;
  for (; step.step <= 2000; ++step.step) {
    testing::fill_normal(arrays.g, static_cast<std::uint64_t>(step.step), 1e-3f);
    arrays.step(step);
    reference.step(step, arrays.g);
  }
  EXPECT_LT(deviation(arrays.parameters(), from, reference.p), 3e-3);
}

TEST(Sgd, FollowsDoublePrecision) {
  struct Case {
    const char* name;
    Format format;
    float momentum;
    bool nesterov;
    float weight_decay;
    double tolerance;
  };
  for (const Case& c :
       {Case{"f32", Format::kF32, 0.9f, false, 0.01f, 1e-5},
        Case{"f32, Nesterov", Format::kF32, 0.9f, true, 0.01f, 1e-5},
        Case{"f16", Format::kF16, 0.9f, false, 0.01f, 1e-3}, Case{"f16, Nesterov", Format::kF16, 0.9f, true, 0, 1e-3},
        Case{"f16, long memory", Format::kF16, 0.99f, false, 0, 4e-3},
        Case{"no momentum", Format::kF16, 0, false, 0.01f, 1e-5}}) {
    Arrays arrays(c.format, c.momentum > 0 ? 1 : 0, 1000);
    testing::fill_normal(arrays.parameters(), 9, 1);
    const std::vector<float> from(arrays.p);
    Sgd64 reference(arrays.parameters());
    SgdStep step{.lr = 0.05f, .momentum = c.momentum, .weight_decay = c.weight_decay, .nesterov = c.nesterov};
    for (step.step = 1; step.step <= 500; ++step.step) {
      testing::fill_spread(arrays.g, static_cast<std::uint64_t>(step.step), 20);
      arrays.step(step);
      reference.step(step, arrays.g);
    }
    EXPECT_LT(deviation(arrays.parameters(), from, reference.p), c.tolerance) << c.name;
  }
}

// Gradients that are the same in every step and far below the momentum's f16 unit when they begin: nearest rounding
// would never let them in.
TEST(Sgd, MomentumTakesInWhatIsBelowItsUnit) {
  Arrays arrays(Format::kF16, 1, kBlock);
  std::fill(arrays.g.begin(), arrays.g.end(), 1.0f);
  SgdStep step{.lr = 1e-3f, .momentum = 0.999f, .step = 1};
  Sgd64 reference(arrays.parameters());
  for (; step.step <= 5000; ++step.step) {
    if (step.step == 2) std::fill(arrays.g.begin(), arrays.g.end(), 1e-3f * 1.1f);
    arrays.step(step);
    reference.step(step, arrays.g);
  }
  for (std::int64_t i = 0; i < kBlock; ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_NEAR(arrays.value(0, i) / reference.m[at], 1, 0.01);
    EXPECT_NEAR(arrays.p[at] / reference.p[at], 1, 3e-3);
  }
}

}  // namespace
}  // namespace tidemark::optim
