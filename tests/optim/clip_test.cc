// Clipping: values, bits, errors.
#include "tidemark/clip.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/compute/targets.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Parameters whose gradients are these.
std::vector<Parameter> with_gradients(const std::vector<std::vector<float>>& gradients) {
  std::vector<Parameter> parameters;
  Tensor loss = full({}, 0);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    std::string name = "p";
    name += std::to_string(i);
    const Shape shape = {static_cast<std::int64_t>(gradients[i].size())};
    parameters.emplace_back(parameter(zeros(shape), name), name);
    loss = loss + sum(parameters.back() * tensor(std::span<const float>(gradients[i]), shape));
  }
  loss.backward();
  return parameters;
}

TEST(ClipGradNorm, ScalesAllGradientsAsPyTorchDoes) {
  const Session session({.threads = 1});
  const std::vector<Parameter> parameters = with_gradients({{1, 2, 3, 4, 5}, {-6, 7, 8}});
  EXPECT_FLOAT_EQ(clip_grad_norm(parameters, 2), 14.282856857f);
  const std::vector<float> first = parameters[0].grad().to_vector();
  const double expected[] = {0.14002799859888013, 0.28005599719776025, 0.42008399579664035};
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(first[i], expected[i], 1e-7);
  EXPECT_NEAR(parameters[1].grad().to_vector()[0], -0.8401679915932807, 1e-7);
  // What is within the bound stays as it is, to the bit.
  const std::vector<float> before = parameters[1].grad().to_vector();
  EXPECT_NEAR(clip_grad_norm(parameters, 3), 2, 1e-5);
  EXPECT_EQ(parameters[1].grad().to_vector(), before);
  EXPECT_EQ(parameters[0].grad().to_vector(), first);
}

TEST(ClipGradNorm, GivesTheSameBitsAtEveryNumberOfThreadsInstructionSetAndBudget) {
  std::vector<std::vector<float>> gradients;
  for (const std::size_t n : {1u, 17u, 4096u, 100'003u, 300'000u}) {
    std::vector<float>& g = gradients.emplace_back(n);
    for (std::size_t i = 0; i < n; ++i)
      g[i] = std::sin(static_cast<float>(3 * i + n)) * std::pow(2.0f, static_cast<float>(i % 30));
  }
  struct Result {
    float norm;
    std::vector<std::vector<float>> clipped;
    bool operator==(const Result&) const = default;
  };
  const auto run = [&](int threads, std::optional<std::int64_t> budget) {
    const Session session({.budget = budget, .threads = threads});
    const std::vector<Parameter> parameters = with_gradients(gradients);
    Result result{clip_grad_norm(parameters, 1), {}};
    for (const Parameter& parameter : parameters) result.clipped.push_back(parameter.grad().to_vector());
    return result;
  };
  const Result one = run(1, {});
  EXPECT_GT(one.norm, 1e6f);
  for (const int threads : {2, 3}) EXPECT_EQ(run(threads, {}), one) << threads;
  EXPECT_EQ(run(2, 8 << 20), one);
  for_each_target([&](const std::string& target) { EXPECT_EQ(run(2, {}), one) << target; });
}

TEST(ClipGradNorm, OfGradientsWhoseSquaresPassF32IsExact) {
  const Session session({.threads = 1});
  const std::vector<Parameter> parameters = with_gradients({{3e30f}, {4e30f}});
  EXPECT_FLOAT_EQ(clip_grad_norm(parameters, 1), 5e30f);
  EXPECT_FLOAT_EQ(parameters[0].grad().item(), 0.6f);
}

TEST(ClipGradNorm, ThatIsNotFiniteIsAnErrorThatNamesTheParameterAndChangesNothing) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {inf, -inf, std::nanf("")}) {
    const Session session({.threads = 2});
    const std::vector<Parameter> parameters = with_gradients({{9, 9}, {1, 1, 1}, {1}});
    for (const std::size_t which : {2, 1}) {
      Tensor gradient = parameters[which].grad();
      std::vector<float> values = gradient.to_vector();
      values.back() = bad;
      gradient.assign(std::span<const float>(values));
      EXPECT_THAT([&] { clip_grad_norm(parameters, 1); },
                  ThrowsMessage<Error>(AllOf(
                      HasSubstr("[clip_grad_norm] the gradient of 'p" + std::to_string(which) + "' is not finite"),
                      HasSubstr("(at clip_test.cc:"))));
      EXPECT_THAT(parameters[0].grad().to_vector(), ElementsAre(9, 9));
    }
    EXPECT_FALSE(std::isfinite(clip_grad_norm(parameters, 1, {.error_if_nonfinite = false})));
  }
}

TEST(ClipGradNorm, TakesTiedParametersOnceAndPassesOverThoseWithoutAGradient) {
  const Session session({.threads = 1});
  const Tensor w = parameter(full({2}, 1), "w");
  const Tensor unused = parameter(full({2}, 1), "unused");
  EXPECT_EQ(clip_grad_norm({w, unused}, 1), 0);
  sum(w).backward();
  EXPECT_FLOAT_EQ(clip_grad_norm({w, unused, w}, 10), std::sqrt(2.0f));
}

TEST(ClipGradValue, BoundsEveryElement) {
  const Session session({.threads = 2});
  const std::vector<Parameter> parameters = with_gradients({{1, -2, 0.25f}, {3}});
  clip_grad_value(parameters, 0.5f);
  EXPECT_THAT(parameters[0].grad().to_vector(), ElementsAre(0.5f, -0.5f, 0.25f));
  EXPECT_THAT(parameters[1].grad().to_vector(), ElementsAre(0.5f));
}

TEST(Clipping, IsAPartOfTheStepAndNeedsNoNewPlan) {
  Session session({.threads = 1});
  const std::vector<Parameter> parameters = {{parameter(full({100}, 1), "a"), "a"},
                                             {parameter(full({7}, 2), "b"), "b"}};
  SGD optimizer(parameters, {.lr = 1});
  std::int64_t plans = 0;
  for (int t = 0; t < 8; ++t) {
    (sum(parameters[0] * 3) + sum(parameters[1])).backward();
    EXPECT_GT(clip_grad_norm(parameters, 0.1f * static_cast<float>(1 + t)), 1);
    clip_grad_value(parameters, 0.5f / static_cast<float>(1 + t));
    optimizer.step();
    optimizer.zero_grad();
    if (t == 3) plans = session.report().plans;
  }
  EXPECT_EQ(session.report().plans, plans);
  EXPECT_EQ(session.step(), 8);
}

TEST(Clipping, RefusesBoundsThatAreWrong) {
  const Session session({.threads = 1});
  const std::vector<Parameter> parameters = with_gradients({{1}});
  EXPECT_THAT(
      [&] {
        clip_grad_norm(parameters, 0, {}, {"train.cc", 7});
      },
      ThrowsMessage<Error>("[clip_grad_norm] max_norm must be above 0, not 0 (at train.cc:7)"));
  EXPECT_THAT(
      [&] {
        clip_grad_value(parameters, std::nanf(""), {"train.cc", 7});
      },
      ThrowsMessage<Error>("[clip_grad_value] clip_value must be above 0, not nan (at train.cc:7)"));
}

}  // namespace
}  // namespace tidemark::optim
