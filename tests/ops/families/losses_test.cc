// What losses make of special values, of wrong calls, and of more than goldens hold.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::testing {
namespace {

using ::testing::HasSubstr;

using Floats = std::vector<float>;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr LossReduction kEach = LossReduction::kNone;
constexpr LossReduction kSum = LossReduction::kSum;

class Losses : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 1}};
};

Tensor vector_of(const Floats& values) { return tensor(values, {static_cast<std::int64_t>(values.size())}); }

void expect_close(const Floats& actual, const Floats& expected, const std::string& what, float tolerance = 1e-6f) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(actual[i])) << what << ' ' << i << ": " << actual[i];
    } else if (std::isinf(expected[i])) {
      EXPECT_EQ(actual[i], expected[i]) << what << ' ' << i;
    } else {
      EXPECT_NEAR(actual[i], expected[i], tolerance * (1 + std::fabs(expected[i]))) << what << ' ' << i;
    }
  }
}

// A loss of elements, and the gradients of its first two operands (left out where they have none).
struct Special {
  std::string name;
  std::function<Tensor(const Tensor&, const Tensor&)> loss;
  Floats a;
  Floats b;
  Floats value;
  Floats ga;
  Floats gb;
};

// As PyTorch 1.13 has them, but for what the header says.
TEST_F(Losses, SpecialElements) {
  const Floats distances = {0, kNan, kInf, 1, 3};
  const Floats others = {0, 0, kInf, 2, 0};
  const std::vector<Special> all = {
      {"l1",
       [](auto& a, auto& b) { return l1_loss(a, b, {kEach}); },
       distances,
       others,
       {0, kNan, kNan, 1, 3},
       {0, 0, 0, -1, 1},
       {0, 0, 0, 1, -1}},
      {"smooth_l1",
       [](auto& a, auto& b) {
         return smooth_l1_loss(a, b, {1, kEach});
       },
       distances,
       others,
       {0, kNan, kNan, 0.5f, 2.5f},
       {0, kNan, kNan, -1, 1},
       {0, kNan, kNan, 1, -1}},
      {"smooth_l1 of beta 0",
       [](auto& a, auto& b) {
         return smooth_l1_loss(a, b, {0, kEach});
       },
       distances,
       others,
       {0, kNan, kNan, 1, 3},
       {0, kNan, kNan, -1, 1},
       {0, kNan, kNan, 1, -1}},
      {"huber",
       [](auto& a, auto& b) {
         return huber_loss(a, b, {1, kEach});
       },
       distances,
       others,
       {0, kNan, kNan, 0.5f, 2.5f},
       {0, kNan, kNan, -1, 1},
       {0, kNan, kNan, 1, -1}},
      {"bce",
       [](auto& a, auto& b) {
         return binary_cross_entropy(a, b, {{}, kEach});
       },
       {0, 1, 0, 1, 0.5f, kNan, 1e-9f},
       {0, 1, 1, 0, kNan, 1, 0},
       {0, 0, 100, 100, kNan, kNan, 1e-9f},
       {0, 0, -1e12f, 1e12f, kNan, kNan, 1},
       {kInf, -kInf, kInf, -kInf, 0, kNan, 20.7232658f}},
      {"bce of logits",
       [](auto& a, auto& b) {
         return binary_cross_entropy_with_logits(a, b, {{}, {}, kEach});
       },
       {0, kInf, -kInf, kInf, kNan, 800, -800, -20},
       {0, 1, 0, 0, 1, 0, 1, 0},
       {0.69314718f, kNan, kNan, kInf, kNan, 800, 800, 2.0611536e-9f},
       {0.5f, 0, 0, 1, kNan, 1, -1, 2.0611536e-9f},
       {0, -kInf, kInf, -kInf, kNan, -800, 800, 20}},
      {"kl",
       [](auto& a, auto& b) {
         return kl_div(a, b, {false, kEach});
       },
       {0, -1, -1, -kInf, -kInf, -1},
       {0, 1, -1, 0, 0.5f, kNan},
       {0, 1, kNan, 0, kInf, kNan},
       {0, -1, 1, 0, -0.5f, kNan},
       {-kInf, 2, kNan, -kInf, kInf, kNan}},
      {"kl of logarithms",
       [](auto& a, auto& b) {
         return kl_div(a, b, {true, kEach});
       },
       {0, -1, -1, -kInf},
       {-kInf, 0, -1, -kInf},
       {0, 1, 0, 0},
       {0, -1, -std::exp(-1.0f), 0},
       {0, 2, std::exp(-1.0f), 0}},
      {"hinge",
       [](auto& a, auto& b) {
         return hinge_embedding_loss(a, b, {1, kEach});
       },
       {0, kNan, 1, -2, 3},
       {1, 1, -1, -1, 0},
       {0, kNan, 0, 3, 3},
       {1, 1, -1, -1, 1},
       {}},
      {"soft margin",
       [](auto& a, auto& b) { return soft_margin_loss(a, b, {kEach}); },
       {0, kNan, 1000, -2000, 20},
       {1, 1, -1, 1, 1},
       {0.69314718f, kNan, 1000, 2000, 2.0611536e-9f},
       {-0.5f, kNan, 1, -1, -2.0611536e-9f},
       {}},
      {"poisson",
       [](auto& a, auto& b) { return poisson_nll_loss(a, b, {.full = true, .reduction = kEach}); },
       {0, kNan, -2, 3},
       {1, 1, 0, 2},
       {1, kNan, 0.135335283f, 14.7373434f},
       {0, kNan, 0.135335283f, 18.0855369f},
       {0, kNan, 2, -2.05685282f}},
      {"poisson of rates",
       [](auto& a, auto& b) { return poisson_nll_loss(a, b, {.log_input = false, .reduction = kEach}); },
       {0, 100, -2, 3},
       {1, -1, 0, 2},
       {18.420681f, 104.60517f, kNan, 0.802775416f},
       {-1e8f, 1.01f, 1, 0.333333333f},
       {18.420681f, -4.60517019f, kNan, -1.09861229f}},
      {"gaussian",
       [](auto& a, auto& b) {
         return gaussian_nll_loss(a, b, tensor({1, 0, 1e-7}, {3}), {.reduction = kEach});
       },
       {0, 100, -2},
       {1, -1, 0},
       {0.5f, 5.10049999e9f, 1999993.1f},
       {-1, 1.01e8f, -2e6f},
       {1, -1.01e8f, 2e6f}},
  };
  for (const Special& special : all) {
    const Tensor a = parameter(vector_of(special.a), "a");
    Tensor b = vector_of(special.b);
    if (!special.gb.empty()) b.set_requires_grad(true);
    const Tensor loss = special.loss(a, b);
    sum(loss).backward();
    expect_close(loss.to_vector(), special.value, special.name);
    expect_close(a.grad().to_vector(), special.ga, special.name + ", first gradient");
    if (!special.gb.empty()) expect_close(b.grad().to_vector(), special.gb, special.name + ", second gradient");
  }
}

