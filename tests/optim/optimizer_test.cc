// The optimizers as programs use them: refusals, bytes, which parameters take part, options, resuming.
#include "tidemark/optim.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Bytes = std::vector<std::uint8_t>;

Bytes bytes_of(const Tensor& tensor) {
  Bytes bytes(static_cast<std::size_t>(tensor.numel() * size_of(tensor.dtype())));
  if (tensor.dtype() == u8) return tensor.to_vector<std::uint8_t>();
  const std::vector<float> values = tensor.to_vector();
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string at_line(int line) { return "(at optimizer_test.cc:" + std::to_string(line) + ")"; }

using Maker = std::function<std::unique_ptr<Optimizer>(const std::vector<Parameter>&)>;
struct Named {
  const char* name;
  Maker make;
};
std::vector<Named> every_kind() {
  return {
      {"AdamW", [](const auto& p) { return std::make_unique<AdamW>(p, AdamWOptions{.lr = 0.01f}); }},
      {"AdamW, f32", [](const auto& p) { return std::make_unique<AdamW>(p, AdamWOptions{.lr = 0.01f, .state = f32}); }},
      {"SGD", [](const auto& p) { return std::make_unique<SGD>(p, SGDOptions{.lr = 0.01f, .momentum = 0.9f}); }},
      {"SGD, f32",
       [](const auto& p) { return std::make_unique<SGD>(p, SGDOptions{.lr = 0.01f, .momentum = 0.9f, .state = f32}); }},
      {"SGD, plain", [](const auto& p) { return std::make_unique<SGD>(p, SGDOptions{.lr = 0.01f}); }},
      {"Adam", [](const auto& p) { return std::make_unique<Adam>(p, AdamOptions{.lr = 0.01f, .weight_decay = 0.1f}); }},
      {"Adam, f32", [](const auto& p) { return std::make_unique<Adam>(p, AdamOptions{.lr = 0.01f, .state = f32}); }},
      {"Adagrad",
       [](const auto& p) {
         return std::make_unique<Adagrad>(p, AdagradOptions{.lr_decay = 0.1f, .initial_accumulator_value = 0.1f});
       }},
      {"Adagrad, f32", [](const auto& p) { return std::make_unique<Adagrad>(p, AdagradOptions{.state = f32}); }},
      {"RMSprop", [](const auto& p) { return std::make_unique<RMSprop>(p); }},
      {"RMSprop, all",
       [](const auto& p) { return std::make_unique<RMSprop>(p, RMSpropOptions{.momentum = 0.9f, .centered = true}); }},
      {"RMSprop, all, f32",
       [](const auto& p) {
         return std::make_unique<RMSprop>(p, RMSpropOptions{.momentum = 0.9f, .centered = true, .state = f32});
       }},
      {"Lion", [](const auto& p) { return std::make_unique<Lion>(p, LionOptions{.lr = 0.01f, .weight_decay = 0.1f}); }},
      {"Lion, f32", [](const auto& p) { return std::make_unique<Lion>(p, LionOptions{.lr = 0.01f, .state = f32}); }}};
}

// Three parameters of a few blocks, less than one, and one element; each step's gradients are drawn anew.
struct Problem {
  explicit Problem(const Maker& make, int threads = 2)
      : session({.threads = threads, .seed = 5}),
        parameters{{parameter(normal({4, 150}, 0, 1), "big"), "big"},
                   {parameter(normal({7, 5}, 0, 1), "small"), "small"},
                   {parameter(full({1}, 3), "one"), "one"}},
        optimizer(make(parameters)) {}

  void backward(int t) {
    optimizer->zero_grad();
    Tensor loss = full({}, 0);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      std::vector<float> factors(static_cast<std::size_t>(parameters[i].numel()));
      for (std::size_t k = 0; k < factors.size(); ++k) {
        factors[k] = std::sin(static_cast<float>(1 + k) * static_cast<float>(t) + static_cast<float>(i));
      }
      loss = loss + sum(parameters[i] * tensor(factors, parameters[i].shape()));
    }
    loss.backward();
  }
  void train(int first, int last) {
    for (int t = first; t <= last; ++t) {
      backward(t);
      optimizer->step();
    }
  }
  // All that a step may change.
  std::vector<Bytes> everything() const {
    std::vector<Bytes> all;
    for (const Parameter& p : parameters) all.push_back(bytes_of(p));
    for (const Parameter& p : optimizer->state()) all.push_back(bytes_of(p));
    return all;
  }

  Session session;
  std::vector<Parameter> parameters;
  std::unique_ptr<Optimizer> optimizer;
};

