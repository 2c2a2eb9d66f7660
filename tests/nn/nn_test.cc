// Layers and modules: what visit() makes of a model, initial values, shapes, and the models that are built in.
#include "tidemark/nn.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/nn/support.h"
#include "tidemark/models.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

using test::names;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Moments {
  double mean = 0, stddev = 0, most = 0;
};
Moments moments(const Tensor& tensor) {
  Moments m;
  const std::vector<float> values = tensor.to_vector();
  for (const float v : values) {
    m.mean += v;
    m.stddev += static_cast<double>(v) * v;
    m.most = std::max(m.most, std::abs(static_cast<double>(v)));
  }
  const auto count = static_cast<double>(values.size());
  m.mean /= count;
  m.stddev = std::sqrt(m.stddev / count - m.mean * m.mean);
  return m;
}

// A module of the user's: derived, with a child that is a plain struct and a vector of layers.
struct Gate {
  Linear inner{{.in = 4, .out = 4, .bias = false}};
  void visit(Visitor& v) { v.child("inner", inner); }
  Tensor operator()(const Tensor& x) { return x * inner(x); }
};
struct Net : Module {
  Gate gate;
  std::vector<Linear> stack{Linear({.in = 4, .out = 4}), Linear({.in = 4, .out = 2})};
  Dropout dropout{{.p = 0.5f}};
  Tensor scale = parameter(full({1}, 2), "scale");
  void visit(Visitor& v) override {
    v.child("gate", gate);
    v.child("stack", stack);
    v.child("dropout", dropout);
    v.parameter("scale", scale);
    v.parameter("again", stack[0].weight);  // tied: named where it was met first
  }
  Tensor operator()(const Tensor& x) { return scale * stack[1](dropout(stack[0](gate(x)))); }
};

class NnTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 1, .verify_replay = true}};
};

TEST_F(NnTest, VisitNamesEverythingOnce) {
  Net net;
  EXPECT_THAT(names(net.parameters()), ElementsAre("gate.inner.weight", "stack.0.weight", "stack.0.bias",
                                                   "stack.1.weight", "stack.1.bias", "scale"));
  EXPECT_EQ(net.parameter_count(), 16 + 20 + 10 + 1);
  EXPECT_THAT(names(parameters(net.gate)), ElementsAre("inner.weight"));
}

TEST_F(NnTest, SequentialTakesLayersModulesStructsAndFunctions) {
  Sequential net(
      Gate(), Linear({.in = 4, .out = 3}), [](const Tensor& x) { return relu(x); },
      Sequential(Linear({.in = 3, .out = 2}), BatchNorm2d({.features = 2})));
  EXPECT_EQ(net.size(), 4u);
  EXPECT_THAT(names(net.parameters()),
              ElementsAre("0.inner.weight", "1.weight", "1.bias", "3.0.weight", "3.0.bias", "3.1.weight", "3.1.bias"));
  EXPECT_THAT(names(net.state()), ElementsAre("3.1.running_mean", "3.1.running_var"));
  EXPECT_EQ(net(normal({5, 4}, 0, 1)).shape(), Shape({5, 2}));
}

TEST_F(NnTest, CopiesShareParametersButNotTheirMode) {
  Sequential net(Linear({.in = 2, .out = 2}), Dropout({.p = 0.9f}));
  Sequential copy = net;
  copy.eval();
  EXPECT_TRUE(net.parameters()[0].same(copy.parameters()[0]));
  const Tensor x = full({64, 2}, 1);
  EXPECT_EQ(copy(x).to_vector(), copy(x).to_vector());
  EXPECT_NE(net(x).to_vector(), copy(x).to_vector());
  copy.train();
  EXPECT_NE(copy(x).to_vector(), copy(x).to_vector());
}

TEST_F(NnTest, BatchNormKeepsStatisticsInTrainingOnly) {
  BatchNorm2d norm({.features = 3});
  const Tensor x = normal({8, 3, 4, 4}, 5, 2);
  (void)norm(x);
  const std::vector<float> mean = norm.running_mean.to_vector();
  EXPECT_NEAR(mean[0], 0.5, 0.2);
  norm.eval();
  (void)norm(x);
  EXPECT_EQ(norm.running_mean.to_vector(), mean);
  EXPECT_FALSE(norm.running_mean.requires_grad());
}

