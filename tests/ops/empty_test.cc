// Nothing is a size like others: empty batches, empty sums and products, layers of no outputs.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/table.h"
#include "tests/ops/harness.h"
#include "tidemark/models.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Floats = std::vector<float>;

// Which inputs of a sample carry the batch in their first dimension; none where the sample has no batch.
std::vector<bool> with_batch(std::string_view op, const Sample& sample) {
  if (!sample.batched.empty()) return sample.batched;
  const std::vector<SampleInput>& inputs = sample.inputs;
  std::vector<bool> out(inputs.size(), false);
  out[0] = true;
  // The first dimension is of features, or is what the sample is about.
  const bool other = (op == "linear" && inputs[0].shape.rank() < 2) || (op == "slice" && sample.label == "view") ||
                     (op == "reshape" && sample.label == "merge");
  const bool number = inputs[0].shape.rank() == 0;
  if (other || number) out[0] = false;
  const bool parameters =
      op == "linear" || op == "conv2d" || op == "layer_norm" || op == "batch_norm" || op == "embedding";
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    if (parameters || inputs[i].shape.rank() == 0) continue;
    out[i] = number || (inputs[i].shape.rank() == inputs[0].shape.rank() && inputs[i].shape[0] == inputs[0].shape[0]);
    if (op == "matmul") out[i] = inputs[i].shape.rank() > 2;
    if (op == "concat") out[i] = true;
  }
  return out;
}

// As PyTorch: outputs of nothing are nothing, sums of nothing are 0 and means NaN, and what has a gradient that nothing
// reached has zeros. What makes no sense is refused by name.
TEST(Empty, BatchesThroughEveryOp) {
  Harness harness(2);
  int refused = 0;
  for (const ops::OpEntry& entry : ops::op_table()) {
    int tried = 0;
    for (const Sample& sample : entry.samples()) {
      SCOPED_TRACE(std::string(entry.name) + " " + sample.label);
      const std::vector<bool> batch = with_batch(entry.name, sample);
      if (std::ranges::count(batch, true) == 0) continue;
      std::vector<Array> inputs = draw_inputs(sample, 11);
      std::vector<Meta> metas;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const Shape& shape = sample.inputs[i].shape;
        if (batch[i]) inputs[i] = Array::of(shape.with(0, 0), sample.inputs[i].dtype);
        metas.push_back(inputs[i].meta);
      }
      const Needs needs = all_needs(sample);
      Prepared prepared;
      try {
        prepared = harness.prepare(*sample.op, metas, needs);
      } catch (const ShapeError& error) {
        EXPECT_NE(std::string(error.what()).find("empty"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("a_test.cc:12"), std::string::npos) << error.what();
        ++refused;
        ++tried;
        continue;
      }
      std::vector<Array> gy;
      const auto visible = prepared.visible < 0 ? prepared.outputs.size() : static_cast<std::size_t>(prepared.visible);
      for (std::size_t i = 0; i < visible; ++i) gy.push_back(draw_normal(prepared.outputs[i].shape, 13));
      const Outcome outcome = harness.run(*sample.op, inputs, needs, gy, {.dirt = 0x3F});
      EXPECT_TRUE(outcome.guards_whole);
      const bool mean = entry.name == "mean";
      for (const float value : outcome.first.as()) {
        if (mean || std::isnan(sample.of_nothing)) {
          EXPECT_TRUE(std::isnan(value)) << value;
        } else {
          EXPECT_EQ(value, sample.of_nothing);
        }
      }
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        if (!needs[i]) continue;
        ASSERT_TRUE(outcome.gradients[i].has_value());
        EXPECT_EQ(outcome.gradients[i]->meta.shape, inputs[i].meta.shape);
        for (const float value : outcome.gradients[i]->as()) EXPECT_EQ(value, 0) << "gradient of input " << i;
      }
      ++tried;
    }
    EXPECT_GT(tried, 0) << entry.name;
  }
  EXPECT_GT(refused, 0) << "batch_norm in training has no statistics of nothing";
}

class EmptyTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 1}};
};

