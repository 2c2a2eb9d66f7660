// Define by run, and what gradients mean: control flow, accumulation, retained and retired graphs, no_grad, detach,
// shared values, views, several outputs, frozen and tied parameters.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/autograd/support.h"
#include "tidemark/op.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SemanticsTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .verify_replay = true}};
};

// Elements that are small whole numbers: sums of their products are exact in any order.
Tensor whole_numbers(const Shape& shape, int from) {
  std::vector<float> elements(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<float>((from + 5 * i) % 7) - 3;
  return tensor(elements, shape);
}

TEST_F(SemanticsTest, ControlFlowIsTheProgramsOwn) {
  Tensor w = parameter(tensor({3.0f}, {1}), "w");
  for (const int doublings : {1, 4, 2}) {
    Tensor y = w;
    const float limit = 3.0f * static_cast<float>(1 << doublings);
    int steps = 0;
    while (y.item() < limit) {
      y = y.item() > 20 ? y + w + w + w + w + w + w + w + w : y * 2.0f;
      ++steps;
    }
    sum(y).backward();
    // 3, 6, 12, 24, and from there 24 more at a time: the gradient follows the branches that were taken.
    EXPECT_THAT(w.grad().to_vector(), ElementsAre(limit / 3)) << doublings << " doublings, " << steps << " steps";
    w.zero_grad();
  }
}

TEST_F(SemanticsTest, ElementwiseGradientsOfSeveralPassesAreTheSumInOrder) {
  Tensor w = parameter(normal({1000}, 0, 1), "w");
  const Tensor xs[] = {normal({1000}, 0, 1), normal({1000}, 0, 1), normal({1000}, 0, 1)};
  std::vector<float> expected(1000);
  for (const Tensor& x : xs) {
    sum(mul(gelu(w), x)).backward();
    const std::vector<float> one = w.grad().to_vector();
    for (std::size_t i = 0; i < one.size(); ++i) expected[i] = &x == xs ? one[i] : expected[i] + one[i];
    w.zero_grad();
  }
  for (const Tensor& x : xs) sum(mul(gelu(w), x)).backward();
  EXPECT_TRUE(same_bits(expected, w.grad().to_vector()));
}

TEST_F(SemanticsTest, LinearGradientsOfSeveralPassesAreTheSum) {
  Tensor w = parameter(whole_numbers({24, 16}, 1), "w");
  Tensor b = parameter(whole_numbers({24}, 2), "b");
  std::vector<float> expected_w(24UL * 16), expected_b(24);
  for (const bool together : {false, true}) {
    for (int pass = 0; pass < 3; ++pass) {
      sum(mul(linear(whole_numbers({8, 16}, pass), w, b), whole_numbers({8, 24}, 3 * pass))).backward();
      if (together) continue;
      const std::vector<float> gw = w.grad().to_vector(), gb = b.grad().to_vector();
      for (std::size_t i = 0; i < gw.size(); ++i) expected_w[i] += gw[i];
      for (std::size_t i = 0; i < gb.size(); ++i) expected_b[i] += gb[i];
      w.zero_grad();
      b.zero_grad();
    }
  }
  EXPECT_EQ(expected_w, w.grad().to_vector());
  EXPECT_EQ(expected_b, b.grad().to_vector());
}

TEST_F(SemanticsTest, NoGradRecordsNoGradient) {
  Tensor w = parameter(full({4}, 2), "w");
  {
    const NoGrad outer;
    {
      const NoGrad inner;
      EXPECT_FALSE((w * 3.0f).requires_grad());
    }
    EXPECT_FALSE((w * 3.0f).requires_grad());
  }
  EXPECT_TRUE((w * 3.0f).requires_grad());
  Tensor factor;
  {
    const NoGrad guard;
    factor = w * w;
  }
  sum(mul(w, factor)).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(4, 4, 4, 4));
}

TEST_F(SemanticsTest, DetachCutsTheGradientAndKeepsTheValue) {
  Tensor w = parameter(tensor({1.0f, 2.0f}, {2}), "w");
  const Tensor square = mul(w, w);
  const Tensor cut = square.detach();
  EXPECT_FALSE(cut.requires_grad());
  EXPECT_TRUE(same_bits(cut, square));
  sum(mul(w, cut)).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(1, 4));
  const Tensor leaf = w.detach();
  EXPECT_FALSE(leaf.requires_grad());
  w.assign(std::span<const float>(std::vector<float>{5, 6}));
  EXPECT_TRUE(same_bits(leaf, w)) << "a detached leaf shares its bytes";
}

TEST_F(SemanticsTest, RetainedGraphGoesBackwardAgain) {
  Tensor w = parameter(normal({64}, 0, 1), "w");
  const Tensor loss = mean(gelu(gelu(w)));
  loss.backward({.retain_graph = true});
  const std::vector<float> once = w.grad().to_vector();
  w.zero_grad();
  loss.backward({.retain_graph = true});
  EXPECT_TRUE(same_bits(once, w.grad().to_vector()));
  loss.backward();
  std::vector<float> twice = once;
  for (float& value : twice) value += value;
  EXPECT_TRUE(same_bits(twice, w.grad().to_vector()));
}

