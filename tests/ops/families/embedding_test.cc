// Rows of a table: special values, long sums, and what is refused.
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Floats = std::vector<float>;
using Mode = EmbeddingBagOptions::Mode;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Tensor variable(const Floats& values, const Shape& shape) {
  return tensor(std::span<const float>(values), shape).set_requires_grad(true);
}

TEST(Embedding, PaddingHasNoGradient) {
  Session session({.threads = 2});
  for (const std::int64_t padding : {1, -2}) {
    Tensor table = variable({1, 2, 3}, {3, 1});
    const Tensor y = embedding(tensor({1, 1, 0, 2}, {4}), table, {.padding = padding});
    sum(y).backward();
    EXPECT_THAT(y.to_vector(), ElementsAre(2, 2, 1, 3));
    EXPECT_THAT(table.grad().to_vector(), ElementsAre(1, 0, 1));
  }
}

TEST(EmbeddingBag, SpecialValues) {
  Session session({.threads = 2});
  const auto rows = [] { return variable({1, -2, kNan, 3, -kInf, 3, kNan, 5}, {4, 2}); };
  const Tensor offsets = tensor({0, 2, 2, 4}, {4});
  const Tensor indices = tensor({0, 1, 2, 0, 3}, {5});
  struct Case {
    Mode mode;
    Floats values;
    Floats gradient;
  };
  const Case kCases[] = {
      {Mode::kSum, {kNan, 1, 0, 0, -kInf, 1, kNan, 5}, {2, 2, 1, 1, 1, 1, 1, 1}},
      {Mode::kMean, {kNan, 0.5f, 0, 0, -kInf, 0.5f, kNan, 5}, {1, 1, 0.5f, 0.5f, 0.5f, 0.5f, 1, 1}},
      // The NaN wins; of the empty bag nothing does.
      {Mode::kMax, {kNan, 3, 0, 0, 1, 3, kNan, 5}, {1, 0, 1, 1, 0, 1, 1, 1}},
  };
  for (const Case& each : kCases) {
    Tensor table = rows();
    const Tensor y = embedding_bag(indices, table, offsets, {.mode = each.mode});
    sum(y).backward();
    const auto same = [](const Floats& a, const Floats& b) {
      for (std::size_t i = 0; i < b.size(); ++i) {
        EXPECT_TRUE(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) << i << ": " << a[i] << ", " << b[i];
      }
    };
    same(y.to_vector(), each.values);
    same(table.grad().to_vector(), each.gradient);
  }
}

TEST(EmbeddingBag, TiesGoToTheFirstRowAndOneOfABag) {
  Session session({.threads = 2});
  Tensor table = variable({4, 4, 4}, {3, 1});
  const Tensor y = embedding_bag(tensor({2, 0, 2, 1, 1, 1}, {2, 3}), table, {}, {.mode = Mode::kMax});
  sum(y).backward();
  EXPECT_THAT(table.grad().to_vector(), ElementsAre(0, 1, 1));
}

TEST(EmbeddingBag, WhereNothingIsLeft) {
  Session session({.threads = 2});
  for (const Mode mode : {Mode::kSum, Mode::kMean, Mode::kMax}) {
    Tensor table = variable({1, 2, 3, 4}, {2, 2});
    const Tensor padded = embedding_bag(tensor({1, 1}, {1, 2}), table, {}, {.mode = mode, .padding = 1});
    const Tensor no_index = embedding_bag(zeros({0}, i32), table, tensor({0, 0}, {2}), {.mode = mode});
    const Tensor no_column = embedding_bag(zeros({2, 0}, i32), table, {}, {.mode = mode});
    EXPECT_THAT(padded.to_vector(), ElementsAre(0, 0));
    EXPECT_THAT(no_index.to_vector(), ElementsAre(0, 0, 0, 0));
    EXPECT_THAT(no_column.to_vector(), ElementsAre(0, 0, 0, 0));
    EXPECT_EQ(embedding_bag(zeros({0, 3}, i32), table, {}, {.mode = mode}).shape(), Shape({0, 2}));
    (sum(padded) + sum(no_index) + sum(no_column)).backward();
    EXPECT_THAT(table.grad().to_vector(), ElementsAre(0, 0, 0, 0));
  }
}