TEST_F(Losses, SmallOnesKeepTheirDigits) {
  const Tensor x = tensor({-20.0, -50.0, -80.0}, {3});
  for (const Floats& losses : {binary_cross_entropy_with_logits(x, zeros({3}), {{}, {}, kEach}).to_vector(),
                               soft_margin_loss(x, full({3}, -1), {kEach}).to_vector()}) {
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(losses[i] / std::exp(x.to_vector<double>()[i]), 1, 1e-5) << i;
    }
  }
}

// As the weight of each element that it broadcasts to.
TEST_F(Losses, PosWeightBroadcasts) {
  const Tensor x = normal({2, 3, 700}, 0, 1);
  const Tensor target = uniform({2, 3, 700}, 0, 1);
  const auto loss_of = [&](const Tensor& pos_weight) {
    const Tensor logits = parameter(tensor(x.to_vector(), x.shape()), "logits");
    const Tensor loss = binary_cross_entropy_with_logits(logits, target, {{}, pos_weight, kEach});
    sum(loss).backward();
    return std::pair(loss.to_vector(), logits.grad().to_vector());
  };
  for (const Shape& shape : {Shape({}), Shape({1}), Shape({1, 1, 1}), Shape({1, 1, 1, 1}), Shape({700}), Shape({3, 1}),
                             Shape({1, 700}), Shape({2, 1, 1}), Shape({1, 3, 1}), Shape({2, 1, 700})}) {
    const Tensor weight = uniform(shape, 0.5f, 2);
    const Tensor whole = shape.rank() > 3 ? expand(reshape(weight, {1}), x.shape()) : expand(weight, x.shape());
    EXPECT_EQ(loss_of(weight), loss_of(whole.detach())) << shape.to_string();
  }
  const Tensor logits = tensor({0.5f, -1, 2, -0.25f}, {2, 2});
  const Tensor classes = tensor({1.f, 0, 0.5f, 1}, {2, 2});
  const Tensor of_rows = tensor({2.f, 0.5f}, {2, 1});
  const BinaryCrossEntropyWithLogitsOptions options{.pos_weight = of_rows, .reduction = kEach};
  expect_close(binary_cross_entropy_with_logits(logits, classes, options).to_vector(),
               {0.948153968f, 0.313261688f, 1.09519601f, 0.41296971f}, "rows");
}