TEST(Refusal, OfAGradientThatIsNotFiniteChangesNoByteAndTrainingGoesOn) {
  const float kInf = std::numeric_limits<float>::infinity();
  for (const auto& [name, make] : every_kind()) {
    std::vector<Bytes> expected;
    {
      Problem undisturbed(make);
      undisturbed.train(1, 4);
      expected = undisturbed.everything();
    }
    Problem problem(make);
    problem.train(1, 2);
    problem.backward(3);
    const std::vector<Bytes> before = problem.everything();
    for (Parameter& parameter : problem.parameters) {
      Tensor gradient = parameter.grad();
      const std::vector<float> good = gradient.to_vector();
      for (const std::size_t at : {std::size_t{0}, good.size() / 2, good.size() - 1}) {
        for (const float bad : {std::nanf(""), kInf, -kInf, 0x1p63f}) {
          std::vector<float> values = good;
          values[at] = bad;
          gradient.assign(std::span<const float>(values));
          const int line = __LINE__ + 1;
          EXPECT_THAT([&] { problem.optimizer->step(); },
                      ThrowsMessage<Error>(AllOf(HasSubstr("the gradient of '" + parameter.name() + "' is not finite"),
                                                 HasSubstr("changed nothing"), HasSubstr(at_line(line)))))
              << name;
          ASSERT_EQ(problem.everything(), before) << name << ": " << bad << " at " << at << " of " << parameter.name();
          ASSERT_EQ(problem.optimizer->steps(), 2);
          ASSERT_EQ(problem.session.step(), 2);
          ASSERT_EQ(std::memcmp(gradient.to_vector().data(), values.data(), 4 * values.size()), 0);
        }
      }
      gradient.assign(std::span<const float>(good));
    }
    // The same step with its gradients mended, and another.
    problem.optimizer->step();
    problem.train(4, 4);
    EXPECT_EQ(problem.everything(), expected) << name;
    EXPECT_EQ(problem.optimizer->steps(), 4);
    EXPECT_EQ(problem.session.step(), 4);
  }
}

TEST(Refusal, NamesTheFirstOfSeveralAndComesFromALossToo) {
  Session session({.threads = 1});
  const std::vector<Parameter> parameters = {{parameter(full({3}, 1), "fine"), "fine"},
                                             {parameter(full({3}, 1), "first"), "fc1.weight"},
                                             {parameter(full({3}, 1), "second"), {}}};
  AdamW optimizer(parameters);
  const float huge = 3e38f;
  (sum(parameters[0]) + sum(parameters[1] * huge * huge) + sum(parameters[2] * huge * huge)).backward();
  EXPECT_THAT([&] { optimizer.step(); }, ThrowsMessage<Error>(HasSubstr("'fc1.weight'")));
  optimizer.zero_grad();
  (sum(parameters[0]) + sum(parameters[2] * huge * huge)).backward();
  EXPECT_THAT([&] { optimizer.step(); }, ThrowsMessage<Error>(HasSubstr("'parameter 2'")));
  EXPECT_EQ(optimizer.steps(), 0);
  optimizer.zero_grad();
  sum(parameters[0]).backward();
  optimizer.step();
  EXPECT_EQ(optimizer.steps(), 1);
  EXPECT_NEAR(parameters[0].to_vector()[0], 1 - 1e-3 - 1e-5, 1e-6);
  EXPECT_EQ(parameters[1].to_vector()[0], 1);
}

