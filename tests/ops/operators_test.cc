// The operators: tensors with tensors and numbers, and what they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tidemark/tidemark.h>

#include <cmath>
#include <limits>
#include <string>

#include "tests/autograd/support.h"

namespace tidemark::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Operators, TakeNumbersOnEitherSide) {
  const Session session({.threads = 1});
  const Tensor x = tensor({1.0f, -4.0f}, {2});
  EXPECT_THAT((x + 2).to_vector(), ElementsAre(3, -2));
  EXPECT_THAT((2 + x).to_vector(), ElementsAre(3, -2));
  EXPECT_THAT((x - 2).to_vector(), ElementsAre(-1, -6));
  EXPECT_THAT((2 - x).to_vector(), ElementsAre(1, 6));
  EXPECT_THAT((x * 3).to_vector(), ElementsAre(3, -12));
  EXPECT_THAT((3 * x).to_vector(), ElementsAre(3, -12));
  EXPECT_THAT((x / 4).to_vector(), ElementsAre(0.25f, -1));
  EXPECT_THAT((4 / x).to_vector(), ElementsAre(4, -1));
  EXPECT_THAT((x / x).to_vector(), ElementsAre(1, 1));
  EXPECT_THAT((-x).to_vector(), ElementsAre(-1, 4));
}

TEST(Operators, KeepTheSignOfZero) {
  const Session session({.threads = 1});
  const Tensor zeros = tensor({0.0f, -0.0f}, {2});
  const auto signs = [](const Tensor& y) {
    std::string out;
    for (const float value : y.to_vector()) out += std::signbit(value) ? '-' : '+';
    return out;
  };
  EXPECT_EQ(signs(-zeros), "-+");
  EXPECT_EQ(signs(zeros * 2), "+-");
  EXPECT_EQ(signs(zeros * -2), "-+");
  EXPECT_EQ(signs(zeros / -2), "-+");
}

TEST(Operators, RefuseUndefinedTensors) {
  const Session session({.threads = 1});
  const Tensor x = full({2}, 1);
  const std::string line = next_line();
  const std::string message = error_of([&] { (void)(Tensor() + x); });
  EXPECT_THAT(message, AllOf(HasSubstr("undefined tensor"), HasSubstr(line)));
  EXPECT_THAT(error_of([&] { (void)(x / Tensor()); }), HasSubstr("undefined tensor"));
  EXPECT_THAT(error_of([&] { (void)-Tensor(); }), HasSubstr("undefined tensor"));
  EXPECT_THAT(error_of([&] { (void)(Operand(1) * Operand(2)); }), HasSubstr("no operand is a tensor"));
}

TEST(LeakyRelu, RefusesSlopesThatItsResultCannotTell) {
  const Session session({.threads = 1});
  const Tensor x = full({2}, 1);
  for (const float slope : {-0.1f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const std::string line = next_line();
    const std::string message = error_of([&] { (void)leaky_relu(x, slope); });
    EXPECT_THAT(message, AllOf(HasSubstr("[leaky_relu] the slope is"), HasSubstr("at least 0"), HasSubstr(line)));
  }
  EXPECT_THAT(leaky_relu(x - 2, 0.5f).to_vector(), ElementsAre(-0.5f, -0.5f));
}

}  // namespace
}  // namespace tidemark::test
