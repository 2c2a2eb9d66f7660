// Calls as people write them: numbers in braces of any type, dimensions known when the program runs.
#include <array>
#include <cstdint>
#include <functional>
#include <iterator>
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

TEST_F(Calls, ShapesOfTooManyDimensionsNameTheLine) {
  const std::vector<std::int64_t> nine(9, 1);
  const Floats one = {1};
  const std::function<void()> calls[] = {[&] { (void)zeros({1, 1, 1, 1, 1, 1, 1, 1, 1}); },
                                         [&] { (void)full({1, 1, 1, 1, 1, 1, 1, 1, 1}, 2); },
                                         [&] { (void)normal({1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 1); },
                                         [&] { (void)uniform({1, 1, 1, 1, 1, 1, 1, 1, 1}, 0, 1); },
                                         [&] { (void)tensor(one, {1, 1, 1, 1, 1, 1, 1, 1, 1}); },
                                         [&] { (void)zeros(Shape(nine)); },
                                         [&] { (void)flatten(zeros({1, 1, 1, 1, 1, 1, 1, 1}), 8); }};
  int line = SourceLocation::current().line - 1 - static_cast<int>(std::size(calls));  // one call a line
  for (const auto& call : calls) {
    const std::string place = "calls_test.cc:" + std::to_string(++line) + ")";
    try {
      call();
      ADD_FAILURE() << place;
    } catch (const ShapeError& error) {
      EXPECT_NE(std::string(error.what()).find("at most 8 dimensions"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(place), std::string::npos) << error.what();
    }
  }
}

// Sequences are computed as images, of which nobody who reads the message has heard.
TEST_F(Calls, SequencesAreNamedAsTheyWereWritten) {
  const Tensor x = zeros({2, 3, 9});
  const Tensor weight = zeros({4, 3, 5});
  struct Case {
    std::function<void()> call;
    std::vector<std::string> words;
  };
  const Case cases[] = {
      {[&] {
         (void)conv1d(zeros({3, 9}), weight);
       },
       {"[conv1d] x is [3, 9] f32, weight is [4, 3, 5]", "[N, C, L]"}},
      {[&] {
         (void)conv1d(x, zeros({4, 3}));
       },
       {"[conv1d] x is [2, 3, 9]", "weight is [4, 3] f32"}},
      {[&] {
         (void)conv1d(x, zeros({4, 2, 5}));
       },
       {"[conv1d] x is [2, 3, 9] f32, weight is [4, 2, 5] f32", "x has 3 channels, weight wants 2"}},
      {[&] {
         (void)conv1d(zeros({2, 9, 9}), weight, {}, {.groups = 3});
       },
       {"[conv1d]", "3 groups do not divide the 4"}},
      {[&] { (void)conv1d(x, weight, {}, {.groups = 0}); }, {"[conv1d] groups is 0"}},
      {[&] { (void)conv1d(x, weight, zeros({3})); }, {"[conv1d] weight is [4, 3, 5]", "bias is [3]", "must be [4]"}},
      {[&] {
         (void)conv1d(zeros({2, 3, 4}), weight);
       },
       {"[conv1d] x is [2, 3, 4]", "over 5 elements", "has 4"}},
      {[&] { (void)conv1d(x, weight, {}, {.stride = 0}); }, {"[conv1d] stride is 0"}},
      {[&] { (void)conv1d(x, weight, {}, {.stride = 2, .same_padding = true}); }, {"[conv1d] same_padding"}},
      {[&] {
         (void)conv1d(zeros({2, 3, 0}), weight);
       },
       {"[conv1d] x is [2, 3, 0]", "only N may be 0"}},
      {[&] {
         (void)max_pool1d(zeros({3, 9}));
       },
       {"[max_pool1d] x is [3, 9] f32", "[N, C, L]"}},
      {[&] { (void)max_pool1d(x, {.kernel = 10}); }, {"[max_pool1d] x is [2, 3, 9]", "over 10 elements", "has 9"}},
      {[&] { (void)max_pool1d(x, {.kernel = 3, .padding = 2}); }, {"[max_pool1d] kernel is 3", "padding 2"}},
      {[&] { (void)max_pool1d(x, {.kernel = 6, .dilation = 2}); }, {"[max_pool1d] x is [2, 3, 9]", "over 11 elements"}},
      {[&] { (void)avg_pool1d(x, {.kernel = 0}); }, {"[avg_pool1d] kernel is 0"}},
      {[&] {
         (void)avg_pool1d(zeros({2, 3, 9}, i32));
       },
       {"[avg_pool1d] x is [2, 3, 9] i32"}},
      {[&] { (void)adaptive_avg_pool1d(x, 0); }, {"[adaptive_avg_pool1d] x is [2, 3, 9]", "size is 0"}},
      {[&] { (void)adaptive_max_pool1d(zeros({9}), 1); }, {"[adaptive_max_pool1d] x is [9]"}},
  };
  for (const auto& [call, words] : cases) {
    try {
      call();
      ADD_FAILURE() << words[0];
    } catch (const ShapeError& error) {
      const std::string text = error.what();
      for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << text;
      EXPECT_NE(text.find("calls_test.cc:"), std::string::npos) << text;
      EXPECT_EQ(text.find("2d"), std::string::npos) << text;
    }
  }
  EXPECT_EQ(conv1d(x, weight, {}, {.padding = 2}).shape(), Shape({2, 4, 9}));
  EXPECT_EQ(conv1d(zeros({0, 3, 9}), weight).shape(), Shape({0, 4, 5}));
  EXPECT_EQ(max_pool1d(x, {.kernel = 3}).shape(), Shape({2, 3, 3}));
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