TEST_F(Losses, LongOnesAreExact) {
  NoGrad no_grad;
  constexpr std::int64_t kMillion = std::int64_t{1} << 20;
  const Tensor a = full({kMillion, 3}, 0.1f);
  EXPECT_NEAR(l1_loss(a, zeros({kMillion, 3})).item<double>() / double{0.1f}, 1, 3e-7);
  EXPECT_NEAR(l1_loss(a, zeros({kMillion, 3}), {kSum}).item<double>() / (3 * kMillion * double{0.1f}), 1, 3e-7);
  const Tensor logits = full({1, kMillion}, -0.7f);
  const double each = std::log(double{kMillion});
  EXPECT_NEAR(cross_entropy(logits, zeros({1}, i32), {.label_smoothing = 0.5f}).item<double>() / each, 1, 3e-7);
  EXPECT_NEAR(cross_entropy(logits, full({1, kMillion}, 1.0f / kMillion)).item<double>() / each, 1, 3e-7);
}

TEST_F(Losses, IgnoredRowsCostNothing) {
  const Floats values = {1, 2, 3, kNan, 0, 1, -1, 0, 1};
  const auto classes = tensor({2, -100, 0}, {3});
  for (const bool linear : {false, true}) {
    const Tensor x = parameter(tensor(values, {3, 3}), "x");
    const Tensor eye = tensor({1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0}, {3, 3});
    // A product would spread the NaN over its row alone, which is the ignored one.
    const Tensor loss = linear ? linear_cross_entropy(x, eye, {}, classes) : cross_entropy(x, classes);
    loss.backward();
    const Floats gradient = x.grad().to_vector();
    EXPECT_TRUE(std::isfinite(loss.item()));
    for (std::size_t i = 3; i < 6; ++i) EXPECT_EQ(gradient[i], 0) << i;
    EXPECT_NE(gradient[0], 0);
  }
  // Nothing but ignored rows: a mean of nothing, with gradients of zero.
  const Tensor ignored = tensor({4, 4, 4}, {3});
  const Tensor x = parameter(zeros({3, 5}), "x");
  const Tensor w = parameter(normal({5, 5}, 0, 1), "w");
  for (const Tensor& loss : {cross_entropy(x, ignored, {.ignore_index = 4}), nll_loss(x, ignored, {.ignore_index = 4}),
                             linear_cross_entropy(x, w, {}, ignored, {.ignore_index = 4})}) {
    loss.backward();
    EXPECT_TRUE(std::isnan(loss.item()));
    EXPECT_EQ(x.grad().to_vector(), Floats(15, 0.0f));
  }
  EXPECT_EQ(w.grad().to_vector(), Floats(25, 0.0f));
  EXPECT_EQ(cross_entropy(x, ignored, {.ignore_index = 4, .reduction = kSum}).item(), 0);
}

