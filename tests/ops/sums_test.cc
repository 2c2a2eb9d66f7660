// Long sums and large logits lose no digits: sums of a million rows are good to 1e-6, and logits of any size give the
// same softmax.
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

constexpr std::int64_t kMillion = std::int64_t{1} << 20;
constexpr double kTolerance = 1e-6;

using Floats = std::vector<float>;

class LongSums : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 5}};
};

void expect_relative(const Tensor& actual, double expected, const std::string& what) {
  for (const float value : actual.to_vector()) {
    EXPECT_NEAR(double{value} / expected, 1, kTolerance) << what << ": " << value << " in place of " << expected;
  }
}

// Equal elements, where rounding errors have one sign, of sizes that round differently.
const Floats kSizes = {0.1f, 0.7f, 1.9f, 3.3f};

TEST_F(LongSums, BiasGradients) {
  for (const float each : kSizes) {
    const double expected = double{each} * kMillion;
    const Tensor w = parameter(zeros({4, 2}), "w");
    const Tensor b = parameter(zeros({4}), "b");
    const Tensor c = parameter(zeros({4}), "c");
    // Twice, so that the second adds to the first.
    for (int i = 1; i <= 2; ++i) {
      sum((linear(full({kMillion, 2}, 1), w, b) + c) * each).backward();
      expect_relative(b.grad(), i * expected, "linear");
      expect_relative(c.grad(), i * expected, "broadcast");
    }
    // A frozen weight: the bias has a kernel of its own.
    const Tensor frozen = zeros({3, 1, 1, 1});
    const Tensor d = parameter(zeros({3}), "d");
    sum(conv2d(full({64, 1, 128, 128}, 1), frozen, d) * each).backward();
    expect_relative(d.grad(), expected, "conv2d");
  }
}

TEST_F(LongSums, BroadcastGradientsOfProducts) {
  for (const float each : kSizes) {
    const double expected = double{each} * kMillion;
    const Tensor x = full({kMillion, 3}, each);
    const Tensor column = parameter(full({3}, 1), "column");
    const Tensor one = parameter(full({}, 1), "one");
    sum(x * column).backward();
    expect_relative(column.grad(), expected, "a row");
    const Tensor divisor = parameter(full({3}, 1), "divisor");
    sum(x / divisor).backward();
    expect_relative(divisor.grad(), -expected, "a row of divisors");
    sum(x * one).backward();
    expect_relative(one.grad(), 3 * expected, "a number");
    const Tensor divided = parameter(full({}, each), "divided");
    sum(divided / full({kMillion, 3}, 1 / each)).backward();
    expect_relative(divided.grad(), 3.0 * kMillion / double{1 / each}, "a dividend");
    const Tensor channel = parameter(full({5, 1}, 1), "channel");
    sum(full({kMillion / 64, 5, 64}, each) * channel).backward();
    expect_relative(channel.grad(), expected, "a channel");
    const Tensor row = parameter(full({5, 1, 7}, 1), "row");
    sum(full({kMillion / 64, 5, 64, 7}, each) * row).backward();
    expect_relative(row.grad(), expected, "a channel and a column");
  }
}

TEST_F(LongSums, SumsAndMeans) {
  NoGrad no_grad;
  for (const float each : kSizes) {
    const Tensor x = full({kMillion, 3}, each);
    expect_relative(sum(x), 3.0 * kMillion * double{each}, "sum");
    expect_relative(sum(x, {0}), kMillion * double{each}, "sum over rows");
    expect_relative(mean(x), double{each}, "mean");
    expect_relative(mean(x, {0}), double{each}, "mean over rows");
    expect_relative(mean(reshape(x, {3, kMillion}), {1}), double{each}, "mean of rows");
    expect_relative(mean(reshape(x, {3, 1024, 1024}), {0, 2}), double{each}, "mean over rows and columns");
    expect_relative(mse_loss(x, zeros({kMillion, 3})), double{each} * double{each}, "mse_loss");
  }
  // And of elements that differ.
  std::mt19937 random(2);
  std::uniform_real_distribution<float> uniform(0, 1);
  Floats values(kMillion);
  double total = 0;
  for (float& value : values) {
    value = uniform(random);
    total += double{value};
  }
  const Tensor x = tensor(values, {kMillion / 2, 2});
  expect_relative(sum(x), total, "sum of different elements");
  double first = 0;
  for (std::size_t i = 0; i < values.size(); i += 2) first += double{values[i]};
  EXPECT_NEAR(double{sum(x, {0}).to_vector()[0]} / first, 1, kTolerance);
}

