// weight_norm: values and gradients against double precision, names of parameters, budgets.
#include "tidemark/nn/weight_norm.h"

#include <array>
#include <cmath>
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

using test::names;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

class WeightNormTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .verify_replay = true}};
};

// In double: weight = g v / ||v||, and the gradients of g and v from that of the weight. `norm_of[i]` is which norm
// element i belongs to.
struct Reference {
  Doubles weight, g, v;
  Reference(const Floats& g_in, const Floats& v_in, const Floats& slope, const std::vector<std::size_t>& norm_of)
      : weight(v_in.size()), g(g_in.size()), v(v_in.size()) {
    Doubles norms(g.size());
    Doubles along(g.size());  // slope times direction
    for (std::size_t i = 0; i < v.size(); ++i) norms[norm_of[i]] += static_cast<double>(v_in[i]) * v_in[i];
    for (double& norm : norms) norm = std::sqrt(norm);
    for (std::size_t i = 0; i < v.size(); ++i) along[norm_of[i]] += slope[i] * v_in[i] / norms[norm_of[i]];
    g = along;
    for (std::size_t i = 0; i < v.size(); ++i) {
      const std::size_t k = norm_of[i];
      weight[i] = g_in[k] * v_in[i] / norms[k];
      v[i] = g_in[k] / norms[k] * (slope[i] - along[k] * v_in[i] / norms[k]);
    }
  }
};

void expect_near(const Floats& values, const Doubles& expected) {
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(values[i], expected[i], 2e-6 * (1 + std::abs(expected[i]))) << i;
  }
}

// The layer's output is linear in its weight, so that the loss sum(c y) has a slope that `slope` is told.
template <class L>
void expect_reference(WeightNorm<L>& layer, const Tensor& x, const Tensor& c, const Floats& slope,
                      const std::vector<std::size_t>& norm_of, const Shape& norms) {
  ASSERT_EQ(layer.weight_g.shape(), norms);
  init::uniform(layer.weight_g, 0.5f, 2);  // not what the norms are
  const Reference expected(layer.weight_g.to_vector(), layer.weight_v.to_vector(), slope, norm_of);
  expect_near(layer.weight().to_vector(), expected.weight);
  sum(mul(layer(x), c)).backward();
  expect_near(layer.weight_g.grad().to_vector(), expected.g);
  expect_near(layer.weight_v.grad().to_vector(), expected.v);
}

TEST_F(WeightNormTest, LinearInDoublePrecision) {
  constexpr std::size_t kIn = 5;
  constexpr std::size_t kOut = 3;
  const Tensor x = normal({4, kIn}, 0, 1);
  const Tensor c = normal({4, kOut}, 0, 1);
  const Floats xs = x.to_vector();
  const Floats cs = c.to_vector();
  Floats slope(kOut * kIn);
  for (std::size_t o = 0; o < kOut; ++o) {
    for (std::size_t i = 0; i < kIn; ++i) {
      double sum = 0;
      for (std::size_t n = 0; n < 4; ++n) sum += static_cast<double>(cs[n * kOut + o]) * xs[n * kIn + i];
      slope[o * kIn + i] = static_cast<float>(sum);
    }
  }
  std::vector<std::size_t> rows(slope.size());
  std::vector<std::size_t> columns(slope.size());
  for (std::size_t i = 0; i < slope.size(); ++i) rows[i] = i / kIn, columns[i] = i % kIn;

  WeightNorm by_row(Linear({.in = kIn, .out = kOut}));
  expect_reference(by_row, x, c, slope, rows, {3, 1});
  WeightNorm by_column(Linear({.in = kIn, .out = kOut}), {.dim = -1});
  expect_reference(by_column, x, c, slope, columns, {1, 5});
  WeightNorm whole(Linear({.in = kIn, .out = kOut}), {.dim = {}});
  expect_reference(whole, x, c, slope, std::vector<std::size_t>(slope.size(), 0), {});
}

