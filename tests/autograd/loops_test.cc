// Ordinary loops: what a program carries from step to step changes neither the length of the tape nor the plan, and
// keeps its value. Everything is counted: plans, planned steps, ops, waiting nodes, bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/autograd/support.h"
#include "tests/core/sanitized.h"
#include "tidemark/data.h"
#include "tidemark/models.h"
#include "tidemark/nn.h"
#include "tidemark/op.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::Each;

constexpr int kSteps = 30;

struct Net {
  nn::Sequential layers{nn::Linear({.in = 64, .out = 256}), nn::ReLU(), nn::Linear({.in = 256, .out = 256}), nn::ReLU(),
                        nn::Linear({.in = 256, .out = 10})};
  optim::AdamW optimizer{layers.parameters()};
  Tensor x = normal({128, 64}, 0, 1);
  Tensor y = zeros({128}, i32);

  Tensor loss(const Tensor& batch) { return cross_entropy(layers(batch), y); }
  void step(const Tensor& loss) {
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
  }
};

class LoopsTest : public ::testing::TestWithParam<std::optional<std::int64_t>> {
 protected:
  // The numbers that say whether a loop is ordinary, after it has run.
  void expect_planned(std::int64_t steps, std::int64_t unplanned, std::int64_t most_plans) const {
    const Report report = session_.report();
    EXPECT_GE(report.planned_steps, steps - unplanned) << report.replan_reason;
    EXPECT_LE(report.plans, most_plans) << report.replan_reason;
    EXPECT_EQ(report.waiting_nodes, 0) << report.waiting_since;
  }
  Session session_{{.budget = GetParam(), .threads = 1, .verify_replay = true}};
};

INSTANTIATE_TEST_SUITE_P(Budgets, LoopsTest, ::testing::Values(std::nullopt, 2_MiB),
                         [](const auto& one) { return one.param ? "Limited" : "Unlimited"; });

TEST_P(LoopsTest, NothingCarried) {
  Net net;
  for (int i = 0; i < kSteps; ++i) net.step(net.loss(net.x));
  expect_planned(kSteps, 1, 2);
  EXPECT_EQ(session_.report().replans, 0);
}

TEST_P(LoopsTest, SumsOfLosses) {
  Net net;
  std::vector<double> expected(4, 0);
  Tensor before = zeros({}), after = zeros({}), detached = zeros({}), mean = zeros({});
  std::vector<std::size_t> ops;
  for (int i = 0; i < kSteps; ++i) {
    const Tensor loss = net.loss(net.x);
    before = before + loss;  // with its graph, which backward goes through
    net.step(loss);
    after = after + loss;
    detached = detached + loss.detach();
    mean = mean * 0.9f + loss.detach() * 0.1f;
    const double value = loss.item();
    expected[0] += value;
    expected[3] = expected[3] * 0.9 + value * 0.1;
    ops.push_back(session_.graph().ops.size());
  }
  EXPECT_NEAR(before.item(), expected[0], 1e-3);
  EXPECT_NEAR(after.item(), expected[0], 1e-3);
  EXPECT_NEAR(detached.item(), expected[0], 1e-3);
  EXPECT_NEAR(mean.item(), expected[3], 1e-4);
  EXPECT_EQ(ops[5], ops.back());
  expect_planned(kSteps, 4, 6);
}

TEST_P(LoopsTest, ListsGrowByTheirValuesAlone) {
  Net net;
  std::vector<Tensor> losses, rows;
  std::vector<double> values;
  std::int64_t early = 0;
  for (int i = 0; i < kSteps; ++i) {
    const Tensor logits = net.layers(net.x);
    const Tensor loss = cross_entropy(logits, net.y);
    net.step(loss);
    losses.push_back(loss);
    rows.push_back(slice(logits, 0, 3, 4).detach());  // 40 bytes of a value of 5 KiB
    values.push_back(loss.item());
    if (i == 5) early = session_.report().live_bytes;
  }
  EXPECT_EQ(session_.report().live_bytes, early) << "small values are numbers in their handles";
  for (std::size_t i = 0; i < losses.size(); ++i) EXPECT_EQ(losses[i].item(), static_cast<float>(values[i]));
  for (const Tensor& row : rows) EXPECT_EQ(row.to_vector().size(), 10u);
  expect_planned(kSteps, 2, 4);
}

