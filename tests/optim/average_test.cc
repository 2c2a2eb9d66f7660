// Averages of weights: values, bits, swaps, bytes, errors.
#include "tidemark/average.h"

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Problem {
  explicit Problem(int threads = 2)
      : session({.threads = threads, .seed = 5}),
        parameters{{parameter(normal({300, 50}, 0, 1), "big"), "big"}, {parameter(full({1}, 3), "one"), "one"}},
        optimizer(parameters, {.lr = 0.1f}) {}
  void step() {
    (sum(parameters[0] * parameters[0]) + sum(parameters[1] * parameters[1])).backward();
    optimizer.step();
    optimizer.zero_grad();
  }
  std::vector<std::vector<float>> weights() const { return {parameters[0].to_vector(), parameters[1].to_vector()}; }

  Session session;
  std::vector<Parameter> parameters;
  SGD optimizer;
};
std::vector<std::vector<float>> values(const WeightAverage& average) {
  return {average.state()[0].to_vector(), average.state()[1].to_vector()};
}

// An average's work belongs to the step before it, which stays a planned one.
TEST(Averages, AreAPartOfTheStep) {
  const auto train = [](int averages, bool minimize, bool two, std::optional<std::int64_t> budget) {
    const Session session({.budget = budget, .threads = 1});
    std::vector<Parameter> parameters = {{parameter(normal({64, 64}, 0, 0.1f), "w"), "w"}};
    if (two) parameters.emplace_back(parameter(full({64}, 0), "b"), "b");
    SGD optimizer(parameters, {.lr = 0.1f});
    ExponentialAverage moving(parameters);
    MeanWeights mean_weights(parameters);
    const Tensor x = normal({256, 64}, 0, 1);
    for (int t = 0; t < 20; ++t) {
      Tensor h = x;
      for (int layer = 0; layer < 4; ++layer)
        h = gelu(two ? linear(h, parameters[0], parameters[1]) : linear(h, parameters[0]));
      const Tensor loss = mean(square(h));
      if (minimize) {
        optimizer.minimize(loss);
      } else {
        loss.backward();
        optimizer.step();
        optimizer.zero_grad();
      }
      if (averages > 0) moving.update();
      if (averages > 1) mean_weights.update();
    }
    return session.report();
  };
  for (const bool minimize : {false, true}) {
    for (const bool two : {false, true}) {
      const std::int64_t peak = train(0, minimize, two, std::nullopt).peak_bytes;
      for (const std::optional<std::int64_t> budget : {std::optional<std::int64_t>(), std::optional(peak * 2 / 3)}) {
        const Report alone = train(0, minimize, two, budget);
        EXPECT_GE(alone.planned_steps, 18);
        for (const int averages : {1, 2}) {
          SCOPED_TRACE(std::to_string(minimize) + std::to_string(two) + std::to_string(averages));
          const Report report = train(averages, minimize, two, budget);
          EXPECT_EQ(report.steps, 20);
          EXPECT_EQ(report.last_step.step, 20);
          EXPECT_GE(report.planned_steps, alone.planned_steps - 1);
          EXPECT_TRUE(report.last_step.planned);
          EXPECT_EQ(report.last_step.ops, alone.last_step.ops + averages * (two ? 2 : 1));
          EXPECT_EQ(report.last_step.recomputed_ops, alone.last_step.recomputed_ops);
          EXPECT_EQ(report.plan_cost > 0, budget.has_value());
          EXPECT_NEAR(report.plan_cost, alone.plan_cost, 0.1 * alone.plan_cost);
        }
      }
    }
  }
}

TEST(Averages, FollowTheirFormulas) {
  Problem problem;
  ExponentialAverage moving(problem.parameters, {.decay = 0.75f});
  MeanWeights mean(problem.parameters);
  std::vector<double> expected;
  std::vector<double> sums;
  for (int t = 0; t < 6; ++t) {
    problem.step();
    moving.update();
    mean.update();
    const std::vector<float> now = problem.weights()[0];
    if (t == 0) expected.assign(now.begin(), now.end());
    sums.resize(now.size());
    for (std::size_t i = 0; i < now.size(); ++i) {
      expected[i] = 0.75 * expected[i] + 0.25 * static_cast<double>(now[i]);
      sums[i] += static_cast<double>(now[i]);
    }
  }
  EXPECT_EQ(moving.updates(), 6);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    ASSERT_NEAR(values(moving)[0][i], expected[i], 1e-6);
    ASSERT_NEAR(values(mean)[0][i], sums[i] / 6, 1e-6);
    if (i > 20) break;
  }
}