TEST_F(LongSums, RowsOfATable) {
  for (const float each : kSizes) {
    for (const std::int64_t width : {1, 20}) {
      const std::int64_t count = kMillion / 4;
      const Tensor table = parameter(zeros({3, width}), "table");
      std::vector<std::int32_t> indices(static_cast<std::size_t>(count), 1);
      indices[7] = 2;
      for (int i = 1; i <= 2; ++i) {
        sum(embedding(tensor(indices, {count}), table) * each).backward();
        const Floats gradient = table.grad().to_vector();
        for (std::int64_t k = 0; k < width; ++k) {
          const auto at = static_cast<std::size_t>(k);
          EXPECT_EQ(gradient[at], 0);
          EXPECT_NEAR(double{gradient[at + static_cast<std::size_t>(width)]} / (i * double{each} * (count - 1)), 1,
                      kTolerance);
          EXPECT_EQ(gradient[at + static_cast<std::size_t>(2 * width)], static_cast<float>(i) * each);
        }
      }
    }
  }
}

TEST_F(LongSums, LayerNorm) {
  for (const float each : kSizes) {
    const Tensor gamma = parameter(full({4}, 1), "gamma");
    const Tensor beta = parameter(zeros({4}), "beta");
    const Tensor x = zeros({kMillion, 4}) + tensor({-1.0f, 1, -1, 1}, {4});
    sum(layer_norm(x, gamma, beta, {.eps = 0}) * each).backward();
    const Floats gradient = gamma.grad().to_vector();
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(double{gradient[i]} / (double{each} * kMillion), i % 2 == 0 ? -1 : 1, kTolerance);
    }
    expect_relative(beta.grad(), double{each} * kMillion, "beta");
    const Tensor alone = parameter(zeros({4}), "alone");
    sum(layer_norm(x, full({4}, 1), alone) * each).backward();
    expect_relative(alone.grad(), double{each} * kMillion, "beta alone");
  }
  // Statistics of one long row: the elements' mean is zero only where the sum is right.
  NoGrad no_grad;
  Floats row(kMillion);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = i % 2 == 0 ? 0.9f : 1.1f;
  const Floats y =
      layer_norm(tensor(row, {1, kMillion}), full({kMillion}, 1), zeros({kMillion}), {.eps = 0}).to_vector();
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}, row.size() - 1}) {
    EXPECT_NEAR(y[i], i % 2 == 0 ? -1 : 1, 2e-6) << i;
  }
}

TEST_F(LongSums, CrossEntropyOfManyRowsAndOfManyClasses) {
  NoGrad no_grad;
  const Tensor many_rows = cross_entropy(full({kMillion, 3}, 0.3f), zeros({kMillion}, i32));
  expect_relative(many_rows, std::log(3.0), "rows");
  const Tensor many_classes = cross_entropy(tensor(Floats(kMillion, -0.7f), {1, kMillion}), zeros({1}, i32));
  expect_relative(many_classes, std::log(double{kMillion}), "classes");
  Floats decreasing(kMillion);
  double total = 0;
  for (std::size_t i = 0; i < decreasing.size(); ++i) {
    decreasing[i] = -static_cast<float>(i) * 0x1p-20f;
    total += std::exp(double{decreasing[i]});
  }
  expect_relative(cross_entropy(tensor(decreasing, {1, kMillion}), zeros({1}, i32)), std::log(total), "slope");
  expect_relative(sum(softmax(tensor(decreasing, {1, kMillion}))), 1, "softmax");
}