TEST_P(LoopsTest, ListsOfLargerValues) {
  Net net;
  std::vector<Tensor> kept;
  std::vector<std::vector<float>> expected;
  for (int i = 0; i < kSteps; ++i) {
    const Tensor logits = net.layers(net.x);
    net.step(cross_entropy(logits, net.y));
    kept.push_back(logits.detach());  // 5 KiB each
    expected.push_back(logits.to_vector());
  }
  for (std::size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].to_vector(), expected[i]);
  const Report report = session_.report();
  EXPECT_GE(report.planned_steps, kSteps - 6) << report.replan_reason;
  EXPECT_LE(report.plans, 8) << "the room shrinks a little in each step";
}

TEST_P(LoopsTest, CarriedValues) {
  Net net;
  Tensor last, running = zeros({}), state = zeros({128, 64});
  std::vector<float> expected(128UL * 64, 0);
  for (int i = 0; i < kSteps; ++i) {
    net.x = normal({128, 64}, 0, 1);  // assigned again
    const Tensor loss = net.loss(net.x + state * 0.01f);
    net.step(loss);
    last = loss;
    running = full({}, 0.9f * running.item() + 0.1f * loss.item());
    const std::vector<float> x = net.x.to_vector();
    for (std::size_t k = 0; k < x.size(); ++k) expected[k] = expected[k] * 0.5f + x[k];
    const NoGrad no_grad;
    state = state * 0.5f + net.x;  // a recurrent state of 32 KiB
  }
  EXPECT_EQ(state.to_vector(), expected);
  expect_planned(kSteps, 4, 6);
}

TEST_P(LoopsTest, RecurrentStateWithTruncatedBackward) {
  Tensor w = parameter(normal({64, 64}, 0, 0.1f), "w");
  optim::SGD optimizer({w}, {.lr = 0.01f});
  const Tensor x = normal({512, 64}, 0, 1);
  Tensor h = zeros({512, 64});  // 128 KiB: larger than what stays readable by itself
  for (int i = 0; i < kSteps; ++i) {
    h = relu(linear(x + h, w)).detach() + 0.0f * x;
    Tensor out = relu(linear(x + h, w));
    const Tensor loss = mean(out * out);
    loss.backward();
    h = out.detach();
    optimizer.step();
    optimizer.zero_grad();
  }
  EXPECT_EQ(h.to_vector().size(), 512u * 64);
  expect_planned(kSteps, 3, 4);
}

TEST_P(LoopsTest, AverageOfWeights) {
  Net net;
  std::vector<Tensor> average;
  for (const Parameter& p : net.layers.parameters()) average.push_back(p.detach() * 1.0f);
  for (int i = 0; i < kSteps; ++i) {
    net.step(net.loss(net.x));
    const NoGrad no_grad;
    std::size_t k = 0;
    for (const Parameter& p : net.layers.parameters()) {
      average[k] = average[k] * 0.9f + p * 0.1f;
      ++k;
    }
  }
  for (const Tensor& each : average)
    EXPECT_THAT(each.to_vector(), Each(::testing::Truly([](float v) { return std::isfinite(v); })));
  expect_planned(kSteps, 4, 8);
}

TEST_P(LoopsTest, BatchesOfTwoSizesAndEvaluationInBetween) {
  Net net;
  const Tensor small = normal({32, 64}, 0, 1), small_y = zeros({32}, i32);
  double metric = 0;
  for (int i = 0; i < kSteps; ++i) {
    if (i % 3 == 2) {
      net.step(cross_entropy(net.layers(small), small_y));
    } else {
      net.step(net.loss(net.x));
    }
    if (i % 5 == 4) {
      const NoGrad no_grad;
      for (int k = 0; k < 3; ++k) metric += net.loss(net.x).item();
    }
  }
  EXPECT_TRUE(std::isfinite(metric));
  expect_planned(kSteps, 6, 10);
}

