// Layers and losses that are a function with its options, and Bilinear.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/nn/support.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

using test::names;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Pair {
  Sequential layer;
  std::function<Tensor(const Tensor&)> function;
};

void expect_equal_bits(const Tensor& is, const Tensor& expected) {
  ASSERT_EQ(is.shape(), expected.shape());
  const std::vector<float> a = is.to_vector();
  const std::vector<float> b = expected.to_vector();
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
}

void expect_functions(const std::vector<Pair>& pairs, const Tensor& x) {
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    SCOPED_TRACE("pair " + std::to_string(i));
    expect_equal_bits(pairs[i].layer(x), pairs[i].function(x));
  }
}

template <class Call>
void refused(const Call& call, const std::string& text) {
  EXPECT_THAT(call, ThrowsMessage<ShapeError>(AllOf(HasSubstr(text), HasSubstr("(at thin_layers_test.cc:"))));
}

class ThinLayersTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 1}};
};

TEST_F(ThinLayersTest, OfImagesAreTheFunctionsOfTheirNames) {
  const std::array<std::int64_t, 2> size = {3, 2};
  const std::vector<Pair> pairs = {
      {Sequential(Identity()), [](const Tensor& x) { return x; }},
      {Sequential(Softmax()), [](const Tensor& x) { return softmax(x, -1); }},
      {Sequential(Softmax({.dim = 1})), [](const Tensor& x) { return softmax(x, 1); }},
      {Sequential(LogSoftmax()), [](const Tensor& x) { return log_softmax(x, -1); }},
      {Sequential(LogSoftmax({.dim = 2})), [](const Tensor& x) { return log_softmax(x, 2); }},
      {Sequential(SwiGLU()), [](const Tensor& x) { return swiglu(x, -1); }},
      {Sequential(SwiGLU({.dim = 1})), [](const Tensor& x) { return swiglu(x, 1); }},
      {Sequential(Unflatten({.sizes = {2, -1}})),
       [](const Tensor& x) {
         return reshape(x, {2, 2, 2, 6, 6});
       }},
      {Sequential(Unflatten({.dim = -1, .sizes = {3, 2}})),
       [](const Tensor& x) {
         return reshape(x, {2, 4, 6, 3, 2});
       }},
      {Sequential(PixelShuffle({.upscale_factor = 2})), [](const Tensor& x) { return pixel_shuffle(x, 2); }},
      {Sequential(PixelUnshuffle({.downscale_factor = 3})), [](const Tensor& x) { return pixel_unshuffle(x, 3); }},
      {Sequential(Unfold({.kernel = {2, 3}, .dilation = {1, 2}, .padding = {1, 0}, .stride = {2, 1}})),
       [](const Tensor& x) {
         return unfold(x, {.kernel = {2, 3}, .dilation = {1, 2}, .padding = {1, 0}, .stride = {2, 1}});
       }},
      {Sequential(MaxPool2d({.stride = 1, .dilation = 3})),
       [](const Tensor& x) {
         return max_pool2d(x, {.stride = {1, 1}, .dilation = {3, 3}});
       }},
      {Sequential(MaxPool2d({.kernel = 3, .stride = 2, .ceil_mode = true})),
       [](const Tensor& x) {
         return max_pool2d(x, {.kernel = {3, 3}, .stride = {2, 2}, .ceil_mode = true});
       }},
      {Sequential(AdaptiveAvgPool2d({.output_size = {3, 2}})),
       [=](const Tensor& x) { return adaptive_avg_pool2d(x, size); }},
      {Sequential(AdaptiveAvgPool2d({3, 2})), [=](const Tensor& x) { return adaptive_avg_pool2d(x, size); }},
      {Sequential(AdaptiveAvgPool2d(size)), [=](const Tensor& x) { return adaptive_avg_pool2d(x, size); }},
      {Sequential(AdaptiveMaxPool2d({.output_size = {3, 2}})),
       [=](const Tensor& x) { return adaptive_max_pool2d(x, size); }},
      {Sequential(AdaptiveMaxPool2d({3, 2})), [=](const Tensor& x) { return adaptive_max_pool2d(x, size); }},
      {Sequential(AdaptiveMaxPool2d(size)), [=](const Tensor& x) { return adaptive_max_pool2d(x, size); }},
      // PyTorch's order begins with the last dimension, that of pad() with the first.
      {Sequential(ConstantPad2d({.padding = {1, 2, 3, 0}, .value = 0.5f})),
       [](const Tensor& x) {
         return pad(x, {{3, 0}, {1, 2}}, {.value = 0.5f});
       }},
      {Sequential(ConstantPad2d({.padding = -1})),
       [](const Tensor& x) {
         return pad(x, {{-1, -1}, {-1, -1}});
       }},
      {Sequential(ReflectionPad2d({.padding = {1, 2, 3, 0}})),
       [](const Tensor& x) {
         return pad(x, {{3, 0}, {1, 2}}, {.mode = PadMode::kReflect});
       }},
      {Sequential(ReplicationPad2d({.padding = {1, 2, 3, 0}})),
       [](const Tensor& x) {
         return pad(x, {{3, 0}, {1, 2}}, {.mode = PadMode::kReplicate});
       }},
  };
  expect_functions(pairs, normal({2, 4, 6, 6}, 0, 1));
}