TEST(Bytes, OfParametersGradientsAndStateTogether) {
  const auto report_of = [](const Maker& make) {
    Session session({.threads = 1});
    const std::vector<Parameter> parameters = {{parameter(full({1024, 1024}, 1), "w"), "w"}};
    const std::unique_ptr<Optimizer> optimizer = make(parameters);
    sum(parameters[0]).backward();
    optimizer->step();
    const Report report = session.report();
    std::int64_t bytes = 0;
    for (const Category c : {Category::kParameters, Category::kGradients, Category::kOptimizer}) {
      bytes += report.live_by_category[static_cast<std::size_t>(c)];
    }
    return bytes;
  };
  const std::vector<Named> makers = every_kind();
  constexpr std::int64_t n = std::int64_t{1024} * 1024;
  EXPECT_EQ(report_of(makers[0].make), 12 * n + 2 * n / 256);  // 12.008 a parameter
  EXPECT_EQ(report_of(makers[1].make), 16 * n);
  EXPECT_EQ(report_of(makers[2].make), 10 * n + n / 256);  // 10.004
  EXPECT_EQ(report_of(makers[3].make), 12 * n);
  EXPECT_EQ(report_of(makers[4].make), 8 * n);
  EXPECT_EQ(report_of(makers[5].make), 12 * n + 2 * n / 256);  // Adam
  EXPECT_EQ(report_of(makers[7].make), 10 * n + n / 256);      // Adagrad
  EXPECT_EQ(report_of(makers[9].make), 10 * n + n / 256);      // RMSprop
  EXPECT_EQ(report_of(makers[10].make), 14 * n + 3 * n / 256);
  EXPECT_EQ(report_of(makers[12].make), 10 * n + n / 256);  // Lion
}

TEST(Bytes, OfTheStateAreGivenBackWithTheOptimizer) {
  Session session({.threads = 1});
  const auto live = [&] { return session.report().live_by_category[static_cast<std::size_t>(Category::kOptimizer)]; };
  const std::vector<Parameter> parameters = {{parameter(full({512}, 1), "w"), "w"}};
  {
    const AdamW optimizer(parameters);
    EXPECT_GE(live(), 2052);
  }
  EXPECT_EQ(live(), 0);
}

TEST(Parameters, FrozenOnesHaveNoStateAndDoNotMove) {
  Session session({.threads = 1});
  std::vector<Parameter> parameters = {
      {parameter(full({4}, 1), "a"), "a"}, {parameter(full({4}, 2), "b"), "b"}, {parameter(full({4}, 3), "c"), "c"}};
  parameters[1].set_requires_grad(false);
  AdamW optimizer(parameters, {.lr = 0.1f});
  ASSERT_EQ(optimizer.state().size(), 2u);
  EXPECT_EQ(optimizer.state()[0].name(), "a.AdamW");
  EXPECT_EQ(optimizer.state()[1].name(), "c.AdamW");
  const auto backward = [&] { sum(parameters[0] * parameters[1] * parameters[2]).backward(); };
  backward();
  optimizer.step();
  optimizer.zero_grad();
  EXPECT_NE(parameters[0].to_vector()[0], 1);
  EXPECT_EQ(parameters[1].to_vector(), std::vector<float>(4, 2));
  EXPECT_NE(parameters[2].to_vector()[0], 3);

  // Frozen later: passed over, and its state kept for when it goes on.
  parameters[0].set_requires_grad(false);
  const Bytes value = bytes_of(parameters[0]);
  const Bytes state = bytes_of(optimizer.state()[0]);
  backward();
  optimizer.step();
  optimizer.zero_grad();
  EXPECT_EQ(bytes_of(parameters[0]), value);
  EXPECT_EQ(bytes_of(optimizer.state()[0]), state);
  parameters[0].set_requires_grad(true);
  backward();
  optimizer.step();
  optimizer.zero_grad();
  EXPECT_NE(bytes_of(parameters[0]), value);

  // Thawed after the optimizer was made: its state begins then, and counts its own steps.
  parameters[1].set_requires_grad(true);
  const std::int64_t before = optimizer.steps();
  backward();
  optimizer.step();
  ASSERT_EQ(optimizer.state().size(), 3u);
  EXPECT_EQ(optimizer.state()[1].name(), "b.AdamW");
  EXPECT_EQ(optimizer.steps(), before + 1);
  EXPECT_EQ(optimizer.step_counts(), (std::vector<std::int64_t>{before, 1, before + 1}));
  // lr in the first step of its own, less the weight decay: with the others' count it would be a tenth of that.
  EXPECT_NEAR(parameters[1].to_vector()[0], 2 - 0.1f - 0.1f * 0.01f * 2, 1e-4);
}

