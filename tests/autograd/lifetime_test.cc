// Lifetimes are the program's, never the budget's: what dies when, what can be read after what it was computed from has
// changed, and what an Error then names. Everything here runs without a budget and with one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "tests/autograd/support.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

class LifetimeTest : public ::testing::TestWithParam<std::optional<std::int64_t>> {
 protected:
  std::int64_t live() const { return session_.report().live_bytes; }
  std::int64_t live(Category category) const { return session_.report().live_by_category[static_cast<int>(category)]; }
  Session session_{{.budget = GetParam(), .threads = 2, .verify_replay = true}};
};

INSTANTIATE_TEST_SUITE_P(Budgets, LifetimeTest, ::testing::Values(std::nullopt, 24_MiB),
                         [](const auto& one) { return one.param ? "Limited" : "Unlimited"; });

const Shape kMiB = {512, 512};

TEST_P(LifetimeTest, EvaluationLoopsDoNotGrow) {
  Tensor w1 = parameter(normal(kMiB, 0, 0.05f), "w1");
  Tensor w2 = parameter(normal(kMiB, 0, 0.05f), "w2");
  const Tensor x = normal(kMiB, 0, 1);
  for (const bool no_grad : {true, false}) {
    std::vector<float> means;
    std::int64_t after_first = 0;
    std::int64_t peak = 0;
    for (int i = 0; i < 40; ++i) {
      std::optional<NoGrad> guard;
      if (no_grad) guard.emplace();
      means.push_back(mean(linear(relu(linear(x, w1)), w2)).item());
      if (i == 0) after_first = live();
      if (i == 10) peak = session_.report().peak_bytes;
    }
    EXPECT_EQ(live(), after_first);
    EXPECT_EQ(session_.report().peak_bytes, peak);
    EXPECT_LE(live(), 3_MiB + 64) << "the leaves, and the last mean";
    EXPECT_THAT(means, ::testing::Each(means.front()));
  }
}

// A handle that lives through the loop must not make the tape grow with it.
TEST_P(LifetimeTest, EvaluationLoopsDoNotGrowBesideALivingValue) {
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const Tensor x = normal(kMiB, 0, 1);
  const NoGrad guard;
  const Tensor held = linear(x, w);
  const std::vector<std::uint8_t> before = bits(held);
  std::vector<std::int64_t> lives;
  for (int i = 0; i < 400; ++i) {
    (void)mean(relu(add(held, x))).item();
    if (i == 10 || i == 399) lives.push_back(live());
  }
  EXPECT_EQ(lives[0], lives[1]);
  EXPECT_LE(session_.graph().ops.size(), 800u);
  EXPECT_EQ(before, bits(held));
}

TEST_P(LifetimeTest, DeadBranchesGoAtOnce) {
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const std::int64_t start = live();
  {
    const Tensor trunk = relu(linear(w, w));
    const std::int64_t with_trunk = live();
    {
      const Tensor branch = gelu(mul(trunk, trunk));
      EXPECT_GE(live(), with_trunk + 1_MiB);
    }
    EXPECT_EQ(live(), with_trunk);
    const Tensor loss = mean(trunk);
    loss.backward();
    EXPECT_EQ(live(Category::kGradients), 1_MiB);
  }
  w.zero_grad();
  (void)mean(w).item();
  EXPECT_LE(live(), start + 64);
}

TEST_P(LifetimeTest, BackwardGivesActivationsBack) {
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const Tensor x = normal(kMiB, 0, 1);
  const std::int64_t start = live();
  const Tensor loss = mean(relu(linear(relu(linear(x, w)), w)));
  loss.backward();
  EXPECT_EQ(live(), start + 1_MiB + 64) << "the gradient, and the loss that is still held";
  EXPECT_EQ(live(Category::kGradients), 1_MiB);
}