TEST_F(ThinLayersTest, OfSequencesAreTheFunctionsOfTheirNames) {
  const std::vector<Pair> pairs = {
      {Sequential(AdaptiveAvgPool1d({.output_size = 5})), [](const Tensor& x) { return adaptive_avg_pool1d(x, 5); }},
      {Sequential(AdaptiveMaxPool1d({.output_size = 5})), [](const Tensor& x) { return adaptive_max_pool1d(x, 5); }},
      {Sequential(ConstantPad1d({.padding = {3, 1}, .value = -2})),
       [](const Tensor& x) {
         return pad(x, {{3, 1}}, {.value = -2});
       }},
      {Sequential(ReflectionPad1d({.padding = {3, 1}})),
       [](const Tensor& x) {
         return pad(x, {{3, 1}}, {.mode = PadMode::kReflect});
       }},
      {Sequential(ReplicationPad1d({.padding = 2})),
       [](const Tensor& x) {
         return pad(x, {{2, 2}}, {.mode = PadMode::kReplicate});
       }},
      // The kernel has 4 places, and there are 2 by 3 windows.
      {Sequential(
           Fold({.output_size = {4, 5}, .kernel = {2, 2}, .dilation = {2, 1}, .padding = {0, 1}, .stride = {1, 2}})),
       [](const Tensor& x) {
         return fold(x, {4, 5}, {.kernel = {2, 2}, .dilation = {2, 1}, .padding = {0, 1}, .stride = {1, 2}});
       }},
  };
  expect_functions(pairs, normal({2, 4, 6}, 0, 1));
}

TEST_F(ThinLayersTest, LossesAreTheFunctionsOfTheirNames) {
  const auto sum = LossReduction::kSum;
  const auto none = LossReduction::kNone;
  const Tensor a = normal({5, 3}, 0, 1);
  const Tensor b = normal({5, 3}, 0, 1);
  const Tensor c = normal({5, 3}, 0, 1);
  const Tensor logs = log_softmax(a);
  const Tensor targets = softmax(b);
  const Tensor classes = tensor({0, 2, 1, 1, 0}, {5});
  const Tensor weight = tensor({0.5, 1.0, 2.0}, {3});
  const Tensor signs = tensor({1.0, -1.0, -1.0, 1.0, -1.0}, {5});
  const Tensor steps = log_softmax(normal({6, 2, 4}, 0, 1));
  const Tensor labels = tensor({1, 2, 3, 1}, {2, 2});
  const Tensor lengths = tensor({6, 5}, {2});
  const Tensor label_lengths = tensor({2, 1}, {2});
  const Tensor repeated = zeros({2, 2}, i32);
  const Tensor too_short = tensor({2, 6}, {2});
  const Tensor two = tensor({2, 2}, {2});
  const std::vector<std::pair<Tensor, Tensor>> pairs = {
      {CrossEntropyLoss()(a, classes), cross_entropy(a, classes)},
      {CrossEntropyLoss({.weight = weight, .ignore_index = 2, .label_smoothing = 0.1f, .reduction = none})(a, classes),
       cross_entropy(a, classes, {.weight = weight, .ignore_index = 2, .label_smoothing = 0.1f, .reduction = none})},
      {NLLLoss()(logs, classes), nll_loss(logs, classes)},
      {NLLLoss({.weight = weight, .reduction = sum})(logs, classes),
       nll_loss(logs, classes, {.weight = weight, .reduction = sum})},
      {CTCLoss()(steps, labels, lengths, label_lengths), ctc_loss(steps, labels, lengths, label_lengths)},
      {CTCLoss({.blank = 3, .zero_infinity = true, .reduction = none})(steps, repeated, too_short, two),
       ctc_loss(steps, repeated, too_short, two, {.blank = 3, .zero_infinity = true, .reduction = none})},
      {BCELoss()(targets, sigmoid(c)), binary_cross_entropy(targets, sigmoid(c))},
      {BCELoss({.weight = weight, .reduction = none})(targets, sigmoid(c)),
       binary_cross_entropy(targets, sigmoid(c), {.weight = weight, .reduction = none})},
      {BCEWithLogitsLoss()(a, targets), binary_cross_entropy_with_logits(a, targets)},
      {BCEWithLogitsLoss({.pos_weight = weight, .reduction = none})(a, targets),
       binary_cross_entropy_with_logits(a, targets, {.pos_weight = weight, .reduction = none})},
      {KLDivLoss()(logs, targets), kl_div(logs, targets)},
      {KLDivLoss({.log_target = true, .reduction = LossReduction::kBatchMean})(logs, log_softmax(b)),
       kl_div(logs, log_softmax(b), {.log_target = true, .reduction = LossReduction::kBatchMean})},
      {MSELoss()(a, b), mse_loss(a, b)},
      {MSELoss({.reduction = none})(a, b), mse_loss(a, b, {.reduction = none})},
      {L1Loss()(a, b), l1_loss(a, b)},
      {L1Loss({.reduction = sum})(a, b), l1_loss(a, b, {.reduction = sum})},
      {SmoothL1Loss()(a, b), smooth_l1_loss(a, b)},
      {SmoothL1Loss({.beta = 0.25f, .reduction = none})(a, b),
       smooth_l1_loss(a, b, {.beta = 0.25f, .reduction = none})},
      {HuberLoss()(a, b), huber_loss(a, b)},
      {HuberLoss({.delta = 0.25f, .reduction = none})(a, b), huber_loss(a, b, {.delta = 0.25f, .reduction = none})},
      {CosineEmbeddingLoss()(a, b, signs), cosine_embedding_loss(a, b, signs)},
      {CosineEmbeddingLoss({.margin = -0.5f, .reduction = none})(a, b, signs),
       cosine_embedding_loss(a, b, signs, {.margin = -0.5f, .reduction = none})},
      {TripletMarginLoss()(a, b, c), triplet_margin_loss(a, b, c)},
      {TripletMarginLoss({.margin = 3, .p = 1, .swap = true, .reduction = none})(a, b, c),
       triplet_margin_loss(a, b, c, {.margin = 3, .p = 1, .swap = true, .reduction = none})},
      {CosineSimilarity()(a, b), cosine_similarity(a, b)},
      {CosineSimilarity({.dim = 0, .eps = 10})(a, b), cosine_similarity(a, b, {.dim = 0, .eps = 10})},
  };
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    SCOPED_TRACE("pair " + std::to_string(i));
    expect_equal_bits(pairs[i].first, pairs[i].second);
  }
}