TEST(Parameters, WithoutAGradientArePassedOver) {
  Session session({.threads = 1});
  const std::vector<Parameter> parameters = {{parameter(full({4}, 1), "used"), "used"},
                                             {parameter(full({4}, 2), "unused"), "unused"}};
  AdamW optimizer(parameters, {.lr = 0.1f, .weight_decay = 0.5f});
  const int line = __LINE__ + 1;
  EXPECT_THAT([&] { optimizer.step(); },
              ThrowsMessage<Error>(AllOf(HasSubstr("before any backward()"), HasSubstr(at_line(line)))));
  sum(parameters[0]).backward();
  optimizer.step();
  EXPECT_NE(parameters[0].to_vector()[0], 1);
  EXPECT_EQ(parameters[1].to_vector(), std::vector<float>(4, 2));  // not even decayed
  // A step without any gradient is none of the optimizer's.
  optimizer.zero_grad();
  optimizer.step();
  EXPECT_EQ(optimizer.steps(), 1);
}

TEST(Parameters, TiedOnesAreOne) {
  const auto train = [](bool twice) {
    Session session({.threads = 1});
    const Tensor w = parameter(normal({30, 20}, 0, 1), "w");
    std::vector<Parameter> parameters = {{w, "embedding"}};
    if (twice) parameters.emplace_back(w, "head");
    AdamW optimizer(parameters, {.lr = 0.1f});
    EXPECT_EQ(optimizer.state().size(), 1u);
    for (int t = 0; t < 3; ++t) {
      optimizer.zero_grad();
      sum(w * w + w).backward();  // used twice, as tied weights are
      optimizer.step();
    }
    return std::pair(bytes_of(w), bytes_of(optimizer.state()[0]));
  };
  EXPECT_EQ(train(true), train(false));
}

TEST(Resume, FromSavedBytesInAnotherSessionGivesTheSameBits) {
  for (const auto& [name, make] : every_kind()) {
    std::vector<Bytes> parameters;
    std::vector<Bytes> states;
    std::vector<Bytes> expected;
    std::int64_t steps = 0;
    {
      Problem whole(make);
      whole.train(1, 3);
      for (const Parameter& p : whole.parameters) parameters.push_back(bytes_of(p));
      for (const Parameter& p : whole.optimizer->state()) states.push_back(bytes_of(p));
      steps = whole.optimizer->steps();
      whole.train(4, 6);
      expected = whole.everything();
    }
    Problem resumed(make, 1);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      std::vector<float> values(parameters[i].size() / sizeof(float));
      std::memcpy(values.data(), parameters[i].data(), parameters[i].size());
      resumed.parameters[i].assign(std::span<const float>(values));
    }
    std::vector<Parameter> state = resumed.optimizer->state();
    ASSERT_EQ(state.size(), states.size());
    for (std::size_t i = 0; i < states.size(); ++i) state[i].assign(std::span<const std::uint8_t>(states[i]));
    resumed.optimizer->set_steps(steps);
    resumed.train(4, 6);
    EXPECT_EQ(resumed.everything(), expected) << name;
  }
}