// The kernel covers the image: each output is a product with all of it.
TEST_F(WeightNormTest, ConvolutionInDoublePrecision) {
  constexpr std::size_t kPixels = 2 * 9;
  const Tensor x = normal({3, 2, 3, 3}, 0, 1);
  const Tensor c = normal({3, 4, 1, 1}, 0, 1);
  const Floats xs = x.to_vector();
  const Floats cs = c.to_vector();
  Floats slope(4 * kPixels);
  std::vector<std::size_t> norm_of(slope.size());
  for (std::size_t i = 0; i < slope.size(); ++i) {
    norm_of[i] = i / kPixels;
    double sum = 0;
    for (std::size_t n = 0; n < 3; ++n)
      sum += static_cast<double>(cs[n * 4 + norm_of[i]]) * xs[n * kPixels + i % kPixels];
    slope[i] = static_cast<float>(sum);
  }
  WeightNorm layer(Conv2d({.in = 2, .out = 4, .kernel = 3}));
  expect_reference(layer, x, c, slope, norm_of, {4, 1, 1, 1});
}

TEST_F(WeightNormTest, StartsAsTheLayerThatItTakes) {
  const Linear plain({.in = 30, .out = 20});
  const WeightNorm layer(plain);
  const Floats weight = plain.weight.to_vector();
  expect_near(layer.weight().to_vector(), Doubles(weight.begin(), weight.end()));
  const Tensor x = normal({4, 30}, 0, 1);
  const Floats y = plain(x).to_vector();
  expect_near(layer(x).to_vector(), Doubles(y.begin(), y.end()));
}

TEST_F(WeightNormTest, ParametersHaveTheNamesOfPyTorch) {
  WeightNorm layer(Linear({.in = 3, .out = 2}));
  EXPECT_THAT(names(layer.parameters()), ElementsAre("bias", "weight_g", "weight_v"));
  (void)layer(normal({4, 3}, 0, 1));  // a call leaves no weight behind
  EXPECT_THAT(names(layer.parameters()), ElementsAre("bias", "weight_g", "weight_v"));
  EXPECT_EQ(layer.parameter_count(), 2 + 2 + 6);
  EXPECT_TRUE(layer.weight_g.requires_grad());
  Sequential net(WeightNorm(Conv2d({.in = 3, .out = 8, .bias = false})), ReLU());
  EXPECT_THAT(names(net.parameters()), ElementsAre("0.weight_g", "0.weight_v"));
  Sequential copy = net;
  EXPECT_TRUE(copy.parameters()[0].same(net.parameters()[0]));
}

TEST(WeightNormBudgets, BitsAreEqualInEveryBudget) {
  const auto program = [] {
    Sequential net(WeightNorm(Conv2d({.in = 3, .out = 16, .padding = 1})), ReLU(),
                   WeightNorm(Conv2d({.in = 16, .out = 16, .padding = 1})), ReLU(), MaxPool2d(), Flatten(),
                   WeightNorm(Linear({.in = 16 * 16, .out = 64}), {.dim = {}}), ReLU(), Linear({.in = 64, .out = 5}));
    optim::SGD optimizer(net.parameters(), {.lr = 0.1f});
    std::vector<Floats> trace;
    for (int step = 0; step < 3; ++step) {
      const Tensor loss = mean(square(net(normal({16, 3, 8, 8}, 0, 1))));
      loss.backward();
      trace.push_back(loss.to_vector());
      optimizer.step();
      optimizer.zero_grad();
    }
    for (const Parameter& parameter : net.parameters()) trace.push_back(parameter.to_vector());
    return trace;
  };
  const std::vector<Floats> plain = test::expect_equal_bits_in_budgets(program, std::array{7, 8, 9});
  EXPECT_LT(plain[2], plain[0]);
}

TEST_F(WeightNormTest, WrongCallsNameTheUsersLine) {
  const auto refused = [](const auto& call, const std::string& text) {
    EXPECT_THAT(call, ThrowsMessage<ShapeError>(AllOf(HasSubstr(text), HasSubstr("(at weight_norm_test.cc:"))));
  };
  refused([] { WeightNorm(Linear({.in = 3, .out = 2}), {.dim = 2}); },
          "[nn::WeightNorm] .dim is 2, but the weight is [2, 3]");
  refused([] { WeightNorm(BatchNorm({.features = 3, .affine = false})); }, "[nn::WeightNorm] the layer has no weight");
  const WeightNorm layer(Linear({.in = 3, .out = 2}));
  refused([&] { (void)layer(zeros({4, 5})); }, "[4, 5]");
}

}  // namespace
}  // namespace tidemark::nn
