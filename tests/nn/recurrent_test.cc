// Recurrent layers: parameters, what sequences of different lengths leave out, sizes of nothing, and budgets. Values
// are compared with PyTorch's in tests/golden.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
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
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Floats = std::vector<float>;
using Lengths = std::vector<std::int64_t>;

class RecurrentTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .verify_replay = true}};
};

TEST_F(RecurrentTest, ParametersAreThoseOfPyTorch) {
  GRU gru({.input = 6, .hidden = 4, .layers = 2, .bidirectional = true});
  EXPECT_THAT(names(gru.parameters()),
              ElementsAre("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0_reverse",
                          "weight_hh_l0_reverse", "bias_ih_l0_reverse", "bias_hh_l0_reverse", "weight_ih_l1",
                          "weight_hh_l1", "bias_ih_l1", "bias_hh_l1", "weight_ih_l1_reverse", "weight_hh_l1_reverse",
                          "bias_ih_l1_reverse", "bias_hh_l1_reverse"));
  EXPECT_EQ(gru.weights[0].weight_ih.shape(), Shape({12, 6}));
  EXPECT_EQ(gru.weights[3].weight_ih.shape(), Shape({12, 8}));
  EXPECT_EQ(gru.weights[3].weight_hh.shape(), Shape({12, 4}));

  LSTM lstm({.input = 3, .hidden = 100, .bias = false});
  EXPECT_THAT(names(lstm.parameters()), ElementsAre("weight_ih_l0", "weight_hh_l0"));
  const Floats weight = lstm.weights[0].weight_ih.to_vector();
  EXPECT_EQ(weight.size(), 1200u);
  EXPECT_LE(std::ranges::max(weight), 0.1f);
  EXPECT_GT(std::ranges::max(weight), 0.099f);  // by the hidden size, not the input's
  EXPECT_LT(std::ranges::min(weight), -0.099f);

  LSTMCell cell({.input = 3, .hidden = 2});
  EXPECT_THAT(names(cell.parameters()), ElementsAre("weight_ih", "weight_hh", "bias_ih", "bias_hh"));
}

TEST_F(RecurrentTest, CellsTakeTheStepsOfTheLayers) {
  const Tensor x = normal({3, 2, 5}, 0, 1);
  LSTM lstm({.input = 5, .hidden = 4});
  LSTMCell cell({.input = 5, .hidden = 4});
  cell.weights = lstm.weights[0];
  const auto [output, state] = lstm(x);
  LstmState by_cell;
  Floats steps;
  for (std::int64_t t = 0; t < 3; ++t) {
    by_cell = cell(reshape(slice(x, 0, t, t + 1), {2, 5}), by_cell);
    const Floats h = by_cell.h.to_vector();
    steps.insert(steps.end(), h.begin(), h.end());
  }
  EXPECT_EQ(output.to_vector(), steps);
  EXPECT_EQ(state.h.to_vector(), by_cell.h.to_vector());
  EXPECT_EQ(state.c.to_vector(), by_cell.c.to_vector());
  EXPECT_EQ(state.c.shape(), Shape({1, 2, 4}));
}

// What lies beyond an end may be anything.
TEST_F(RecurrentTest, PaddingCountsForNothing) {
  const Lengths lengths = {2, 4, 0};
  const auto run = [&](float padding) {
    Session session({.threads = 2, .seed = 5});
    LSTM lstm({.input = 3, .hidden = 4, .layers = 2, .bidirectional = true});
    Floats values(4 * 3 * 3);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bool inside = static_cast<std::int64_t>(i / 9) < lengths[i / 3 % 3];
      values[i] = inside ? 0.1f * static_cast<float>(i) : padding;
    }
    Tensor x = tensor(values, {4, 3, 3});
    x.set_requires_grad(true);
    const LstmState initial{normal({4, 3, 4}, 0, 1), normal({4, 3, 4}, 0, 1)};
    const auto [output, state] = lstm(x, initial, lengths);
    add(add(sum(mul(output, output)), sum(state.h)), sum(state.c)).backward();
    std::vector<Floats> out = {output.to_vector(), state.h.to_vector(), state.c.to_vector(), x.grad().to_vector()};
    for (const Parameter& parameter : lstm.parameters()) out.push_back(parameter.grad().to_vector());
    // A sequence without a step keeps its state.
    const Floats before = initial.h.to_vector();
    for (std::size_t layer = 0; layer < 4; ++layer) {
      for (std::size_t j = 0; j < 4; ++j) EXPECT_EQ(out[1][layer * 12 + 8 + j], before[layer * 12 + 8 + j]);
    }
    for (std::size_t i = 0; i < out[0].size(); ++i) {
      if (static_cast<std::int64_t>(i / 24) >= lengths[i / 8 % 3]) {
        EXPECT_EQ(out[0][i], 0) << i;
      }
    }
    return out;
  };
  const std::vector<Floats> zeros = run(0);
  for (const float padding : {1e30f, std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<Floats> other = run(padding);
    for (std::size_t i = 0; i < zeros.size(); ++i) {
      EXPECT_EQ(std::memcmp(zeros[i].data(), other[i].data(), zeros[i].size() * sizeof(float)), 0) << i;
    }
  }
}

TEST_F(RecurrentTest, FullLengthsChangeNothing) {
  GRU gru({.input = 3, .hidden = 4, .layers = 2, .batch_first = true, .bidirectional = true});
  const Tensor x = normal({2, 5, 3}, 0, 1);
  const RecurrentResult plain = gru(x);
  const RecurrentResult packed = gru(x, {}, Lengths{5, 5});
  EXPECT_EQ(plain.output.shape(), Shape({2, 5, 8}));
  EXPECT_EQ(plain.output.to_vector(), packed.output.to_vector());
  EXPECT_EQ(plain.state.to_vector(), packed.state.to_vector());
}

