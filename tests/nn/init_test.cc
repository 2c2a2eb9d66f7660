// Initial values: the elements' distributions by their formulas, orthogonality, seeds, and what is refused.
#include "tidemark/nn/init.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/nn/support.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Floats = std::vector<float>;

class InitTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .verify_replay = true}};
};

Tensor leaf(const Shape& shape) { return parameter(full(shape, 7), "leaf"); }

double mean_of(const Floats& values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(values.size());
}
double stddev_of(const Floats& values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (const float value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Five times the error that so many samples leave.
void expect_normal(const Tensor& tensor, double mean, double stddev) {
  const Floats values = tensor.to_vector();
  const auto count = static_cast<double>(values.size());
  EXPECT_NEAR(mean_of(values), mean, 5 * stddev / std::sqrt(count));
  EXPECT_NEAR(stddev_of(values), stddev, 5 * stddev / std::sqrt(2 * count));
  // Beyond 2 deviations lie 4.55 %, which uniform numbers do not reach.
  const auto far =
      std::count_if(values.begin(), values.end(), [&](float value) { return std::abs(value - mean) > 2 * stddev; });
  EXPECT_NEAR(static_cast<double>(far) / count, 0.0455, 5 * std::sqrt(0.0455 / count));
}

// Within the bounds, and so near to both that these bounds are meant.
void expect_uniform(const Tensor& tensor, double low, double high) {
  const Floats values = tensor.to_vector();
  const auto count = static_cast<double>(values.size());
  EXPECT_GE(std::ranges::min(values), static_cast<float>(low));
  EXPECT_LE(std::ranges::max(values), static_cast<float>(high));
  EXPECT_LE(std::ranges::min(values), low + 10 * (high - low) / count);
  EXPECT_GE(std::ranges::max(values), high - 10 * (high - low) / count);
  EXPECT_NEAR(mean_of(values), (low + high) / 2, 5 * (high - low) / std::sqrt(12 * count));
  EXPECT_NEAR(stddev_of(values), (high - low) / std::sqrt(12.0), 5 * (high - low) / std::sqrt(12 * count));
}

TEST_F(InitTest, Constants) {
  const Linear layer({.in = 3, .out = 70});
  init::constant(layer.weight, 2.5f);
  EXPECT_THAT(layer.weight.to_vector(), Each(2.5f));
  init::ones(layer.weight);
  EXPECT_THAT(layer.weight.to_vector(), Each(1.0f));
  init::zeros(layer.bias);
  EXPECT_THAT(layer.bias.to_vector(), Each(0.0f));
  init::ones(leaf({0, 3}));
  init::normal(leaf({0}));
  init::orthogonal(leaf({0, 3}));
  init::orthogonal(leaf({3, 0}));
  init::xavier_uniform(leaf({3, 0}));
}

TEST_F(InitTest, NormalAndUniform) {
  const Tensor t = leaf({200, 300});
  init::normal(t, 3, 0.5f);
  expect_normal(t, 3, 0.5);
  init::normal(t);
  expect_normal(t, 0, 1);
  init::uniform(t, -1, 4);
  expect_uniform(t, -1, 4);
  init::uniform(t);
  expect_uniform(t, 0, 1);
}

// Kolmogorov's distance between what is drawn and the cut distribution: below 1.95 / sqrt(n) but once in 1,000.
TEST_F(InitTest, TruncNormalIsTheCutDistribution) {
  const auto below = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  const std::vector<init::TruncNormalOptions> cases = {{},
                                                       {.stddev = 0.02f, .low = -0.04f, .high = 0.04f},
                                                       {.mean = 1, .stddev = 2, .low = 0, .high = 1.5f},
                                                       {.low = -100, .high = 100},
                                                       {.low = 4, .high = 6},
                                                       {.low = -6, .high = -4}};
  for (const init::TruncNormalOptions& options : cases) {
    SCOPED_TRACE(options.low);
    const Tensor t = leaf({50'000});
    init::trunc_normal(t, options);
    Floats values = t.to_vector();
    std::ranges::sort(values);
    EXPECT_GE(values.front(), options.low);
    EXPECT_LE(values.back(), options.high);
    const auto standard = [&](double x) { return below((x - options.mean) / options.stddev); };
    const double low = standard(options.low);
    const double width = standard(options.high) - low;
    double distance = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double expected = (standard(values[i]) - low) / width;
      distance = std::max(distance, std::abs(expected - (static_cast<double>(i) + 0.5) / 50'000));
    }
    EXPECT_LE(distance, 1.95 / std::sqrt(50'000.0));
  }
}

TEST_F(InitTest, GainsAreThoseOfPyTorch) {
  using init::Nonlinearity;
  EXPECT_EQ(init::calculate_gain(Nonlinearity::kLinear), 1);
  EXPECT_EQ(init::calculate_gain(Nonlinearity::kSigmoid), 1);
  EXPECT_DOUBLE_EQ(init::calculate_gain(Nonlinearity::kTanh), 1.6666666666666667);
  EXPECT_DOUBLE_EQ(init::calculate_gain(Nonlinearity::kRelu), 1.4142135623730951);
  EXPECT_DOUBLE_EQ(init::calculate_gain(Nonlinearity::kLeakyRelu), 1.4141428569978354);
  EXPECT_DOUBLE_EQ(init::calculate_gain(Nonlinearity::kLeakyRelu, 0.2), 1.3867504905630728);
  EXPECT_DOUBLE_EQ(init::calculate_gain(Nonlinearity::kSelu), 0.75);
}

TEST_F(InitTest, FansOfLinearAndConvolution) {
  EXPECT_EQ(init::calculate_fans(Linear({.in = 5, .out = 7}).weight.shape()).in, 5);
  EXPECT_EQ(init::calculate_fans(Linear({.in = 5, .out = 7}).weight.shape()).out, 7);
  const Conv2d conv({.in = 12, .out = 8, .kernel = 3, .groups = 4});
  EXPECT_EQ(init::calculate_fans(conv.weight.shape()).in, 3 * 9);
  EXPECT_EQ(init::calculate_fans(conv.weight.shape()).out, 8 * 9);
  const Conv1d sequence({.in = 6, .out = 2, .kernel = 5});
  EXPECT_EQ(init::calculate_fans(sequence.weight.shape()).in, 30);
  EXPECT_EQ(init::calculate_fans(sequence.weight.shape()).out, 10);
}

TEST_F(InitTest, XavierAndKaimingOfAConvolution) {
  const Conv2d conv({.in = 32, .out = 96, .kernel = 5});
  const double in = 32 * 25;
  const double out = 96 * 25;
  init::xavier_uniform(conv.weight);
  expect_uniform(conv.weight, -std::sqrt(6 / (in + out)), std::sqrt(6 / (in + out)));
  init::xavier_uniform(conv.weight, 5.0 / 3);
  expect_uniform(conv.weight, -5.0 / 3 * std::sqrt(6 / (in + out)), 5.0 / 3 * std::sqrt(6 / (in + out)));
  init::xavier_normal(conv.weight, 2);
  expect_normal(conv.weight, 0, 2 * std::sqrt(2 / (in + out)));

  init::kaiming_uniform(conv.weight);  // leaky_relu of slope 0
  expect_uniform(conv.weight, -std::sqrt(6 / in), std::sqrt(6 / in));
  init::kaiming_uniform(conv.weight, {.slope = std::sqrt(5.0)});
  expect_uniform(conv.weight, -1 / std::sqrt(in), 1 / std::sqrt(in));
  init::kaiming_uniform(conv.weight, {.mode = init::FanMode::kFanOut});
  expect_uniform(conv.weight, -std::sqrt(6 / out), std::sqrt(6 / out));
  init::kaiming_normal(conv.weight, {.nonlinearity = init::Nonlinearity::kRelu});
  expect_normal(conv.weight, 0, std::sqrt(2 / in));
  init::kaiming_normal(conv.weight,
                       {.slope = 3, .mode = init::FanMode::kFanOut, .nonlinearity = init::Nonlinearity::kLinear});
  expect_normal(conv.weight, 0, std::sqrt(1 / out));
}

// The largest difference between the products of the vectors and those of orthogonal ones of length `gain`.
double worst_product(const Tensor& tensor, std::size_t rows, double gain) {
  const Floats m = tensor.to_vector();
  const std::size_t columns = m.size() / rows;
  const bool by_rows = rows <= columns;
  double worst = 0;
  for (std::size_t a = 0; a < std::min(rows, columns); ++a) {
    for (std::size_t b = 0; b <= a; ++b) {
      double product = 0;
      for (std::size_t i = 0; i < std::max(rows, columns); ++i) {
        product += static_cast<double>(by_rows ? m[a * columns + i] : m[i * columns + a]) *
                   (by_rows ? m[b * columns + i] : m[i * columns + b]);
      }
      worst = std::max(worst, std::abs(product - (a == b ? gain * gain : 0)));
    }
  }
  return worst;
}

TEST_F(InitTest, OrthogonalRowsOrColumns) {
  const Tensor square = leaf({300, 300});
  init::orthogonal(square);
  EXPECT_LE(worst_product(square, 300, 1), 1e-6);
  const Tensor wide = leaf({20, 700});
  init::orthogonal(wide, 2);
  EXPECT_LE(worst_product(wide, 20, 2), 4e-6);
  const Tensor tall = leaf({513, 40});
  init::orthogonal(tall);
  EXPECT_LE(worst_product(tall, 513, 1), 1e-6);
  const Conv2d conv({.in = 8, .out = 16, .kernel = 3});
  init::orthogonal(conv.weight, std::sqrt(2.0));
  EXPECT_LE(worst_product(conv.weight, 16, std::sqrt(2.0)), 2e-6);
  const Tensor one = leaf({1, 1});
  init::orthogonal(one);
  EXPECT_EQ(std::abs(one.item()), 1);
}

// The Q of numbers drawn before: each vector is what remains of them, in a direction of its own.
TEST_F(InitTest, OrthogonalIsTheQOfWhatIsDrawn) {
  const auto drawn = [](const auto& init) {
    Session session({.threads = 1, .seed = 9});
    const Tensor t = zeros({4, 6});
    init(t);
    return t.to_vector();
  };
  const Floats normal = drawn([](const Tensor& t) { init::normal(t); });
  std::vector<std::vector<double>> q;
  for (std::size_t i = 0; i < 4; ++i) {
    std::vector<double> v(normal.begin() + static_cast<std::ptrdiff_t>(6 * i),
                          normal.begin() + static_cast<std::ptrdiff_t>(6 * i + 6));
    for (const std::vector<double>& other : q) {
      double product = 0;
      for (std::size_t k = 0; k < 6; ++k) product += v[k] * other[k];
      for (std::size_t k = 0; k < 6; ++k) v[k] -= product * other[k];
    }
    double length = 0;
    for (const double x : v) length += x * x;
    for (double& x : v) x /= std::sqrt(length);
    q.push_back(v);
  }
  const Floats orthogonal = drawn([](const Tensor& t) { init::orthogonal(t); });
  for (std::size_t i = 0; i < 24; ++i) EXPECT_NEAR(orthogonal[i], q[i / 6][i % 6], 1e-6) << i;
}

TEST_F(InitTest, EyeAndDiracPassTheInputOn) {
  const Tensor matrix = leaf({2, 3});
  init::eye(matrix);
  EXPECT_EQ(matrix.to_vector(), (Floats{1, 0, 0, 0, 1, 0}));

  const Conv2d conv({.in = 4, .out = 4, .kernel = 3, .padding = 1, .bias = false});
  init::dirac(conv.weight);
  const Tensor x = normal({2, 4, 5, 6}, 0, 1);
  EXPECT_EQ(conv(x).to_vector(), x.to_vector());
  const Conv1d grouped({.in = 6, .out = 6, .kernel = 5, .padding = 2, .groups = 3, .bias = false});
  init::dirac(grouped.weight, 3);
  const Tensor s = normal({2, 6, 9}, 0, 1);
  EXPECT_EQ(grouped(s).to_vector(), s.to_vector());
  const Tensor more = leaf({3, 2, 1});
  init::dirac(more);
  EXPECT_EQ(more.to_vector(), (Floats{1, 0, 0, 1, 0, 0}));
}

// All of them, with a tensor of more elements than are drawn at a time.
std::vector<Floats> draw_all(std::uint64_t seed, int threads) {
  Session session({.threads = threads, .seed = seed});
  const Tensor large = leaf({600, 700});
  const Tensor small = leaf({60, 50});
  std::vector<Floats> all;
  const auto keep = [&](const Tensor& t) { all.push_back(t.to_vector()); };
  init::uniform(large), keep(large);
  init::normal(large), keep(large);
  init::trunc_normal(large), keep(large);
  init::xavier_uniform(small), keep(small);
  init::xavier_normal(small), keep(small);
  init::kaiming_uniform(small), keep(small);
  init::kaiming_normal(small), keep(small);
  init::orthogonal(small), keep(small);
  return all;
}

TEST_F(InitTest, TheSeedMakesTheBytes) {
  const std::vector<Floats> first = draw_all(3, 1);
  const std::vector<Floats> again = draw_all(3, 2);
  const std::vector<Floats> other = draw_all(4, 1);
  for (std::size_t i = 0; i < first.size(); ++i) {
    const std::size_t bytes = first[i].size() * sizeof(float);
    EXPECT_EQ(std::memcmp(first[i].data(), again[i].data(), bytes), 0) << i;
    EXPECT_NE(std::memcmp(first[i].data(), other[i].data(), bytes), 0) << i;
  }
  // No piece is drawn twice, and none is left out; some floats fall together.
  Floats values = first[1];
  std::ranges::sort(values);
  EXPECT_GT(std::unique(values.begin(), values.end()) - values.begin(), 400'000);
}

TEST_F(InitTest, SmallOnesAreTheLeavesOfTheSameName) {
  const auto bytes = [](const auto& make) {
    Session session({.threads = 1, .seed = 5});
    return make().to_vector();
  };
  const auto filled = [](const auto& init) {
    const Tensor t = zeros({30, 20});
    init(t);
    return t;
  };
  EXPECT_EQ(bytes([&] { return filled([](const Tensor& t) { init::normal(t, 1, 2); }); }), bytes([] {
              return normal({30, 20}, 1, 2);
            }));
  EXPECT_EQ(bytes([&] { return filled([](const Tensor& t) { init::uniform(t, 1, 2); }); }), bytes([] {
              return uniform({30, 20}, 1, 2);
            }));
}

TEST(InitMemory, ATableNeedsNoCopy) {
  Session session({.budget = 9 << 20, .threads = 1});
  const Tensor table = parameter(zeros({2048, 1024}), "table");  // 8 MiB of the 9
  init::ones(table);
  const NoGrad no_grad;
  EXPECT_EQ(sum(table).item(), 2048 * 1024);
}

// 1 MiB beside the tensor is enough for drawing, too.
TEST(InitMemory, DrawingTakesAMegabyte) {
  Session session({.budget = (9 << 20) + 4096, .threads = 1});
  const Tensor table = parameter(zeros({2048, 1024}), "table");
  init::kaiming_normal(table);
  init::trunc_normal(table);
  init::xavier_uniform(table);
  EXPECT_LE(session.report().peak_bytes, (9 << 20) + 4096);
}

TEST_F(InitTest, WhatWasComputedBeforeCannotGoBackward) {
  const Linear layer({.in = 100, .out = 200});
  const Tensor loss = sum(layer(normal({300, 100}, 0, 1)));
  init::normal(layer.weight);
  EXPECT_THAT([&] { loss.backward(); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("its graph is gone"), HasSubstr("'linear.weight'"), HasSubstr("init_test.cc:"))));
  EXPECT_FALSE(layer.weight.grad().defined());
  sum(layer(normal({300, 100}, 0, 1))).backward();
  EXPECT_TRUE(layer.weight.grad().defined());
}

// A step that is refused takes back what its forward pass has changed, and no more.
TEST_F(InitTest, ARefusedStepLeavesNewElements) {
  const Linear layer({.in = 3, .out = 4, .bias = false});
  optim::SGD optimizer({layer.weight}, {.lr = 0.1f});
  const Tensor x = mul(full({2, 3}, 1), full({2, 3}, 3));  // the step has begun
  init::ones(layer.weight);
  sum(mul(layer(x), full({2, 4}, 3e38f))).backward();  // a gradient beyond all floats
  EXPECT_THROW(optimizer.step(), Error);
  EXPECT_THAT(layer.weight.to_vector(), Each(1.0f));
}

// Anew in the middle of a training, between steps and within one: the same bits in every budget.
TEST(InitBudgets, BitsAreEqualWhereAWeightBeginsAnew) {
  const auto program = [] {
    Sequential net(Linear({.in = 32, .out = 64}));
    for (int i = 0; i < 8; ++i) net.add(GELU()).add(Linear({.in = 64, .out = i < 7 ? 64 : 8}));
    optim::SGD optimizer(net.parameters(), {.lr = 0.1f});
    std::vector<Floats> trace;
    for (int step = 0; step < 6; ++step) {
      if (step == 2) init::orthogonal(net.layer<Linear>(2).weight);
      const Tensor y = net(normal({512, 32}, 0, 1));
      if (step == 4) init::kaiming_uniform(net.layer<Linear>(0).weight);
      const Tensor loss = step == 4 ? mean(square(net(normal({512, 32}, 0, 1)))) : mean(square(y));
      loss.backward();
      trace.push_back(loss.to_vector());
      optimizer.step();
      optimizer.zero_grad();
    }
    for (const Parameter& p : net.parameters()) trace.push_back(p.to_vector());
    return trace;
  };
  test::expect_equal_bits_in_budgets(program, std::array{7});
}

TEST_F(InitTest, WrongCallsNameTheUsersLine) {
  const auto refused = [](const auto& call, const std::string& text) {
    EXPECT_THAT(call, ThrowsMessage<ShapeError>(AllOf(HasSubstr(text), HasSubstr("(at init_test.cc:"))));
  };
  const Tensor matrix = leaf({4, 6});
  const Tensor vector = leaf({4});
  refused([&] { init::zeros(Linear({.in = 2, .out = 2, .bias = false}).bias); },
          "[nn::init::zeros] the tensor is undefined");
  refused([&] { init::normal(zeros({3}, i32)); },
          "[nn::init::normal] only f32 tensors are initialised, this one is i32");
  refused([&] { init::uniform(add(matrix, matrix)); }, "[nn::init::uniform] only leaves are initialised");
  refused([&] { init::xavier_uniform(vector); }, "[nn::init::xavier_uniform] fan in and fan out");
  refused([&] { init::kaiming_normal(vector); }, "[nn::init::kaiming_normal] fan in and fan out");
  refused([&] { init::calculate_fans({3}); }, "[nn::init::calculate_fans]");
  refused([&] { init::orthogonal(vector); }, "[nn::init::orthogonal] the tensor must have two dimensions or more");
  refused([&] { init::orthogonal(matrix, std::nan("")); }, "[nn::init::orthogonal] the gain must be finite");
  refused([&] { init::eye(leaf({2, 2, 1})); }, "[nn::init::eye] the tensor must be a matrix, but is [2, 2, 1]");
  refused([&] { init::dirac(matrix); }, "[nn::init::dirac] the tensor must be [out, in, kernel ...]");
  refused([&] { init::dirac(leaf({4, 2, 3}), 3); }, "[nn::init::dirac] 3 groups do not divide 4 channels");
  refused([&] { init::dirac(leaf({4, 2, 3}), 0); }, "the number of groups must be at least 1, but is 0");
  refused([&] { init::trunc_normal(matrix, {.stddev = 0}); }, "[nn::init::trunc_normal] .mean and .stddev");
  refused([&] { init::trunc_normal(matrix, {.low = 8, .high = 9}); }, "there is nothing of the distribution");
  refused([&] { init::trunc_normal(matrix, {.low = 2, .high = -2}); }, "there is nothing of the distribution");
  EXPECT_THAT([&] { init::normal(matrix, 0, -1); },
              ThrowsMessage<Error>(AllOf(HasSubstr("[normal]"), HasSubstr("(at init_test.cc:"))));
  EXPECT_THAT([&] { init::xavier_normal(matrix, std::nan("")); }, ThrowsMessage<Error>(HasSubstr("[normal]")));
  EXPECT_THAT(matrix.to_vector(), Each(7.0f));  // nothing that was refused has changed anything
}

}  // namespace
}  // namespace tidemark::nn