TEST_F(ThinLayersTest, BilinearStartsAsInPyTorch) {
  Bilinear layer({.in1 = 400, .in2 = 3, .out = 64});
  EXPECT_THAT(names(layer.parameters()), ElementsAre("weight", "bias"));
  EXPECT_EQ(layer.weight.shape(), Shape({64, 400, 3}));
  EXPECT_EQ(layer.bias.shape(), Shape({64}));
  for (const Tensor& parameter : {layer.weight, layer.bias}) {
    const std::vector<float> values = parameter.to_vector();
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    EXPECT_GE(*least, -1 / 20.0 - 1e-7);
    EXPECT_LT(*least, -0.04);
    EXPECT_LE(*most, 1 / 20.0 + 1e-7);
    EXPECT_GT(*most, 0.04);
  }
  const Tensor x1 = normal({5, 400}, 0, 1);
  const Tensor x2 = normal({5, 3}, 0, 1);
  expect_equal_bits(layer(x1, x2), bilinear(x1, x2, layer.weight, layer.bias));

  Bilinear plain({.in1 = 400, .in2 = 3, .out = 2, .bias = false});
  EXPECT_THAT(names(plain.parameters()), ElementsAre("weight"));
  expect_equal_bits(plain(x1, x2), bilinear(x1, x2, plain.weight));
}

TEST_F(ThinLayersTest, UnflattenTakesEmptyBatches) {
  EXPECT_EQ(Unflatten({.sizes = {-1, 3}})(zeros({0, 6})).shape(), Shape({0, 2, 3}));
  EXPECT_EQ(Unflatten({.dim = 0, .sizes = {2, -1}})(zeros({0, 6})).shape(), Shape({2, 0, 6}));
}

TEST_F(ThinLayersTest, WrongCallsNameTheLine) {
  refused([] { Bilinear({.in1 = 2, .out = 3}); }, "[nn::Bilinear] .in2");
  refused([] { MaxPool2d({.dilation = 0}); }, "[nn::MaxPool2d] .dilation");
  refused([] { Unflatten({.dim = 0}); }, "[nn::Unflatten] .sizes must be 1 to 8 numbers, not 0");
  refused([] { Unflatten({.sizes = {2, -1, -1}}); }, "but are [2, -1, -1]");
  refused([] { Unflatten({.sizes = {0, 6}}); }, "but are [0, 6]");
  const Tensor x = zeros({2, 6});
  refused(
      [&] {
        (void)Unflatten({.sizes = {4, -1}})(x);
      },
      "[nn::Unflatten] dimension 1 of x [2, 6] does not come apart into [4, -1]");
  refused([&] { (void)Unflatten({.sizes = {2, 2}})(x); }, "does not come apart into [2, 2]");
  refused([&] { (void)Unflatten({.sizes = {2, 2}})(zeros({0, 6})); }, "does not come apart into [2, 2]");
  refused([&] { (void)Unflatten({.dim = 2, .sizes = {2, 3}})(x); }, "x is [2, 6], which has no dimension 2");
  refused([&] { (void)Unflatten({.sizes = {6, 1, 1, 1, 1, 1, 1, 1}})(x); }, "make more than 8 dimensions");
  refused([&] { (void)Sequential(PixelShuffle({.upscale_factor = 3}))(zeros({1, 4, 2, 2})); }, "[pixel_shuffle]");
  refused([&] { (void)MSELoss()(x, zeros({2, 5})); }, "[2, 5]");
}

}  // namespace
}  // namespace tidemark::nn