// Equal parameters with equal gradients, in one optimizer and in sessions of different seeds: rounded differently.
TEST(State, IsDitheredByTheSeedAndTheParameter) {
  const auto states = [](std::uint64_t seed, bool adamw) {
    Session session({.threads = 1, .seed = seed});
    std::vector<Parameter> parameters;
    for (const char* name : {"a", "b"}) parameters.emplace_back(parameter(full({64}, 1), name), name);
    std::unique_ptr<Optimizer> optimizer;
    if (adamw) optimizer = std::make_unique<AdamW>(parameters);
    if (!adamw) optimizer = std::make_unique<SGD>(parameters, SGDOptions{.momentum = 0.9f});
    sum((parameters[0] + parameters[1]) * 0.3f).backward();
    optimizer->step();
    return std::vector<Bytes>{bytes_of(optimizer->state()[0]), bytes_of(optimizer->state()[1])};
  };
  for (const bool adamw : {false, true}) {
    const std::vector<Bytes> first = states(1, adamw);
    const std::vector<Bytes> second = states(2, adamw);
    EXPECT_EQ(first, states(1, adamw));
    EXPECT_NE(first[0], first[1]);
    EXPECT_NE(first[0], second[0]);
    EXPECT_NE(first[1], second[1]);
  }
}

std::unique_ptr<Optimizer> make_with(const std::vector<Parameter>& p, const SGDOptions& options) {
  return std::make_unique<SGD>(p, options);
}
std::unique_ptr<Optimizer> make_with(const std::vector<Parameter>& p, const AdamWOptions& options) {
  return std::make_unique<AdamW>(p, options);
}
std::unique_ptr<Optimizer> make_with(const std::vector<Parameter>& p, const AdamOptions& options) {
  return std::make_unique<Adam>(p, options);
}
std::unique_ptr<Optimizer> make_with(const std::vector<Parameter>& p, const AdagradOptions& options) {
  return std::make_unique<Adagrad>(p, options);
}
std::unique_ptr<Optimizer> make_with(const std::vector<Parameter>& p, const RMSpropOptions& options) {
  return std::make_unique<RMSprop>(p, options);
}
std::unique_ptr<Optimizer> make_with(const std::vector<Parameter>& p, const LionOptions& options) {
  return std::make_unique<Lion>(p, options);
}

// What the optimizer does is what the kernels do; here only the conventions, in numbers worked out by hand.
TEST(Steps, FollowTheConventions) {
  Session session({.threads = 1});
  const auto trained = [&](auto&& options, int steps) {
    const Tensor w = parameter(full({1}, 1), "w");
    const auto made = make_with({w}, options);
    Optimizer& optimizer = *made;
    for (int t = 0; t < steps; ++t) {
      optimizer.zero_grad();
      sum(w * 2).backward();
      optimizer.step();
    }
    return w.item();
  };
  EXPECT_NEAR(trained(SGDOptions{.lr = 0.1f}, 2), 0.6f, 1e-6);
  EXPECT_NEAR(trained(SGDOptions{.lr = 0.1f, .momentum = 0.5f, .state = f32}, 2), 1 - 0.1f * (2 + 3), 1e-6);
  EXPECT_NEAR(trained(SGDOptions{.lr = 0.1f, .momentum = 0.5f}, 2), 1 - 0.1f * (2 + 3), 1e-6);
  EXPECT_NEAR(trained(SGDOptions{.lr = 0.1f, .momentum = 0.5f, .nesterov = true}, 2), 1 - 0.1f * (3 + 3.5f), 1e-6);
  EXPECT_NEAR(trained(SGDOptions{.lr = 0.1f, .weight_decay = 0.5f}, 1), 1 - 0.1f * 2.5f, 1e-6);
  // lr a step, against the gradient's sign.
  EXPECT_NEAR(trained(AdamWOptions{.lr = 0.1f, .weight_decay = 0, .state = f32}, 3), 0.7f, 1e-6);
  EXPECT_NEAR(trained(AdamWOptions{.lr = 0.1f, .weight_decay = 0}, 3), 0.7f, 2e-4);
  EXPECT_NEAR(trained(AdamWOptions{.lr = 0.1f, .weight_decay = 0.5f}, 1), 0.95f - 0.1f, 1e-6);
  EXPECT_NEAR(trained(AdamOptions{.lr = 0.1f}, 3), 0.7f, 2e-4);
  EXPECT_NEAR(trained(AdagradOptions{.lr = 0.1f}, 2), 1 - 0.1f * (1 + std::sqrt(0.5f)), 1e-4);
  EXPECT_NEAR(trained(AdagradOptions{.lr = 0.1f, .lr_decay = 1, .initial_accumulator_value = 12}, 2),
              1 - 0.1f * (0.5f + 0.5f / std::sqrt(5.0f)), 1e-4);
  EXPECT_NEAR(trained(RMSpropOptions{.lr = 0.1f, .alpha = 0.75f}, 1), 1 - 0.1f * 2, 1e-6);
  EXPECT_NEAR(trained(RMSpropOptions{.lr = 0.1f, .alpha = 0.75f, .momentum = 0.5f}, 2),
              1 - 0.1f * (2 + 1 + 2 / std::sqrt(1.75f)), 2e-4);
  EXPECT_NEAR(trained(LionOptions{.lr = 0.1f, .weight_decay = 0.5f}, 1), 0.95f - 0.1f, 1e-6);
}

