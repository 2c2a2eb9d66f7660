// minimize(): the same bits as backward() and step(), at every budget; gradients that die at once; what is refused and
// what breaks off; and any mixture of calls against f64 arithmetic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/autograd/support.h"
#include "tidemark/clip.h"
#include "tidemark/nn.h"
#include "tidemark/op.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using optim::MinimizeOptions;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

enum class Way { kApart, kEach, kWhole };

// One step of training.
void take_step(optim::Optimizer& optimizer, const Tensor& loss, Way way) {
  if (way == Way::kApart) {
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  } else {
    optimizer.minimize(loss,
                       {.check = way == Way::kEach ? MinimizeOptions::Check::kEach : MinimizeOptions::Check::kWhole});
  }
}

// Trains, and gives all that was computed.
using Program = std::vector<float> (*)(Way);

void append(std::vector<float>& to, const Tensor& tensor) {
  for (float value : tensor.to_vector()) to.push_back(value);
}

std::vector<float> mlp(Way way) {
  nn::Sequential net(nn::Linear({.in = 32, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 64}), nn::GELU(),
                     nn::Linear({.in = 64, .out = 10}));
  optim::AdamW optimizer(net.parameters());
  const Tensor x = normal({48, 32}, 0, 1);
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor logits = net(x);  // held over the step
    const Tensor loss = cross_entropy(logits, zeros({48}, i32));
    take_step(optimizer, loss, way);
    append(seen, loss);
    append(seen, logits);
  }
  for (const Parameter& parameter : net.parameters()) append(seen, parameter);
  return seen;
}

std::vector<float> cnn(Way way) {
  nn::BatchNorm2d norm({.features = 8});
  nn::Sequential first(nn::Conv2d({.in = 3, .out = 8, .padding = 1}));
  nn::Sequential rest(nn::ReLU(), nn::Conv2d({.in = 8, .out = 8, .padding = 1}), nn::MaxPool2d({.kernel = 2}),
                      nn::Dropout({.p = 0.3f}), nn::Flatten(), nn::Linear({.in = 128, .out = 10}));
  std::vector<Parameter> parameters = first.parameters();
  for (nn::Module* module : std::vector<nn::Module*>{&norm, &rest}) {
    for (const Parameter& parameter : module->parameters()) parameters.push_back(parameter);
  }
  optim::SGD optimizer(parameters, {.lr = 0.05f, .momentum = 0.9f, .nesterov = true});
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor loss = cross_entropy(rest(norm(first(normal({4, 3, 8, 8}, 0, 1)))), zeros({4}, i32));
    take_step(optimizer, loss, way);
    append(seen, loss);
  }
  for (const Parameter& parameter : parameters) append(seen, parameter);
  append(seen, norm.running_mean);
  append(seen, norm.running_variance);
  return seen;
}

// One matrix is the embedding and the head, and is read between through detach().
std::vector<float> tied(Way way) {
  const Tensor table = parameter(normal({20, 16}, 0, 0.3f), "table");
  const Tensor unused = parameter(normal({4}, 0, 1), "unused");
  nn::Linear middle({.in = 16, .out = 16});
  std::vector<Parameter> parameters = {Parameter(table, "table"), Parameter(unused, "unused")};
  for (const Parameter& parameter : middle.parameters()) parameters.push_back(parameter);
  optim::AdamW optimizer(parameters);
  std::vector<std::int32_t> tokens(24);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * 7 % 20);
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor h = gelu(middle(embedding(tensor(tokens, {24}), table)));
    const Tensor g = h * slice(embedding(tensor(tokens, {24}), table.detach()), 0, 0, 24);
    const Tensor loss = cross_entropy(linear(g, table), tensor(tokens, {24}));
    take_step(optimizer, loss, way);
    append(seen, loss);
  }
  append(seen, table);
  append(seen, unused);
  return seen;
}

// The weights are used at every point of time, and the state goes on from step to step.
std::vector<float> recurrent(Way way) {
  nn::Linear input({.in = 8, .out = 24});
  nn::Linear hidden({.in = 24, .out = 24});
  std::vector<Parameter> parameters = input.parameters();
  for (const Parameter& parameter : hidden.parameters()) parameters.push_back(parameter);
  optim::SGD optimizer(parameters, {.lr = 0.02f, .momentum = 0.9f});
  Tensor state = zeros({16, 24});
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    Tensor total = zeros({});
    for (int t = 0; t < 4; ++t) {
      state = tanh(input(normal({16, 8}, 0, 1)) + hidden(state));
      total = total + mean(square(state));
    }
    const Tensor next = state.detach();
    take_step(optimizer, total, way);
    state = next;
    append(seen, total);
  }
  for (const Parameter& parameter : parameters) append(seen, parameter);
  append(seen, state);
  return seen;
}