TEST_P(LoopsTest, GradientAccumulation) {
  Net net;
  for (int i = 0; i < kSteps; ++i) {
    for (int pass = 0; pass < 4; ++pass) net.loss(net.x).backward();
    net.optimizer.step();
    net.optimizer.zero_grad();
  }
  expect_planned(kSteps, 4, 10);
}

TEST_P(LoopsTest, TwoOptimizersWithAGraphThatWaits) {
  nn::Sequential generator(nn::Linear({.in = 16, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 64}));
  nn::Sequential critic(nn::Linear({.in = 64, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 1}));
  optim::AdamW first(critic.parameters()), second(generator.parameters());
  const Tensor noise = normal({64, 16}, 0, 1), real = normal({64, 64}, 0, 1);
  for (int i = 0; i < kSteps; ++i) {
    const Tensor fake = generator(noise);
    const Tensor loss = mean(critic(fake.detach())) - mean(critic(real));
    loss.backward();
    first.step();
    first.zero_grad();
    const Tensor other = affine(mean(critic(fake)), -1, 0);  // fake's graph was not touched by the first step
    other.backward();
    second.step();
    second.zero_grad();
    first.zero_grad();
  }
  EXPECT_EQ(session_.report().steps, 2 * kSteps);
  expect_planned(2 * kSteps, 6, 6);
}

TEST_P(LoopsTest, EvaluationWithoutAStep) {
  Net net;
  std::vector<std::int64_t> live;
  std::vector<std::size_t> ops;
  const NoGrad no_grad;
  Tensor total = zeros({});
  double expected = 0;
  for (int i = 0; i < 400; ++i) {
    const Tensor loss = net.loss(net.x);
    total = total + loss;
    if (i % 7 == 0) expected += 0 * loss.item();
    live.push_back(session_.report().live_bytes);
    ops.push_back(session_.graph().ops.size());
  }
  expected = 400.0 * net.loss(net.x).item();
  EXPECT_NEAR(total.item(), expected, expected * 1e-4);
  EXPECT_LE(*std::max_element(ops.begin(), ops.end()), 600u);
  EXPECT_LE(live.back(), live[100] + 4096);
}

TEST_P(LoopsTest, ASumThatWaitsForBackwardIsNamed) {
  Net net;
  Tensor total = zeros({});
  const std::string line = next_line();
  for (int i = 0; i < 5; ++i) total = total + net.loss(net.x);
  const Report report = session_.report();
  EXPECT_GT(report.waiting_nodes, 20);
  EXPECT_NE(report.waiting_since, "");
  total.backward();
  EXPECT_EQ(session_.report().waiting_nodes, 0);
}

// Values that count, to be told apart.
class Count final : public data::Source {
 public:
  explicit Count(std::int64_t width) : width_(width) {}
  std::int64_t size() const override { return 8; }
  Shape x_shape() const override { return {width_}; }
  Shape y_shape() const override { return {}; }
  void write(std::int64_t i, std::int64_t, void* x, void* y) const override {
    std::fill_n(static_cast<float*>(x), width_, static_cast<float>(i));
    *static_cast<std::int32_t*>(y) = static_cast<std::int32_t>(i);
  }

 private:
  std::int64_t width_;
};

TEST_P(LoopsTest, AKeptBatchKeepsItsContent) {
  for (const std::int64_t width : {1, 100, 10000}) {
    data::Loader loader(std::make_shared<Count>(width), {.batch = 2});
    std::vector<data::Batch> all;
    std::vector<Tensor> views;
    Tensor doubled;
    for (int epoch = 0; epoch < 2; ++epoch) {
      for (const data::Batch& batch : loader) {
        all.push_back(batch);
        views.push_back(slice(batch.x, 0, 1, 2));
      }
    }
    ASSERT_EQ(all.size(), 8u);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto first = static_cast<float>(i % 4 * 2);
      EXPECT_EQ(all[i].x.to_vector()[0], first) << width;
      EXPECT_EQ(all[i].x.to_vector().back(), first + 1) << width;
      EXPECT_EQ(views[i].to_vector().front(), first + 1) << width;
      EXPECT_EQ(all[i].y.to_vector<std::int32_t>()[1], static_cast<std::int32_t>(first) + 1);
    }
  }
}

