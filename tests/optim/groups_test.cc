// Groups of parameters, freezing by pattern, values that change in flight, and parameters that stop being finite.
#include <cmath>
#include <cstdint>
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

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(Patterns, MatchNames) {
  EXPECT_TRUE(matches("fc.bias", "*.bias"));
  EXPECT_TRUE(matches("a.b.bias", "*.bias"));
  EXPECT_FALSE(matches("bias", "*.bias"));
  EXPECT_FALSE(matches("fc.bias2", "*.bias"));
  EXPECT_TRUE(matches("fc1.weight", "fc?.weight"));
  EXPECT_FALSE(matches("fc12.weight", "fc?.weight"));
  EXPECT_TRUE(matches("", "*"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_FALSE(matches("a", ""));
  EXPECT_TRUE(matches("encoder.0.attention.weight", "encoder.*.weight"));
  EXPECT_TRUE(matches("aXbXc", "a*b*c"));
  EXPECT_TRUE(matches("aab", "*ab"));
  EXPECT_FALSE(matches("aba", "*ab"));
  EXPECT_TRUE(matches("[x]", "[x]"));
  EXPECT_TRUE(matches(std::string(2000, 'a'), "a*a*a*a*a*a*a*a"));
  EXPECT_FALSE(matches(std::string(2000, 'a'), "a*a*a*a*a*a*a*b"));
}

// Four parameters, each of the value 1 with a gradient of 1 in every step.
struct Problem {
  Problem() : session({.threads = 1}) {
    for (const char* name : {"body.weight", "body.bias", "head.weight", "head.bias"}) {
      parameters.emplace_back(parameter(full({300}, 1), name), name);
    }
  }
  void backward() {
    Tensor loss = full({}, 0);
    for (const Parameter& parameter : parameters) loss = loss + sum(parameter);
    loss.backward();
  }
  // How far each moves in a step.
  std::vector<float> moved(Optimizer& optimizer) {
    const std::vector<float> before = values();
    backward();
    optimizer.step();
    optimizer.zero_grad();
    std::vector<float> moved = values();
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] = before[i] - moved[i];
    return moved;
  }
  std::vector<float> values() const {
    std::vector<float> values;
    for (const Parameter& parameter : parameters) values.push_back(parameter.to_vector()[0]);
    return values;
  }
  Session session;
  std::vector<Parameter> parameters;
};

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-6) << i;
}

TEST(Groups, HaveRatesAndDecayOfTheirOwn) {
  Problem problem;
  SGD optimizer(problem.parameters,
                {.lr = 0.1f,
                 .weight_decay = 0.5f,
                 .groups = {{.pattern = "*.bias", .weight_decay = 0}, {.pattern = "head.weight", .lr = 0.2f}}});
  expect_near(problem.moved(optimizer), {0.15f, 0.1f, 0.3f, 0.1f});
  EXPECT_EQ(optimizer.settings("*.bias").weight_decay, 0);
  EXPECT_EQ(optimizer.settings("*.bias").lr, 0.1f);
  EXPECT_EQ(optimizer.settings("head.weight").lr, 0.2f);
  EXPECT_EQ(optimizer.settings().weight_decay, 0.5f);
}

TEST(Groups, CanBeListsOfParameters) {
  Problem problem;
  SGD optimizer(problem.parameters,
                {.lr = 0.1f,
                 .groups = {{.parameters = {problem.parameters[3]}, .lr = 0},
                            {.pattern = "slow", .parameters = {problem.parameters[0]}, .lr = 0.01f}}});
  expect_near(problem.moved(optimizer), {0.01f, 0.1f, 0.1f, 0});
  EXPECT_EQ(optimizer.settings("slow").lr, 0.01f);
  EXPECT_EQ(optimizer.settings("group 0").lr, 0);
}