// The fused loss against the two ops that it stands for, over one tile and many.
TEST_F(Losses, LinearCrossEntropyIsBothOps) {
  struct Size {
    std::int64_t rows, features, classes;
  };
  for (const auto& [rows, features, classes] : {Size{1, 3, 7}, Size{30, 5, 4000}, Size{1500, 4, 3333}}) {
    for (const float smoothing : {0.0f, 0.1f}) {
      std::vector<std::int32_t> picks;
      for (std::int64_t i = 0; i < rows; ++i) {
        picks.push_back(i % 7 == 3 ? 5 : static_cast<std::int32_t>(i * 7919 % classes));
      }
      const Tensor target = tensor(picks, {rows});
      const Tensor values[] = {normal({rows, features}, 0, 1), normal({classes, features}, 0, 1),
                               normal({classes}, 0, 1)};
      std::vector<Floats> results[2];
      for (const bool fused : {false, true}) {
        std::vector<Tensor> inputs;
        for (const Tensor& value : values)
          inputs.push_back(parameter(tensor(value.to_vector(), value.shape()), "input"));
        for (int i = 0; i < 2; ++i) {  // the second time gradients are added to
          const Tensor loss = fused ? linear_cross_entropy(inputs[0], inputs[1], inputs[2], target,
                                                           {.ignore_index = 5, .label_smoothing = smoothing})
                                    : cross_entropy(linear(inputs[0], inputs[1], inputs[2]), target,
                                                    {.ignore_index = 5, .label_smoothing = smoothing});
          loss.backward();
          results[fused].push_back(loss.to_vector());
        }
        for (const Tensor& input : inputs) results[fused].push_back(input.grad().to_vector());
      }
      for (std::size_t k = 0; k < results[0].size(); ++k) {
        float largest = 0;
        for (const float value : results[0][k]) largest = std::max(largest, std::fabs(value));
        ASSERT_EQ(results[0][k].size(), results[1][k].size());
        for (std::size_t i = 0; i < results[0][k].size(); ++i) {
          ASSERT_NEAR(results[0][k][i], results[1][k][i], 1e-5f * largest) << rows << ' ' << k << ' ' << i;
        }
      }
    }
  }
}

TEST_F(Losses, LinearCrossEntropyOfBadAndLargeLogits) {
  // Logits are the bias: several tiles, the first of -inf alone.
  constexpr std::int64_t kClasses = 1600000;
  const auto loss_of = [&](const std::function<float(std::int64_t)>& logit, std::int32_t own, float smoothing = 0) {
    Floats bias(kClasses);
    for (std::int64_t i = 0; i < kClasses; ++i) bias[static_cast<std::size_t>(i)] = logit(i);
    const Tensor b = parameter(tensor(bias, {kClasses}), "b");
    const Tensor loss = linear_cross_entropy(zeros({1, 1}), zeros({kClasses, 1}), b, tensor({own}, {1}),
                                             {.label_smoothing = smoothing});
    loss.backward();
    return std::pair(loss.item(), b.grad().to_vector());
  };
  constexpr std::int64_t kLast = kClasses - 1000;
  const auto late = [](std::int64_t i) { return i < kLast ? -kInf : 1e6f; };
  const auto [loss, gradient] = loss_of(late, kLast + 3);
  EXPECT_NEAR(loss, std::log(1000.0), 1e-5);
  EXPECT_EQ(gradient[0], 0);
  EXPECT_NEAR(gradient[kLast], 0.001, 1e-8);
  EXPECT_NEAR(gradient[kLast + 3], -0.999, 1e-6);
  EXPECT_EQ(loss_of(late, 3).first, kInf);
  EXPECT_EQ(loss_of(late, kLast, 0.1f).first, kInf);
  EXPECT_NEAR(loss_of([](std::int64_t i) { return i < kLast ? 3e6f : 3e6f - 2; }, 0, 1).first,
              std::log(kLast + 1000 * std::exp(-2.0)) + 2000.0 / kClasses, 2e-6);
  EXPECT_TRUE(std::isnan(loss_of([](std::int64_t) { return -kInf; }, 0).first));
  EXPECT_TRUE(std::isnan(loss_of([](std::int64_t i) { return i == 5 ? kNan : i < kLast ? -kInf : 0; }, kLast).first));
  EXPECT_TRUE(std::isnan(loss_of([](std::int64_t i) { return i == kLast ? kInf : 0; }, 0).first));
}