TEST(Averages, HaveTheSameBitsAtEveryNumberOfThreadsAndAfterAResume) {
  const auto run = [](int threads) {
    Problem problem(threads);
    ExponentialAverage average(problem.parameters, {.decay = 0.9f});
    for (int t = 0; t < 4; ++t) {
      problem.step();
      average.update();
    }
    return values(average);
  };
  const auto expected = run(1);
  EXPECT_EQ(run(2), expected);
  EXPECT_EQ(run(3), expected);

  Problem problem;
  std::vector<std::vector<float>> saved;
  {
    ExponentialAverage first(problem.parameters, {.decay = 0.9f});
    for (int t = 0; t < 2; ++t) {
      problem.step();
      first.update();
    }
    saved = values(first);
  }
  ExponentialAverage second(problem.parameters, {.decay = 0.9f});
  std::vector<Parameter> state = second.state();
  for (std::size_t i = 0; i < state.size(); ++i) state[i].assign(std::span<const float>(saved[i]));
  second.set_updates(2);
  for (int t = 0; t < 2; ++t) {
    problem.step();
    second.update();
  }
  EXPECT_EQ(values(second), expected);
}

// Training goes on as if there were no average and no swap.
TEST(Averages, SwapInForAnEvaluationAndOut) {
  std::vector<std::vector<float>> undisturbed;
  {
    Problem problem;
    for (int t = 0; t < 6; ++t) problem.step();
    undisturbed = problem.weights();
  }
  Problem problem;
  ExponentialAverage average(problem.parameters, {.decay = 0.5f});
  const auto loss = [&] {
    const NoGrad no_grad;
    return sum(problem.parameters[0] * problem.parameters[0]).item();
  };
  for (int t = 0; t < 6; ++t) {
    problem.step();
    average.update();
    const auto weights = problem.weights();
    const auto averages = values(average);
    const float before = loss();
    average.exchange();
    EXPECT_TRUE(average.exchanged());
    EXPECT_EQ(problem.weights(), averages);
    EXPECT_EQ(values(average), weights);
    EXPECT_TRUE(t == 0 || loss() > before) << t;
    EXPECT_THAT([&] { average.update(); },
                ThrowsMessage<Error>(HasSubstr("exchange() back first (at average_test.cc:")));
    average.exchange();
    EXPECT_EQ(problem.weights(), weights);
    EXPECT_EQ(loss(), before);
  }
  EXPECT_EQ(problem.weights(), undisturbed);
}

TEST(Averages, TakeFourBytesAParameterAndNoNewPlans) {
  Problem problem;
  const auto optimizer_bytes = [&] {
    return problem.session.report().live_by_category[static_cast<std::size_t>(Category::kOptimizer)];
  };
  {
    ExponentialAverage average(problem.parameters);
    EXPECT_GE(optimizer_bytes(), 4 * 15001);
    EXPECT_LE(optimizer_bytes(), 4 * 15001 + 128);
    std::int64_t plans = 0;
    for (int t = 0; t < 8; ++t) {
      problem.step();
      average.update();
      if (t == 3) plans = problem.session.report().plans;
    }
    EXPECT_EQ(problem.session.report().plans, plans);
  }
  EXPECT_EQ(optimizer_bytes(), 0);
}

// An update belongs to the step that was taken before it, not to the next one, which may be refused.
TEST(Averages, StayWhatTheyAreWhereTheNextStepIsRefused) {
  Problem problem;
  ExponentialAverage average(problem.parameters, {.decay = 0.5f});
  for (int t = 0; t < 3; ++t) {
    problem.step();
    average.update();
  }
  const auto expected = values(average);
  sum(problem.parameters[0] * std::nanf("")).backward();
  EXPECT_THAT([&] { problem.optimizer.step(); }, ThrowsMessage<Error>(HasSubstr("is not finite")));
  EXPECT_EQ(values(average), expected);
}

TEST(Averages, RefuseWhatIsWrong) {
  Problem problem;
  const SourceLocation where{"train.cc", 7};
  EXPECT_THAT([&] { ExponentialAverage(problem.parameters, {.decay = 1}, where); },
              ThrowsMessage<Error>("[ExponentialAverage] decay must be from 0 to below 1, not 1 (at train.cc:7)"));
  EXPECT_THAT([&] { MeanWeights({}, where); },
              ThrowsMessage<Error>("[MeanWeights] there are no parameters (at train.cc:7)"));
  EXPECT_THAT([&] { MeanWeights({problem.parameters[0] * 2}, where); },
              ThrowsMessage<Error>("[MeanWeights] 'parameter 0' is not a leaf (at train.cc:7)"));
  MeanWeights mean(problem.parameters);
  EXPECT_THAT([&] { mean.exchange(where); },
              ThrowsMessage<Error>("[MeanWeights] exchange() before the first update() (at train.cc:7)"));
  EXPECT_THAT([&] { mean.set_updates(-1, where); }, ThrowsMessage<Error>(HasSubstr("cannot be -1")));
}

}  // namespace
}  // namespace tidemark::optim
