// minimize(): any mixture of calls against f64 arithmetic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "tests/autograd/support.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using optim::MinimizeOptions;

// Any mixture of calls, against f64 arithmetic: (a x + b - t)^2 reaches both parameters, (a x)^2 one.
TEST(MinimizeMixed, FollowsTheArithmetic) {
  constexpr std::size_t kSize = 6;
  constexpr double kRate = 0.05;
  constexpr double kMomentum = 0.8;
  struct Reference {
    std::vector<double> value, momentum = std::vector<double>(kSize, 0), gradient = std::vector<double>(kSize, 0);
    bool has_gradient = false, frozen = false;
    int steps = 0;
  };
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const std::optional<std::int64_t> budget = seed % 3 == 0 ? std::nullopt : std::optional(2_KiB);
    const Session session({.budget = budget, .threads = 1});
    std::mt19937 random(seed);
    const auto draw = [&] {
      std::vector<float> out(kSize);
      for (float& each : out) each = static_cast<float>(random() % 2001) / 1000 - 1;
      return out;
    };
    const std::vector<float> a0 = draw(), b0 = draw();
    Tensor leaves[] = {parameter(tensor(a0, {kSize}), "a"), parameter(tensor(b0, {kSize}), "b")};
    Reference references[2];
    references[0].value.assign(a0.begin(), a0.end());
    references[1].value.assign(b0.begin(), b0.end());
    optim::SGD optimizer({Parameter(leaves[0], "a"), Parameter(leaves[1], "b")},
                         {.lr = static_cast<float>(kRate), .momentum = static_cast<float>(kMomentum), .state = f32});
    // The loss, and its gradient added to the references that take one.
    const auto loss = [&](bool both) {
      const std::vector<float> x = draw(), t = draw();
      const auto add = [&](Reference& to, std::size_t i, double g) {
        if (to.frozen) return;
        to.gradient[i] += g / kSize;
        to.has_gradient = true;
      };
      for (std::size_t i = 0; i < kSize; ++i) {
        const double ax = references[0].value[i] * static_cast<double>(x[i]);
        const double r = both ? ax + references[1].value[i] - static_cast<double>(t[i]) : ax;
        add(references[0], i, 2 * r * static_cast<double>(x[i]));
        if (both) add(references[1], i, 2 * r);
      }
      const Tensor ax = leaves[0] * tensor(x, {kSize});
      return mean(square(both ? ax + leaves[1] - tensor(t, {kSize}) : ax));
    };
    const auto step = [&](bool clear) {
      for (Reference& each : references) {
        if (each.has_gradient && !each.frozen) {
          for (std::size_t i = 0; i < kSize; ++i) {
            each.momentum[i] = kMomentum * each.momentum[i] + each.gradient[i];
            each.value[i] -= kRate * each.momentum[i];
          }
        }
        if (clear) {
          each.gradient.assign(kSize, 0);
          each.has_gradient = false;
        }
      }
    };
    bool stepped = false;
    for (int call = 0; call < 60; ++call) {
      const bool both = random() % 3 != 0 && !references[1].frozen;
      switch (random() % 8) {
        case 0:
        case 1:
          if (!references[0].frozen || both) loss(both).backward();
          break;
        case 2:
        case 3:
        case 4:
          if (references[0].frozen && !both) break;
          optimizer.minimize(loss(both), {.check = random() % 4 == 0 ? MinimizeOptions::Check::kWhole
                                                                     : MinimizeOptions::Check::kEach});
          step(true);
          stepped = true;
          break;
        case 5:
          if (!references[0].has_gradient && !references[1].has_gradient && !stepped) break;
          optimizer.step();
          step(false);
          stepped = true;
          break;
        case 6:
          optimizer.zero_grad();
          for (Reference& each : references) {
            each.gradient.assign(kSize, 0);
            each.has_gradient = false;
          }
          break;
        default: {
          const std::size_t which = random() % 2;
          references[which].frozen = !references[which].frozen;
          leaves[which].set_requires_grad(!references[which].frozen);
          if (references[which].frozen) {
            references[which].gradient.assign(kSize, 0);
            references[which].has_gradient = false;
          }
        }
      }
      for (std::size_t p = 0; p < 2; ++p) {
        const std::vector<float> got = leaves[p].to_vector();
        for (std::size_t i = 0; i < kSize; ++i) {
          ASSERT_NEAR(got[i], references[p].value[i], 2e-5 * (1 + std::abs(references[p].value[i]))) << "call " << call;
        }
        ASSERT_EQ(leaves[p].grad().defined(), references[p].has_gradient) << "call " << call;
      }
    }
  }
}

}  // namespace
}  // namespace tidemark::test