TEST_F(Losses, LinearCrossEntropyHoldsNoLogits) {
  constexpr std::int64_t kRows = 2048;
  constexpr std::int64_t kClasses = 16384;
  Session session({.threads = 2, .seed = 1});
  const Tensor x = parameter(normal({kRows, 8}, 0, 1), "x");
  const Tensor w = parameter(normal({kClasses, 8}, 0, 1), "w");
  linear_cross_entropy(x, w, {}, zeros({kRows}, i32)).backward();
  EXPECT_LT(session.report().peak_bytes, std::int64_t{12} << 20) << "logits are 128 MiB";
}

// Every path through the labels, by name.
double every_path(const Floats& p, std::int64_t moments, std::int64_t classes, const std::vector<int>& target) {
  double total = 0;
  std::vector<int> path(static_cast<std::size_t>(moments), 0);
  for (;;) {
    std::vector<int> read;
    double probability = 1;
    for (std::size_t t = 0; t < path.size(); ++t) {
      if (path[t] != 0 && (t == 0 || path[t] != path[t - 1])) read.push_back(path[t]);
      probability *= std::exp(double{p[t * static_cast<std::size_t>(classes) + static_cast<std::size_t>(path[t])]});
    }
    if (read == target) total += probability;
    std::size_t t = 0;
    while (t < path.size() && ++path[t] == classes) path[t++] = 0;
    if (t == path.size()) return -std::log(total);
  }
}

TEST_F(Losses, CtcIsTheSumOfAllPaths) {
  const Tensor p = log(softmax(normal({5, 1, 3}, 0, 1)));
  for (const std::vector<int>& target : {std::vector<int>{}, {1}, {1, 2}, {2, 2}, {1, 1, 2}}) {
    const auto length = static_cast<std::int32_t>(target.size());
    std::vector<std::int32_t> padded(target.begin(), target.end());
    padded.resize(3, 2);
    const Tensor loss =
        ctc_loss(p, tensor(padded, {1, 3}), tensor({5}, {1}), tensor({length}, {1}), {.reduction = kSum});
    EXPECT_NEAR(loss.item(), every_path(p.to_vector(), 5, 3, target), 2e-6) << target.size();
  }
}

TEST_F(Losses, CtcAtItsEnds) {
  const Tensor x = parameter(zeros({3, 4, 2}), "x");
  const Tensor p = log(softmax(x));
  const Tensor targets = tensor({1, 1, 1, 1, 1, 1, 1, 1}, {4, 2});
  // Repeated labels need a blank between them; nothing has one alignment with nothing.
  const Tensor inputs = tensor({3, 2, 0, 0}, {4});
  const Tensor lengths = tensor({2, 2, 0, 1}, {4});
  const Tensor loss = ctc_loss(p, targets, inputs, lengths, {.reduction = kEach});
  expect_close(loss.to_vector(), {3 * std::log(2.0f), kInf, 0, kInf}, "ctc");
  sum(loss).backward();
  EXPECT_TRUE(std::isnan(x.grad().to_vector()[2]));
  EXPECT_EQ(x.grad().to_vector()[6], 0);
  const Tensor y = parameter(zeros({3, 4, 2}), "y");
  const Tensor zeroed = ctc_loss(log(softmax(y)), targets, inputs, lengths, {.zero_infinity = true});
  zeroed.backward();
  EXPECT_NEAR(zeroed.item(), 3 * std::log(2.0) / 2 / 4, 1e-6);
  EXPECT_EQ(y.grad().to_vector()[2], 0);
  EXPECT_NE(y.grad().to_vector()[0], 0);
  const Tensor nothing = zeros({0}, i32);
  EXPECT_TRUE(std::isnan(ctc_loss(zeros({3, 0, 2}), zeros({0, 2}, i32), nothing, nothing).item()));
}