class LargeLogits : public LongSums, public ::testing::WithParamInterface<float> {};

TEST_P(LargeLogits, EqualOnesShareTheProbability) {
  const Tensor logits = parameter(full({2, 2}, GetParam()), "logits");
  const Tensor loss = cross_entropy(logits, tensor({1, 1}, {2}));
  loss.backward();
  EXPECT_NEAR(loss.item(), std::log(2.0), 1e-7);
  EXPECT_EQ(logits.grad().to_vector(), (Floats{0.25f, -0.25f, 0.25f, -0.25f}));
}

// Against the softmax of the same floats in double.
TEST_P(LargeLogits, DifferencesCountAlone) {
  Floats values;
  for (const float off : {0.0f, -0.5f, 1.25f, -3.0f, 2.0f}) values.push_back(GetParam() + off);
  double total = 0;
  for (const float value : values) total += std::exp(double{value} - double{values[0]});
  const Tensor logits = parameter(tensor(values, {1, 5}), "logits");
  const Tensor loss = cross_entropy(logits, tensor({0}, {1}));
  loss.backward();
  EXPECT_NEAR(loss.item(), std::log(total), 5e-7);
  const Floats gradient = logits.grad().to_vector();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double p = std::exp(double{values[i]} - double{values[0]}) / total;
    EXPECT_NEAR(gradient[i], i == 0 ? p - 1 : p, 3e-7) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, LargeLogits, ::testing::Values(1.0f, 1e3f, -1e4f, 1e6f, -1e8f, 1e30f, -3e38f));

// One head of width 4 and as many positions, of which the last one is looked at.
TEST_F(LongSums, AttentionWithLargeScores) {
  for (const float c : {1.0f, 30.0f, 300.0f, 1e4f}) {  // every score is 2 c^2
    Floats qkv(4 * 12, c);
    for (std::size_t t = 0; t < 4; ++t) {
      for (std::size_t d = 8; d < 12; ++d) qkv[t * 12 + d] = 1;
    }
    const Tensor x = parameter(tensor(qkv, {1, 4, 12}), "qkv");
    sum(slice(causal_self_attention(x, 1), 1, 3, 4)).backward();
    for (std::size_t t = 0; t < 4; ++t) {
      for (std::size_t d = 8; d < 12; ++d) EXPECT_NEAR(x.grad().to_vector()[t * 12 + d], 0.25, 1e-7) << c;
    }
  }
  // Scores that are large and differ: q = c, keys c + 0, -1/c, -2/c, so that scores are 2 c^2 less 0, 2 and 4.
  for (const float c : {1.0f, 64.0f, 1024.0f}) {
    Floats qkv(3 * 12, c);
    for (std::size_t t = 0; t < 3; ++t) {
      for (std::size_t d = 4; d < 8; ++d) qkv[t * 12 + d] = c - static_cast<float>(t) / c;
      for (std::size_t d = 8; d < 12; ++d) qkv[t * 12 + d] = static_cast<float>(t);
    }
    const double e[] = {1, std::exp(-2.0), std::exp(-4.0)};
    const double total = e[0] + e[1] + e[2];
    const double y = (e[1] + 2 * e[2]) / total;
    const Tensor x = parameter(tensor(qkv, {1, 3, 12}), "qkv");
    const Tensor out = slice(causal_self_attention(x, 1), 1, 2, 3);
    EXPECT_NEAR(out.to_vector()[0], y, 1e-6) << c;
    sum(out).backward();
    const Floats gradient = x.grad().to_vector();
    for (std::size_t t = 0; t < 3; ++t) {
      EXPECT_NEAR(gradient[t * 12 + 8], e[t] / total, 3e-7) << c << ", value " << t;
      // Of a key: 4 p (value - y) c / 2.
      const double key = 2 * double{c} * e[t] / total * (static_cast<double>(t) - y);
      EXPECT_NEAR(gradient[t * 12 + 4] / key, 1, 3e-6) << c << ", key " << t;
    }
  }
}

}  // namespace
}  // namespace tidemark
