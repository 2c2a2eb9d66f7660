// The peak without a budget is what lifetimes say it must be: at each op the leaves, what a later op still reads, and
// the op's own operands and scratch. A value that lives longer than its last use, or a copy that nobody declared, shows
// as a higher peak. Sizes are such that a matrix is 1 MiB, so that the small cases are counted by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/autograd/support.h"
#include "tests/autograd/training.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"
#include "tidemark/units.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;

// From reads and writes alone. Leaves stay throughout, as the program holds them; gradients until the step has ended.
std::int64_t expected_peak(const scheduler::Graph& graph) {
  const auto count = graph.buffers.size();
  const int ops = static_cast<int>(graph.ops.size());
  std::vector<int> first(count, -1), last(count, -1);
  std::vector<bool> written(count, false), updated(count, false);
  for (int t = 0; t < ops; ++t) {
    const scheduler::Op& op = graph.ops[static_cast<std::size_t>(t)];
    for (const auto* list : {&op.reads, &op.updates, &op.writes}) {
      for (const scheduler::BufferId b : *list) last[static_cast<std::size_t>(b)] = t;
    }
    for (const scheduler::BufferId b : op.writes) {
      first[static_cast<std::size_t>(b)] = t;
      written[static_cast<std::size_t>(b)] = true;
    }
  }
  std::vector<std::int64_t> live(static_cast<std::size_t>(ops), 0);
  for (std::size_t b = 0; b < count; ++b) {
    const bool leaf = !written[b];
    const int from = leaf ? 0 : first[b];
    const int to = leaf ? ops - 1 : last[b];
    for (int t = from; t <= to; ++t) live[static_cast<std::size_t>(t)] += graph.buffers[b].bytes;
  }
  std::int64_t peak = 0;
  for (int t = 0; t < ops; ++t) {
    const scheduler::Op& op = graph.ops[static_cast<std::size_t>(t)];
    // One output may take the place of an operand that nobody reads after this op.
    std::int64_t shared = 0;
    for (const auto& [read, write] : op.overwrites) {
      const auto r = static_cast<std::size_t>(read);
      if (last[r] == t && written[r]) shared = std::max(shared, graph.buffers[static_cast<std::size_t>(write)].bytes);
    }
    peak = std::max(peak, live[static_cast<std::size_t>(t)] - shared + op.scratch);
  }
  return peak;
}

class PeakTest : public ::testing::TestWithParam<std::pair<Model, Rule>> {};