TEST_F(Losses, DistancesOfEqualOnesHaveNoSlope) {
  for (const float p : {0.5f, 1.0f, 1.5f, 2.0f, 3.0f, kInf}) {
    const Tensor a = parameter(tensor({0.0, 1.0, -2.0, 2.0, 1.0, 1.0, 1.0, 1.0}, {2, 4}), "a");
    const Tensor b = tensor({0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0}, {2, 4});
    const Tensor distance = pairwise_distance(a, b, {.p = p, .eps = 0});
    sum(distance).backward();
    const Floats gradient = a.grad().to_vector();
    EXPECT_EQ(distance.to_vector()[1], 0) << p;
    for (const std::size_t i : {0, 4, 5, 6, 7}) EXPECT_EQ(gradient[i], 0) << p << ' ' << i;
    if (p == kInf) {
      EXPECT_THAT(gradient, ::testing::ElementsAre(0, 0, -0.5f, 0.5f, 0, 0, 0, 0));
    }
  }
  const Tensor zero = parameter(zeros({3}), "zero");
  const Tensor similarity = cosine_similarity(zero, full({3}, 1), {.dim = 0});
  similarity.backward();
  EXPECT_EQ(similarity.item(), 0);
  EXPECT_EQ(cosine_similarity(full({}, 2), full({}, -3), {.dim = -1}).item(), -1) << "a number has a dimension";
  expect_close(zero.grad().to_vector(), Floats(3, 57735028.0f), "similarity of nothing");
}