TEST_P(LifetimeTest, ZeroGradGivesBytesBack) {
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const std::int64_t start = live();
  for (int i = 0; i < 3; ++i) {
    mean(mul(w, w)).backward();
    EXPECT_EQ(live(Category::kGradients), 1_MiB);
    Tensor gradient = w.grad();
    w.zero_grad();
    EXPECT_FALSE(w.grad().defined());
    EXPECT_EQ(live(Category::kGradients), 1_MiB) << "still held";
    const std::vector<float> values = gradient.to_vector();
    EXPECT_EQ(values.size(), 512u * 512u);
    gradient = Tensor();
    EXPECT_EQ(live(Category::kGradients), 0);
  }
  EXPECT_EQ(live(), start);
}

TEST_P(LifetimeTest, HandlesAreCopiedAndMoved) {
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const std::int64_t start = live();
  Tensor y = relu(w);
  const std::vector<std::uint8_t> expected = bits(y);
  Tensor copy = y;
  Tensor moved = std::move(y);
  EXPECT_FALSE(y.defined());  // NOLINT: what a moved-from handle is
  EXPECT_TRUE(moved.same(copy));
  copy = copy;  // NOLINT: on purpose
  EXPECT_EQ(bits(copy), expected);
  copy = Tensor();
  EXPECT_EQ(bits(moved), expected);
  std::vector<Tensor> list(3, moved);
  moved = std::move(list[1]);
  list.clear();
  EXPECT_EQ(bits(moved), expected);
  EXPECT_GE(live(), start + 1_MiB);
  moved = Tensor();
  EXPECT_EQ(live(), start);
}

// What a step leaves readable does not depend on size by accident: 64 KiB stay, 64 KiB and one element expire.
TEST_P(LifetimeTest, AfterAnOptimizerStep) {
  Tensor w = parameter(normal({512}, 0, 1), "the weight");
  const Tensor x = normal({64, 512}, 0, 1);
  optim::SGD optimizer({w}, {.lr = 0.1f});
  const Tensor large = mul(x, w);  // 128 KiB
  const Tensor kept = mul(x, w).keep();
  const Tensor small = slice(mul(x, w), 0, 0, 32).detach();
  const Tensor fits = mul(slice(x, 0, 0, 32), w);  // 64 KiB to the byte
  const std::string computed = next_line();
  const Tensor too_large = concat({flatten(fits, 0), w}, 0);
  const Tensor loss = mean(mul(large, large));
  const std::vector<std::vector<std::uint8_t>> before = {bits(kept), bits(small), bits(fits), bits(loss), bits(x)};
  ASSERT_EQ(fits.numel() * 4, kSmallBytes);
  loss.backward();
  const std::vector<std::uint8_t> gradient = bits(w.grad());
  const std::string stepped = next_line();
  optimizer.step();

  EXPECT_EQ(before, (std::vector{bits(kept), bits(small), bits(fits), bits(loss), bits(x)}));
  EXPECT_EQ(gradient, bits(w.grad()));
  EXPECT_EQ(w.numel(), 512);
  for (const Tensor& gone : {large, too_large}) {
    EXPECT_THAT(error_of([&] { (void)gone.to_vector(); }),
                AllOf(HasSubstr("keep()"), HasSubstr("the weight"), HasSubstr(stepped)));
    EXPECT_THAT(error_of([&] { (void)relu(gone); }), HasSubstr(stepped));
    EXPECT_EQ(gone.size(-1), gone.shape()[-1]);
  }
  EXPECT_THAT(error_of([&] { (void)too_large.to_vector(); }), HasSubstr(computed));
}

