// Adam, Adagrad, RMSprop and Lion against the same in double precision: their conventions, tight bounds with f32 state,
// and where plain f16 goes wrong. trajectory_test.cc does so for AdamW and SGD.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/optim/arrays.h"

namespace tidemark::optim {
namespace {

using testing::Adagrad64;
using testing::Adam64;
using testing::Arrays;
using testing::deviation;
using testing::Lion64;
using testing::Rmsprop64;

constexpr AdamStep kAdam{.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0};
constexpr AdagradStep kAdagrad{.lr = 1e-2f, .lr_decay = 0, .eps = 1e-10f, .weight_decay = 0, .initial = 0};
constexpr RmspropStep kRmsprop{.lr = 1e-3f, .alpha = 0.99f, .eps = 1e-8f, .momentum = 0, .weight_decay = 0};
constexpr LionStep kLion{.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.99f, .weight_decay = 0};

RmspropStep rmsprop_step(bool centered, float momentum) {
  RmspropStep step = kRmsprop;
  step.centered = centered;
  step.momentum = momentum;
  step.buffered = momentum > 0;
  return step;
}
int moments_of(const RmspropStep& step) { return 1 + (step.centered ? 1 : 0) + (step.buffered ? 1 : 0); }

template <class Reference, class Step>
std::array<double, 3> conventions(Step step) {
  const std::array<float, 3> initial = {1, -2, 0.5f};
  Reference reference(initial);
  for (int t = 0; t < 20; ++t) {
    step.step = t + 1;
    std::array<float, 3> g{};
    for (int i = 0; i < 3; ++i) {
      g[static_cast<std::size_t>(i)] = static_cast<float>(std::sin(1 + 3 * t + i) * std::pow(10.0, -i));
    }
    reference.step(step, g);
  }
  return {reference.p[0], reference.p[1], reference.p[2]};
}
void expect_near(const std::array<double, 3>& actual, const std::array<double, 3>& expected) {
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(actual[i], expected[i], 1e-6) << i;
}

// The values are those of PyTorch 1.13 in f64, with the same gradients not rounded to f32; Lion's of its paper's lines.
TEST(References, FollowPyTorch) {
  expect_near(conventions<Adam64>(
                  AdamStep{.lr = 0.125f, .beta1 = 0.875f, .beta2 = 0.96875f, .eps = 0x1p-20f, .weight_decay = 0.125f}),
              {0.40188552595486066, -0.029111472269283546, 0.1025726197155668});
  expect_near(conventions<Adagrad64>(AdagradStep{
                  .lr = 0.125f, .lr_decay = 0.125f, .eps = 0x1p-20f, .weight_decay = 0.125f, .initial = 0.25f}),
              {0.8516354174077586, -1.639382340441149, 0.3660286161881707});
  const auto rmsprop = [](bool centered, float momentum) {
    return conventions<Rmsprop64>(RmspropStep{.lr = 0.125f,
                                              .alpha = 0.96875f,
                                              .eps = 0x1p-20f,
                                              .momentum = momentum,
                                              .weight_decay = 0.125f,
                                              .centered = centered});
  };
  expect_near(rmsprop(false, 0), {0.0920747840367982, -0.08285265254956553, 0.027576236599972784});
  expect_near(rmsprop(false, 0.875f), {0.3838877524576514, 0.6140329612743173, 0.1572762051700331});
  expect_near(rmsprop(true, 0), {0.0787183569280906, -0.08234934285651481, 0.027479907520820024});
  expect_near(rmsprop(true, 0.875f), {0.4161836152977464, 0.6276453722828109, 0.16563768466155182});
  expect_near(conventions<Lion64>(LionStep{.lr = 0.125f, .beta1 = 0.875f, .beta2 = 0.96875f, .weight_decay = 0.125f}),
              {0.5181876797232358, -1.68503484386949, 0.3819260906100323});
}

// How far the kernel is from the reference after so many steps of gradients that `fill` draws.
template <class Reference, class Step, class Fill>
double off_after(int steps, Format format, int moments, Step step, const Fill& fill, std::int64_t n = 1000) {
  Arrays arrays(format, moments, n);
  testing::fill_normal(arrays.parameters(), 8, 1);
  const std::vector<float> from(arrays.p);
  Reference reference(arrays.parameters());
  for (step.step = 1; step.step <= steps; ++step.step) {
    fill(arrays, step.step);
    arrays.step(step);
    reference.step(step, arrays.g);
  }
  EXPECT_TRUE(arrays.guards_whole());
  return deviation(arrays.parameters(), from, reference.p);
}

const auto kNormal = [](Arrays& arrays, std::int64_t t) {
  testing::fill_normal(arrays.g, static_cast<std::uint64_t>(t), 1e-3f);
};

TEST(Rules, WithF32StateAreDoublePrecisionButForRounding) {
  const auto with_decay = [](auto step) {
    step.weight_decay = 0.01f;
    return step;
  };
  AdagradStep adagrad = with_decay(kAdagrad);
  adagrad.lr_decay = 0.01f;
  adagrad.initial = 1e-6f;
  EXPECT_LT((off_after<Adam64>(500, Format::kF32, 2, with_decay(kAdam), kNormal)), 1e-5);
  EXPECT_LT((off_after<Adagrad64>(500, Format::kF32, 1, adagrad, kNormal)), 3e-5);
  for (const bool centered : {false, true}) {
    for (const float momentum : {0.0f, 0.9f}) {
      const RmspropStep step = with_decay(rmsprop_step(centered, momentum));
      EXPECT_LT((off_after<Rmsprop64>(500, Format::kF32, moments_of(step), step, kNormal)), 3e-5)
          << centered << momentum;
    }
  }
  EXPECT_LT((off_after<Lion64>(500, Format::kF32, 1, with_decay(kLion), kNormal)),
            3e-4);  // a walk: short, of values about 1
}

TEST(Rules, WithF16StateStayNearDoublePrecision) {
  EXPECT_LT((off_after<Adam64>(2000, Format::kF16, 2, kAdam, kNormal)), 6e-3);
  EXPECT_LT((off_after<Adagrad64>(2000, Format::kF16, 1, kAdagrad, kNormal)), 3e-3);
  for (const bool centered : {false, true}) {
    for (const float momentum : {0.0f, 0.9f}) {
      const RmspropStep step = rmsprop_step(centered, momentum);
      EXPECT_LT((off_after<Rmsprop64>(2000, Format::kF16, moments_of(step), step, kNormal)), 3e-3)
          << centered << momentum;
    }
  }
  // A sign changes where the mix is within a rounding of 0: a few updates of 2000 go the other way.
  EXPECT_LT((off_after<Lion64>(2000, Format::kF16, 1, kLion, kNormal)), 0.1);
}

// Squares of these gradients have no f16: a plain second moment would be 0, and the update g / eps.
TEST(Rules, FollowDoublePrecisionWhereAPlainSecondMomentUnderflows) {
  for (const float size : {1e-3f, 1e-5f, 1e-8f}) {
    const auto constant = [size](Arrays& arrays, std::int64_t) {
      for (std::size_t i = 0; i < arrays.g.size(); ++i) arrays.g[i] = i % 2 == 0 ? size : -size;
    };
    AdamStep adam = kAdam;
    AdagradStep adagrad = kAdagrad;
    RmspropStep rmsprop = kRmsprop;
    adam.eps = adagrad.eps = rmsprop.eps = 1e-12f;
    EXPECT_LT((off_after<Adam64>(1000, Format::kF16, 2, adam, constant, 300)), 4e-3) << size;
    EXPECT_LT((off_after<Adagrad64>(1000, Format::kF16, 1, adagrad, constant, 300)), 4e-3) << size;
    EXPECT_LT((off_after<Rmsprop64>(1000, Format::kF16, 1, rmsprop, constant, 300)), 4e-3) << size;
    // The sign is all that there is to it.
    EXPECT_LT((off_after<Lion64>(1000, Format::kF16, 1, kLion, constant, 300)), 1e-4) << size;
  }
}

// Gradients in one block that differ by up to 2^25: each follows its own size.
TEST(Rules, FollowDoublePrecisionWhereABlockHoldsManyScales) {
  const auto check = [](auto reference, auto step, int moments, int root, double most, const char* name) {
    Arrays arrays(Format::kF16, moments, 4 * kBlock);
    arrays.root = root;
    for (step.step = 1; step.step <= 1000; ++step.step) {
      testing::fill_spread(arrays.g, static_cast<std::uint64_t>(step.step), 26);
      arrays.step(step);
      reference.step(step, arrays.g);
    }
    for (std::int64_t i = 0; i < arrays.size(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_NEAR(arrays.value(root, i) / std::sqrt(reference.v[at]), 1, 0.02) << name << ": 2^-" << i % 26;
      EXPECT_NEAR(arrays.p[at], reference.p[at], most) << name << ": 2^-" << i % 26;
    }
  };
  const std::vector<float> zeros(4 * kBlock);
  AdamStep adam = kAdam;
  AdagradStep adagrad = kAdagrad;
  RmspropStep rmsprop = kRmsprop;
  adam.eps = adagrad.eps = rmsprop.eps = 1e-15f;
  check(Adam64(zeros), adam, 2, 1, 1e-3, "adam");
  check(Adagrad64(zeros), adagrad, 1, 0, 1e-3, "adagrad");
  check(Rmsprop64(zeros), rmsprop, 1, 0, 1e-3, "rmsprop");
}

// With nearest rounding s would stand still as soon as a step adds less than half a unit: at 1000 steps or so.
TEST(Adagrad, SumsGrowForEver) {
  Arrays arrays(Format::kF16, 1, kBlock);
  arrays.root = 0;
  testing::fill_normal(arrays.g, 4, 1);
  AdagradStep step = kAdagrad;
  constexpr std::int64_t kSteps = 300'000;
  for (step.step = 1; step.step <= kSteps; ++step.step) arrays.step(step);
  double bias = 0;
  for (std::int64_t i = 0; i < kBlock; ++i) {
    const double expected = std::sqrt(static_cast<double>(kSteps)) * std::abs(arrays.g[static_cast<std::size_t>(i)]);
    EXPECT_NEAR(arrays.value(0, i) / expected, 1, 0.01) << i;
    bias += (arrays.value(0, i) / expected - 1) / kBlock;
  }
  EXPECT_NEAR(bias, 0, 1e-3);
}

// The largest gradients that there are: their sum of squares passes what f32 holds in step 4, and stays there.
TEST(Adagrad, SumsThatPassF32StayAtItsLargest) {
  for (const Format format : {Format::kF16, Format::kF32}) {
    Arrays arrays(format, 1, 300);
    arrays.root = 0;
    std::fill(arrays.g.begin(), arrays.g.end(), std::nextafter(kGradientLimit, 0.0f));
    arrays.g[7] = 1;
    AdagradStep step = kAdagrad;
    for (step.step = 1; step.step <= 50; ++step.step) arrays.step(step);
    for (std::int64_t i = 0; i < arrays.size(); ++i) {
      EXPECT_TRUE(std::isfinite(arrays.p[static_cast<std::size_t>(i)])) << i;
      if (i == 7) continue;  // in f16 it lies too far below its block's largest
      EXPECT_NEAR(arrays.value(0, i) / 0x1p64, 1, 1e-3) << i;
    }
  }
}

TEST(Adagrad, SumsBeginWithTheInitialValue) {
  for (const Format format : {Format::kF16, Format::kF32}) {
    Arrays arrays(format, 1, 300);
    arrays.root = 0;
    AdagradStep step = kAdagrad;
    step.initial = 4;
    for (step.step = 1; step.step <= 3; ++step.step) arrays.step(step);
    for (std::int64_t i = 0; i < arrays.size(); ++i) EXPECT_NEAR(arrays.value(0, i), 2, 1e-9);
  }
}

TEST(Rmsprop, SecondMomentReachesItsFixedPointAfterASmallChange) {
  for (const double change : {1.1, 1.01, 1.001, 0.999, 0.99, 0.9}) {
    Arrays arrays(Format::kF16, 1, kBlock);
    arrays.root = 0;
    testing::fill_normal(arrays.g, 4, 1);
    RmspropStep step = kRmsprop;
    step.alpha = 0;
    arrays.step(step);  // s = |g|
    for (float& g : arrays.g) g = static_cast<float>(g * std::sqrt(change));
    step.alpha = 0.999f;
    for (step.step = 2; step.step <= 8000; ++step.step) arrays.step(step);
    double bias = 0;
    for (std::int64_t i = 0; i < kBlock; ++i) {
      const double s = arrays.value(0, i) / std::abs(arrays.g[static_cast<std::size_t>(i)]);
      EXPECT_NEAR(s, 1, 0.01) << change;
      bias += (s - 1) / kBlock;
    }
    EXPECT_NEAR(bias, 0, 2e-4) << change;
  }
}

// v - average^2 of 16 bits would be noise of 4 % of the gradient here, of either sign. What is kept is the variance.
TEST(Rmsprop, CenteredIsAccurateWhereGradientsHardlyChange) {
  for (const double spread : {0.1, 0.01}) {
    const auto nearly_constant = [spread](Arrays& arrays, std::int64_t t) {
      testing::fill_normal(arrays.g, static_cast<std::uint64_t>(t), static_cast<float>(spread));
      for (float& g : arrays.g) g += 1;
    };
    const RmspropStep step = rmsprop_step(true, 0);
    EXPECT_LT((off_after<Rmsprop64>(2000, Format::kF16, 2, step, nearly_constant)), 0.03) << spread;
    EXPECT_LT((off_after<Rmsprop64>(2000, Format::kF32, 2, step, nearly_constant)), 1e-4) << spread;
  }
}

TEST(Rmsprop, ZeroGradientsForeverNeverGiveAZeroRootOrNan) {
  for (const bool centered : {false, true}) {
    for (const bool one_goes_on : {false, true}) {
      const RmspropStep first = rmsprop_step(centered, 0.9f);
      Arrays arrays(Format::kF16, moments_of(first), kBlock);
      testing::fill_spread(arrays.g, 7, 20);
      RmspropStep step = first;
      arrays.step(step);
      std::fill(arrays.g.begin(), arrays.g.end(), 0.0f);
      if (one_goes_on) arrays.g[5] = 1;
      for (step.step = 2; step.step <= 20000; ++step.step) {
        arrays.step(step);
        if (step.step > 300 && step.step % 97 != 0) continue;
        for (std::int64_t i = 0; i < kBlock; ++i) {
          ASSERT_TRUE(!one_goes_on || arrays.raw(0, i) > 0) << step.step << ", " << i;
          ASSERT_TRUE(std::isfinite(arrays.raw(0, i)) && std::isfinite(arrays.p[static_cast<std::size_t>(i)]));
        }
      }
    }
  }
}

// Gradients far below the momentum's unit when they begin: nearest rounding would never let them in, and the sign would
// stay that of the first gradient.
TEST(Lion, MomentumTakesInWhatIsBelowItsUnit) {
  Arrays arrays(Format::kF16, 1, kBlock);
  LionStep step = kLion;
  step.beta2 = 0.999f;
  std::fill(arrays.g.begin(), arrays.g.end(), 100.0f);
  Lion64 reference(arrays.parameters());
  for (step.step = 1; step.step <= 8000; ++step.step) {
    if (step.step == 2) std::fill(arrays.g.begin(), arrays.g.end(), -0.1f * 1.1f);
    arrays.step(step);
    reference.step(step, arrays.g);
  }
  for (std::int64_t i = 0; i < kBlock; ++i) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_NEAR(arrays.raw(0, i) / reference.m[at], 1, 0.01);
    EXPECT_NEAR(arrays.p[at], reference.p[at], 0.02);
  }
}

TEST(Lion, AMixOfZeroIsNoUpdate) {
  for (const Format format : {Format::kF16, Format::kF32}) {
    Arrays arrays(format, 1, 300);
    testing::fill_normal(arrays.parameters(), 6, 1);
    const std::vector<float> before(arrays.p);
    LionStep step = kLion;
    for (step.step = 1; step.step <= 10; ++step.step) arrays.step(step);
    EXPECT_EQ(arrays.p, before);
  }
}

// Parameters of any finite size, with weight decay in the gradient: what is squared never passes what f32 holds.
TEST(Rules, HugeParametersLeaveTheStateFinite) {
  const auto check = [](auto step, int moments, const char* name) {
    for (const Format format : {Format::kF16, Format::kF32}) {
      Arrays arrays(format, moments, 300);
      for (std::int64_t i = 0; i < arrays.size(); ++i) {
        arrays.p[static_cast<std::size_t>(i)] = i % 2 == 0 ? 3e38f : -3e38f;
      }
      for (step.step = 1; step.step <= 20; ++step.step) arrays.step(step);
      for (std::int64_t i = 0; i < arrays.size(); ++i) {
        ASSERT_TRUE(std::isfinite(arrays.p[static_cast<std::size_t>(i)])) << name;
        for (int moment = 0; moment < moments; ++moment) ASSERT_TRUE(std::isfinite(arrays.raw(moment, i))) << name;
      }
    }
  };
  AdamStep adam = kAdam;
  adam.weight_decay = 1;
  check(adam, 2, "adam");
  AdagradStep adagrad = kAdagrad;
  adagrad.weight_decay = 1;
  check(adagrad, 1, "adagrad");
  RmspropStep rmsprop = rmsprop_step(true, 0.9f);
  rmsprop.weight_decay = 1;
  check(rmsprop, 3, "rmsprop");
}

}  // namespace
}  // namespace tidemark::optim