TEST_P(LoopsTest, TrainingFromALoaderIsPlanned) {
  nn::Linear layer({.in = 100, .out = 10});
  optim::AdamW optimizer(layer.parameters());
  data::Loader loader(std::make_shared<Count>(100), {.batch = 2});
  data::Batch last;
  for (int epoch = 0; epoch < 8; ++epoch) {
    for (const data::Batch& batch : loader) {
      const Tensor loss = cross_entropy(layer(batch.x), batch.y);
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      last = batch;
    }
  }
  EXPECT_EQ(last.x.to_vector()[0], 6);
  expect_planned(32, 4, 4);
}

TEST(EvaluationTest, NeedsNoMoreThanTraining) {
  const SessionOptions options{.threads = 1};
  const auto train = [](bool evaluate) {
    return [evaluate] {
      nn::Sequential net(nn::Conv2d({.in = 1, .out = 16, .kernel = 3, .padding = 1}), nn::ReLU(),
                         nn::MaxPool2d({.kernel = 2}), nn::Flatten(), nn::Linear({.in = 16 * 14 * 14, .out = 10}));
      optim::AdamW optimizer(net.parameters());
      data::Loader loader =
          data::synthetic(data::SyntheticImagesOptions{.count = 256, .channels = 1, .image = 28}, {.batch = 64});
      for (int epoch = 0; epoch < 2; ++epoch) {
        for (const auto& [x, y] : loader) {
          const Tensor loss = cross_entropy(net(x), y);
          loss.backward();
          optimizer.step();
          optimizer.zero_grad();
        }
        if (!evaluate) continue;
        const NoGrad no_grad;
        data::Loader test =
            data::synthetic(data::SyntheticImagesOptions{.count = 256, .channels = 1, .image = 28}, {.batch = 64});
        Tensor total = zeros({});
        for (const auto& [x, y] : test) total = total + cross_entropy(net(x), y);
        (void)total.item();
      }
    };
  };
  const std::int64_t without = smallest_budget(options, train(false));
  EXPECT_LE(smallest_budget(options, train(true)), without + without / 50);
  // The figure holds for a run with kernels, and the text of a refusal can be typed back.
  SessionOptions real = options;
  real.budget = without;
  {
    const Session session(real);
    train(true)();
    EXPECT_LE(session.report().reserved_bytes, without);
  }
  // Whoever types back what refusals say gets there soon, and not far above.
  real.budget = without / 2;
  int refusals = 0;
  for (bool runs = false; !runs; ++refusals) {
    ASSERT_LT(refusals, 12);
    try {
      const Session session(real);
      train(true)();
      runs = true;
    } catch (const BudgetError& error) {
      const std::string text = error.what();
      const std::string marks[] = {"this step is ", "takes at least "};
      const std::size_t which = text.find(marks[0]) == std::string::npos ? 1 : 0;
      const std::size_t at = text.find(marks[which]) + marks[which].size();
      const std::int64_t advised = parse_bytes(text.substr(at, text.find_first_of(";u", at) - at));
      EXPECT_GE(advised, error.needed_bytes());
      EXPECT_GT(advised, *real.budget);
      real.budget = advised;
    }
  }
  EXPECT_LE(*real.budget, without + without / 20);
}

TEST(EvaluationTest, ValuesWithoutGradientsAreDiscardedToo) {
  const Session session({.budget = 6_MiB, .threads = 1, .verify_replay = true});
  const NoGrad no_grad;
  std::vector<Tensor> values = {normal({512, 512}, 0, 1)};
  for (int i = 0; i < 12; ++i) values.push_back(gelu(values.back()));
  std::vector<float> sums;
  for (const Tensor& value : values) sums.push_back(sum(value).item());
  EXPECT_GT(session.report().recomputed_ops, 0);
  EXPECT_LE(session.report().reserved_bytes, 6_MiB);
}