TEST_P(LifetimeTest, ParametersChangedBeforeBackward) {
  Tensor w = parameter(normal({512}, 0, 1), "the weight");
  const Tensor x = normal({64, 512}, 0, 1);
  const Tensor untouched = mean(mul(x, x));
  const std::string computed = next_line();
  const Tensor loss = mean(mul(x, w));
  const float value = loss.item();
  const std::string changed = next_line();
  w.assign(std::span<const float>(std::vector<float>(512, 1)));
  EXPECT_EQ(loss.item(), value);
  EXPECT_THAT(error_of([&] { loss.backward(); }),
              AllOf(HasSubstr("the weight"), HasSubstr(computed), HasSubstr(changed)));
  EXPECT_FALSE(w.grad().defined());
  EXPECT_EQ(untouched.item(), mean(mul(x, x)).item());
  mean(mul(x, w)).backward();
  EXPECT_TRUE(w.grad().defined());
}

TEST_P(LifetimeTest, OptimizerStepBeforeBackward) {
  Tensor w = parameter(normal({512}, 0, 1), "the weight");
  optim::SGD optimizer({w}, {.lr = 0.1f});
  const Tensor first = mean(mul(w, w));
  const std::string computed = next_line();
  const Tensor second = sum(mul(w, w));
  first.backward();
  const std::string changed = next_line();
  optimizer.step();
  EXPECT_THAT(error_of([&] { second.backward(); }),
              AllOf(HasSubstr("the weight"), HasSubstr(computed), HasSubstr(changed)));
}

// A leaf's own bytes are read in backward: changing a batch between forward and backward is refused as well.
TEST_P(LifetimeTest, BatchChangedBeforeBackward) {
  Tensor w = parameter(normal({512}, 0, 1), "w");
  Tensor x = normal({64, 512}, 0, 1);
  const std::string computed = next_line();
  const Tensor loss = mean(mul(x, w));
  const std::string changed = next_line();
  x.assign(std::span<const float>(std::vector<float>(64UL * 512, 2)));
  EXPECT_THAT(error_of([&] { loss.backward(); }), AllOf(HasSubstr(computed), HasSubstr(changed)));
}

TEST_P(LifetimeTest, GradientsSumOverMicroBatchesOfOneStep) {
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  optim::SGD optimizer({w}, {.lr = 0.1f, .momentum = 0.9f});
  std::vector<std::int64_t> lives;
  for (int step = 0; step < 4; ++step) {
    for (int micro = 0; micro < 3; ++micro) mean(relu(linear(normal(kMiB, 0, 1), w))).backward();
    optimizer.step();
    optimizer.zero_grad();
    lives.push_back(live());
  }
  EXPECT_EQ(lives[1], lives[3]);
}

TEST(HandleTest, OutlivesItsSession) {
  Tensor leaf, value, parameter_handle, gradient, loss;
  {
    Session session({.threads = 1});
    leaf = normal({4}, 0, 1);
    parameter_handle = parameter(normal({4}, 0, 1), "w");
    value = mul(leaf, parameter_handle);
    loss = sum(relu(value));
    loss.backward({.retain_graph = true});
    gradient = parameter_handle.grad();
  }
  for (const Tensor& tensor : {leaf, value, parameter_handle, gradient, loss}) {
    EXPECT_TRUE(tensor.defined());
    EXPECT_THAT(error_of([&] { (void)tensor.to_vector(); }), HasSubstr("session has ended"));
    EXPECT_THAT(error_of([&] { (void)tensor.session(); }), HasSubstr("session has ended"));
    EXPECT_THAT(error_of([&] { (void)relu(tensor); }), HasSubstr("session has ended"));
  }
  EXPECT_EQ(value.shape(), Shape({4}));
  EXPECT_THAT(error_of([&] { loss.backward(); }), HasSubstr("session has ended"));
  EXPECT_TRUE(parameter_handle.grad().same(gradient));
  Session next({.threads = 1});
  EXPECT_THAT(error_of([&] { (void)mul(normal({4}, 0, 1), leaf); }), HasSubstr("session"));
  leaf = Tensor();
  value = normal({2}, 0, 1);
  EXPECT_EQ(value.to_vector().size(), 2u);
}

}  // namespace
}  // namespace tidemark::test
