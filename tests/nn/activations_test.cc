// Activations as layers: each is the function of its name with the layer's options.
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Function = std::function<Tensor(const Tensor&)>;

class ActivationsTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 1}};
};

TEST_F(ActivationsTest, AreTheFunctionsOfTheirNames) {
  const std::vector<std::pair<Function, Function>> pairs = {
      {Sigmoid(), [](const Tensor& x) { return sigmoid(x); }},
      {LogSigmoid(), [](const Tensor& x) { return log_sigmoid(x); }},
      {Tanh(), [](const Tensor& x) { return tanh(x); }},
      {SiLU(), [](const Tensor& x) { return silu(x); }},
      {Mish(), [](const Tensor& x) { return mish(x); }},
      {SELU(), [](const Tensor& x) { return selu(x); }},
      {ReLU6(), [](const Tensor& x) { return relu6(x); }},
      {Hardswish(), [](const Tensor& x) { return hardswish(x); }},
      {Hardsigmoid(), [](const Tensor& x) { return hardsigmoid(x); }},
      {Softsign(), [](const Tensor& x) { return softsign(x); }},
      {LeakyReLU(), [](const Tensor& x) { return leaky_relu(x, 0.01f); }},
      {LeakyReLU({.slope = 0.5f}), [](const Tensor& x) { return leaky_relu(x, 0.5f); }},
      {ELU(), [](const Tensor& x) { return elu(x, 1); }},
      {ELU({.alpha = 0.5f}), [](const Tensor& x) { return elu(x, 0.5f); }},
      {CELU({.alpha = 2}), [](const Tensor& x) { return celu(x, 2); }},
      {Softplus(), [](const Tensor& x) { return softplus(x, {.beta = 1, .threshold = 20}); }},
      {Softplus({.beta = 3, .threshold = 1}), [](const Tensor& x) { return softplus(x, {.beta = 3, .threshold = 1}); }},
      {Hardtanh(), [](const Tensor& x) { return hardtanh(x, {.min = -1, .max = 1}); }},
      {Hardtanh({.min = 0, .max = 2}), [](const Tensor& x) { return hardtanh(x, {.min = 0, .max = 2}); }},
      {GLU(), [](const Tensor& x) { return glu(x, -1); }},
      {GLU({.dim = 0}), [](const Tensor& x) { return glu(x, 0); }},
      {PReLU(), [](const Tensor& x) { return leaky_relu(x, 0.25f); }},
      {PReLU({.count = 6, .init = 0.5f}), [](const Tensor& x) { return leaky_relu(x, 0.5f); }},
  };
  const Tensor x = normal({4, 6}, 0, 2);
  std::size_t i = 0;
  for (const auto& [layer, function] : pairs) {
    EXPECT_EQ(layer(x).to_vector(), function(x).to_vector()) << "pair " << i;
    ++i;
  }
}

TEST_F(ActivationsTest, PReLULearnsItsWeight) {
  PReLU layer({.count = 3});
  ASSERT_EQ(layer.parameters().size(), 1u);
  EXPECT_EQ(layer.parameters()[0].name(), "weight");
  EXPECT_THAT(layer.weight.to_vector(), Each(0.25f));
  sum(layer(full({2, 3, 2, 2}, -2))).backward();
  EXPECT_THAT(layer.weight.grad().to_vector(), Each(-16));
}

TEST_F(ActivationsTest, WrongOptionsNameTheLine) {
  EXPECT_THAT([] { PReLU({.count = 0}); },
              ThrowsMessage<ShapeError>(AllOf(HasSubstr("[nn::PReLU] .count"), HasSubstr("activations_test.cc:"))));
  EXPECT_THAT(
      [] {
        (void)PReLU({.count = 5})(full({2, 3}, 1));
      },
      ThrowsMessage<ShapeError>(AllOf(HasSubstr("[2, 3]"), HasSubstr("[5]"), HasSubstr("activations_test.cc:"))));
}

}  // namespace
}  // namespace tidemark::nn