TEST(Options, ThatAreWrongAreNamedWithTheLine) {
  Session session({.threads = 1});
  const std::vector<Parameter> w = {{parameter(full({3}, 1), "w"), "w"}};
  const float nan = std::nanf("");
  const float inf = std::numeric_limits<float>::infinity();
  const auto adamw = [&](const AdamWOptions& options, const char* text) {
    EXPECT_THAT(
        [&] {
          AdamW(w, options, {"train.cc", 7});
        },
        ThrowsMessage<Error>(std::string("[AdamW] ") + text + " (at train.cc:7)"));
  };
  adamw({.lr = -1e-9f}, "lr must be 0 or more, not -9.99999972e-10");
  adamw({.lr = nan}, "lr must be 0 or more, not nan");
  adamw({.lr = inf}, "lr must be 0 or more, not inf");
  adamw({.beta1 = 1}, "beta1 must be from 0 to below 1, not 1");
  adamw({.beta1 = -0.5f}, "beta1 must be from 0 to below 1, not -0.5");
  adamw({.beta2 = 1.5f}, "beta2 must be from 0 to below 1, not 1.5");
  adamw({.beta2 = nan}, "beta2 must be from 0 to below 1, not nan");
  adamw({.eps = 0}, "eps must be above 0, not 0");
  adamw({.eps = inf}, "eps must be above 0, not inf");
  adamw({.weight_decay = -1}, "weight_decay must be 0 or more, not -1");
  adamw({.state = i32}, "the state must be f16 or f32, not i32");
  const auto sgd = [&](const SGDOptions& options, const char* text) {
    EXPECT_THAT(
        [&] {
          SGD(w, options, {"train.cc", 9});
        },
        ThrowsMessage<Error>(std::string("[SGD] ") + text + " (at train.cc:9)"));
  };
  sgd({.lr = -1}, "lr must be 0 or more, not -1");
  sgd({.momentum = 1}, "momentum must be from 0 to below 1, not 1");
  sgd({.momentum = nan}, "momentum must be from 0 to below 1, not nan");
  sgd({.nesterov = true}, "Nesterov's method needs a momentum above 0, not 0");
  sgd({.weight_decay = inf}, "weight_decay must be 0 or more, not inf");
  sgd({.momentum = 0.5f, .state = u8}, "the state must be f16 or f32, not u8");
  const auto other = [&](const std::function<void(SourceLocation)>& make, const char* text) {
    EXPECT_THAT([&] { make({"train.cc", 8}); }, ThrowsMessage<Error>(std::string(text) + " (at train.cc:8)"));
  };
  other([&](auto at) { Adam(w, {.beta1 = 1}, at); }, "[Adam] beta1 must be from 0 to below 1, not 1");
  other([&](auto at) { Adam(w, {.weight_decay = -1}, at); }, "[Adam] weight_decay must be 0 or more, not -1");
  other([&](auto at) { Adagrad(w, {.lr_decay = -1}, at); }, "[Adagrad] lr_decay must be 0 or more, not -1");
  other([&](auto at) { Adagrad(w, {.initial_accumulator_value = nan}, at); },
        "[Adagrad] initial_accumulator_value must be 0 or more, not nan");
  other([&](auto at) { Adagrad(w, {.eps = 0}, at); }, "[Adagrad] eps must be above 0, not 0");
  other([&](auto at) { RMSprop(w, {.alpha = 1}, at); }, "[RMSprop] alpha must be from 0 to below 1, not 1");
  other([&](auto at) { RMSprop(w, {.momentum = -1}, at); }, "[RMSprop] momentum must be from 0 to below 1, not -1");
  other([&](auto at) { Lion(w, {.beta2 = nan}, at); }, "[Lion] beta2 must be from 0 to below 1, not nan");
  other([&](auto at) { Lion(w, {.state = i32}, at); }, "[Lion] the state must be f16 or f32, not i32");
  EXPECT_EQ(session.report().live_by_category[static_cast<std::size_t>(Category::kOptimizer)], 0);

  SGD optimizer(w);
  const int line = __LINE__ + 1;
  EXPECT_THAT([&] { optimizer.set_lr(-2); },
              ThrowsMessage<Error>("[SGD] lr must be 0 or more, not -2 " + at_line(line)));
  EXPECT_THAT([&] { optimizer.set_steps(-1); },
              ThrowsMessage<Error>(HasSubstr("must be 0 to 2^31, not -1 (at optimizer_test.cc:")));
  EXPECT_EQ(optimizer.lr(), 0.01f);
}