TEST(Groups, KeepTheirProportionWhenTheRateChangesAndNothingIsPlannedAnew) {
  Problem problem;
  SGD optimizer(problem.parameters, {.lr = 0.1f, .groups = {{.pattern = "head.*", .lr = 0.3f}}});
  for (int t = 0; t < 4; ++t) (void)problem.moved(optimizer);
  const std::int64_t plans = problem.session.report().plans;
  optimizer.set_lr(0.01f);
  expect_near(problem.moved(optimizer), {0.01f, 0.01f, 0.03f, 0.03f});
  optimizer.set_lr(0);
  expect_near(problem.moved(optimizer), {0, 0, 0, 0});
  optimizer.set_lr(0.1f);
  EXPECT_EQ(optimizer.settings("head.*").lr, 0.3f);
  optimizer.set({.pattern = "head.*", .lr = 0.05f, .weight_decay = 0.5f});
  optimizer.set({.lr = 0.2f});
  const float head = problem.values()[2];
  expect_near(problem.moved(optimizer), {0.2f, 0.2f, 0.05f * (1 + head / 2), 0.05f * (1 + head / 2)});
  EXPECT_EQ(problem.session.report().plans, plans);
}

// What set() gives the rest alone changes the groups' proportion to it, which set_lr() keeps.
TEST(Groups, KeepTheProportionThatTheRestWasGiven) {
  Problem problem;
  SGD optimizer(problem.parameters, {.lr = 0.1f, .groups = {{.pattern = "head.*", .lr = 0.2f}}});
  optimizer.set({.lr = 0.01f});
  EXPECT_EQ(optimizer.settings("head.*").lr, 0.2f);
  optimizer.set_lr(0.005f);
  EXPECT_FLOAT_EQ(optimizer.settings("head.*").lr, 0.1f);
  EXPECT_THROW(optimizer.set_lr(3e38f), Error);  // the group's would be infinite
  EXPECT_EQ(optimizer.lr(), 0.005f);
}

TEST(Groups, MayHaveAMomentumWhereTheRestHasNone) {
  Problem problem;
  SGD optimizer(problem.parameters, {.lr = 0.1f, .groups = {{.pattern = "head.*", .momentum = 0.5f}}});
  EXPECT_EQ(optimizer.state().size(), 2u);
  (void)problem.moved(optimizer);
  expect_near(problem.moved(optimizer), {0.1f, 0.1f, 0.15f, 0.15f});
  optimizer.set({.pattern = "head.*", .momentum = 0});
  expect_near(problem.moved(optimizer), {0.1f, 0.1f, 0.1f, 0.1f});
  optimizer.set({.pattern = "head.*", .momentum = 0.9f});
  expect_near(problem.moved(optimizer), {0.1f, 0.1f, 0.19f, 0.19f});
  EXPECT_THAT([&] { optimizer.set_momentum(0.5f); },
              ThrowsMessage<Error>(HasSubstr("[SGD] it was made without momentum")));
  EXPECT_EQ(optimizer.settings("head.*").momentum, 0.9f);
}

TEST(Groups, AreRefusedWhereTheyAreNotClear) {
  Problem problem;
  const SourceLocation where{"train.cc", 7};
  const auto expect = [&](const std::vector<Group>& groups, const std::string& text) {
    EXPECT_THAT([&] { SGD(problem.parameters, {.groups = groups}, where); },
                ThrowsMessage<Error>("[SGD] " + text + " (at train.cc:7)"));
  };
  expect({{.pattern = "tail.*"}},
         "group 'tail.*' matches no parameter; there are: 'body.weight', 'body.bias', 'head.weight', 'head.bias'");
  expect({{.pattern = "*.bias"}, {.pattern = "head.*"}}, "'head.bias' is in two groups, '*.bias' and 'head.*'");
  expect({{.pattern = "head.*"}, {.pattern = "head.*"}}, "there are two groups 'head.*'");
  expect({{.pattern = "head.*", .beta1 = 0.5f}}, "group 'head.*': there is no beta1 in SGD");
  expect({{.pattern = "head.*", .lr = -1}}, "group 'head.*': lr must be 0 or more, not -1");
  expect({{.parameters = {Parameter(parameter(zeros({1}), "x"), "x")}}},
         "group 'group 0': 'x' is not a parameter of this optimizer");
  SGD optimizer(problem.parameters, {.groups = {{.pattern = "head.*"}}});
  EXPECT_THAT([&] { optimizer.set({.pattern = "tail.*", .lr = 1}, where); },
              ThrowsMessage<Error>("[SGD] there is no group 'tail.*'; there are: 'head.*' (at train.cc:7)"));
  EXPECT_THAT([&] { optimizer.set({.eps = 1}, where); },
              ThrowsMessage<Error>("[SGD] there is no eps in SGD (at train.cc:7)"));
  EXPECT_THAT([&] { Adagrad(problem.parameters).set_momentum(0.5f, where); },
              ThrowsMessage<Error>("[Adagrad] there is no momentum to set (at train.cc:7)"));
  EXPECT_THAT([&] { optimizer.set_step_counts(std::vector<std::int64_t>{1}, where); },
              ThrowsMessage<Error>(HasSubstr("there are 4 parameters, so 1 counts do not fit")));
}