// Two optimizers, each with a loss that reaches the other's parameters.
std::vector<float> adversarial(Way way) {
  nn::Sequential generator(nn::Linear({.in = 8, .out = 32}), nn::ReLU(), nn::Linear({.in = 32, .out = 16}));
  nn::Sequential critic(nn::Linear({.in = 16, .out = 32}), nn::ReLU(), nn::Linear({.in = 32, .out = 1}));
  optim::AdamW of_generator(generator.parameters());
  optim::AdamW of_critic(critic.parameters());
  std::vector<float> seen;
  for (int i = 0; i < 4; ++i) {
    const Tensor fake = generator(normal({12, 8}, 0, 1));
    const Tensor for_critic = mean(critic(fake)) - mean(critic(normal({12, 16}, 0, 1)));
    take_step(of_critic, for_critic, way);
    of_generator.zero_grad();
    const Tensor for_generator = -mean(critic(generator(normal({12, 8}, 0, 1))));
    take_step(of_generator, for_generator, way);
    of_critic.zero_grad();
    append(seen, for_critic);
    append(seen, for_generator);
  }
  for (const Parameter& parameter : generator.parameters()) append(seen, parameter);
  for (const Parameter& parameter : critic.parameters()) append(seen, parameter);
  return seen;
}

struct Case {
  const char* name;
  Program program;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

class MinimizeTest : public ::testing::TestWithParam<Case> {};

TEST_P(MinimizeTest, GivesTheBitsOfBackwardAndStep) {
  const Program program = GetParam().program;
  std::vector<float> expected;
  {
    const Session session({.threads = 2});
    expected = program(Way::kApart);
  }
  std::int64_t peak = 0;
  {
    const Session session({.threads = 2});
    EXPECT_TRUE(same_bits(program(Way::kEach), expected));
    peak = session.report().peak_bytes;
  }
  {
    const Session session({.threads = 2});
    EXPECT_TRUE(same_bits(program(Way::kWhole), expected));
  }
  const std::int64_t smallest = smallest_budget({.threads = 2}, [&] { (void)program(Way::kEach); });
  for (const int part : {0, 1, 2, 3, 4}) {
    const std::int64_t budget = smallest + (peak - smallest) * part / 4;
    const Session session({.budget = budget, .threads = 2, .verify_replay = part == 1});
    EXPECT_TRUE(same_bits(program(Way::kEach), expected)) << budget;
    EXPECT_LE(session.report().peak_bytes, budget);
  }
}

INSTANTIATE_TEST_SUITE_P(Programs, MinimizeTest,
                         ::testing::Values(Case{"mlp", mlp}, Case{"cnn", cnn}, Case{"tied", tied},
                                           Case{"recurrent", recurrent}, Case{"adversarial", adversarial}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(MinimizeBytes, GradientsDieAtOnce) {
  // 16 layers whose weights are large beside their activations: all gradients are 16 MiB.
  const auto peak = [](Way way) {
    const Session session({.threads = 1});
    std::vector<Parameter> weights;
    for (int i = 0; i < 16; ++i) weights.emplace_back(parameter(normal({512, 512}, 0, 0.04f), "w" + std::to_string(i)));
    optim::SGD optimizer(weights);
    for (int i = 0; i < 3; ++i) {
      Tensor h = normal({4, 512}, 0, 1);
      for (const Parameter& weight : weights) h = linear(h, weight);
      take_step(optimizer, mean(square(h)), way);
      for (const Parameter& weight : weights) EXPECT_FALSE(weight.grad().defined());
    }
    return session.report().peak_by_category[static_cast<int>(Category::kGradients)];
  };
  EXPECT_EQ(peak(Way::kApart), 16_MiB);
  EXPECT_EQ(peak(Way::kWhole), 16_MiB);
  EXPECT_EQ(peak(Way::kEach), 1_MiB);
}

// The gradient of what went into a layer is computed before that of its weight, which then dies at once.
TEST(MinimizeBytes, WeightsComeLast) {
  const Session session({.threads = 2});
  nn::Sequential net(nn::Linear({.in = 784, .out = 1024}), nn::ReLU(), nn::Linear({.in = 1024, .out = 1024}),
                     nn::ReLU(), nn::Linear({.in = 1024, .out = 10}));
  optim::SGD optimizer(net.parameters());
  const Tensor x = normal({128, 784}, 0, 1);
  const Tensor y = zeros({128}, i32);
  for (int i = 0; i < 3; ++i) optimizer.minimize(cross_entropy(net(x), y));
  EXPECT_LE(session.report().last_step.peak_bytes, 14'300'000);
}

// Clipped gradients are what clip_grad_value() and clip_grad_norm() make of them, and take the bytes that are said.
TEST(MinimizeClipped, GivesTheBitsOfTheCallsApart) {
  const auto train = [](int way) {
    const Session session({.threads = 2});
    nn::Sequential net(nn::Linear({.in = 32, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 8}));
    optim::AdamW optimizer(net.parameters());
    EXPECT_EQ(optimizer.gradient_bytes(), 4 * (32 * 64 + 64 + 64 * 8 + 16));
    for (int i = 0; i < 3; ++i) {
      const Tensor loss = mean(square(net(normal({16, 32}, 0, 1)))) * 100.0f;
      if (way == 0) {
        loss.backward();
        optim::clip_grad_value(net.parameters(), 0.5f);
        EXPECT_GT(optim::clip_grad_norm(net.parameters(), 0.7f), 0.7f);
        optimizer.step();
        optimizer.zero_grad();
      } else {
        optimizer.minimize(loss, {.clip_value = 0.5f, .clip_norm = way == 1 ? 0.7f : 0});
      }
    }
    std::vector<float> weights;
    for (const Parameter& parameter : net.parameters()) append(weights, parameter);
    return weights;
  };
  EXPECT_TRUE(same_bits(train(0), train(1)));
  EXPECT_FALSE(same_bits(train(0), train(2)));
}

class MinimizeOnce : public ::testing::Test {
 protected:
  Session session_{{.threads = 1}};
  Tensor a_ = parameter(tensor(std::vector<float>{1, 2, 3, 4}, {4}), "a");
  Tensor b_ = parameter(tensor(std::vector<float>{4, 3, 2, 1}, {4}), "b");
  optim::SGD optimizer_{{Parameter(a_, "a"), Parameter(b_, "b")}, {.lr = 0.5f}};
};

TEST_F(MinimizeOnce, EarlierGradientsCountAndAreGone) {
  sum(a_ * 2.0f).backward();
  sum(b_ * 4.0f).backward();
  optimizer_.minimize(sum(a_));  // reaches a alone
  EXPECT_THAT(a_.to_vector(), ::testing::ElementsAre(-0.5f, 0.5f, 1.5f, 2.5f));
  EXPECT_THAT(b_.to_vector(), ::testing::ElementsAre(2, 1, 0, -1));
  EXPECT_FALSE(a_.grad().defined());
  EXPECT_FALSE(b_.grad().defined());
  EXPECT_EQ(optimizer_.steps(), 1);
  EXPECT_EQ(session_.step(), 1);
}

TEST_F(MinimizeOnce, OthersGetNoGradient) {
  const Tensor c = parameter(full({4}, 1), "c");
  optimizer_.minimize(sum(a_ * c));
  EXPECT_FALSE(c.grad().defined());
  EXPECT_THAT(error_of([&] { optimizer_.minimize(sum(c * 2.0f)); }),
              HasSubstr("depends on none of the optimizer's parameters"));
  EXPECT_THAT(error_of([&] { optimizer_.minimize(sum(a_), {.clip_norm = -1}); }),
              HasSubstr("clip_norm must be 0 or more"));
  EXPECT_THAT(error_of([&] { optimizer_.minimize(Tensor()); }), HasSubstr("undefined"));
}

TEST_F(MinimizeOnce, ALossMayBeTheParameter) {
  for (const auto check : {MinimizeOptions::Check::kEach, MinimizeOptions::Check::kWhole}) {
    const Tensor q = parameter(full({}, 2), "q");
    optim::SGD optimizer({Parameter(q, "q")}, {.lr = 0.5f});
    optimizer.minimize(q, {.check = check});
    EXPECT_EQ(q.item(), 1.5f);
  }
}

TEST_F(MinimizeOnce, WhatIsNotReachedGetsNoState) {
  const Tensor c = parameter(full({4}, 1), "c");
  const std::vector<Parameter> both = {Parameter(a_, "a"), Parameter(c, "c")};
  freeze(both, "c");
  optim::AdamW optimizer(both);
  thaw(both, "c");
  optimizer.minimize(sum(square(a_)));
  EXPECT_EQ(optimizer.state().size(), 1u);
  EXPECT_EQ(optimizer.step_counts(), (std::vector<std::int64_t>{1, 0}));
  EXPECT_NE(error_of([&] { optimizer.minimize(sum(a_ + c) / 0.0f); }), "");
  EXPECT_EQ(optimizer.state().size(), 1u);
  optimizer.minimize(sum(square(a_ + c)));
  EXPECT_EQ(optimizer.state().size(), 2u);
  EXPECT_EQ(optimizer.step_counts(), (std::vector<std::int64_t>{2, 1}));
  for (const auto check : {MinimizeOptions::Check::kEach, MinimizeOptions::Check::kWhole}) {
    EXPECT_THAT(error_of([&] { optimizer.minimize(sum(square(b_)), {.check = check}); }),
                HasSubstr("depends on none of the optimizer's parameters"));
  }
}

TEST_F(MinimizeOnce, ALossThatIsNotFiniteChangesNothing) {
  nn::BatchNorm2d norm({.features = 1});
  for (const auto check : {MinimizeOptions::Check::kEach, MinimizeOptions::Check::kWhole}) {
    const Tensor loss = sum(a_) / 0.0f + sum(norm(normal({2, 1, 2, 2}, 0, 1)));
    EXPECT_THAT(error_of([&] { optimizer_.minimize(loss, {.check = check}); }),
                AllOf(HasSubstr("[minimize] the loss is inf"), HasSubstr("changed nothing")));
    EXPECT_THAT(a_.to_vector(), ::testing::ElementsAre(1, 2, 3, 4));
    EXPECT_EQ(norm.running_mean.item(), 0);
    EXPECT_EQ(optimizer_.steps(), 0);
  }
}

// The square root of 0: a finite loss and an infinite gradient. The parameter used last is updated first.
TEST_F(MinimizeOnce, AGradientThatIsNotFiniteBreaksThePassOff) {
  a_.assign<float>(std::vector<float>(4, 0));
  const auto bad = [&] { return sum(sqrt(a_) * b_); };
  EXPECT_THAT(error_of([&] { optimizer_.minimize(bad(), {.check = MinimizeOptions::Check::kWhole}); }),
              AllOf(HasSubstr("the gradient of 'a'"), HasSubstr("changed nothing")));
  EXPECT_THAT(b_.to_vector(), ::testing::ElementsAre(4, 3, 2, 1));
  const std::string text = error_of([&] { optimizer_.minimize(bad()); });
  EXPECT_THAT(text, AllOf(HasSubstr("the update of 'a' broke off"), HasSubstr("not finite"),
                          HasSubstr("Updated by then: 'b'")));
  EXPECT_THAT(error_of([&] { optimizer_.minimize(sum(b_)); }), HasSubstr("assign or load these parameters"));
  sum(b_).backward();
  EXPECT_THAT(error_of([&] { optimizer_.step(); }), HasSubstr("assign or load these parameters"));
  b_.assign<float>(std::vector<float>{4, 3, 2, 1});
  a_.assign<float>(std::vector<float>(4, 1));
  b_.zero_grad();
  optimizer_.minimize(sum(a_ * b_));
  EXPECT_THAT(b_.to_vector(), ::testing::ElementsAre(3.5f, 2.5f, 1.5f, 0.5f));
  EXPECT_EQ(optimizer_.steps(), 1);
}

TEST(MinimizeRefused, ABudgetErrorComesBeforeTheFirstUpdate) {
  const auto program = [](std::vector<std::vector<float>>* before) {
    nn::Sequential net(nn::Linear({.in = 64, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 64}), nn::ReLU(),
                       nn::Linear({.in = 64, .out = 64}));
    optim::AdamW optimizer(net.parameters());
    const Tensor x = normal({256, 64}, 0, 1);
    if (before != nullptr) {
      for (const Parameter& parameter : net.parameters()) before->push_back(parameter.to_vector());
    }
    try {
      for (int i = 0; i < 2; ++i) optimizer.minimize(mean(square(net(x))));
    } catch (const BudgetError&) {
      if (before == nullptr) throw;
      std::size_t i = 0;
      for (const Parameter& parameter : net.parameters()) EXPECT_TRUE(same_bits(parameter.to_vector(), (*before)[i++]));
      EXPECT_EQ(optimizer.steps(), 0);
      throw;
    }
  };
  const std::int64_t smallest = smallest_budget({.threads = 1}, [&] { program(nullptr); });
  int refused = 0;
  for (std::int64_t less = 64; less < smallest / 2; less += smallest / 16) {
    const Session session({.budget = smallest - less, .threads = 1});
    std::vector<std::vector<float>> before;
    EXPECT_THROW(program(&before), BudgetError) << less;
    ++refused;
  }
  EXPECT_GT(refused, 5);
}

// An optimizer whose updates fail in a way that is asked for.
struct Fault {
  static constexpr std::string_view name = "fault";
  int kind = 0;

  Prepared prepare(Prep&, std::span<const Meta>, Needs) const {
    Prepared prepared;
    prepared.updates = {0};
    return prepared;
  }
  void forward(Ctx&, std::span<const Buf>, std::span<const Buf>) const {
    if (kind == 1) throw Error("no more");
    if (kind == 2) throw 42;  // NOLINT: no std::exception, on purpose
  }
};

class Faulty : public optim::Optimizer {
 public:
  Faulty(const std::vector<Parameter>& parameters, int kind)
      : Optimizer({.kind = "Faulty", .defaults = {.lr = 0.1f}, .state = f32}, parameters, SourceLocation::current()),
        kind_(kind) {}

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override {
    if (kind_ == 3) return nullptr;
    return any_op(Fault{slot == 0 ? kind_ : 0});
  }
  int kind_;
};

TEST(MinimizeFaults, WhateverAnUpdateThrowsIsAnError) {
  for (const auto check : {MinimizeOptions::Check::kEach, MinimizeOptions::Check::kWhole}) {
    for (const int kind : {1, 2, 3}) {
      SCOPED_TRACE(kind);
      const Session session({.threads = 1});
      const Tensor a = parameter(full({4}, 1), "a");
      const Tensor b = parameter(full({4}, 1), "b");
      Faulty optimizer({Parameter(a, "a"), Parameter(b, "b")}, kind);
      const std::string text = error_of([&] { optimizer.minimize(sum(a * b), {.check = check}); });
      EXPECT_THAT(text, HasSubstr(kind == 1 ? "no more" : kind == 2 ? "no std::exception" : "an update is no op"));
      EXPECT_EQ(optimizer.steps(), 0);
      EXPECT_NE(error_of([&] { optimizer.minimize(sum(a * b), {.check = check}); }), "") << "nor does it go on";
    }
  }
}

enum class Call { kBackward, kEach, kWhole, kClipNorm };

void call(Call which, optim::Optimizer& optimizer, const Tensor& loss) {
  if (which == Call::kBackward) return loss.backward();
  const auto check = which == Call::kWhole ? MinimizeOptions::Check::kWhole : MinimizeOptions::Check::kEach;
  optimizer.minimize(loss, {.check = check, .clip_norm = which == Call::kClipNorm ? 1.0f : 0.0f});
}

// Of a step that is over, or of the same one: then the second loss was there before the first one went backward. The
// weight is used twice, so that a pass that does not get on may have added to its gradient.
TEST(MinimizeRefused, EarlierGradientsStayOrAreSaidToBeGone) {
  for (const Call which : {Call::kBackward, Call::kEach, Call::kWhole, Call::kClipNorm}) {
    for (const bool same_step : {false, true}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(which)) + (same_step ? ", the same step" : ""));
      int kept = 0;
      int gone = 0;
      for (std::int64_t budget = 100'000; budget < 1'200'000; budget += 16_KiB) {
        const Session session({.budget = budget, .threads = 1});
        try {
          const Tensor w = parameter(normal({64, 64}, 0, 0.1f), "w");
          optim::SGD optimizer({Parameter(w, "w")});
          const Tensor x = normal({512, 64}, 0, 1);
          const auto second = [&] { return mean(square(linear(relu(linear(x, w)), w))); };
          Tensor loss;
          if (same_step) loss = second();
          mean(square(linear(slice(x, 0, 0, 4), w))).backward();
          if (!same_step) loss = second();
          const std::vector<float> before = w.grad().to_vector();
          const std::string text = error_of([&] { call(which, optimizer, loss); });
          if (text.empty()) continue;
          ++(w.grad().defined() ? kept : gone);
          EXPECT_EQ(text.find("earlier backward() calls gave to what this pass reaches are gone") == std::string::npos,
                    w.grad().defined())
              << budget << text;
          if (w.grad().defined()) {
            EXPECT_TRUE(same_bits(w.grad().to_vector(), before)) << budget;
          }
        } catch (const BudgetError&) {
          // Before the call: another matter.
        }
      }
      EXPECT_GT(kept, 5);
      if (which == Call::kEach) {
        EXPECT_EQ(gone, 0) << "nothing runs before all of it is planned";
      }
    }
  }
}

// What backward() has left is whole, and stays so where something after it is refused.
TEST(MinimizeRefused, WhatFollowsBackwardTakesNoGradient) {
  const Session session({.budget = 64_KiB, .threads = 1});
  const Tensor w = parameter(normal({32, 32}, 0, 0.1f), "w");
  const Tensor x = normal({32, 32}, 0, 1);
  mean(square(linear(x, w))).backward();
  const std::vector<float> before = w.grad().to_vector();
  EXPECT_THAT(error_of([&] { (void)concat({x, x, x, x, x, x, x, x, x, x, x, x, x, x}, 0); }), HasSubstr("cannot hold"));
  ASSERT_TRUE(w.grad().defined());
  EXPECT_TRUE(same_bits(w.grad().to_vector(), before));
}

// Refused for a gradient that is not finite: running statistics, parameters and state are what they were.
TEST(MinimizeRefused, AGradientThatIsNotFiniteLeavesNoTrace) {
  const Session session({.threads = 1});
  nn::BatchNorm2d norm({.features = 4});
  const Tensor z = parameter(zeros({4}), "z");
  std::vector<Parameter> parameters = norm.parameters();
  parameters.emplace_back(z, "z");
  optim::SGD optimizer(parameters, {.momentum = 0.9f});
  const Tensor x = normal({8, 4}, 3, 1);
  const auto loss = [&] { return mean(square(norm(x))); };
  const std::vector<float> means = norm.running_mean.to_vector();
  const std::vector<float> variances = norm.running_variance.to_vector();
  const auto statistics_stayed = [&] {
    return same_bits(norm.running_mean.to_vector(), means) && same_bits(norm.running_variance.to_vector(), variances);
  };
  for (const bool earlier : {false, true}) {
    for (const MinimizeOptions& options :
         {MinimizeOptions{.check = MinimizeOptions::Check::kWhole}, MinimizeOptions{.clip_norm = 1},
          MinimizeOptions{.clip_value = 1e30f, .clip_norm = 1}}) {
      if (earlier) sum(z).backward();
      // Clipping makes a large value of an infinity, but no number of what is none.
      const float factor = options.clip_value > 0 ? 0.0f : 1.0f;
      const std::string text = error_of([&] { optimizer.minimize(loss() + sum(sqrt(z) * factor), options); });
      EXPECT_THAT(text, HasSubstr("the gradient of 'z' is not finite"));
      EXPECT_TRUE(statistics_stayed()) << text;
      EXPECT_EQ(text.find("are gone") != std::string::npos, earlier) << text;
      EXPECT_THAT(text, Not(HasSubstr("no gradient was changed")));
      for (const Parameter& parameter : parameters) EXPECT_FALSE(parameter.grad().defined());
      EXPECT_EQ(optimizer.steps(), 0);
    }
  }
  // A clip that the program calls is no step: what the forward pass changed stays until step() refuses it.
  (loss() + sum(sqrt(z))).backward();
  EXPECT_THAT(error_of([&] { optim::clip_grad_norm(parameters, 1); }), HasSubstr("nothing was clipped"));
  EXPECT_TRUE(z.grad().defined());
  EXPECT_FALSE(statistics_stayed());
  (void)optim::clip_grad_norm(parameters, 1, {.error_if_nonfinite = false});
  EXPECT_THAT(error_of([&] { optimizer.step(); }), HasSubstr("the gradient of 'z' is not finite"));
  EXPECT_TRUE(statistics_stayed());
}

// The one that breaks off keeps earlier gradients where it had not added to them.
TEST_F(MinimizeOnce, EarlierGradientsOfAPassThatBrokeOff) {
  for (const bool of_b : {false, true}) {
    a_.assign<float>(std::vector<float>(4, 0));
    b_.assign<float>(std::vector<float>{4, 3, 2, 1});
    const Tensor c = parameter(full({4}, 1), "c");
    optim::SGD optimizer({Parameter(a_, "a"), Parameter(b_, "b"), Parameter(c, "c")}, {.lr = 0.5f});
    sum((of_b ? b_ : c) * 2.0f).backward();
    const std::string text = error_of([&] { optimizer.minimize(sum(sqrt(a_) * b_)); });
    EXPECT_THAT(text, HasSubstr("the update of 'a' broke off"));
    EXPECT_EQ(text.find("are gone") != std::string::npos, of_b) << text;
    EXPECT_FALSE(b_.grad().defined());
    EXPECT_EQ(c.grad().defined(), !of_b) << "this loss does not reach it";
  }
}

// What another backward pass went through.
TEST_F(MinimizeOnce, AdviceIsItsOwn) {
  const auto advice = AllOf(HasSubstr("[minimize]"), HasSubstr("in place of backward() and step()"),
                            HasSubstr("minimize(a + b)"), Not(HasSubstr("retain_graph")));
  for (const auto check : {MinimizeOptions::Check::kEach, MinimizeOptions::Check::kWhole}) {
    const auto minimize = [&](const Tensor& loss) {
      return error_of([&] { optimizer_.minimize(loss, {.check = check}); });
    };
    const Tensor old = sum(square(a_));
    old.backward();
    EXPECT_THAT(minimize(old), advice);
    EXPECT_THAT(minimize(old + sum(b_)), advice);
    const Tensor shared = square(b_);
    sum(shared).backward();
    EXPECT_THAT(minimize(mean(shared)), advice);
    EXPECT_THAT(error_of([&] { (old + sum(b_)).backward(); }),
                AllOf(HasSubstr("[backward]"), HasSubstr("retain_graph")));
    optimizer_.zero_grad();
  }
}

// Its backward throws.
struct Stumble {
  static constexpr std::string_view name = "stumble";

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared prepared;
    prepared.outputs = {Meta::plain(in[0].shape)};
    Part part;
    part.inputs = {0};
    part.gx = prepared.outputs;
    part.gy = {{0, Layout{}}};
    prepared.parts = {part};
    return prepared;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    std::copy_n(in[0].as(), in[0].numel(), out[0].as());
  }
  void backward(Ctx&, int, std::span<const Buf>, std::span<const Buf>, std::span<const Buf>) const {
    throw Error("there is no way back");
  }
};

