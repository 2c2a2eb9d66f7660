// Steps of recurrent networks: against double precision with large arguments, through both outputs, and what lies
// beyond a sequence's end.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/table.h"
#include "tests/ops/harness.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Floats = std::vector<float>;

constexpr std::int64_t kRows = 5;
constexpr std::int64_t kHidden = 37;

std::shared_ptr<const AnyOp> op_named(std::string_view name) {
  for (const ops::OpEntry& entry : ops::op_table()) {
    if (entry.name == name) return entry.samples().front().op;
  }
  return nullptr;
}

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

// Value and slope.
struct Point {
  double y;
  double slope;
};
Point sigmoid_at(double x) { return {sigmoid_of(x), sigmoid_of(x) * sigmoid_of(-x)}; }
Point tanh_at(double x) { return {std::tanh(x), 1 / (std::cosh(x) * std::cosh(x))}; }

// Outputs and gradients of one element, in the order of the op's outputs and inputs.
struct Expected {
  std::vector<double> outputs;
  std::vector<double> g_products;
  double g_state;
};

Expected lstm_at(const std::vector<double>& p, double c, const std::vector<double>& gy) {
  const Point i = sigmoid_at(p[0]);
  const Point f = sigmoid_at(p[1]);
  const Point g = tanh_at(p[2]);
  const Point o = sigmoid_at(p[3]);
  const double cell = f.y * c + i.y * g.y;
  const Point t = tanh_at(cell);
  const double to_cell = gy[1] + gy[0] * o.y * t.slope;
  return {{o.y * t.y, cell},
          {to_cell * g.y * i.slope, to_cell * c * f.slope, to_cell * i.y * g.slope, gy[0] * t.y * o.slope},
          to_cell * f.y};
}

Expected gru_at(const std::vector<double>& p, double h, const std::vector<double>& gy) {
  const Point r = sigmoid_at(p[0]);
  const Point z = sigmoid_at(p[1]);
  const Point n = tanh_at(p[2] + r.y * p[3]);
  const double to_n = gy[0] * sigmoid_of(-p[1]) * n.slope;
  return {
      {(1 - z.y) * n.y + z.y * h}, {to_n * p[3] * r.slope, gy[0] * (h - n.y) * z.slope, to_n, to_n * r.y}, gy[0] * z.y};
}

void expect_near(float actual, double expected, const std::string& what) {
  EXPECT_NEAR(actual, expected, 1e-5 * std::fabs(expected) + 1e-6) << what;
}

TEST(RecurrentSteps, AreThoseOfDoublePrecision) {
  struct Case {
    const char* op;
    std::size_t outputs;
    std::function<Expected(const std::vector<double>&, double, const std::vector<double>&)> at;
  };
  Harness harness(2);
  for (const Case& c : {Case{"lstm_gates", 2, lstm_at}, Case{"gru_gates", 1, gru_at}}) {
    for (const float scale : {1.0f, 30.0f, 1e4f}) {
      Array products = draw_normal({kRows, 4 * kHidden}, 3);
      for (float& value : products.as()) value *= scale;
      const Array state = draw_normal({kRows, kHidden}, 4);
      std::vector<Array> gy;
      for (std::size_t k = 0; k < c.outputs; ++k) gy.push_back(draw_normal({kRows, kHidden}, 5 + k));
      const Array inputs[] = {products, state};
      const Outcome outcome = harness.run(*op_named(c.op), inputs, Needs(3), gy);
      for (std::size_t at = 0; at < kRows * kHidden; ++at) {
        const std::size_t first = at / kHidden * 4 * kHidden + at % kHidden;
        const auto gate = [&](std::size_t k) { return first + k * kHidden; };
        std::vector<double> before;
        std::vector<double> g;
        for (std::size_t k = 0; k < 4; ++k) before.push_back(products.as()[gate(k)]);
        for (const Array& each : gy) g.push_back(each.as()[at]);
        const Expected expected = c.at(before, state.as()[at], g);
        const std::string what = std::string(c.op) + ", scale " + std::to_string(scale) + ", " + std::to_string(at);
        for (std::size_t k = 0; k < c.outputs; ++k) {
          expect_near(reinterpret_cast<const float*>(outcome.outputs[k].data())[at], expected.outputs[k], what);
        }
        for (std::size_t k = 0; k < 4; ++k) {
          expect_near(outcome.gradients[0]->as()[gate(k)], expected.g_products[k],
                      what + ", gate " + std::to_string(k));
        }
        expect_near(outcome.gradients[1]->as()[at], expected.g_state, what + ", state");
      }
    }
  }
}

class RecurrentOps : public ::testing::Test {
 protected:
  Session session_{{.threads = 2}};
};