TEST_P(PeakTest, IsWhatLifetimesSay) {
  const auto [model, rule] = GetParam();
  const TrainingResult result = train({.model = model, .rule = rule, .steps = 3});
  const std::int64_t expected = expected_peak(result.graph);
  std::printf("%s: peak %lld, expected %lld\n", name(model, rule).c_str(),
              static_cast<long long>(result.steps.back().peak_bytes), static_cast<long long>(expected));
  for (const StepReport& step : result.steps) {
    EXPECT_LE(step.peak_bytes, expected + expected / 20);
    EXPECT_GE(step.peak_bytes, expected - expected / 20);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PeakTest,
                         ::testing::Values(std::pair(Model::kMlp, Rule::kAdamW), std::pair(Model::kVgg16, Rule::kAdamW),
                                           std::pair(Model::kVgg16, Rule::kSgd), std::pair(Model::kGpt, Rule::kAdamW)),
                         [](const auto& one) { return name(one.param.first, one.param.second); });

const Shape kMiB = {512, 512};
constexpr std::int64_t kNumber = 64;  // one number takes one unit of the arena

std::int64_t scratch_of(const scheduler::Graph& graph, const std::string& op) {
  std::int64_t scratch = -1;
  for (const scheduler::Op& one : graph.ops) {
    if (one.name.starts_with(op + " at ")) scratch = std::max(scratch, one.scratch);
  }
  EXPECT_GE(scratch, 0) << "no op " << op;
  return scratch;
}

// Three matrices of weights, a batch and its target: 5 MiB of leaves. relu saves its output, linear its input.
TEST(PeakByHandTest, MlpWithoutBias) {
  Session session({.threads = 2});
  std::vector<Parameter> weights;
  weights.reserve(3);
  for (int i = 0; i < 3; ++i) weights.emplace_back(parameter(normal(kMiB, 0, 0.05f), "w"), "w");
  const Tensor x = normal(kMiB, 0, 1);
  const Tensor target = normal(kMiB, 0, 1);
  optim::SGD optimizer(weights, {.lr = 0.01f});
  EXPECT_EQ(session.report().live_bytes, 5_MiB);
  for (int step = 0; step < 3; ++step) {
    {
      const Tensor a1 = relu(linear(x, weights[0]));
      EXPECT_EQ(session.report().live_bytes, 6_MiB);
      const Tensor a2 = relu(linear(a1, weights[1]));
      EXPECT_EQ(session.report().live_bytes, 7_MiB);
      const Tensor loss = mse_loss(linear(a2, weights[2]), target);
      EXPECT_EQ(session.report().live_bytes, 8_MiB + kNumber) << "mse_loss saves the prediction";
      loss.backward();
      EXPECT_EQ(session.report().live_bytes, 8_MiB + kNumber + 2_MiB) << "a1 and a2 are held; three gradients";
    }
    EXPECT_EQ(session.report().live_bytes, 8_MiB);
    const std::int64_t scratch = scratch_of(session.graph(), "linear.backward");
    optimizer.step();
    optimizer.zero_grad();
    EXPECT_EQ(session.report().live_bytes, 5_MiB);
    // The gradient of a1: leaves 5, a1, a2 (held), the gradients of W3 and W2, that of a2's input, and its own; and
    // the loss.
    EXPECT_EQ(session.report().last_step.peak_bytes, 11_MiB + kNumber + scratch);
  }
}

// As a training loop is written: nothing but the loss is held, so that a2 goes before the gradient of a1 comes.
TEST(PeakByHandTest, MlpThatHoldsOnlyItsLoss) {
  Session session({.threads = 2});
  std::vector<Parameter> weights;
  weights.reserve(3);
  for (int i = 0; i < 3; ++i) weights.emplace_back(parameter(normal(kMiB, 0, 0.05f), "w"), "w");
  const Tensor x = normal(kMiB, 0, 1);
  const Tensor target = normal(kMiB, 0, 1);
  optim::SGD optimizer(weights, {.lr = 0.01f});
  for (int step = 0; step < 3; ++step) {
    Tensor y = x;
    for (int layer = 0; layer < 3; ++layer) {
      y = linear(y, weights[static_cast<std::size_t>(layer)]);
      if (layer < 2) y = relu(y);
    }
    const Tensor loss = mse_loss(y, target);
    y = Tensor();
    loss.backward();
    EXPECT_EQ(session.report().live_bytes, 8_MiB + kNumber) << "leaves 5, gradients 3";
    const std::int64_t scratch = scratch_of(session.graph(), "linear.backward");
    optimizer.step();
    optimizer.zero_grad();
    // The gradient of a2: leaves 5, a1, a2, the gradient of W3, that of the prediction, and its own. The gradient of a1
    // takes as much, with the gradient of W2 in place of a2.
    EXPECT_EQ(session.report().last_step.peak_bytes, 10_MiB + kNumber + scratch);
  }
}

// No scratch anywhere: whole MiB and the numbers.
TEST(PeakByHandTest, ElementwiseChain) {
  Session session({.threads = 2});
  Tensor w = parameter(normal(kMiB, 0, 1), "w");
  const Tensor x = normal(kMiB, 0, 1);
  Tensor loss;
  {
    Tensor h = mul(x, w);  // saves x, and not w: x takes no gradient
    EXPECT_EQ(session.report().live_bytes, 3_MiB);
    h = relu(h);  // saves its output; the product has gone
    EXPECT_EQ(session.report().live_bytes, 3_MiB);
    h = affine(h, 2, 1);  // saves nothing
    EXPECT_EQ(session.report().live_bytes, 4_MiB) << "relu's output is saved";
    h = mul(h, w);  // saves both
    EXPECT_EQ(session.report().live_bytes, 5_MiB);
    loss = sum(h);
  }
  EXPECT_EQ(session.report().live_bytes, 4_MiB + kNumber) << "x, w, relu's output, affine's output, the sum";
  loss.backward();
  EXPECT_EQ(session.report().live_bytes, 3_MiB + kNumber);
  // Forward at its most: x, w, relu's output, affine's output, the last product.
  EXPECT_GE(session.report().peak_bytes, 5_MiB);
  // Backward at its most: those without the product, the gradients of the product, of w and of affine's output; the
  // sum.
  EXPECT_EQ(session.report().peak_bytes, 7_MiB + kNumber);
}

TEST(PeakByHandTest, Evaluation) {
  Session session({.threads = 2});
  std::vector<Tensor> weights;
  weights.reserve(8);
  for (int i = 0; i < 8; ++i) weights.push_back(parameter(normal(kMiB, 0, 0.05f), "w"));
  const Tensor x = normal(kMiB, 0, 1);
  const NoGrad guard;
  Tensor y = x;
  for (const Tensor& weight : weights) y = relu(linear(y, weight));
  // Eight weights, the batch, a layer's input, its product and the product's positive part.
  EXPECT_EQ(session.report().live_bytes, 10_MiB);
  EXPECT_GE(session.report().peak_bytes, 11_MiB);
  EXPECT_LE(session.report().peak_bytes, 12_MiB + scratch_of(session.graph(), "linear"));
}

TEST(PeakByHandTest, CategoriesAddUp) {
  Session session({.threads = 2});
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const Tensor x = normal(kMiB, 0, 1);
  optim::AdamW optimizer({w}, {.state = f32});
  const auto live = [&](Category category) { return session.report().live_by_category[static_cast<int>(category)]; };
  EXPECT_EQ(live(Category::kParameters), 1_MiB);
  EXPECT_EQ(live(Category::kBatch), 1_MiB);
  EXPECT_EQ(live(Category::kOptimizer), 2_MiB);
  const Tensor y = relu(linear(x, w));
  EXPECT_EQ(live(Category::kActivations), 1_MiB);
  mean(y).backward();
  EXPECT_EQ(live(Category::kGradients), 1_MiB);
  optimizer.step();
  EXPECT_EQ(session.report().fixed_bytes, 5_MiB);
  std::int64_t at_peak = 0;
  for (const std::int64_t bytes : session.report().peak_by_category) at_peak += bytes;
  EXPECT_EQ(at_peak, session.report().peak_bytes);
  std::int64_t now = 0;
  for (const std::int64_t bytes : session.report().live_by_category) now += bytes;
  EXPECT_EQ(now, session.report().live_bytes);
  EXPECT_GE(session.report().reserved_bytes, session.report().peak_bytes);
}

}  // namespace
}  // namespace tidemark::test