TEST_F(NnTest, InitialValuesAreThoseOfPyTorch) {
  const Linear linear({.in = 400, .out = 300});
  const Moments weight = moments(linear.weight);
  EXPECT_LE(weight.most, 1 / 20.0 + 1e-7);
  EXPECT_NEAR(weight.mean, 0, 1e-3);
  EXPECT_NEAR(weight.stddev, 1 / 20.0 / std::sqrt(3.0), 1e-3);
  EXPECT_LE(moments(linear.bias).most, 1 / 20.0 + 1e-7);
  EXPECT_GT(moments(linear.bias).stddev, 0.02);

  const Conv2d conv({.in = 64, .out = 32, .kernel = 5, .groups = 4});
  EXPECT_EQ(conv.weight.shape(), Shape({32, 16, 5, 5}));
  EXPECT_LE(moments(conv.weight).most, 1 / 20.0 + 1e-7);
  EXPECT_NEAR(moments(conv.weight).stddev, 1 / 20.0 / std::sqrt(3.0), 1e-3);

  const Embedding embedding({.count = 300, .width = 50});
  EXPECT_NEAR(moments(embedding.weight).stddev, 1, 0.03);
  EXPECT_NEAR(moments(embedding.weight).mean, 0, 0.03);

  Gpt gpt({.layers = 2, .width = 64, .heads = 4, .context = 16});
  for (const Parameter& p : gpt.parameters()) {
    const bool residual = p.name().ends_with("projection.weight") || p.name().ends_with("down.weight");
    if (p.shape().rank() == 2) {
      EXPECT_NEAR(moments(p).stddev, residual ? 0.01 : 0.02, 0.002) << p.name();
    }
    if (p.name().ends_with("bias")) {
      EXPECT_EQ(moments(p).most, 0) << p.name();
    }
  }
}

TEST_F(NnTest, TheSeedMakesTheWeights) {
  const auto draw = [](std::uint64_t seed) {
    Session session({.threads = 1, .seed = seed});
    return Linear({.in = 8, .out = 8}).weight.to_vector();
  };
  EXPECT_EQ(draw(3), draw(3));
  EXPECT_NE(draw(3), draw(4));
}

TEST_F(NnTest, WrongOptionsNameTheLine) {
  const std::string here = "nn_test.cc:";
  EXPECT_THAT([] { Linear({.out = 3}); }, ThrowsMessage<ShapeError>(AllOf(HasSubstr(".in"), HasSubstr(here))));
  EXPECT_THAT([] { Conv2d({.in = 6, .out = 4, .groups = 4}); },
              ThrowsMessage<ShapeError>(AllOf(HasSubstr("4 groups do not divide 6"), HasSubstr(here))));
  EXPECT_THAT([] { Dropout({.p = 1.5f}); }, ThrowsMessage<ShapeError>(AllOf(HasSubstr(".p"), HasSubstr(here))));
  EXPECT_THAT([] { Gpt({.width = 10, .heads = 4}); },
              ThrowsMessage<ShapeError>(AllOf(HasSubstr("4 heads do not divide"), HasSubstr(here))));
  // Sizes whose products no integer holds.
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  const auto too_large = ThrowsMessage<ShapeError>(AllOf(HasSubstr("would have more than"), HasSubstr(here)));
  EXPECT_THAT([] { Conv2d({.in = 16, .out = 2, .kernel = 1 << 30}); }, too_large);
  EXPECT_THAT([] { Linear({.in = kHuge, .out = kHuge}); }, too_large);
  const Session session({.threads = 1, .dry_run = true});
  EXPECT_THAT([] { vgg16({.image = kHuge, .width = 1}); }, too_large);
  EXPECT_THAT([] { vgg16({.image = 32, .width = kHuge}); }, too_large);
  EXPECT_THAT([] { small_cnn({.image = kHuge}); }, too_large);
  EXPECT_THAT([] { small_cnn({.width = kHuge}); },
              ThrowsMessage<ShapeError>(AllOf(HasSubstr(".width must be from 1 to"), HasSubstr(here))));
  EXPECT_THAT([] { mlp({.sizes = {kHuge, kHuge}}); }, too_large);
  EXPECT_THAT([] { Gpt({.width = kHuge}); }, too_large);
}

TEST_F(NnTest, WrongShapesNameTheUsersLine) {
  Sequential net(Flatten(), Linear({.in = 12, .out = 3}));
  EXPECT_THAT(
      [&] {
        (void)net(normal({2, 5}, 0, 1));
      },
      ThrowsMessage<ShapeError>(AllOf(HasSubstr("[2, 5]"), HasSubstr("[3, 12]"), HasSubstr("nn_test.cc:"))));
}

TEST_F(NnTest, VggFitsEveryImageSize) {
  for (const std::int64_t image : {1, 7, 28, 32, 48}) {
    Sequential net = vgg16({.channels = 1, .image = image, .classes = 5, .width = 2, .batch_norm = image == 28});
    EXPECT_EQ(net(normal({2, 1, image, image}, 0, 1)).shape(), Shape({2, 5})) << image;
  }
  EXPECT_EQ(small_cnn()(normal({2, 1, 28, 28}, 0, 1)).shape(), Shape({2, 10}));
  EXPECT_EQ(mlp({.sizes = {12, 8, 4}})(normal({2, 3, 4}, 0, 1)).shape(), Shape({2, 4}));
}

