// Metrics in a training loop: wherever they are called, the step keeps its plan and its bits.
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tidemark/data.h"
#include "tidemark/metrics.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

enum class Place { kNowhere, kBeforeBackward, kAfterStep, kDetachedAfterStep };

struct Outcome {
  Report report;
  std::vector<std::uint8_t> weights;
  std::int64_t right = 0;
};

// Three epochs of 6 whole batches and a smaller one, of `classes` classes.
Outcome train(std::optional<std::int64_t> budget, Place place, std::int64_t classes) {
  Session session({.budget = budget, .threads = 1, .verify_replay = true});
  nn::Sequential net{nn::Flatten(), nn::Linear({.in = 64, .out = 128})};
  for (int i = 0; i < 6; ++i) {
    net.add(nn::ReLU());
    net.add(nn::Linear({.in = 128, .out = i < 5 ? 128 : classes}));
  }
  optim::AdamW optimizer(net.parameters());
  data::Loader loader(data::synthetic_images({.count = 6 * 256 + 40, .channels = 1, .image = 8, .classes = classes}),
                      {.batch = 256});
  metrics::Accuracy accuracy;
  metrics::Accuracy top({.top_k = 5});
  metrics::ConfusionMatrix matrix({.classes = classes});
  metrics::Perplexity perplexity;
  metrics::RunningMean mean;
  const auto update = [&](const Tensor& logits, const Tensor& y) {
    accuracy.update(logits, y);
    top.update(logits, y);
    matrix.update(logits, y);
    perplexity.update(logits, y);
  };
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (const auto& [x, y] : loader) {
      const Tensor logits = net(x);
      const Tensor loss = cross_entropy(logits, y);
      const Tensor detached = place == Place::kDetachedAfterStep ? logits.detach() : Tensor();
      if (place == Place::kBeforeBackward) update(logits, y);
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      if (place == Place::kAfterStep) update(logits, y);
      if (detached.defined()) update(detached, y);
      if (place != Place::kNowhere) mean.update(loss.item(), y.numel());
    }
  }
  EXPECT_EQ(accuracy.count(), place == Place::kNowhere ? 0 : 3 * (6 * 256 + 40));
  EXPECT_EQ(matrix.count(), accuracy.count());
  if (accuracy.count() > 0) {
    EXPECT_EQ(matrix.value(), accuracy.value());
    EXPECT_NEAR(perplexity.value(), std::exp(mean.value()), 1e-4 * perplexity.value());
  }
  Outcome outcome{session.report(), {}, accuracy.right()};
  for (const Parameter& parameter : net.parameters()) {
    const std::vector<std::uint8_t> more = bits(parameter);
    outcome.weights.insert(outcome.weights.end(), more.begin(), more.end());
  }
  return outcome;
}

constexpr std::int64_t kBudget = 1900_KiB;  // 1.9 MiB and 2.1 MiB without one

void expect_same_steps(const Outcome& with, const Outcome& without) {
  EXPECT_EQ(with.report.plans, without.report.plans) << with.report.replan_reason;
  EXPECT_EQ(with.report.replans, without.report.replans) << with.report.replan_reason;
  EXPECT_EQ(with.report.planned_steps, without.report.planned_steps);
  EXPECT_EQ(with.report.recomputed_ops, without.report.recomputed_ops);
  EXPECT_EQ(with.report.waiting_nodes, 0);
  EXPECT_EQ(with.weights, without.weights);
}

TEST(MetricsLoopTest, PlansStayAsTheyAreWithoutMetrics) {
  for (const std::optional<std::int64_t> budget : {std::optional<std::int64_t>(), std::optional(kBudget)}) {
    const Outcome without = train(budget, Place::kNowhere, 10);
    EXPECT_EQ(without.report.recomputed_ops > 0, budget.has_value());
    const Outcome before = train(budget, Place::kBeforeBackward, 10);
    const Outcome after = train(budget, Place::kAfterStep, 10);
    expect_same_steps(before, without);
    expect_same_steps(after, without);
    EXPECT_EQ(after.right, before.right);
  }
}

// 100 KiB: such a value is gone after the step, unless it was detached, and then it takes its bytes until it has been
// read.
TEST(MetricsLoopTest, LargeLogits) {
  const Outcome without = train(kBudget, Place::kNowhere, 100);
  const Outcome before = train(kBudget, Place::kBeforeBackward, 100);
  expect_same_steps(before, without);
  EXPECT_THAT([] { train(kBudget, Place::kAfterStep, 100); }, ThrowsMessage<Error>(HasSubstr("the value is gone")));
  const Outcome detached = train(kBudget, Place::kDetachedAfterStep, 100);
  EXPECT_EQ(detached.report.plans, without.report.plans) << detached.report.replan_reason;
  EXPECT_EQ(detached.right, before.right);
  EXPECT_EQ(detached.weights, without.weights);
}

}  // namespace
}  // namespace tidemark::test