TEST_F(RecurrentTest, NoStepsAndNoSequences) {
  LSTM lstm({.input = 3, .hidden = 4, .bidirectional = true});
  const LstmState initial{normal({2, 2, 4}, 0, 1), normal({2, 2, 4}, 0, 1)};
  const LstmResult none = lstm(zeros({0, 2, 3}), initial);
  EXPECT_EQ(none.output.shape(), Shape({0, 2, 8}));
  EXPECT_EQ(none.state.h.to_vector(), initial.h.to_vector());
  EXPECT_EQ(none.state.c.to_vector(), initial.c.to_vector());
  const LstmResult empty = lstm(zeros({5, 0, 3}));
  EXPECT_EQ(empty.output.shape(), Shape({5, 0, 8}));
  EXPECT_EQ(empty.state.h.shape(), Shape({2, 0, 4}));
  sum(empty.output).backward();
  EXPECT_THAT(lstm.weights[1].weight_hh.grad().to_vector(), Each(0));
}

TEST_F(RecurrentTest, DropoutIsBetweenLayersWhileTraining) {
  RNN one({.input = 3, .hidden = 40, .dropout = 0.5f});
  RNN two({.input = 3, .hidden = 40, .layers = 2, .dropout = 0.5f});
  const Tensor x = normal({2, 4, 3}, 0, 1);
  EXPECT_EQ(one(x).output.to_vector(), one(x).output.to_vector());
  EXPECT_NE(two(x).output.to_vector(), two(x).output.to_vector());
  two.eval();
  EXPECT_EQ(two(x).output.to_vector(), two(x).output.to_vector());
}

TEST_F(RecurrentTest, WrongCallsNameTheUsersLine) {
  const auto refused = [](const auto& call, const std::string& text) {
    EXPECT_THAT(call, ThrowsMessage<ShapeError>(AllOf(HasSubstr(text), HasSubstr("(at recurrent_test.cc:"))));
  };
  refused([] { LSTM({.hidden = 2}); }, "[nn::LSTM] .input must be at least 1, but is 0");
  refused([] { RNN({.input = 2}); }, "[nn::RNN] .hidden must be at least 1");
  refused([] { GRU({.input = 2, .hidden = 2, .layers = 0}); }, "[nn::GRU] .layers must be at least 1");
  refused([] { GRU({.input = 2, .hidden = 2, .dropout = std::nanf("")}); }, "[nn::GRU] .dropout must be in [0, 1]");
  refused([] { GRUCell({.input = 2}); }, "[nn::GRUCell] .hidden must be at least 1");
  LSTM lstm({.input = 3, .hidden = 4, .layers = 2});
  const Tensor x = zeros({5, 2, 3});
  const Tensor state = zeros({2, 2, 4});
  refused([&] { lstm(zeros({5, 3})); }, "x must be [T, N, 3], but is [5, 3]");
  refused([&] { lstm(zeros({5, 2, 4})); }, "x must be [T, N, 3], but is [5, 2, 4]");
  refused([&] { lstm(x, {state, zeros({1, 2, 4})}); }, "the initial c must be [2, 2, 4], but is [1, 2, 4]");
  refused([&] { lstm(x, {state, {}}); }, "the initial state has one of h and c alone");
  refused([&] { lstm(x, {}, Lengths{1}); }, "1 lengths for 2 sequences");
  refused([&] { lstm(x, {}, Lengths{1, 6}); }, "a length is 6, but must be from 0 to the 5 steps of x");
  refused([&] { lstm(x, {}, Lengths{-1, 5}); }, "a length is -1");
  LSTMCell cell({.input = 3, .hidden = 4});
  refused([&] { cell(x); }, "[nn::LSTMCell] x must be [N, I], but is [5, 2, 3]");
  refused([&] { cell(zeros({2, 5})); }, "weight_ih [16, 3]");
}

// The bits of a training run do not depend on the budget.
template <class Net, class Options>
void expect_equal_bits(const Options& options) {
  constexpr std::int64_t kSteps = 12;
  constexpr std::int64_t kBatch = 4;
  const auto program = [&] {
    Net net(options);
    optim::SGD optimizer(net.parameters(), {.lr = 0.1f});
    std::vector<Floats> trace;
    for (int step = 0; step < 3; ++step) {
      Tensor x = normal({kSteps, kBatch, options.input}, 0, 1);
      x.set_requires_grad(step == 1);
      const Lengths lengths = {kSteps, 3, 7, 0};
      const auto result =
          net(x, {}, step == 2 ? std::span<const std::int64_t>(lengths) : std::span<const std::int64_t>());
      const Tensor loss = mean(mul(result.output, result.output));
      loss.backward();
      trace.push_back(loss.to_vector());
      if (step == 1) trace.push_back(x.grad().to_vector());
      for (const Parameter& parameter : net.parameters()) trace.push_back(parameter.grad().to_vector());
      optimizer.step();
      optimizer.zero_grad();
    }
    return trace;
  };
  test::expect_equal_bits_in_budgets(program, std::array{5, 6, 7, 8, 9});
}

TEST(RecurrentBudgets, BitsAreEqualInEveryBudget) {
  expect_equal_bits<LSTM>(RecurrentOptions{.input = 16, .hidden = 32, .layers = 2, .dropout = 0.2f});
  expect_equal_bits<GRU>(RecurrentOptions{.input = 16, .hidden = 32, .bidirectional = true});
  expect_equal_bits<RNN>(RnnOptions{.input = 16, .hidden = 32, .nonlinearity = Nonlinearity::kRelu});
}

}  // namespace
}  // namespace tidemark::nn