TEST(ModelsTest, ParameterCountsOfTheOriginals) {
  Session session({.threads = 1, .dry_run = true});
  EXPECT_EQ(vgg16().parameter_count(), 138'357'544);
  EXPECT_EQ(vgg16({.batch_norm = true}).parameter_count(), 138'365'992 - 4224);  // no bias before a normalisation
  EXPECT_EQ(Gpt({.layers = 12, .width = 768, .heads = 12, .context = 1024, .vocabulary = 50257}).parameter_count(),
            124'439'808);
}

TEST(ModelsTest, EachOfTheTableIsMadeByName) {
  Session session({.threads = 1, .dry_run = true});
  for (const NamedModel& model : models()) {
    const Examples examples = {.shape = model.reads_tokens ? Shape({8}) : Shape({3, 32, 32}), .classes = 5};
    Sequential net = make_model(model.name, examples);
    const Tensor x = model.reads_tokens ? zeros({2, 8}, i32) : normal({2, 3, 32, 32}, 0, 1);
    EXPECT_EQ(net(x).size(-1), 5) << model.name;
    for (const NamedOption& option : model.options) {
      EXPECT_GE(option.value, option.least) << model.name << " " << option.name;
      EXPECT_LE(option.value, option.most) << model.name << " " << option.name;
    }
  }
}

TEST(ModelsTest, NamedOptionsReachTheModel) {
  Session session({.threads = 1, .dry_run = true});
  const auto count = [](const char* name, const Shape& shape, const NamedValues::Given& given) {
    return make_model(name, {.shape = shape, .classes = 5}, given).parameter_count();
  };
  EXPECT_EQ(count("mlp", {3, 8, 8}, {{"width", 7}, {"layers", 1}}), mlp({.sizes = {192, 7, 5}}).parameter_count());
  EXPECT_EQ(count("small-cnn", {1, 8, 8}, {{"width", 3}}),
            small_cnn({.channels = 1, .image = 8, .classes = 5, .width = 3}).parameter_count());
  EXPECT_EQ(count("vgg16", {3, 32, 32}, {{"width", 4}, {"batch-norm", 1}}),
            vgg16({.image = 32, .classes = 5, .width = 4, .batch_norm = true}).parameter_count());
  EXPECT_EQ(count("gpt", {16}, {{"width", 6}, {"layers", 3}, {"heads", 2}}),
            Gpt({.layers = 3, .width = 6, .heads = 2, .context = 16, .vocabulary = 5}).parameter_count());
}

TEST(ModelsTest, WrongNamesAndValuesSayWhatIsAllowed) {
  Session session({.threads = 1, .dry_run = true});
  const auto expect = [](const char* name, const NamedValues::Given& given, const std::string& text) {
    EXPECT_THAT(
        [&] {
          make_model(name, {.shape = {3, 32, 32}}, given);
        },
        ThrowsMessage<Error>(AllOf(HasSubstr(text), HasSubstr("(at nn_test.cc:"))));
  };
  expect("resnet9000", {}, "there is no model 'resnet9000'; there are: mlp, small-cnn, vgg16, gpt, lstm");
  expect("mlp", {{"heads", 2}}, "there is no option 'heads'; there are: width, layers");
  expect("mlp", {{"width", 0}}, "width is 0, but must be a whole number from 1 to 1048576");
  expect("mlp", {{"width", 1.5}}, "width is 1.5, but must be a whole number");
  expect("vgg16", {{"dropout", std::nan("")}}, "dropout is nan, but must be a number from 0 to 0.99");
  expect("vgg16", {{"batch-norm", 2}}, "batch-norm is 2, but must be a whole number from 0 to 1");
}

TEST_F(NnTest, GptIsCausalAndTied) {
  Gpt gpt({.layers = 2, .width = 16, .heads = 2, .context = 8, .vocabulary = 11});
  gpt.eval();
  const std::vector<std::int32_t> first = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<std::int32_t> second = first;
  second[5] = 9;
  const std::vector<float> a = gpt(tensor(std::span<const std::int32_t>(first), {1, 8})).to_vector();
  const std::vector<float> b = gpt(tensor(std::span<const std::int32_t>(second), {1, 8})).to_vector();
  ASSERT_EQ(a.size(), 88u);
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + 55, b.begin()));
  EXPECT_FALSE(std::equal(a.begin() + 55, a.begin() + 66, b.begin() + 55));
  EXPECT_EQ(gpt(tensor({1, 2, 3}, {1, 3})).shape(), Shape({1, 3, 11}));
  EXPECT_THAT(
      [&] {
        (void)gpt(zeros({1, 9}, i32));
      },
      ThrowsMessage<ShapeError>(AllOf(HasSubstr("T at most 8"), HasSubstr("[1, 9]"))));

  // Tied: a token that is never read still gets a gradient from the output weights.
  cross_entropy(gpt(tensor({1, 2, 3}, {1, 3})), tensor({2, 3, 4}, {1, 3})).backward();
  const std::vector<float> gradient = gpt.parameters()[0].grad().to_vector();
  EXPECT_NE(gradient[10 * 16], 0);
}

}  // namespace
}  // namespace tidemark::nn