// Sums of many rows against ones in double: forward over a bag, backward over the samples of a row.
TEST(EmbeddingBag, LongSums) {
  constexpr std::int64_t kCount = 20000;
  constexpr std::int64_t kWidth = 300;
  std::mt19937 random(5);
  std::uniform_real_distribution<float> part(0.1f, 1.0f);
  for (const Mode mode : {Mode::kSum, Mode::kMean, Mode::kMax}) {
    Session session({.threads = 2});
    Floats values(3 * kWidth);
    for (float& value : values) value = part(random);
    Tensor table = variable(values, {3, kWidth});
    std::vector<std::int32_t> indices(kCount);
    std::vector<double> sums(kWidth);
    for (std::int32_t& index : indices) {
      index = static_cast<std::int32_t>(random() % 3);
      for (std::int64_t k = 0; k < kWidth; ++k) sums[k] += values[static_cast<std::size_t>(index * kWidth + k)];
    }
    const Tensor all = tensor(indices, {kCount});
    if (mode != Mode::kMax) {
      const Floats y = embedding_bag(all, table, tensor({0}, {1}), {.mode = mode}).to_vector();
      for (std::size_t k = 0; k < kWidth; ++k) {
        const double expected = mode == Mode::kMean ? sums[k] / kCount : sums[k];
        EXPECT_NEAR(y[k], expected, 1e-6 * expected);
      }
    }
    // Each sample is a bag of its own.
    Floats factors(kCount);
    for (float& factor : factors) factor = part(random);
    const Tensor y = embedding_bag(reshape(all, {kCount, 1}), table, {}, {.mode = mode});
    sum(y * tensor(std::span<const float>(factors), {kCount, 1})).backward();
    const Floats gradient = table.grad().to_vector();
    double expected[3] = {};
    for (std::size_t i = 0; i < kCount; ++i) expected[indices[i]] += factors[i];
    for (std::size_t k = 0; k < 3 * kWidth; ++k)
      EXPECT_NEAR(gradient[k], expected[k / kWidth], 2e-6 * expected[k / kWidth]);
  }
}

TEST(EmbeddingBag, Refusals) {
  Session session({.threads = 2});
  const Tensor table = zeros({4, 2});
  const Tensor indices = tensor({0, 3, 1}, {3});
  const Tensor grid = tensor({0, 3, 1, 1}, {2, 2});
  const Tensor weights = zeros({3});
  struct Case {
    const char* text;
    std::function<Tensor()> call;
  };
  const auto at = [&](std::initializer_list<detail::Number> offsets, bool last = false) {
    return embedding_bag(indices, table, tensor(offsets, {static_cast<std::int64_t>(offsets.size())}),
                         {.include_last_offset = last});
  };
  const Case kCases[] = {
      {"[embedding] padding is 4, and table is [4, 2] f32; it must be from -4 to below 4",
       [&] { return embedding(indices, table, {.padding = 4}); }},
      {"[embedding_bag] padding is -5", [&] { return embedding_bag(grid, table, {}, {.padding = -5}); }},
      {"without offsets, indices must have two dimensions", [&] { return embedding_bag(indices, table); }},
      {"with offsets, indices and offsets must be i32 of one dimension",
       [&] { return embedding_bag(grid, table, indices); }},
      {"include_last_offset is set, and there are no offsets",
       [&] { return embedding_bag(grid, table, {}, {.include_last_offset = true}); }},
      {"per_sample_weights are for Mode::kSum alone",
       [&] { return embedding_bag(indices, table, tensor({0}, {1}), {.per_sample_weights = weights}); }},
      {"the weights must be f32, of the shape of the indices",
       [&] { return embedding_bag(grid, table, {}, {.mode = Mode::kSum, .per_sample_weights = weights}); }},
      {"index 4 at position 1 is outside [0, 4)",
       [&] {
         return embedding_bag(tensor({0, 4}, {1, 2}), table);
       }},
      {"offset 1 at position 0 of 2 for 3 indices: the first one must be 0",
       [&] {
         return at({1, 2});
       }},
      {"offset 1 at position 2 of 3 for 3 indices: none may be below the one before it",
       [&] {
         return at({0, 2, 1});
       }},
      {"offset 4 at position 1 of 2 for 3 indices: none may be above the number of indices",
       [&] {
         return at({0, 4});
       }},
      {"the last one must be the number of indices",
       [&] {
         return at({0, 2}, true);
       }},
      {"without a bag there may be no index", [&] { return embedding_bag(indices, table, zeros({0}, i32)); }},
  };
  for (const Case& each : kCases) {
    try {
      (void)each.call();
      ADD_FAILURE() << "taken: " << each.text;
    } catch (const ShapeError& error) {
      EXPECT_THAT(std::string(error.what()), AllOf(HasSubstr(each.text), HasSubstr("embedding_test.cc")));
    }
  }
}

}  // namespace
}  // namespace tidemark::testing
