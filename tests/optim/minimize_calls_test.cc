// minimize(): what single calls give, what is refused and what breaks off.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
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

}  // namespace
}  // namespace tidemark::test
