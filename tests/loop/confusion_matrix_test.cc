// The confusion matrix of a small example, whose figures are those of scikit-learn's classification_report.
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tidemark/metrics.h"
#include "tidemark/session.h"

namespace tidemark::metrics {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using ::testing::Not;

class ConfusionMatrixTest : public ::testing::Test {
 protected:
  // Rows of which `predicted` has the only 1; -1: a row with a NaN.
  static void update(ConfusionMatrix& matrix, const std::vector<std::int32_t>& classes,
                     const std::vector<std::int32_t>& predicted) {
    std::vector<float> logits;
    for (const std::int32_t p : predicted) {
      for (std::int32_t c = 0; c < matrix.classes(); ++c) logits.push_back(c == p ? 1.f : 0.f);
      if (p < 0) logits.back() = std::numeric_limits<float>::quiet_NaN();
    }
    matrix.update(tensor(std::span<const float>(logits), {std::ssize(predicted), matrix.classes()}),
                  tensor(std::span<const std::int32_t>(classes), {std::ssize(classes)}));
  }
  Session session_{{.threads = 1}};
};

TEST_F(ConfusionMatrixTest, FiguresOfEachClass) {
  ConfusionMatrix matrix({.classes = 4});
  update(matrix, {0, 0, 0, 1, 1}, {0, 0, 1, 1, 0});
  update(matrix, {1, 2}, {1, 0});  // a smaller batch
  EXPECT_EQ(matrix.count(0, 0), 2);
  EXPECT_EQ(matrix.count(0, 1), 1);
  EXPECT_EQ(matrix.count(1, 0), 1);
  EXPECT_EQ(matrix.count(2, 0), 1);
  EXPECT_EQ(matrix.count(), 7);
  EXPECT_EQ(matrix.value(), 4.0 / 7);
  EXPECT_EQ(matrix.precision(0), 2.0 / 4);
  EXPECT_EQ(matrix.recall(0), 2.0 / 3);
  EXPECT_DOUBLE_EQ(matrix.f1(0), 4.0 / 7);
  EXPECT_EQ(matrix.precision(1), 2.0 / 3);
  EXPECT_EQ(matrix.recall(1), 2.0 / 3);
  EXPECT_DOUBLE_EQ(matrix.f1(1), 2.0 / 3);
  // Never predicted: 0, and it counts. Neither there nor predicted: no figure.
  EXPECT_EQ(matrix.precision(2), 0);
  EXPECT_EQ(matrix.f1(2), 0);
  EXPECT_TRUE(std::isnan(matrix.precision(3)));
  EXPECT_DOUBLE_EQ(matrix.macro_precision(), (0.5 + 2.0 / 3 + 0) / 3);
  EXPECT_DOUBLE_EQ(matrix.macro_recall(), (2.0 / 3 + 2.0 / 3 + 0) / 3);
  EXPECT_DOUBLE_EQ(matrix.macro_f1(), (4.0 / 7 + 2.0 / 3 + 0) / 3);
}

TEST_F(ConfusionMatrixTest, RowsWithoutAPrediction) {
  ConfusionMatrix matrix({.classes = 2, .ignore_index = 1});
  update(matrix, {0, 0, 1}, {0, -1, -1});
  EXPECT_EQ(matrix.unpredicted(0), 1);
  EXPECT_EQ(matrix.unpredicted(1), 0);
  EXPECT_EQ(matrix.count(), 2);
  EXPECT_EQ(matrix.value(), 0.5);
  EXPECT_EQ(matrix.precision(0), 1);
  EXPECT_EQ(matrix.recall(0), 0.5);
}

TEST_F(ConfusionMatrixTest, EmptyAndOfOneClass) {
  ConfusionMatrix matrix({.classes = 1});
  EXPECT_TRUE(std::isnan(matrix.value()));
  EXPECT_TRUE(std::isnan(matrix.macro_f1()));
  update(matrix, {0, 0}, {0, 0});
  EXPECT_EQ(matrix.macro_f1(), 1);
}

TEST_F(ConfusionMatrixTest, Table) {
  ConfusionMatrix matrix({.classes = 3});
  update(matrix, {0, 0, 1}, {0, 1, -1});
  EXPECT_EQ(matrix.table({"cat\x1b[2J", "h\xc3\xbchner"}),
            "label \\ predicted  cat?[2J  h\xc3\xbchner  2  none  rows  precision  recall      F1\n"
            "cat?[2J                  1       1  0     0     2     1.0000  0.5000  0.6667\n"
            "h\xc3\xbchner                   0       0  0     1     1     0.0000  0.0000  0.0000\n"
            "2                        0       0  0     0     0          -       -       -\n"
            "macro average                                   3     0.5000  0.2500  0.3333\n"
            "accuracy 0.3333\n");
  EXPECT_THAT(ConfusionMatrix({.classes = 17}).table(), Not(HasSubstr("predicted")));
}

TEST_F(ConfusionMatrixTest, WrongCalls) {
  for (const std::int64_t classes : {std::int64_t{0}, std::int64_t{-1}, kMostMatrixClasses + 1}) {
    EXPECT_THAT(error_of([&] { ConfusionMatrix({.classes = classes}); }), HasSubstr(".classes must be from 1 to 4096"));
  }
  ConfusionMatrix matrix({.classes = 2});
  EXPECT_THAT(error_of([&] {
                matrix.update(zeros({1, 3}), zeros({1}, i32));
              }),
              HasSubstr("logits [1, 3] of 3 classes, but the matrix is of 2"));
  EXPECT_THAT(error_of([&] { (void)matrix.f1(2); }), HasSubstr("no class 2; classes are from 0 to 1"));
  EXPECT_THAT(error_of([&] { (void)matrix.count(0, -1); }), HasSubstr("no class -1"));
}

}  // namespace
}  // namespace tidemark::metrics