// The gradient of w comes before the kernel that throws, that of v would come after it.
TEST(MinimizeFaults, ABackwardThatThrowsLeavesGradientsItHasNotAddedTo) {
  for (const Call which : {Call::kBackward, Call::kEach, Call::kWhole, Call::kClipNorm}) {
    for (const bool added : {false, true}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(which)) + (added ? ", added" : ""));
      const Session session({.threads = 1});
      const Tensor v = parameter(full({8}, 1), "v");
      const Tensor w = parameter(full({8}, 1), "w");
      optim::SGD optimizer({Parameter(v, "v"), Parameter(w, "w")});
      const Tensor& graded = added ? w : v;
      sum(graded * 2.0f).backward();
      const std::vector<Tensor> doubled = {v * 2.0f};
      const Tensor loss = sum(apply_one(any_op(Stumble{}), doubled, SourceLocation::current()) * w);
      const std::string text = error_of([&] { call(which, optimizer, loss); });
      EXPECT_THAT(text, HasSubstr("there is no way back"));
      EXPECT_EQ(text.find("are gone") != std::string::npos, added) << text;
      EXPECT_FALSE((added ? v : w).grad().defined());
      ASSERT_EQ(graded.grad().defined(), !added);
      if (!added) {
        EXPECT_THAT(v.grad().to_vector(), ::testing::Each(2.0f));
      }
    }
  }
}

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
