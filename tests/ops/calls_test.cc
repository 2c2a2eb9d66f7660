// Calls as people write them: numbers in braces of any type, dimensions known when the program runs.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<std::int32_t>;

class Calls : public ::testing::Test {
 protected:
  Session session_{{.threads = 1}};
};

TEST_F(Calls, NumbersInBracesHaveTheTypeThatOneExpects) {
  EXPECT_EQ(tensor({0, 1, 2}, {3}).to_vector<std::int32_t>(), (Integers{0, 1, 2}));
  EXPECT_EQ(tensor({-7}, {1}).dtype(), i32);
  EXPECT_EQ(tensor({true, false}, {2}).dtype(), i32);
  const std::int64_t wide = 5;
  EXPECT_EQ(tensor({wide, std::int64_t{3}}, {2}).dtype(), i32);
  EXPECT_EQ(tensor({std::size_t{4}, std::size_t{2}}, {2}).dtype(), i32);

  EXPECT_EQ(tensor({0.f, 1, 2}, {3}).to_vector(), (Floats{0, 1, 2}));
  EXPECT_EQ(tensor({0, 1.5f, 2}, {3}).to_vector(), (Floats{0, 1.5f, 2}));
  EXPECT_EQ(tensor({0.5, 1}, {2}).to_vector(), (Floats{0.5f, 1}));
  EXPECT_EQ(tensor({0.1, 0.2}, {2}).to_vector(), (Floats{0.1f, 0.2f}));
  EXPECT_EQ(tensor({0.5f, 0.25, 1L}, {3}).to_vector(), (Floats{0.5f, 0.25f, 1}));
  const int n = 3;
  const double x = 0.75;
  EXPECT_EQ(tensor({x, n, 2}, {3}).to_vector(), (Floats{0.75f, 3, 2}));
  EXPECT_EQ(tensor({2.5f}, {}).item(), 2.5f);
  EXPECT_EQ(tensor({}, {0}).dtype(), f32);

  const Floats floats = {1, 2};
  const Integers integers = {3, 4};
  EXPECT_EQ(tensor(floats, {2}).dtype(), f32);
  EXPECT_EQ(tensor(integers, {2}).dtype(), i32);
  EXPECT_EQ(tensor(std::array<float, 2>{1, 2}, {2}).dtype(), f32);
}

TEST_F(Calls, IntegersThatDoNotFitAreRefused) {
  for (const std::int64_t value : {std::int64_t{1} << 31, -(std::int64_t{1} << 31) - 1}) {
    try {
      (void)tensor({std::int64_t{1}, value}, {2});
      ADD_FAILURE() << value;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(std::to_string(value)), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("calls_test.cc:"), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(tensor({(std::int64_t{1} << 31) - 1, -(std::int64_t{1} << 31)}, {2}).to_vector<std::int32_t>(),
            (Integers{2147483647, -2147483647 - 1}));
}

TEST_F(Calls, DimensionsMayBeKnownAtRunTime) {
  const Tensor x = tensor({1, 2, 3, 4, 5, 6.f}, {1, 2, 3});
  std::vector<int> dims = {0, 2};
  EXPECT_EQ(sum(x, dims).to_vector(), (Floats{6, 15}));
  EXPECT_EQ(mean(x, dims).to_vector(), (Floats{2, 5}));
  EXPECT_EQ(sum(x, std::span<const int>(dims).last(1)).to_vector(), (Floats{6, 15}));
  dims = {-2};
  EXPECT_EQ(sum(x, dims).to_vector(), (Floats{5, 7, 9}));
  EXPECT_EQ(sum(x, {0, 1}).to_vector(), (Floats{5, 7, 9}));
  EXPECT_EQ(mean(x, {1}).shape(), Shape({1, 3}));
  // Over no dimensions nothing is summed.
  dims.clear();
  EXPECT_EQ(sum(x, dims).to_vector(), x.to_vector());
  EXPECT_EQ(mean(x, {}).shape(), x.shape());
  dims = {1, -2};
  try {
    (void)sum(x, dims);
    ADD_FAILURE() << "a dimension named twice";
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("calls_test.cc:"), std::string::npos) << error.what();
  }
}

TEST_F(Calls, DropoutOfEverything) {
  const Tensor x = parameter(tensor({1, -2, 3.f}, {3}), "x");
  const Tensor y = dropout(x, {.p = 1});
  EXPECT_EQ(y.to_vector(), Floats(3, 0.0f));
  sum(y).backward();
  EXPECT_EQ(x.grad().to_vector(), Floats(3, 0.0f));
  EXPECT_EQ(dropout(x, {.p = 0}).to_vector(), x.to_vector());
  const Floats rare = dropout(full({5000}, 1), {.p = 0.99999994f}).to_vector();
  for (const float value : rare) EXPECT_EQ(value, 0);
  for (const float p : {-0.1f, 1.1f}) EXPECT_THROW((void)dropout(x, {.p = p}), ShapeError);
}

}  // namespace
}  // namespace tidemark
