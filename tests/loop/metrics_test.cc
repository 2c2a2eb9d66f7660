// Metrics against numbers worked out by hand, and at their edges.
#include "tidemark/metrics.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tidemark/session.h"

namespace tidemark::metrics {
namespace {

using test::error_of;
using test::next_line;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

class MetricsTest : public ::testing::Test {
 protected:
  // Rows of three logits.
  static Tensor rows(const std::vector<float>& logits) {
    return tensor(std::span<const float>(logits), {std::ssize(logits) / 3, 3});
  }
  static Tensor labels(const std::vector<std::int32_t>& classes) {
    return tensor(std::span<const std::int32_t>(classes), {std::ssize(classes)});
  }
  Session session_{{.threads = 1}};
};

TEST_F(MetricsTest, AccuracyCountsRowsNotBatches) {
  Accuracy accuracy;
  accuracy.update(rows({3, 1, 2, 0, 5, 1, 0, 0, 9}), labels({0, 1, 0}));
  EXPECT_EQ(accuracy.value(), 2.0 / 3);
  accuracy.update(rows({1, 2, 0}), labels({0}));  // a smaller last batch
  EXPECT_EQ(accuracy.value(), 0.5);
  EXPECT_EQ(accuracy.count(), 4);
  EXPECT_EQ(accuracy.right(), 2);
}

TEST_F(MetricsTest, TopKTakesTheLowerOfEqualClasses) {
  // Class 1 is the largest, then 0 and 2, which are equal.
  const Tensor logits = rows({1, 2, 1, 1, 2, 1, 1, 2, 1});
  const Tensor all = labels({0, 1, 2});
  const std::vector<double> expected{1.0 / 3, 2.0 / 3, 1, 1, 1};  // k above the number of classes as well
  for (std::size_t k = 1; k <= expected.size(); ++k) {
    Accuracy top({.top_k = static_cast<std::int64_t>(k)});
    top.update(logits, all);
    EXPECT_EQ(top.value(), expected[k - 1]) << k;
  }
  Accuracy first;
  first.update(rows({7, 7, 7, 7, 7, 7}), labels({0, 1}));
  EXPECT_EQ(first.right(), 1);
}

TEST_F(MetricsTest, NaNIsWrongAndInfinityIsANumber) {
  const Tensor logits = rows({kNaN, 1, 2, 1, 5, kNaN, kNaN, kNaN, kNaN, 0, kInf, 1, -kInf, -kInf, -kInf});
  const Tensor classes = labels({0, 1, 0, 1, 0});
  for (const std::int64_t k : {1, 3}) {
    Accuracy accuracy({.top_k = k});
    accuracy.update(logits, classes);
    EXPECT_EQ(accuracy.right(), 2) << k;
    EXPECT_EQ(accuracy.count(), 5) << k;
  }
}

TEST_F(MetricsTest, IgnoredRowsDoNotCountWhateverTheyHold) {
  for (const std::int32_t ignored : {-100, 2}) {  // one that is no class, and one that is
    Accuracy accuracy({.ignore_index = ignored});
    accuracy.update(rows({3, 1, 2, kNaN, kNaN, kNaN, 0, 1, 0}), labels({0, ignored, 0}));
    EXPECT_EQ(accuracy.value(), 0.5);
    EXPECT_EQ(accuracy.count(), 2);
    accuracy.update(rows({1, 2, 3}), labels({ignored}));
    EXPECT_EQ(accuracy.count(), 2);
  }
}

TEST_F(MetricsTest, AValueOverNothingIsNaN) {
  Accuracy accuracy;
  Perplexity perplexity;
  RunningMean mean;
  ExponentialMean exponential;
  accuracy.update(zeros({0, 3}), zeros({0}, i32));
  perplexity.update(zeros({0, 3}), zeros({0}, i32));
  mean.update(kNaN, 0);  // the loss of an empty batch
  exponential.update(kNaN, 0);
  for (const double value : {accuracy.value(), perplexity.value(), mean.value(), exponential.value()}) {
    EXPECT_TRUE(std::isnan(value));
  }
  EXPECT_EQ(accuracy.count() + perplexity.count() + mean.count() + exponential.count(), 0);
}

TEST_F(MetricsTest, OneClassAndRowsOfTokens) {
  Accuracy one;
  one.update(zeros({4, 1}), zeros({4}, i32));
  EXPECT_EQ(one.value(), 1);
  // [2, 2, 3] with labels [2, 2], as u8.
  Accuracy tokens;
  const Tensor logits = tensor({1.f, 0.f, 0.f, 0.f, 1.f, 0.f, 0.f, 0.f, 1.f, 1.f, 0.f, 0.f}, {2, 2, 3});
  Tensor classes = zeros({2, 2}, u8);
  const std::vector<std::uint8_t> bytes{0, 1, 2, 2};
  classes.assign(std::span<const std::uint8_t>(bytes));
  tokens.update(logits, classes);
  EXPECT_EQ(tokens.value(), 0.75);
  // A single row without a batch.
  tokens.reset();
  tokens.update(tensor({0.f, 2.f}, {2}), full({}, 1));
  EXPECT_EQ(tokens.value(), 1);
  EXPECT_EQ(tokens.count(), 1);
}

TEST_F(MetricsTest, ABadLabelNamesItsRowAndTheLineAndCountsNothing) {
  Accuracy accuracy;
  const Tensor logits = rows({3, 1, 2, 0, 5, 1});
  std::string line;
  std::string error = error_of([&] {
    line = next_line();
    accuracy.update(logits, labels({0, 3}));
  });
  EXPECT_THAT(error, AllOf(HasSubstr("accuracy: the label of row 1 is 3, but must be from 0 to 2"), HasSubstr(line)));
  EXPECT_EQ(accuracy.count(), 0);
  Perplexity perplexity({.ignore_index = -1});
  error = error_of([&] { perplexity.update(logits, labels({-1, -2})); });
  EXPECT_THAT(error, HasSubstr("perplexity: the label of row 1 is -2, but must be from 0 to 2, or -1"));
  EXPECT_EQ(perplexity.count(), 0);
  EXPECT_THAT(
      [&] {
        accuracy.update(logits, labels({0, 1, 2}));
      },
      ::testing::ThrowsMessage<ShapeError>(HasSubstr("logits [2, 3], labels [3]")));
  EXPECT_THROW(accuracy.update(zeros({2, 0}), labels({0, 0})), ShapeError);
  EXPECT_THROW(accuracy.update(Tensor(), labels({0, 0})), Error);
  EXPECT_THAT(error_of([] { Accuracy({.top_k = 0}); }), HasSubstr(".top_k must be at least 1, but is 0"));
}

TEST_F(MetricsTest, PerplexityWeighsLossesByTheirTokens) {
  Perplexity perplexity;
  perplexity.update(1.0, 300);
  perplexity.update(3.0, 100);
  EXPECT_DOUBLE_EQ(perplexity.value(), std::exp(1.5));
  EXPECT_EQ(perplexity.count(), 400);
}

TEST_F(MetricsTest, PerplexityOfLogits) {
  Perplexity perplexity({.ignore_index = -1});
  // Equal logits of three classes, however large they are, are a perplexity of three.
  perplexity.update(rows({0, 0, 0, 3e38f, 3e38f, 3e38f, kNaN, 0, 0}), labels({1, 2, -1}));
  EXPECT_NEAR(perplexity.value(), 3, 1e-12);
  EXPECT_EQ(perplexity.count(), 2);
  // softmax(0, ln 2, 0) = 1/4, 1/2, 1/4: together with the two above e^((2 ln 3 + ln 2) / 3).
  perplexity.update(rows({0, std::numbers::ln2_v<float>, 0}), labels({1}));
  EXPECT_NEAR(perplexity.value(), std::cbrt(18.0), 1e-6);
  perplexity.update(rows({0, kNaN, 0}), labels({0}));
  EXPECT_TRUE(std::isnan(perplexity.value()));
}

TEST_F(MetricsTest, RunningMeanIsWeightedAndInF64) {
  RunningMean mean;
  mean.update(2, 3);
  mean.update(5);
  EXPECT_EQ(mean.value(), 11.0 / 4);
  EXPECT_EQ(mean.count(), 4);
  mean.reset();
  mean.update(1, 1 << 24);
  mean.update(2);  // lost in f32
  EXPECT_EQ(mean.value(), ((1 << 24) + 2.0) / ((1 << 24) + 1));
  EXPECT_THAT(error_of([&] { mean.update(1, -1); }), HasSubstr("count must be at least 0, but is -1"));
}

TEST_F(MetricsTest, ExponentialMeanForgets) {
  ExponentialMean mean(0.5);
  mean.update(8);
  EXPECT_EQ(mean.value(), 8);  // no bias to zero
  mean.update(2);
  EXPECT_EQ(mean.value(), (0.25 * 8 + 0.5 * 2) / 0.75);
  ExponentialMean at_once(0.5), singly(0.5);
  at_once.update(3, 4);
  for (int i = 0; i < 4; ++i) singly.update(3);
  EXPECT_EQ(at_once.state(), singly.state());
  ExponentialMean last(0);
  last.update(kNaN);
  last.update(7);
  EXPECT_EQ(last.value(), 7);
  for (const double decay : {-0.1, 1.0, std::nan("")}) {
    EXPECT_THAT(error_of([&] { ExponentialMean{decay}; }), HasSubstr("decay must be at least 0 and below 1")) << decay;
  }
}

// Half of the batches, the state into another object, and the other half: as if there had been no break.
template <class Metric>
void expect_resumes(const Metric& fresh, const Tensor& logits, const Tensor& classes) {
  Metric whole = fresh, first = fresh, second = fresh;
  for (int i = 0; i < 4; ++i) {
    whole.update(logits, classes);
    if (i < 2) first.update(logits, classes);
  }
  second.set_state(first.state());
  for (int i = 0; i < 2; ++i) second.update(logits, classes);
  EXPECT_EQ(second.state(), whole.state());
  EXPECT_EQ(second.value(), whole.value());
  EXPECT_EQ(second.count(), whole.count());
  second.reset();
  EXPECT_EQ(second.state(), fresh.state());
}

TEST_F(MetricsTest, StatesGoOnElsewhere) {
  const Tensor logits = rows({3, 1, 2, 0, 5, 1, kNaN, 1, 1});
  const Tensor classes = labels({0, 2, 1});
  expect_resumes(Accuracy({.top_k = 2}), logits, classes);
  expect_resumes(Perplexity({.ignore_index = 1}), logits, classes);
  expect_resumes(ConfusionMatrix({.classes = 3}), logits, classes);
  RunningMean mean;
  mean.set_state(std::vector<double>{6, 4});
  EXPECT_EQ(mean.value(), 1.5);
  ExponentialMean exponential(0.5);
  exponential.set_state(std::vector<double>{2, 0.5, 1});
  EXPECT_EQ(exponential.value(), 4);
}

TEST_F(MetricsTest, StatesOfOthersAreRefused) {
  Accuracy accuracy;
  accuracy.update(rows({3, 1, 2}), labels({0}));
  const auto refused = [&](const std::vector<double>& state, const std::string& why) {
    EXPECT_THAT(error_of([&] { accuracy.set_state(state); }), HasSubstr(why));
    EXPECT_THAT(accuracy.state(), ElementsAre(1, 1));
  };
  refused({}, "a state of 0 numbers, but it has 2");
  refused({3, 2}, "more right rows than rows");
  for (const double number : {-1.0, 0.5, std::nan(""), 1e300}) refused({0, number}, "where a count must be");
  ConfusionMatrix matrix({.classes = 2});
  EXPECT_THAT(error_of([&] { matrix.set_state(accuracy.state()); }), HasSubstr("a state of 2 numbers, but it has 6"));
}

}  // namespace
}  // namespace tidemark::metrics