// The weights after two steps of the optimizer, bit for bit.
Bytes trained(const Maker& make) {
  Session session({.threads = 1, .seed = 5});
  const Parameter weight(parameter(normal({300}, 0, 1), "weight"), "weight");
  const auto optimizer = make({weight});
  for (int i = 0; i < 2; ++i) {
    sum(mul(weight, weight)).backward();
    optimizer->step();
    optimizer->zero_grad();
  }
  return bytes_of(weight);
}

TEST(ByName, MakesTheSameOptimizersWithTheSameOptions) {
  const auto named = [](const char* name, const NamedValues::Given& given, DType state) {
    return trained([&](const auto& parameters) { return make_optimizer(name, parameters, given, state); });
  };
  EXPECT_EQ(named("adamw", {{"lr", 0.25}, {"weight-decay", 0.5}}, f32), trained([](const auto& parameters) {
              return std::make_unique<AdamW>(parameters, AdamWOptions{.lr = 0.25f, .weight_decay = 0.5f, .state = f32});
            }));
  EXPECT_EQ(named("sgd", {{"lr", 0.25}, {"momentum", 0.5}, {"nesterov", 1}, {"weight-decay", 0.125}}, f16),
            trained([](const auto& parameters) {
              return std::make_unique<SGD>(
                  parameters,
                  SGDOptions{.lr = 0.25f, .momentum = 0.5f, .nesterov = true, .weight_decay = 0.125f, .state = f16});
            }));
}

TEST(ByName, DefaultsAreThoseOfTheTypes) {
  const auto expect = [](const char* name, const auto& options) {
    EXPECT_EQ(trained([&](const auto& parameters) { return make_optimizer(name, parameters); }),
              trained([&](const auto& parameters) { return make_with(parameters, options); }))
        << name;
  };
  expect("sgd", SGDOptions());
  expect("adamw", AdamWOptions());
  expect("adam", AdamOptions());
  expect("adagrad", AdagradOptions());
  expect("rmsprop", RMSpropOptions());
  expect("lion", LionOptions());
}