// Adds one to a leaf, in place.
struct Increment {
  static constexpr std::string_view name = "increment";
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const {
    Prepared prepared;
    prepared.updates = {0};
    return prepared;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const { ++*in[0].as(); }
};

TEST_P(LoopsTest, ASmallLeafThatIsChangedInPlaceStaysOne) {
  Net net;
  const Tensor counter = zeros({});
  for (int i = 0; i < kSteps; ++i) {
    net.step(net.loss(net.x));
    (void)apply_all(any_op(Increment{}), std::vector{counter}, SourceLocation::current());
    EXPECT_EQ(counter.item(), static_cast<float>(i + 1));
  }
}

// A step ends with a graph that went into no loss; the next begins as it did, and takes that part backward. What the
// first let go of only at its end must still be there.
TEST_P(LoopsTest, AGraphThatWaitedInOneStepGoesBackwardInTheNext) {
  const Tensor weight = parameter(normal({64, 64}, 0, 1), "weight");
  optim::SGD optimizer({weight}, {.lr = 0});
  std::vector<float> numbers(std::size_t{512} * 64);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i % 17) - 8;
  const auto hidden = [&] { return gelu(linear(tensor(numbers, {512, 64}), weight)); };  // more than 64 KiB
  std::vector<std::vector<float>> gradients;
  for (const bool waits : {true, false, true, false, false}) {
    const Tensor held = hidden();
    const Tensor loss = waits ? mean(hidden()) : mean(held);
    loss.backward();
    gradients.push_back(weight.grad().to_vector<float>());
    optimizer.step();
    optimizer.zero_grad();
  }
  for (const std::vector<float>& gradient : gradients) EXPECT_TRUE(same_bits(gradient, gradients[0]));
}

// 20,000 steps of changing shapes with sums, lists and evaluation in between, or as many as the environment says.
TEST(LongRunTest, StaysFlat) {
  const char* const asked = std::getenv("TIDEMARK_LONG_STEPS");
  const int steps = asked != nullptr ? std::atoi(asked) : 1500;
  const Session session({.budget = 1_MiB, .threads = 1});
  nn::Sequential net(nn::Linear({.in = 16, .out = 32}), nn::ReLU(), nn::Linear({.in = 32, .out = 4}));
  optim::AdamW optimizer(net.parameters());
  const Tensor batches[] = {normal({32, 16}, 0, 1), normal({24, 16}, 0, 1), normal({8, 16}, 0, 1)};
  std::vector<Tensor> losses;
  Tensor total = zeros({}), state = zeros({32, 16});
  std::vector<std::int64_t> live, rss, plans;
  std::vector<std::size_t> ops;
  for (int i = 0; i < steps; ++i) {
    const Tensor& x = batches[i % 3];
    const Tensor loss = cross_entropy(net(x), zeros({x.size(0)}, i32));
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    losses.push_back(loss);
    total = total + loss;
    if (i % 50 == 0) {
      const NoGrad no_grad;
      (void)mean(net(batches[0])).item();
      state = state * 0.5f + batches[0];
    }
    if (i == steps / 4 || i == steps - 1) {
      live.push_back(session.report().live_bytes);
      rss.push_back(session.report().rss_bytes);
      plans.push_back(session.report().plans);
      ops.push_back(session.graph().ops.size());
    }
  }
  double expected = 0;
  for (const Tensor& loss : losses) expected += loss.item();
  EXPECT_NEAR(total.item(), expected, expected * 1e-3);
  EXPECT_LE(live[1], live[0] + 4096);
  EXPECT_LE(ops[1], ops[0] + 8);
  const std::int64_t handles = (steps - steps / 4) * 256LL;
  if (!kSanitized) {
    EXPECT_LE(rss[1] - rss[0], handles + 2_MiB) << "a list grows by its handles alone";
  }
  EXPECT_GE(session.report().planned_steps, steps * 9 / 10) << session.report().replan_reason;
  EXPECT_EQ(plans[1], plans[0]) << session.report().replan_reason;
}

}  // namespace
}  // namespace tidemark::test
