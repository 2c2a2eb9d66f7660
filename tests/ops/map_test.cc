// td::map: pointwise functions of the user's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tidemark/tidemark.h>

#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "compute/machine.h"
#include "tests/autograd/support.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

const auto kSoftsign = [](auto v) { return v / (1 + std::fabs(v)); };

float softsign_slope(float v) { return 1 / ((1 + std::fabs(v)) * (1 + std::fabs(v))); }

// Values of many lengths, so that whole blocks and rests of every size are met.
TEST(Map, IsTheFunctionAndItsSlope) {
  const Session session({.threads = 2});
  for (const std::int64_t n : {1, 63, 64, 65, 1000, 50001}) {
    Tensor x = normal({n}, 0, 3);
    x.set_requires_grad(true);
    const Tensor weight = normal({n}, 0, 1);
    const Tensor y = map(x, kSoftsign, [](float v) { return softsign_slope(v); });
    sum(y * weight).backward({.retain_graph = true});
    const std::vector<float> in = x.to_vector(), out = y.to_vector(), w = weight.to_vector();
    const std::vector<float> gradient = x.grad().to_vector();
    for (std::size_t i = 0; i < in.size(); ++i) {
      ASSERT_FLOAT_EQ(out[i], kSoftsign(in[i]));
      ASSERT_FLOAT_EQ(gradient[i], w[i] * softsign_slope(in[i]));
    }
  }
}

TEST(Map, SlopesOfXOfYAndOfBothAreOne) {
  const Session session({.threads = 2});
  std::vector<std::vector<float>> gradients;
  const auto run = [&](auto slope) {
    Tensor x = full({1000}, 0.7f);
    x.set_requires_grad(true);
    sum(map(
            x, [](auto v) { return std::exp(v); }, slope))
        .backward();
    gradients.push_back(x.grad().to_vector());
  };
  run([](auto x) { return std::exp(x); });
  run(slope_of_y([](auto y) { return y; }));
  run([](auto x, auto y) { return x > 0 ? y : 0.0f; });
  for (const auto& gradient : gradients) EXPECT_THAT(gradient, Each(::testing::FloatEq(std::exp(0.7f))));
}

template <class F, class S = detail::NoSlope>
detail::MapOp<F, S> op_of(F function, S slope = {}, const MapOptions& options = {}) {
  return {function, slope, options};
}

std::string text_of(const AnyOp& op) {
  Attributes attributes;
  op.describe(attributes);
  return attributes.text();
}

TEST(Map, SavesWhatTheSlopeReads) {
  compute::Machine machine(1);
  const std::vector<Meta> in = {Meta::plain({4, 4})};
  const auto saved = [&](const AnyOp& op) {
    Prep prep(machine, op.name(), {});
    const Prepared prepared = op.prepare(prep, in, Needs(1));
    if (prepared.parts.empty()) return std::string("no gradient");
    std::string out;
    for (const Saved& item : prepared.parts[0].saved) out += item.of == Saved::Of::kInput ? 'x' : 'y';
    return out;
  };
  EXPECT_EQ(saved(op_of(kSoftsign)), "no gradient");
  EXPECT_EQ(saved(op_of(kSoftsign, [](float x) { return x; })), "x");
  EXPECT_EQ(saved(op_of(kSoftsign, slope_of_y([](float y) { return y; }))), "y");
  EXPECT_EQ(saved(op_of(kSoftsign, [](float x, float y) { return x * y; })), "xy");
  const Session session({.threads = 1});
  Tensor x = normal({4, 4}, 0, 1);
  x.set_requires_grad(true);
  EXPECT_FALSE(map(x, kSoftsign).requires_grad());
  EXPECT_TRUE(map(x, kSoftsign, [](float v) { return softsign_slope(v); }).requires_grad());
}

TEST(Map, TellsFunctionsApart) {
  const auto twice = [](float v) { return 2 * v; };
  const auto also_twice = [](float v) { return 2 * v; };
  EXPECT_EQ(text_of(op_of(twice)), text_of(op_of(twice)));
  EXPECT_NE(text_of(op_of(twice)), text_of(op_of(also_twice)));
  EXPECT_NE(text_of(op_of(twice)), text_of(op_of(twice, also_twice)));
  EXPECT_NE(text_of(op_of(twice, twice)), text_of(op_of(twice, also_twice)));
  EXPECT_NE(text_of(op_of(twice, twice)), text_of(op_of(twice, slope_of_y(twice))));
  const auto scaled = [](float scale) { return [scale](float v) { return scale * v; }; };
  EXPECT_EQ(text_of(op_of(scaled(3))), text_of(op_of(scaled(3))));
  EXPECT_NE(text_of(op_of(scaled(3))), text_of(op_of(scaled(4))));
  EXPECT_NE(text_of(op_of(scaled(0.0f))), text_of(op_of(scaled(-0.0f))));
  EXPECT_NE(text_of(op_of(twice, scaled(3))), text_of(op_of(twice, scaled(4))));
}