TEST_F(RecurrentOps, WhatLiesBeyondAnEndReachesNothing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // Two steps, from the second on, of three sequences.
  const Tensor x = parameter(tensor({1, nan, 3, 4, nan, nan}, {2, 3, 1}), "x");
  const Tensor lengths = tensor({3, 1, 2}, {3});
  const Tensor y = until_length(x, lengths, 1);
  EXPECT_THAT(y.to_vector(), ElementsAre(1, 0, 3, 4, 0, 0));
  sum(mul(y, tensor({1, 2, 3, 4, 5, 6.f}, {2, 3, 1}))).backward();
  EXPECT_THAT(x.grad().to_vector(), ElementsAre(1, 0, 3, 4, 0, 0));

  const Tensor step = parameter(tensor({1, 2, nan, nan, 5, 6}, {3, 2}), "step");
  const Tensor before = parameter(tensor({nan, nan, 9, 8, nan, nan}, {3, 2}), "before");
  const Tensor z = until_length(step, lengths, 1, before);
  EXPECT_THAT(z.to_vector(), ElementsAre(1, 2, 9, 8, 5, 6));
  sum(mul(z, tensor({1, 2, 3, 4, 5, 6.f}, {3, 2}))).backward();
  EXPECT_THAT(step.grad().to_vector(), ElementsAre(1, 2, 0, 0, 5, 6));
  EXPECT_THAT(before.grad().to_vector(), ElementsAre(0, 0, 3, 4, 0, 0));
}

TEST_F(RecurrentOps, PiecesAreThoseOfSlices) {
  const Tensor x = parameter(normal({3, 8, 5}, 0, 1), "x");
  for (const int dim : {0, 1, -1}) {
    const std::vector<Tensor> pieces = time_steps(x, dim, 3);
    const std::int64_t size = x.size(dim);
    ASSERT_EQ(pieces.size(), static_cast<std::size_t>((size + 2) / 3));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const auto begin = static_cast<std::int64_t>(3 * i);
      EXPECT_EQ(pieces[i].to_vector(), slice(x, dim, begin, std::min(begin + 3, size)).to_vector());
    }
  }
  // Of a piece that leads to no loss.
  sum(time_steps(x, 1, 7)[1]).backward();
  const Floats gradient = x.grad().to_vector();
  for (std::size_t i = 0; i < gradient.size(); ++i) EXPECT_EQ(gradient[i], i / 5 % 8 == 7 ? 1 : 0) << i;
}

TEST_F(RecurrentOps, WrongCallsSayWhatMustHold) {
  const auto refused = [](const std::function<void()>& call, const std::string& text, const std::string& more) {
    EXPECT_THAT(call, ThrowsMessage<Error>(AllOf(HasSubstr(text), HasSubstr(more), HasSubstr("recurrent_test.cc:"))));
  };
  const Tensor x = zeros({2, 3});
  const Tensor h = zeros({2, 4});
  const GateWeights lstm{zeros({16, 3}), zeros({16, 4}), {}, {}};
  const GateWeights narrow{zeros({16, 2}), zeros({16, 4}), {}, {}};
  const GateWeights half{zeros({16, 3}), zeros({16, 4}), zeros({16}), {}};
  const GateWeights long_bias{zeros({16, 3}), zeros({16, 4}), zeros({16}), zeros({17})};
  refused([&] { gate_products(zeros({5, 3}), h, lstm); }, "x [5, 3] and h [2, 4]", "must be [N, I] and [N, H]");
  refused([&] { gate_products(x, zeros({2, 0}), lstm); }, "h [2, 0]", "H at least 1");
  refused([&] { gate_products(x, h, narrow); }, "weight_ih [16, 2] and weight_hh [16, 4]", "must be [G, 3] and [G, 4]");
  refused([&] { gate_products(x, h, half); }, "bias_hh is undefined", "both or none");
  refused([&] { gate_products(x, h, long_bias); }, "bias_hh [17] must be [16]", "weight_ih [16, 3]");
  refused([&] { gru_products(x, h, lstm); }, "three gates of 4 rows", "weight_ih [16, 3]");
  refused([&] { lstm_gates(zeros({2, 12}), h); }, "products [2, 12] and c [2, 4]", "must be [N, 4 H] and [N, H]");
  refused([&] { gru_gates(zeros({2, 12}), h); }, "products [2, 12] and h [2, 4]", "must be [N, 4 H] and [N, H]");
  refused([&] { until_length(x, zeros({3}, i32), 0); }, "lengths is [3] i32", "must be [2] i32");
  refused([&] { until_length(x, zeros({2}), 0); }, "lengths is [2] f32", "must be [2] i32");
  refused([&] { until_length(x, zeros({2}, i32), -1); }, "first step is -1", "at least 0");
  refused([&] { until_length(x, zeros({2}, i32), 0, h); }, "otherwise [2, 4]", "[2, 3]");
  refused([&] { time_steps(x, 2, 1); }, "x [2, 3]", "dimension 2");
  refused([&] { time_steps(x, 0, 0); }, "pieces of 0", "at least 1");
  refused([&] { time_steps(zeros({0, 3}), 0, 1); }, "x [0, 3]", "not empty");
}

}  // namespace
}  // namespace tidemark::testing
