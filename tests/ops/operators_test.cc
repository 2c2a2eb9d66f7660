// The operators: tensors with tensors and numbers, and what they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tidemark/tidemark.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

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

TEST(Operators, AssignNewValues) {
  const Session session({.threads = 1});
  Tensor x = parameter(tensor({1.0f, -4.0f}, {2}), "x");
  const Tensor old = x;
  x += 2;
  EXPECT_THAT(x.to_vector(), ElementsAre(3, -2));
  x -= tensor({1.0f, 1.0f}, {2});
  EXPECT_THAT(x.to_vector(), ElementsAre(2, -3));
  (x *= x) /= 4;
  EXPECT_THAT(x.to_vector(), ElementsAre(1, 2.25f));
  EXPECT_THAT(old.to_vector(), ElementsAre(1, -4));
  EXPECT_FALSE(x.same(old));
  sum(x).backward();
  EXPECT_THAT(old.grad().to_vector(), ElementsAre(1, -1.5f)) << "of ((x + 1) / 2)^2";
  Tensor wider = full({1}, 3);
  wider *= tensor({1.0f, 2.0f}, {2});
  EXPECT_THAT(wider.to_vector(), ElementsAre(3, 6));
  const std::string line = next_line();
  EXPECT_THAT(error_of([&] { x += full({3}, 1); }), AllOf(HasSubstr("[2]"), HasSubstr("[3]"), HasSubstr(line)));
  EXPECT_THAT(error_of([&] { x /= Tensor(); }), HasSubstr("undefined tensor"));
  Tensor none;
  const std::string of_number = next_line();
  EXPECT_THAT(error_of([&] { none -= 1; }), AllOf(HasSubstr("undefined tensor"), HasSubstr(of_number)));
  EXPECT_THAT(x.to_vector(), ElementsAre(1, 2.25f)) << "what is refused changes nothing";
}

TEST(Operators, CombineMasks) {
  const Session session({.threads = 1});
  const auto flags = [](const Tensor& mask) { return mask.to_vector<int>(); };
  Tensor a = zeros({4}, u8);
  Tensor b = zeros({4}, u8);
  a.assign(std::span<const std::uint8_t>(std::vector<std::uint8_t>{0, 0, 1, 2}));
  b.assign(std::span<const std::uint8_t>(std::vector<std::uint8_t>{0, 3, 0, 1}));
  EXPECT_THAT(flags(a & b), ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(flags(a | b), ElementsAre(0, 1, 1, 1));
  EXPECT_THAT(flags(!a), ElementsAre(1, 1, 0, 0));
  const Tensor x = tensor({-1.0f, 0.5f, 2.0f, 4.0f}, {4});
  EXPECT_THAT(flags((x > 0) & (x < 3)), ElementsAre(0, 1, 1, 0));
  EXPECT_THAT(flags((!(x > 0)) | (x >= 4)), ElementsAre(1, 0, 0, 1));
  const std::string line = next_line();
  EXPECT_THAT(error_of([&] { (void)(a & x); }), AllOf(HasSubstr("masks must be u8"), HasSubstr(line)));
  EXPECT_THAT(error_of([&] { (void)(a | 1); }), AllOf(HasSubstr("[|]"), HasSubstr("number"), HasSubstr("u8")));
  EXPECT_THAT(error_of([&] { (void)!Tensor(); }), HasSubstr("undefined tensor"));
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
