// A network trained with 16-bit state reaches what it reaches with 32-bit state.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

constexpr std::int64_t kFeatures = 32;
constexpr std::int64_t kClasses = 8;
constexpr std::int64_t kBatch = 64;

struct Losses {
  double first = 0;
  double last = 0;  // the mean of the last steps
};

// Classes are given by a network of the same kind, drawn once. Inputs differ in scale by 10^3, and so do gradients
// within a row of the first weight.
template <class Optimizer, class Options>
Losses train(const Options& options, int steps) {
  Session session({.threads = 1, .seed = 3});
  const nn::Sequential teacher(nn::Linear({.in = kFeatures, .out = kClasses, .stddev = 1}));
  nn::Sequential student(nn::Linear({.in = kFeatures, .out = 96}), nn::ReLU(), nn::Linear({.in = 96, .out = 96}),
                         nn::ReLU(), nn::Linear({.in = 96, .out = kClasses}));
  Optimizer optimizer(student.parameters(), options);
  std::vector<float> scale(kFeatures);
  for (std::int64_t i = 0; i < kFeatures; ++i)
    scale[static_cast<std::size_t>(i)] = std::pow(10.0f, static_cast<float>(i % 4) - 3);
  Losses losses;
  const int kMean = 50;
  for (int t = 0; t < steps; ++t) {
    const Tensor x = normal({kBatch, kFeatures}, 0, 1) * tensor(scale, {kFeatures});
    std::vector<std::int32_t> classes(kBatch);
    {
      const NoGrad no_grad;
      const std::vector<float> logits = teacher(x).to_vector();
      for (std::int64_t n = 0; n < kBatch; ++n) {
        const auto row = logits.begin() + n * kClasses;
        classes[static_cast<std::size_t>(n)] = static_cast<std::int32_t>(std::max_element(row, row + kClasses) - row);
      }
    }
    const Tensor loss = cross_entropy(student(x), tensor(classes, {kBatch}));
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    if (t == 0) losses.first = loss.item();
    if (t >= steps - kMean) losses.last += loss.item() / static_cast<double>(kMean);
  }
  return losses;
}

TEST(Training, WithF16StateReachesTheLossOfF32State) {
  const Losses wide = train<optim::AdamW>(optim::AdamWOptions{.lr = 3e-3f, .state = f32}, 500);
  const Losses narrow = train<optim::AdamW>(optim::AdamWOptions{.lr = 3e-3f, .state = f16}, 500);
  EXPECT_LT(wide.last, wide.first / 8);
  EXPECT_NEAR(narrow.last / wide.last, 1, 0.02);
  const Losses wide_sgd = train<optim::SGD>(optim::SGDOptions{.lr = 0.03f, .momentum = 0.9f, .state = f32}, 500);
  const Losses narrow_sgd = train<optim::SGD>(optim::SGDOptions{.lr = 0.03f, .momentum = 0.9f, .state = f16}, 500);
  EXPECT_LT(wide_sgd.last, wide_sgd.first / 4);
  EXPECT_NEAR(narrow_sgd.last / wide_sgd.last, 1, 0.02);
}

TEST(Training, WithF16StateReachesTheLossOfF32StateWithEveryOptimizer) {
  const auto compare = [](auto make, double least) {
    const Losses wide = make(f32);
    const Losses narrow = make(f16);
    EXPECT_LT(wide.last, wide.first / least);
    EXPECT_NEAR(narrow.last / wide.last, 1, 0.03);
  };
  compare([](DType state) { return train<optim::Adam>(optim::AdamOptions{.lr = 3e-3f, .state = state}, 500); }, 8);
  compare([](DType state) { return train<optim::Adagrad>(optim::AdagradOptions{.lr = 0.03f, .state = state}, 500); },
          4);
  compare([](DType state) { return train<optim::RMSprop>(optim::RMSpropOptions{.lr = 1e-3f, .state = state}, 500); },
          4);
  compare(
      [](DType state) {
        return train<optim::RMSprop>(
            optim::RMSpropOptions{.lr = 3e-4f, .momentum = 0.9f, .centered = true, .state = state}, 500);
      },
      4);
  compare([](DType state) { return train<optim::Lion>(optim::LionOptions{.lr = 1e-3f, .state = state}, 500); }, 4);
}

}  // namespace
}  // namespace tidemark