TEST(ByName, OptionsAreThoseOfTheTypes) {
  const auto named = [](const char* name, const NamedValues::Given& given) {
    return trained([&](const auto& parameters) { return make_optimizer(name, parameters, given); });
  };
  const auto typed = [](const auto& options) {
    return trained([&](const auto& parameters) { return make_with(parameters, options); });
  };
  EXPECT_EQ(named("adam", {{"lr", 0.25}, {"weight-decay", 0.5}}),
            typed(AdamOptions{.lr = 0.25f, .weight_decay = 0.5f}));
  EXPECT_EQ(named("adagrad", {{"lr", 0.25}, {"lr-decay", 0.5}, {"weight-decay", 0.5}}),
            typed(AdagradOptions{.lr = 0.25f, .lr_decay = 0.5f, .weight_decay = 0.5f}));
  EXPECT_EQ(
      named("rmsprop", {{"lr", 0.25}, {"alpha", 0.5}, {"momentum", 0.5}, {"centered", 1}, {"weight-decay", 0.5}}),
      typed(RMSpropOptions{.lr = 0.25f, .alpha = 0.5f, .weight_decay = 0.5f, .momentum = 0.5f, .centered = true}));
  EXPECT_EQ(named("lion", {{"lr", 0.25}, {"weight-decay", 0.5}}),
            typed(LionOptions{.lr = 0.25f, .weight_decay = 0.5f}));
}

TEST(ByName, EveryEntryHasALearningRateAndTrains) {
  for (const NamedOptimizer& entry : optimizers()) {
    const auto with_lr = [&](double lr) {
      return trained([&](const auto& parameters) { return make_optimizer(entry.name, parameters, {{"lr", lr}}); });
    };
    EXPECT_NE(with_lr(0.1), with_lr(0)) << entry.name;
  }
}

TEST(ByName, WrongNamesAndValuesSayWhatIsAllowed) {
  Session session({.threads = 1});
  const std::vector<Parameter> parameters = {Parameter(parameter(zeros({4}), "weight"), "weight")};
  const auto expect = [&](const char* name, const NamedValues::Given& given, const std::string& text) {
    EXPECT_THAT([&] { (void)make_optimizer(name, parameters, given); },
                ThrowsMessage<Error>(AllOf(HasSubstr(text), HasSubstr("(at optimizer_test.cc:"))));
  };
  expect("adaptive", {}, "there is no optimizer 'adaptive'; there are: adamw, adam, sgd, adagrad, rmsprop, lion");
  expect("adamw", {{"momentum", 0.5}}, "there is no option 'momentum'; there are: lr, weight-decay");
  expect("sgd", {{"momentum", 1}}, "momentum is 1, but must be a number from 0 to 0.9999");
}

TEST(Options, ParametersMustBeLeavesOfThisSession) {
  Session outer({.threads = 1});
  const Tensor w = parameter(full({3}, 1), "w");
  const Tensor plain = full({3}, 1);
  EXPECT_THAT(
      [&] {
        AdamW({{w * 2, "twice"}}, {}, {"train.cc", 7});
      },
      ThrowsMessage<Error>("[AdamW] 'twice' is not a leaf, so it cannot be optimized (at train.cc:7)"));
  EXPECT_THAT(
      [&] {
        AdamW({w, Tensor()}, {}, {"train.cc", 7});
      },
      ThrowsMessage<Error>(HasSubstr("'parameter 1' is not a leaf")));
  EXPECT_THAT(
      [&] {
        SGD({plain}, {}, {"train.cc", 7});
      },
      ThrowsMessage<Error>("[SGD] there is no parameter that requires a gradient (at train.cc:7)"));
  EXPECT_THAT([&] { SGD({}, {}, {"train.cc", 7}); }, ThrowsMessage<Error>(HasSubstr("there is no parameter")));
  Session inner({.threads = 1});
  EXPECT_THAT(
      [&] {
        AdamW({{w, "w"}}, {}, {"train.cc", 7});
      },
      ThrowsMessage<Error>("[AdamW] 'w' belongs to another session (at train.cc:7)"));
}

}  // namespace
}  // namespace tidemark::optim