TEST(Freezing, ByPatternSaysHowManyAndRefusesNone) {
  Problem problem;
  EXPECT_EQ(freeze(problem.parameters, "body.*"), 2);
  SGD optimizer(problem.parameters, {.lr = 0.1f});
  expect_near(problem.moved(optimizer), {0, 0, 0.1f, 0.1f});
  EXPECT_EQ(thaw(problem.parameters, "*.bias"), 2);
  expect_near(problem.moved(optimizer), {0, 0.1f, 0.1f, 0.1f});
  EXPECT_THAT(
      [&] { freeze(problem.parameters, "encoder.*"); },
      ThrowsMessage<Error>(AllOf(HasSubstr("[freeze] no parameter's name matches 'encoder.*'; there are: 'body."),
                                 HasSubstr("(at groups_test.cc:"))));
  EXPECT_THAT([&] { thaw({}, "*"); }, ThrowsMessage<Error>(HasSubstr("there are: none")));
}

// Counts, state and parameters of a run in which a part was thawed on the way, in another session.
TEST(Freezing, ARunWithAThawedPartResumesExactly) {
  const auto train = [](Problem& problem, Optimizer& optimizer, int steps) {
    for (int t = 0; t < steps; ++t) {
      optimizer.zero_grad();
      Tensor loss = full({}, 0);
      for (const Parameter& parameter : problem.parameters) loss = loss + sum(parameter * parameter * parameter);
      loss.backward();
      optimizer.step();
    }
  };
  const auto all = [](const Problem& problem) {
    std::vector<std::vector<float>> values;
    for (const Parameter& parameter : problem.parameters) values.push_back(parameter.to_vector());
    return values;
  };
  std::vector<std::vector<float>> weights;
  std::vector<std::vector<std::uint8_t>> states;
  std::vector<std::int64_t> counts;
  std::vector<std::vector<float>> expected;
  std::int64_t steps = 0;
  {
    Problem problem;
    freeze(problem.parameters, "body.*");
    AdamW optimizer(problem.parameters, {.lr = 0.1f});
    train(problem, optimizer, 3);
    thaw(problem.parameters, "body.*");
    train(problem, optimizer, 2);
    weights = all(problem);
    for (const Parameter& state : optimizer.state()) states.push_back(state.to_vector<std::uint8_t>());
    counts = optimizer.step_counts();
    steps = optimizer.steps();
    EXPECT_EQ(counts, (std::vector<std::int64_t>{2, 2, 5, 5}));
    train(problem, optimizer, 2);
    expected = all(problem);
  }
  // As the first run was made: frozen, then thawed.
  Problem problem;
  freeze(problem.parameters, "body.*");
  AdamW optimizer(problem.parameters, {.lr = 0.1f});
  thaw(problem.parameters, "body.*");
  optimizer.make_all_state();
  for (std::size_t i = 0; i < 4; ++i) problem.parameters[i].assign(std::span<const float>(weights[i]));
  std::vector<Parameter> state = optimizer.state();
  for (std::size_t i = 0; i < 4; ++i) state[i].assign(std::span<const std::uint8_t>(states[i]));
  optimizer.set_steps(steps);
  optimizer.set_step_counts(counts);
  train(problem, optimizer, 2);
  EXPECT_EQ(all(problem), expected);
}

