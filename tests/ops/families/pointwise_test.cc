// Comparisons, masks, choices, conversions and gates through the public interface, and what is refused.
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/autograd/support.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Bytes = std::vector<std::uint8_t>;
using Floats = std::vector<float>;
using Integers = std::vector<std::int32_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

class Pointwise : public ::testing::Test {
 protected:
  static Tensor mask(const Bytes& values, const Shape& shape) {
    Tensor out = zeros(shape, u8);
    out.assign(std::span<const std::uint8_t>(values));
    return out;
  }
  static Bytes bytes(const Tensor& x) {
    EXPECT_EQ(x.dtype(), u8);
    return x.to_vector<std::uint8_t>();
  }
  Session session_{{.threads = 1}};
};

TEST_F(Pointwise, ComparisonsOfFloats) {
  const Tensor a = tensor({kNan, 1, 2, kInf, 0.0f, kNan}, {6});
  const Tensor b = tensor({1, kNan, 1, kInf, -0.0f, kNan}, {6});
  EXPECT_EQ(bytes(eq(a, b)), (Bytes{0, 0, 0, 1, 1, 0}));
  EXPECT_EQ(bytes(ne(a, b)), (Bytes{1, 1, 1, 0, 0, 1}));
  EXPECT_EQ(bytes(a < b), (Bytes{0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(bytes(a <= b), (Bytes{0, 0, 0, 1, 1, 0}));
  EXPECT_EQ(bytes(a > b), (Bytes{0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(bytes(a >= b), (Bytes{0, 0, 1, 1, 1, 0}));
  EXPECT_EQ(bytes(a > 1), (Bytes{0, 0, 1, 1, 0, 0}));
  EXPECT_EQ(bytes(1 > a), (Bytes{0, 0, 0, 0, 1, 0}));
  EXPECT_EQ(bytes(1 <= a), (Bytes{0, 1, 1, 1, 0, 0}));
  // A number is rounded as the elements were.
  EXPECT_EQ(bytes(eq(tensor({0.1f}, {1}), 0.1)), (Bytes{1}));
  EXPECT_EQ(bytes(isnan(a)), (Bytes{1, 0, 0, 0, 0, 1}));
  EXPECT_EQ(bytes(isinf(-a)), (Bytes{0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(bytes(isfinite(a)), (Bytes{0, 1, 1, 0, 1, 0}));
  EXPECT_EQ(bytes(isfinite(tensor({3.4028235e38f, -3.4028235e38f, -kInf}, {3}))), (Bytes{1, 1, 0}));
  EXPECT_FALSE((parameter(full({2}, 1), "x") > 0).requires_grad());
}

// Of which float does not hold all.
TEST_F(Pointwise, ComparisonsOfIntegersAreExact) {
  const Tensor x = tensor({16777216, 16777217, -2147483647, 2147483647}, {4});
  EXPECT_EQ(bytes(eq(x, 16777217)), (Bytes{0, 1, 0, 0}));
  EXPECT_EQ(bytes(x > 16777216.5), (Bytes{0, 1, 0, 1}));
  EXPECT_EQ(bytes(x < -2147483646), (Bytes{0, 0, 1, 0}));
  EXPECT_EQ(bytes(eq(x, tensor({16777217}, {1}))), (Bytes{0, 1, 0, 0}));
}

TEST_F(Pointwise, EveryByteButZeroIsTrue) {
  const Tensor a = mask({0, 1, 7, 0, 255}, {5});
  const Tensor b = mask({0, 0, 2, 128, 1}, {5});
  EXPECT_EQ(bytes(logical_and(a, b)), (Bytes{0, 0, 1, 0, 1}));
  EXPECT_EQ(bytes(logical_or(a, b)), (Bytes{0, 1, 1, 1, 1}));
  EXPECT_EQ(bytes(logical_xor(a, b)), (Bytes{0, 1, 0, 1, 0}));
  EXPECT_EQ(bytes(logical_not(a)), (Bytes{1, 0, 0, 1, 0}));
  EXPECT_EQ(where(a, 1, 2).to_vector(), (Floats{2, 1, 1, 2, 1}));
  EXPECT_EQ(masked_fill(zeros({5}), b, 3).to_vector(), (Floats{0, 0, 3, 3, 3}));
}

TEST_F(Pointwise, WhatIsNotChosenHasAGradientOfZero) {
  const Tensor x = parameter(tensor({kNan, 2, kInf}, {3}), "x");
  const Tensor y = where(isfinite(x), x, 0);
  EXPECT_EQ(y.to_vector(), (Floats{0, 2, 0}));
  sum(y * tensor({kNan, 3, kInf}, {3})).backward();
  EXPECT_EQ(x.grad().to_vector(), (Floats{0, 3, 0}));
  // An element that is broadcast is summed over where it was chosen alone.
  const Tensor number = parameter(full({1}, 5), "number");
  sum(where(mask({1, 0, 1, 1}, {2, 2}), number, kInf)).backward();
  EXPECT_EQ(number.grad().item(), 3);
}

TEST_F(Pointwise, ChoicesKeepBitsAndIntegers) {
  const float signalling = std::bit_cast<float>(0x7fa00001u);
  const Floats values = {signalling, -0.0f, 0x1p-149f, 1, 2, 3, 4, 5, 6};
  const Tensor x = tensor(values, {9});
  const Floats out = where(mask(Bytes(9, 1), {9}), x, 0).to_vector();
  for (std::size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(values[i])) << i;
  }
  const Tensor integers = tensor({2147483647, -5, 16777217}, {3});
  const Tensor y = where(mask({1, 0, 1}, {3}), integers, -7);
  EXPECT_EQ(y.dtype(), i32);
  EXPECT_EQ(y.to_vector<std::int32_t>(), (Integers{2147483647, -7, 16777217}));
  EXPECT_EQ(masked_fill(integers, mask({0, 1, 0}, {3}), 4).to_vector<std::int32_t>(),
            (Integers{2147483647, 4, 16777217}));
}

TEST_F(Pointwise, ConversionsCutOffAndSaturate) {
  const Tensor x = tensor({2.9f, -2.9f, 300, -1, kNan, kInf, -kInf, 3e9f, -3e9f, 2147483520.0f, 254.9f}, {11});
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
  constexpr std::int32_t kLeast = std::numeric_limits<std::int32_t>::min();
  EXPECT_EQ(to(x, i32).to_vector<std::int32_t>(),
            (Integers{2, -2, 300, -1, 0, kMost, kLeast, kMost, kLeast, 2147483520, 254}));
  EXPECT_EQ(bytes(to(x, u8)), (Bytes{2, 0, 255, 0, 0, 255, 0, 255, 0, 255, 254}));
  EXPECT_EQ(bytes(to(tensor({300, -1, 7}, {3}), u8)), (Bytes{44, 255, 7}));
  EXPECT_EQ(to(tensor({16777217, -3}, {2}), f32).to_vector(), (Floats{16777216, -3}));
  EXPECT_EQ(to(mask({0, 200}, {2}), f32).to_vector(), (Floats{0, 200}));
  EXPECT_TRUE(to(x, f32).same(x));
  EXPECT_FALSE(to(to(parameter(full({2}, 1), "p"), i32), f32).requires_grad());
  EXPECT_EQ(to(zeros({3, 0}), i32).shape(), Shape({3, 0}));
}

TEST_F(Pointwise, LerpIsExactAtBothEnds) {
  const Tensor a = tensor({1e8f, 0.1f, -3}, {3});
  const Tensor b = tensor({1, 0.7f, 5e-9f}, {3});
  EXPECT_EQ(lerp(a, b, 0).to_vector(), a.to_vector());
  EXPECT_EQ(lerp(a, b, 1).to_vector(), b.to_vector());
  EXPECT_EQ(lerp(a, b, tensor({0, 1.0f, 1}, {3})).to_vector(), (Floats{1e8f, 0.7f, 5e-9f}));
}

TEST_F(Pointwise, PowersThatHaveTheirOwnFunction) {
  const Tensor x = tensor({kNan, kInf, -kInf, 0, -0.0f, -2, 3, 0.3f}, {8});
  const std::pair<float, std::function<Tensor(const Tensor&)>> same[] = {
      {2, [](const Tensor& v) { return square(v); }},
      {0.5f, [](const Tensor& v) { return sqrt(v); }},
      {-0.5f, [](const Tensor& v) { return rsqrt(v); }},
      {-1, [](const Tensor& v) { return reciprocal(v); }}};
  for (const auto& [exponent, function] : same) {
    const Floats a = pow(x, exponent).to_vector();
    const Floats b = function(x).to_vector();
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(a[i]), std::bit_cast<std::uint32_t>(b[i])) << exponent << ", " << i;
    }
  }
  // The slopes of 0^x: 0 from 0 on, and -infinity below.
  const Tensor exponents = parameter(tensor({-1.0f, 0, 2}, {3}), "exponents");
  const Tensor y = pow(0.0f, exponents);
  sum(y).backward();
  EXPECT_EQ(y.to_vector(), (Floats{kInf, 1, 0}));
  EXPECT_EQ(exponents.grad().to_vector(), (Floats{-kInf, 0, 0}));
}

TEST_F(Pointwise, GatesTakeAnyDimensionAndInfinities) {
  const Tensor x = tensor({1, 0, -1, kInf, 2, -kInf, 0, kInf}, {2, 4});
  EXPECT_EQ(glu(tensor({0, kInf, 3, -kInf}, {1, 4}), 1).to_vector()[0], 0);
  EXPECT_EQ(glu(x, 0).shape(), Shape({1, 4}));
  EXPECT_EQ(glu(normal({2, 4, 3}, 0, 1), -2).shape(), Shape({2, 2, 3}));
  const Floats y = swiglu(tensor({-kInf, kInf, 2, 3}, {4})).to_vector();
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1], kInf);
  const Floats far = glu(tensor({4.0f, 4, 80, -80}, {2, 2}), 0).to_vector();
  EXPECT_EQ(far[0], 4);
  EXPECT_NEAR(far[1] / (4 * std::exp(-80.0)), 1, 1e-5);
}

// Far more than a chunk of what is summed at once.
TEST_F(Pointwise, WeightsOfPreluSumOverEverything) {
  const std::int64_t places = 40000;
  const Tensor x = full({2, 3, places}, -0.1f);
  const Tensor weight = parameter(full({3}, 0.5f), "weight");
  sum(prelu(x, weight)).backward();
  for (const float g : weight.grad().to_vector()) EXPECT_NEAR(g / (-0.1 * 2 * places), 1, 1e-6);
  EXPECT_EQ(prelu(full({}, -2), full({1}, 0.5f)).shape(), Shape());
}

TEST_F(Pointwise, RefusesWhatMakesNoSense) {
  const Tensor x = full({2, 3}, 1);
  const Tensor integers = zeros({2, 3}, i32);
  const Tensor flags = zeros({2, 3}, u8);
  const std::pair<std::function<void()>, std::vector<std::string>> cases[] = {
      {[&] { (void)(x < integers); }, {"[lt]", "[2, 3] f32", "[2, 3] i32", "both of one dtype"}},
      {[&] { (void)eq(flags, 1); }, {"[eq]", "u8", "must be f32 or i32"}},
      {[&] { (void)eq(x, full({4}, 1)); }, {"[eq]", "[2, 3]", "[4]", "do not broadcast"}},
      {[&] { (void)logical_and(flags, x); }, {"[logical_and]", "masks must be u8"}},
      {[&] { (void)isnan(integers); }, {"[isnan]", "must be f32"}},
      {[&] { (void)where(x, x, x); }, {"[where]", "mask must be u8"}},
      {[&] { (void)where(flags, x, integers); }, {"[where]", "a is [2, 3] f32", "b is [2, 3] i32", "of one dtype"}},
      {[&] { (void)where(flags, integers, 0.5f); }, {"[where]", "0.5", "i32 does not hold"}},
      {[&] { (void)where(flags, x, full({4}, 1)); }, {"[where]", "[4]", "do not broadcast"}},
      {[&] { (void)masked_fill(full({3}, 1), flags, 0); }, {"[masked_fill]", "must broadcast to the shape of x"}},
      {[&] { (void)lerp(x, x, full({4}, 1)); }, {"[lerp]", "weight is [4]", "do not broadcast"}},
      {[&] { (void)to(zeros({2}, f16), i32); }, {"[to]", "f16", "must be f32, i32 or u8"}},
      {[&] { (void)glu(x); }, {"[glu]", "[2, 3]", "dimension -1 must exist and be even"}},
      {[&] { (void)swiglu(x, 2); }, {"[swiglu]", "dimension 2 must exist and be even"}},
      {[&] { (void)prelu(x, full({2}, 1)); }, {"[prelu]", "weight is [2]", "3 channels"}},
      {[&] { (void)clamp(x, {}); }, {"[clamp]", "at least one must be"}},
      {[&] { (void)clamp(x, {.min = kNan}); }, {"[clamp]", "must be numbers"}},
      {[&] { (void)hardtanh(x, {.min = 1, .max = 1}); }, {"[hardtanh]", ".min must be below .max"}},
      {[&] { (void)softplus(x, {.beta = 0}); }, {"[softplus]", ".beta must be finite and not 0"}},
      {[&] { (void)elu(x, kInf); }, {"[elu]", "must be finite"}},
      {[&] { (void)celu(x, 0); }, {"[celu]", "must be finite and not 0"}},
      {[&] { (void)(Tensor() < x); }, {"undefined tensor"}},
  };
  for (const auto& [call, texts] : cases) {
    const std::string message = error_of(call);
    for (const std::string& text : texts) EXPECT_THAT(message, HasSubstr(text));
    EXPECT_THAT(message, HasSubstr("pointwise_test.cc:"));
  }
}

TEST_F(Pointwise, ClampWithItsBoundsExchangedGivesTheUpperOne) {
  EXPECT_EQ(clamp(tensor({-5.0f, 1, 5}, {3}), {.min = 2, .max = -1}).to_vector(), (Floats{-1, -1, -1}));
}

}  // namespace
}  // namespace tidemark::test