TEST(Map, BytesBetweenCapturesTellNothing) {
  const auto make = [](float scale, bool up) { return [up, scale](float v) { return up ? scale * v : v; }; };
  using F = decltype(make(1, true));
  std::vector<std::string> texts;
  for (const int dirt : {0x00, 0xFF}) {
    alignas(F) std::byte bytes[sizeof(F)];
    std::memset(bytes, dirt, sizeof bytes);
    texts.push_back(text_of(op_of(*new (bytes) F(make(2, true)))));
  }
  EXPECT_EQ(texts[0], texts[1]);
}

// Whatever could hold an address is refused, when it is compiled.
TEST(Map, CapturesAreNumbers) {
  float number = 1;
  double wide = 1;
  const std::string text;
  const auto holds = [](auto function) { return detail::kHoldsNumbersOnly<decltype(function)>; };
  EXPECT_TRUE(holds([](float v) { return v; }));
  EXPECT_TRUE(holds([number](float v) { return v * number; }));
  EXPECT_TRUE(
      holds([number, flag = true, count = 3](float v) { return flag ? v * number : static_cast<float>(count); }));
  EXPECT_FALSE(holds([&number](float v) { return v * number; }));
  EXPECT_FALSE(holds([at = &number](float v) { return v * *at; }));
  EXPECT_FALSE(holds([text](float v) { return v; }));
  EXPECT_FALSE(holds([wide](float v) { return v * static_cast<float>(wide); })) << "as wide as an address";
  EXPECT_FALSE(holds(softsign_slope)) << "a function's address";
}

TEST(Map, ErrorsNameTheCallAndItsName) {
  const Session session({.threads = 2});
  const Tensor whole = tensor({1, 2, 3}, {3});
  const std::string line = next_line();
  const std::string message = error_of([&] { (void)map(whole, kSoftsign, {.name = "softsign"}); });
  EXPECT_THAT(message, AllOf(HasSubstr("[softsign] x is [3] i32; it must be f32"), HasSubstr(line)));
  MapOptions options{.name = "other"};
  EXPECT_THAT(error_of([&] { (void)map(whole, kSoftsign, options); }), HasSubstr("[other]"));
  EXPECT_THAT(error_of([&] { (void)map(whole, kSoftsign, kSoftsign, options); }), HasSubstr("[other]"));
}

TEST(Map, AThrownExceptionComesOut) {
  const Session session({.threads = 2});
  const Tensor x = full({1 << 20}, 1);
  const auto refuses = [](float v) {
    if (v > 0) throw std::domain_error("above zero");
    return v;
  };
  EXPECT_THROW((void)map(x, refuses).to_vector(), std::domain_error);
  EXPECT_EQ(sum(x).item(), 1 << 20);
}

// Kernels of convolutions pad channels with zeros, which must be zeros after a function with f(0) = 1 too.
TEST(Map, PaddedLayoutsAreLeft) {
  const Session session({.threads = 2});
  const Tensor x = normal({2, 3, 9, 9}, 0, 1);
  const Tensor first = normal({11, 3, 3, 3}, 0, 0.2f), second = normal({5, 11, 3, 3}, 0, 0.2f);
  const Tensor hidden = conv2d(x, first);
  const std::vector<float> own = conv2d(map(hidden, [](auto v) { return std::exp(v); }), second).to_vector();
  const std::vector<float> library = conv2d(exp(hidden), second).to_vector();
  for (std::size_t i = 0; i < own.size(); ++i) EXPECT_NEAR(own[i], library[i], 1e-4f) << i;
}

// The gradient of the first of eight layers, and how many ops were computed again for it.
std::pair<std::vector<float>, std::int64_t> train(std::optional<std::int64_t> budget) {
  const Session session({.budget = budget, .threads = 2, .seed = 3, .verify_replay = true});
  std::vector<Parameter> weights;
  for (int i = 0; i < 8; ++i) weights.emplace_back(parameter(normal({64, 64}, 0, 0.2f), "weight"));
  optim::SGD optimizer(weights, {.lr = 0.1f});
  const Tensor x = normal({512, 64}, 0, 1);
  std::vector<float> gradient;
  for (int step = 0; step < 3; ++step) {
    Tensor h = x;
    for (const Parameter& weight : weights) {
      h = map(linear(h, weight), kSoftsign, [](float v) { return softsign_slope(v); });
    }
    mean(square(h)).backward();
    gradient = weights[0].grad().to_vector();
    optimizer.step();
    optimizer.zero_grad();
  }
  return {gradient, session.report().recomputed_ops};
}

TEST(Map, BudgetsChangeNoBit) {
  const auto [free, none] = train(std::nullopt);
  const auto [bounded, recomputed] = train(1300_KiB);
  EXPECT_EQ(none, 0);
  EXPECT_GT(recomputed, 0);
  EXPECT_TRUE(same_bits(free, bounded));
}

}  // namespace
}  // namespace tidemark::test