// A learning rate so large that the first step leaves an infinite parameter.
TEST(BadParameters, AreNoticedByTheNextStepWhichChangesNothing) {
  for (const NamedOptimizer& named : optimizers()) {
    Session session({.threads = 2});
    const std::vector<Parameter> w = {{parameter(full({1000}, 2), "fine"), "fine"},
                                      {parameter(full({1000}, 2), "w"), "w"}};
    const auto optimizer = make_optimizer(named.name, w, {{"lr", 0.01}});
    const auto backward = [&] {
      optimizer->zero_grad();
      (sum(w[0]) + sum(w[1])).backward();
    };
    backward();
    optimizer->step();
    const std::vector<float> good = w[1].to_vector();
    optimizer->set_lr(3e38f);
    for (int t = 0; t < 4 && std::isfinite(w[1].to_vector()[0]); ++t) {
      optimizer->zero_grad();
      sum(w[1] * 1e10f).backward();
      optimizer->step();
    }
    optimizer->set_lr(1e30f);
    const std::int64_t steps = optimizer->steps();
    std::vector<float> bad = w[1].to_vector();
    ASSERT_FALSE(std::isfinite(bad[0])) << named.name;
    std::vector<float> finite(1000, 2.0f);
    Tensor(w[0]).assign(std::span<const float>(finite));
    backward();
    EXPECT_THAT([&] { optimizer->step(); },
                ThrowsMessage<Error>(AllOf(HasSubstr("parameter 'w' is not finite since step "),
                                           HasSubstr("; the learning rate is 1e+30"), HasSubstr("assign finite values"),
                                           HasSubstr("(at groups_test.cc:"))))
        << named.name;
    EXPECT_EQ(optimizer->steps(), steps);
    EXPECT_EQ(w[0].to_vector(), finite);
    // One element of many that stays bad is enough.
    std::vector<float> partly = good;
    partly[999] = std::nanf("");
    Tensor(w[1]).assign(std::span<const float>(partly));
    EXPECT_THAT([&] { optimizer->step(); }, ThrowsMessage<Error>(HasSubstr("'w' is not finite")));
    Tensor(w[1]).assign(std::span<const float>(good));
    optimizer->set_lr(0.01f);
    for (int t = 0; t < 3; ++t) {
      backward();
      optimizer->step();
    }
    for (const float x : w[1].to_vector())
      ASSERT_TRUE(std::isfinite(x) && std::abs(x - good[0]) < 1) << named.name << " " << x;
    EXPECT_NE(w[1].to_vector(), good) << named.name;
  }
}

TEST(BadParameters, AreNoticedByMinimizeAsWell) {
  Problem problem;
  SGD optimizer(problem.parameters, {.lr = 3e38f, .momentum = 0.5f});
  const auto minimize = [&] {
    optimizer.minimize(sum(problem.parameters[0] * problem.parameters[0]) + sum(problem.parameters[1]));
  };
  minimize();
  ASSERT_FALSE(std::isfinite(problem.values()[0]));
  EXPECT_THAT(minimize, ThrowsMessage<Error>(HasSubstr("[SGD] parameter 'body.weight' is not finite since step 1")));
  for (Parameter& parameter : problem.parameters) parameter.assign(std::span<const float>(std::vector<float>(300, 1)));
  optimizer.set_lr(0.1f);
  minimize();
  EXPECT_NEAR(problem.values()[0], 0.8f, 1e-6);
  EXPECT_EQ(optimizer.steps(), 2);
}

// Those that the loss does not reach take no step, and one that is thawed begins with its own.
TEST(Freezing, CountsAreTheParametersOwnInMinimizeToo) {
  Problem problem;
  freeze(problem.parameters, "head.bias");
  AdamW optimizer(problem.parameters, {.lr = 0.1f, .weight_decay = 0});
  optimizer.minimize(sum(problem.parameters[0]));
  EXPECT_EQ(optimizer.step_counts(), (std::vector<std::int64_t>{1, 0, 0, 0}));
  thaw(problem.parameters, "head.bias");
  optimizer.minimize(sum(problem.parameters[0]) + sum(problem.parameters[3]));
  EXPECT_EQ(optimizer.step_counts(), (std::vector<std::int64_t>{2, 0, 0, 1}));
  EXPECT_NEAR(problem.values()[0], 0.8f, 1e-4);
  EXPECT_NEAR(problem.values()[3], 0.9f, 1e-6);
}

}  // namespace
}  // namespace tidemark::optim