TEST_F(Losses, WrongCallsSayWhatIsWrong) {
  const Tensor x = zeros({4, 3});
  const Tensor classes = zeros({4}, i32);
  const Tensor weight = full({3}, 1);
  const Tensor trained = parameter(full({3}, 1), "weight");
  struct Wrong {
    std::function<Tensor()> call;
    std::vector<std::string> texts;
  };
  const std::vector<Wrong> all = {
      {[&] { return mse_loss(x, zeros({3})); }, {"[mse_loss] a is [4, 3], b is [3]", "must be equal"}},
      {[&] {
         return huber_loss(x, zeros({4, 1}));
       },
       {"[huber_loss]", "[4, 1]", "must be equal"}},
      {[&] { return huber_loss(x, x, {.delta = 0}); }, {"[huber_loss] delta is 0.0", "above 0"}},
      {[&] { return smooth_l1_loss(x, x, {.beta = kNan}); }, {"[smooth_l1_loss] beta is nan", "at least 0"}},
      {[&] { return l1_loss(zeros({}), zeros({}), {LossReduction::kBatchMean}); }, {"[l1_loss]", "batch"}},
      {[&] { return hinge_embedding_loss(x, x, {.margin = kInf}); }, {"margin is inf"}},
      {[&] { return hinge_embedding_loss(trained, trained); }, {"y takes no gradient; give its detach()"}},
      {[&] { return binary_cross_entropy(full({2}, 1.5f), zeros({2})); },
       {"[binary_cross_entropy] x is 1.5", "at position 0", "[0, 1]"}},
      {[&] {
         return binary_cross_entropy(x, x, {.weight = zeros({2, 4, 3})});
       },
       {"[binary_cross_entropy] weight [2, 4, 3]", "[4, 3]"}},
      {[&] { return binary_cross_entropy_with_logits(x, x, {.pos_weight = zeros({4})}); },
       {"x is [4, 3], pos_weight is [4]", "last dimensions"}},
      {[&] {
         return binary_cross_entropy_with_logits(x, x, {.pos_weight = zeros({2, 4, 3})});
       },
       {"x is [4, 3], pos_weight is [2, 4, 3]", "last dimensions"}},
      {[&] { return binary_cross_entropy_with_logits(x, x, {.pos_weight = trained}); },
       {"pos_weight takes no gradient"}},
      {[&] {
         return gaussian_nll_loss(x, x, full({4, 3}, -1));
       },
       {"variance is -1.0", "at least 0"}},
      {[&] { return cross_entropy(x, classes, {.label_smoothing = 1.5f}); }, {"label_smoothing is 1.5", "[0, 1]"}},
      {[&] { return cross_entropy(x, classes, {.weight = zeros({4})}); }, {"weight is [4]", "each class"}},
      {[&] { return cross_entropy(x, classes, {.weight = trained}); }, {"weight takes no gradient"}},
      {[&] { return cross_entropy(x, classes, {.reduction = LossReduction::kBatchMean}); }, {"mean, sum or none"}},
      {[&] { return cross_entropy(x, zeros({4})); }, {"target is [4] f32", "i32 classes", "probabilities"}},
      {[&] {
         return cross_entropy(x, tensor({0, 3, 1, 1}, {4}));
       },
       {"class 3 at position 1 is outside [0, 3)"}},
      {[&] {
         return nll_loss(x, tensor({0, -1, 1, 1}, {4}));
       },
       {"[nll_loss] class -1 at position 1"}},
      {[&] {
         return multi_margin_loss(x, tensor({0, -1, 1, 1}, {4}));
       },
       {"[multi_margin_loss] class -1"}},
      {[&] { return multi_margin_loss(x, classes, {.p = 3}); }, {"p is 3"}},
      {[&] {
         return linear_cross_entropy(x, zeros({5, 2}), {}, classes);
       },
       {"[4, 3]", "[5, 2]", "[V, D]"}},
      {[&] {
         return linear_cross_entropy(x, zeros({5, 3}), zeros({4}), classes);
       },
       {"bias [4]", "must be [5]"}},
      {[&] {
         return linear_cross_entropy(x, zeros({5, 3}), {}, zeros({3}, i32));
       },
       {"classes is [3] i32", "[4, 3]"}},
      {[&] {
         return linear_cross_entropy(x, zeros({5, 3}), {}, full({4}, 1));
       },
       {"must be i32"}},
      {[&] {
         return linear_cross_entropy(x, zeros({2, 3}), {}, tensor({0, 1, 2, 0}, {4}));
       },
       {"class 2 at position 2 is outside [0, 2)"}},
      {[&] { return pairwise_distance(x, x, {.p = 0}); }, {"p is 0.0", "above 0"}},
      {[&] { return cosine_similarity(x, x, {.dim = 2}); }, {"no dimension 2"}},
      {[&] { return cosine_similarity(x, x, {.eps = 0}); }, {"eps is 0.0"}},
      {[&] {
         return ctc_loss(zeros({3, 1, 2}), tensor({0}, {1, 1}), tensor({3}, {1}), tensor({1}, {1}));
       },
       {"[ctc_loss] label 0 at position 0 of sequence 0", "not the blank"}},
      {[&] {
         return ctc_loss(zeros({3, 1, 2}), tensor({1}, {1, 1}), tensor({4}, {1}), tensor({1}, {1}));
       },
       {"input length 4 of sequence 0 is outside [0, 3]"}},
      {[&] {
         return ctc_loss(zeros({3, 1, 2}), tensor({1}, {1, 1}), tensor({3}, {1}), tensor({2}, {1}));
       },
       {"target length 2 of sequence 0 is outside [0, 1]"}},
      {[&] {
         return ctc_loss(zeros({3, 1, 2}), tensor({1}, {1, 1}), tensor({3}, {1}), tensor({1}, {1}), {.blank = 2});
       },
       {"blank is 2"}},
  };
  for (const Wrong& wrong : all) {
    try {
      const Tensor result = wrong.call();
      ADD_FAILURE() << "took what should say " << wrong.texts[0];
      (void)result.to_vector();
    } catch (const Error& error) {
      for (const std::string& text : wrong.texts) EXPECT_THAT(error.what(), HasSubstr(text));
      EXPECT_THAT(error.what(), HasSubstr("(at losses_test.cc:"));
    }
  }
}

}  // namespace
}  // namespace tidemark::testing