TEST_F(SemanticsTest, SecondBackwardNamesTheWaysOut) {
  Tensor w = parameter(normal({64}, 0, 1), "w");
  const auto ways_out = AllOf(HasSubstr("retain_graph"), HasSubstr("backward({a, b})"));
  const Tensor loss = mean(mul(w, w));
  const std::string first = next_line();
  loss.backward();
  EXPECT_THAT(error_of([&] { loss.backward(); }), AllOf(ways_out, HasSubstr(first)));

  w.zero_grad();
  const std::string shared_line = next_line();
  const Tensor shared = gelu(w);
  const Tensor a = mean(shared);
  const Tensor b = sum(shared);
  a.backward();
  const std::vector<float> of_a = w.grad().to_vector();
  const std::string second = next_line();
  const std::string message = error_of([&] { b.backward(); });
  EXPECT_THAT(message, AllOf(ways_out, HasSubstr(second))) << "while " << shared_line << " was retired";
  EXPECT_TRUE(same_bits(of_a, w.grad().to_vector())) << "a refused backward changes no gradient";
}

TEST_F(SemanticsTest, LossesTogetherShareTheirNodes) {
  Tensor w = parameter(normal({64}, 0, 1), "w");
  const auto losses = [&] {
    const Tensor shared = gelu(w);
    return std::vector<Tensor>{mean(shared), sum(mul(shared, shared))};
  };
  const auto ops_of = [&](const std::function<void()>& run) {
    w.zero_grad();
    run();
    int count = 0;
    for (const scheduler::Op& op : session_.graph().ops) count += op.name.starts_with("gelu.backward at ");
    return count;
  };
  EXPECT_EQ(1, ops_of([&] { backward(losses()); }));
  const std::vector<float> together = w.grad().to_vector();
  const int apart = ops_of([&] {
    const auto list = losses();
    list[0].backward({.retain_graph = true});
    list[1].backward();
  });
  EXPECT_EQ(2, apart);
  for (std::size_t i = 0; i < together.size(); ++i) EXPECT_NEAR(together[i], w.grad().to_vector()[i], 1e-5) << i;
}

TEST_F(SemanticsTest, SharedInputsGetEveryContribution) {
  Tensor w = parameter(tensor({3.0f, -2.0f}, {2}), "w");
  sum(mul(w, w)).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(6, -4));
  w.zero_grad();
  sum(add(w, w)).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(2, 2));
  w.zero_grad();
  const Tensor twice = w * 2.0f;
  sum(mul(add(twice, w), sub(twice, twice))).backward();  // the factors are 3w and 0
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(0, 0));
}

TEST_F(SemanticsTest, GradientsGoThroughViews) {
  Tensor w = parameter(tensor({1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f}, {2, 3}), "w");
  const Tensor scale = tensor({10.0f, 20.0f, 30.0f, 40.0f, 50.0f, 60.0f}, {3, 2});
  sum(mul(reshape(w, {3, 2}), scale)).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(10, 20, 30, 40, 50, 60));
  w.zero_grad();
  sum(mul(transpose(w, 0, 1), scale)).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(10, 30, 50, 20, 40, 60));
  w.zero_grad();
  const Tensor doubled = w * 2.0f;
  sum(mul(slice(doubled, 0, 1, 2), slice(doubled, 0, 0, 1))).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(16, 20, 24, 4, 8, 12));
  w.zero_grad();
  sum(add(reshape(w * 3.0f, {6}), flatten(w, 0))).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(4, 4, 4, 4, 4, 4));
}

// y0 = x, y1 = x^2: two outputs with a gradient each.
struct Powers {
  static constexpr std::string_view name = "powers";
  Prepared prepare(Prep&, std::span<const Meta> in, Needs needs) const {
    Prepared out;
    const Meta plain = Meta::plain(in[0].shape);
    out.outputs = {plain, plain};
    out.input_layouts = {Layout{}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::output(0)};
      part.gy = {{0, Layout{}}, {1, Layout{}}};
      out.parts.push_back(part);
    }
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    for (std::int64_t i = 0; i < in[0].numel(); ++i) {
      out[0].as()[i] = in[0].as()[i];
      out[1].as()[i] = in[0].as()[i] * in[0].as()[i];
    }
  }
  void backward(Ctx&, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    for (std::int64_t i = 0; i < gx[0].numel(); ++i) {
      gx[0].as()[i] = gy[0].as()[i] + 2 * saved[0].as()[i] * gy[1].as()[i];
    }
  }
};