TEST_F(EmptyTest, ProductsOverNothingAreZeros) {
  // What lies in memory before is no zero.
  { const Tensor dirt = full({4096}, 7); }
  const Tensor x = parameter(full({3, 5}, 2), "x");
  const Tensor no_outputs = parameter(zeros({0, 5}), "weight");
  const Tensor y = linear(x, no_outputs, parameter(zeros({0}), "bias"));
  EXPECT_EQ(y.shape(), Shape({3, 0}));
  sum(y).backward();
  EXPECT_EQ(x.grad().to_vector(), Floats(15, 0.0f));
  EXPECT_EQ(no_outputs.grad().shape(), Shape({0, 5}));

  const Tensor w = parameter(full({4, 0}, 1), "w");
  const Tensor b = parameter(full({4}, 3), "b");
  const Tensor of_bias = linear(zeros({2, 0}), w, b);
  EXPECT_EQ(of_bias.to_vector(), Floats(8, 3.0f));
  sum(of_bias).backward();
  EXPECT_EQ(b.grad().to_vector(), Floats(4, 2.0f));

  for (const std::int64_t batch : {1, 3}) {
    const Tensor left = parameter(zeros({batch, 4, 0}), "left");
    const Tensor right = parameter(zeros({batch, 0, 6}), "right");
    const Tensor product = matmul(left, right);
    EXPECT_EQ(product.to_vector(), Floats(static_cast<std::size_t>(batch * 24), 0.0f));
    sum(product).backward();
    EXPECT_EQ(left.grad().shape(), Shape({batch, 4, 0}));
  }
  const Tensor a = parameter(full({4, 5}, 1), "a");
  sum(matmul(a, zeros({5, 0}))).backward();
  EXPECT_EQ(a.grad().to_vector(), Floats(20, 0.0f));
}

// Kernels multiply the dimensions on one side of an empty one.
TEST_F(EmptyTest, TheOtherDimensionsAreBounded) {
  const std::int64_t half = std::int64_t{1} << 32;
  for (const Shape& shape : {Shape({0, half, half}), Shape({half, 0, half}), Shape({half, half, 0})}) {
    EXPECT_THAT([&] { (void)zeros(shape); },
                ThrowsMessage<ShapeError>(AllOf(HasSubstr(shape.to_string()), HasSubstr("beside its empty dimensions"),
                                                HasSubstr("empty_test.cc"))));
  }
  EXPECT_THAT(
      [&] {
        (void)add(zeros({0, half, 1}), zeros({0, 1, half}));
      },
      ThrowsMessage<ShapeError>(HasSubstr("beside its empty dimensions")));
  EXPECT_EQ(sum(zeros({half, 0, 16})).item(), 0);
}

TEST_F(EmptyTest, SumsOfNothingAreZeroAndMeansNaN) {
  EXPECT_EQ(sum(zeros({0})).item(), 0);
  EXPECT_EQ(sum(zeros({4, 0, 3})).item(), 0);
  EXPECT_EQ(sum(zeros({3, 0}), {1}).to_vector(), Floats(3, 0.0f));
  EXPECT_EQ(sum(zeros({0, 3}), {0}).to_vector(), Floats(3, 0.0f));
  EXPECT_EQ(sum(zeros({2, 0, 3}), {1}).to_vector(), Floats(6, 0.0f));
  EXPECT_EQ(sum(zeros({0, 3}), {1}).shape(), Shape({0}));
  EXPECT_TRUE(std::isnan(mean(zeros({0})).item()));
  for (const float value : mean(zeros({0, 3}), {0}).to_vector()) EXPECT_TRUE(std::isnan(value));
  const Tensor x = parameter(zeros({3, 0}), "x");
  sum(mean(x, {1})).backward();
  EXPECT_EQ(x.grad().shape(), Shape({3, 0}));
  // The gradient of a broadcast that reached nothing.
  const Tensor row = parameter(full({3}, 1), "row");
  sum(zeros({0, 3}) * row + row).backward();
  EXPECT_EQ(row.grad().to_vector(), Floats(3, 0.0f));
}

// A whole network, engine and optimizer included.
TEST_F(EmptyTest, ABatchOfNothingTrainsNothing) {
  const auto step_of = [](auto& net, const Tensor& x, const Tensor& y) {
    optim::SGD optimizer(net.parameters(), {.lr = 0.1f});
    std::vector<Floats> before;
    for (const Parameter& parameter : net.parameters()) before.push_back(parameter.to_vector());
    const Tensor loss = cross_entropy(net(x), y);
    EXPECT_TRUE(std::isnan(loss.item()));
    loss.backward();
    optimizer.step();
    std::size_t i = 0;
    for (const Parameter& parameter : net.parameters()) {
      EXPECT_EQ(parameter.to_vector(), before[i++]) << parameter.name();
    }
  };
  nn::Sequential images(nn::Conv2d({.in = 3, .out = 8, .padding = 1}), nn::ReLU(), nn::MaxPool2d({.kernel = 2}),
                        nn::Flatten(), nn::Dropout({.p = 0.5f}), nn::Linear({.in = 8 * 4 * 4, .out = 5}));
  step_of(images, zeros({0, 3, 8, 8}), zeros({0}, i32));
  nn::Gpt gpt({.layers = 1, .width = 16, .heads = 2, .context = 8, .vocabulary = 11});
  step_of(gpt, zeros({0, 8}, i32), zeros({0, 8}, i32));
}

}  // namespace
}  // namespace tidemark::testing
