#include "tidemark/nn/embedding.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Ne;
using ::testing::ThrowsMessage;

TEST(EmbeddingLayer, ThePaddingRowIsZeroAndStaysSo) {
  Session session({.threads = 2});
  for (const std::int64_t padding : {3, -7}) {
    const Embedding layer({.count = 10, .width = 4, .padding = padding});
    const EmbeddingBag bag({.count = 10, .width = 4, .padding = padding});
    for (const Tensor& weight : {layer.weight, bag.weight}) {
      const std::vector<float> values = weight.to_vector();
      EXPECT_THAT(std::vector<float>(values.begin() + 12, values.begin() + 16), Each(0.0f));
      EXPECT_EQ(std::count(values.begin(), values.end(), 0.0f), 4);
    }
    const Tensor indices = tensor({3, 3, 5, 1}, {2, 2});
    (sum(layer(indices)) + sum(bag(indices))).backward();
    for (const Tensor& weight : {layer.weight, bag.weight}) {
      const std::vector<float> gradient = weight.grad().to_vector();
      EXPECT_THAT(std::vector<float>(gradient.begin() + 12, gradient.begin() + 16), Each(0.0f));
      EXPECT_THAT(std::vector<float>(gradient.begin() + 20, gradient.begin() + 24), Each(Ne(0.0f)));
    }
  }
}

TEST(EmbeddingLayer, BagsAreTheFunctions) {
  Session session({.threads = 2});
  const Tensor indices = tensor({0, 2, 2, 1}, {4});
  const Tensor offsets = tensor({0, 1, 4}, {3});
  const Tensor weights = tensor({0.5f, 1, 2, 3}, {4});
  const EmbeddingBag sums({.count = 3, .width = 5, .mode = EmbeddingBagOptions::Mode::kSum});
  EXPECT_EQ(sums(indices, offsets, weights).to_vector(),
            embedding_bag(indices, sums.weight, offsets,
                          {.mode = EmbeddingBagOptions::Mode::kSum, .per_sample_weights = weights})
                .to_vector());
  const EmbeddingBag means({.count = 3, .width = 5, .include_last_offset = true});
  EXPECT_EQ(means(indices, offsets).shape(), Shape({2, 5}));
}

TEST(EmbeddingLayer, Refusals) {
  Session session({.threads = 2});
  EXPECT_THAT([] { Embedding({.count = 4, .width = 2, .padding = 4}); },
              ThrowsMessage<ShapeError>(HasSubstr("[nn::Embedding] .padding must be from -4 to below 4, but is 4")));
  EXPECT_THAT([] { EmbeddingBag({.count = 0, .width = 2}); },
              ThrowsMessage<ShapeError>(HasSubstr("[nn::EmbeddingBag] .count must be at least 1")));
}

}  // namespace
}  // namespace tidemark::nn