TEST_F(SemanticsTest, OutputsThatNobodyUsesHaveZeroGradients) {
  Tensor w = parameter(tensor({3.0f, -2.0f}, {2}), "w");
  const auto powers = [&] {
    const Tensor inputs[] = {w};
    return apply_all(any_op(Powers{}), inputs, SourceLocation::current());
  };
  EXPECT_THAT(powers()[1].to_vector(), ElementsAre(9, 4));
  sum(powers()[0]).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(1, 1));
  w.zero_grad();
  sum(powers()[1]).backward();
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(6, -4));
  w.zero_grad();
  const std::vector<Tensor> both = powers();
  backward({sum(both[0]), sum(both[1])});
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(7, -3));
}

TEST_F(SemanticsTest, FrozenParametersTakeNoGradientAndNoState) {
  Tensor frozen = parameter(normal({8, 8}, 0, 1), "frozen");
  Tensor free = parameter(normal({8, 8}, 0, 1), "free");
  frozen.set_requires_grad(false);
  const std::vector<std::uint8_t> before = bits(frozen);
  const std::int64_t live = session_.report().live_by_category[static_cast<int>(Category::kOptimizer)];
  EXPECT_EQ(live, 0);
  optim::AdamW optimizer({frozen, free}, {.lr = 0.1f, .state = f32});
  EXPECT_EQ(session_.report().live_by_category[static_cast<int>(Category::kOptimizer)], 2 * 8 * 8 * 4);
  sum(linear(linear(normal({4, 8}, 0, 1), frozen), free)).backward();
  EXPECT_FALSE(frozen.grad().defined());
  EXPECT_TRUE(free.grad().defined());
  optimizer.step();
  EXPECT_EQ(before, bits(frozen));

  // A leaf can be asked for a gradient, and stop asking; then the one it has goes.
  Tensor leaf = normal({4}, 0, 1);
  EXPECT_FALSE(leaf.requires_grad());
  leaf.set_requires_grad(true);
  sum(leaf * 2.0f).backward();
  EXPECT_THAT(leaf.grad().to_vector(), ElementsAre(2, 2, 2, 2));
  leaf.set_requires_grad(false);
  EXPECT_FALSE(leaf.grad().defined());
  EXPECT_FALSE((leaf * 2.0f).requires_grad());
  EXPECT_THAT(error_of([&] { zeros({2}, i32).set_requires_grad(true); }), HasSubstr("i32"));
}

TEST_F(SemanticsTest, TiedParametersHaveOneGradient) {
  Tensor w = parameter(tensor({1.0f, 2.0f, 3.0f, 4.0f}, {2, 2}), "w");
  Tensor tied = w;
  EXPECT_TRUE(tied.same(w));
  const Tensor x = tensor({1.0f, 1.0f}, {1, 2});
  sum(linear(linear(x, w), tied)).backward();
  EXPECT_TRUE(w.grad().same(tied.grad()));
  // d/dW of 1^T W W x: W^T 1 x^T + 1 (W x)^T, with W x = (3, 7) and W^T 1 = (4, 6).
  EXPECT_THAT(w.grad().to_vector(), ElementsAre(4 + 3, 4 + 7, 6 + 3, 6 + 7));
  optim::SGD optimizer({w, tied}, {.lr = 1});
  optimizer.step();
  EXPECT_THAT(w.to_vector(), ElementsAre(1 - 7, 2 - 11, 3 - 9, 4 - 13));
  tied.zero_grad();
  EXPECT_FALSE(w.grad().defined());
}

TEST_F(SemanticsTest, WrongCallsSayWhatIsWrong) {
  const Tensor x = normal({2, 2}, 0, 1);
  Tensor w = parameter(normal({2, 2}, 0, 1), "w");
  EXPECT_THAT(error_of([&] { mul(w, w).backward(); }), HasSubstr("one f32 number"));
  EXPECT_THAT(error_of([&] { sum(x).backward(); }), HasSubstr("requires a gradient"));
  EXPECT_THAT(error_of([&] { backward(std::span<const Tensor>{}); }), HasSubstr("no loss"));
  EXPECT_THAT(error_of([&] { (void)mul(w, w).grad(); }), HasSubstr("only leaves"));
  EXPECT_THAT(error_of([&] { (void)mul(w, w).set_requires_grad(false); }), HasSubstr("only leaves"));
  EXPECT_THAT(error_of([&] { (void)x.to_vector<std::uint8_t>(); }), HasSubstr("uint8_t does not hold"));
  const std::string line = next_line();
  const std::string message = error_of([&] { (void)mul(w, Tensor()); });
  EXPECT_THAT(message, AllOf(HasSubstr("undefined"), HasSubstr(line)));
  EXPECT_THAT(error_of([&] { Tensor().backward(); }), HasSubstr("undefined"));
  EXPECT_THAT(error_of([&] { (void)Tensor().shape(); }), HasSubstr("undefined"));
  EXPECT_FALSE(Tensor().defined());
  const std::vector<float> three(3);
  EXPECT_THAT(error_of([&] { w.assign(std::span<const float>(three)); }), HasSubstr("[2, 2]"));
  EXPECT_THAT(error_of([&] { mul(w, w).assign(std::span<const float>(three)); }), HasSubstr("only leaves"));
}

}  // namespace
}  // namespace tidemark::test
