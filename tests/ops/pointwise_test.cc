// What formulas promise: accuracy over all floats, special values, what is saved, and zeros where padding is.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "ops/kernels.h"
#include "ops/table.h"
#include "tests/compute/targets.h"
#include "tests/ops/harness.h"

namespace tidemark::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The op of a sample of the table.
std::shared_ptr<const AnyOp> op_of(std::string_view name, std::string_view label = "matrix") {
  for (const ops::OpEntry& entry : ops::op_table()) {
    if (entry.name != name) continue;
    for (const Sample& sample : entry.samples()) {
      if (sample.label == label) return sample.op;
    }
  }
  ADD_FAILURE() << "no sample " << label << " of " << name;
  return nullptr;
}

Array array(const std::vector<float>& values) {
  Array out = Array::of({static_cast<std::int64_t>(values.size())});
  std::ranges::copy(values, out.as().begin());
  return out;
}

// The distance in units of the last place of the float next to `exact`; denormal numbers have those of the smallest.
double ulps(float actual, double exact) {
  const auto rounded = static_cast<float>(exact);
  if (std::isnan(rounded) || std::isinf(rounded)) {
    return (std::isnan(rounded) && std::isnan(actual)) || actual == rounded ? 0 : kInf;
  }
  int exponent = 0;
  std::frexp(exact, &exponent);
  return std::fabs(double{actual} - exact) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

double exact_sigmoid(double x) { return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x)); }

struct Accuracy {
  const char* op;
  double most;   // ulp
  double least;  // results of at most this size are right to within it
  double (*exact)(double x);
  double most_slope;  // absolute: these slopes are at most 1.2. 0: left to the finite differences
  double (*slope)(double x);
};

const Accuracy kAccuracies[] = {
    {"exp", 1.1, 0, [](double x) { return std::exp(x); }, 0, nullptr},
    {"log", 0.9, 0, [](double x) { return std::log(x); }, 0, nullptr},
    {"sqrt", 0.5, 0, [](double x) { return std::sqrt(x); }, 0, nullptr},
    {"square", 0.5, 0, [](double x) { return x * x; }, 0, nullptr},
    {"reciprocal", 0.5, 0, [](double x) { return 1 / x; }, 0, nullptr},
    {"sigmoid", 2.5, 0, exact_sigmoid, 2e-7, [](double x) { return exact_sigmoid(x) * exact_sigmoid(-x); }},
    {"tanh", 1.5, 0, [](double x) { return std::tanh(x); }, 2e-7, [](double x) { return std::pow(std::cosh(x), -2); }},
    {"silu", 3.5, 1e-35, [](double x) { return std::isinf(x) && x < 0 ? -0.0 : x * exact_sigmoid(x); }, 3e-7,
     [](double x) {
       const double gate = exact_sigmoid(x);
       return std::isinf(x) ? gate : gate * (1 + x * exact_sigmoid(-x));
     }},
    {"gelu", 80, 1e-35, [](double x) { return std::isinf(x) && x < 0 ? -0.0 : x / 2 * std::erfc(-x / std::sqrt(2.0)); },
     3e-7,
     [](double x) {
       const double phi = std::erfc(-x / std::sqrt(2.0)) / 2;
       return std::isinf(x) ? phi : phi + x * std::exp(-x * x / 2) * 0.3989422804014327;
     }},
    {"expm1", 3, 0, [](double x) { return std::expm1(x); }, 0, nullptr},
    {"log1p", 3, 0, [](double x) { return std::log1p(x); }, 0, nullptr},
    {"log2", 2, 0, [](double x) { return std::log2(x); }, 0, nullptr},
    {"rsqrt", 1.5, 0, [](double x) { return 1 / std::sqrt(x); }, 0, nullptr},
    {"erf", 2.5, 0, [](double x) { return std::erf(x); }, 2e-7,
     [](double x) { return 1.1283791670955126 * std::exp(-x * x); }},
    {"sin", 1, 0, [](double x) { return std::sin(x); }, 2e-7,
     [](double x) { return std::isinf(x) ? kNan : std::cos(x); }},
    {"cos", 1, 0, [](double x) { return std::cos(x); }, 2e-7,
     [](double x) { return std::isinf(x) ? kNan : -std::sin(x); }},
    {"log_sigmoid", 3, 0, [](double x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); },
     2e-7, [](double x) { return exact_sigmoid(-x); }},
    {"softplus", 3, 0, [](double x) { return x > 20 ? x : std::log1p(std::exp(x)); }, 2e-7,
     [](double x) { return x > 20 ? 1 : exact_sigmoid(x); }},
    {"mish", 4, 1e-35, [](double x) { return std::isinf(x) && x < 0 ? -0.0 : x * std::tanh(std::log1p(std::exp(x))); },
     4e-7,
     [](double x) {
       const double t = std::tanh(std::log1p(std::exp(x)));
       return std::isinf(x) ? t : t + x * exact_sigmoid(x) * (1 - t * t);
     }},
    {"elu", 3, 0, [](double x) { return x > 0 ? x : std::expm1(x); }, 2e-7,
     [](double x) { return x > 0 ? 1 : std::exp(x); }},
    {"selu", 4, 0, [](double x) { return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * std::expm1(x)); }, 0,
     nullptr},
    {"softsign", 1.5, 0, [](double x) { return std::isinf(x) ? std::copysign(1.0, x) : x / (1 + std::fabs(x)); }, 3e-7,
     [](double x) { return std::pow(1 + std::fabs(x), -2); }},
    {"pow_by_number", 1, 0, [](double x) { return x * x * x; }, 0, nullptr},
    {"pow_of_number", 1, 0, [](double x) { return std::exp2(x); }, 0, nullptr},
};

// One float in so many, over all of them, the special ones included.
TEST(Pointwise, IsAccurateForEveryArgument) {
  std::vector<float> values;
  for (std::uint64_t word = 0; word < std::uint64_t{1} << 32; word += 30011) {
    const auto bits = static_cast<std::uint32_t>(word);
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    values.push_back(value);
  }
  for (const float value : {kInf, 0.0f, 0x1p-149f, 0x1p-126f, 3.4028235e38f, 88.72284f, 103.98f, 0.625f, 1.0f}) {
    for (const float sign : {1.0f, -1.0f}) values.push_back(sign * value);
  }
  for (float value = -20; value < 20; value += 0.001f) values.push_back(value);
  const Array x = array(values);
  const Array ones = array(std::vector<float>(values.size(), 1.0f));
  Harness harness(2);
  for_each_target([&](const std::string& target) {
    for (const Accuracy& accuracy : kAccuracies) {
      const Outcome outcome = harness.run(*op_of(accuracy.op), std::vector{x}, Needs(1), std::vector{ones});
      double worst = 0, worst_slope = 0;
      float at = 0, slope_at = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double exact = accuracy.exact(values[i]);
        const float y = outcome.first.as()[i];
        const bool tiny = std::max(std::fabs(exact), std::fabs(double{y})) <= accuracy.least;
        const double error = tiny ? 0 : ulps(y, exact);
        if (error > worst) worst = error, at = values[i];
        if (accuracy.slope == nullptr || std::isnan(values[i])) continue;
        const double off = std::fabs(double{outcome.gradients[0]->as()[i]} - accuracy.slope(values[i]));
        if (!(off <= worst_slope)) worst_slope = off, slope_at = values[i];
      }
      EXPECT_LE(worst, accuracy.most) << accuracy.op << " at " << at << ", " << target;
      EXPECT_LE(worst_slope, accuracy.most_slope) << accuracy.op << "'s slope at " << slope_at << ", " << target;
    }
  });
}

struct Special {
  const char* op;
  std::vector<float> x;
  std::vector<float> y;
  std::vector<float> slope;  // times 1
};

// PyTorch's values, but for gelu, silu, mish, hardswish and softsign at the infinities, where it has NaNs, and for huge
// arguments of gelu_tanh.
TEST(Pointwise, SpecialValues) {
  const std::vector<float> ends = {kNan, kInf, -kInf, 0.0f, -0.0f};
  const std::vector<Special> cases = {
      {"relu", ends, {kNan, kInf, 0, 0, -0.0f}, {1, 1, 0, 0, 0}},
      {"leaky_relu", ends, {kNan, kInf, -kInf, 0, -0.0f}, {0.01f, 1, 0.01f, 0.01f, 0.01f}},
      {"leaky_relu", {0x1p-149f, -0x1p-149f}, {0x1p-149f, -0.0f}, {1, 0.01f}},
      {"sigmoid", ends, {kNan, 1, 0, 0.5f, 0.5f}, {kNan, 0, 0, 0.25f, 0.25f}},
      {"tanh", ends, {kNan, 1, -1, 0, -0.0f}, {kNan, 0, 0, 1, 1}},
      {"silu", ends, {kNan, kInf, -0.0f, 0, -0.0f}, {kNan, 1, 0, 0.5f, 0.5f}},
      {"silu", {3e38f, -3e38f}, {3e38f, -0.0f}, {1, 0}},
      {"gelu", ends, {kNan, kInf, -0.0f, 0, -0.0f}, {kNan, 1, 0, 0.5f, 0.5f}},
      {"gelu", {3e38f, -3e38f}, {3e38f, -0.0f}, {1, 0}},
      {"gelu_tanh", ends, {kNan, kInf, -0.0f, 0, -0.0f}, {kNan, 1, 0, 0.5f, 0.5f}},
      {"gelu_tanh", {3e38f, -3e38f, 1e15f, -1e15f}, {3e38f, -0.0f, 1e15f, -0.0f}, {1, 0, 1, 0}},
      {"exp", ends, {kNan, kInf, 0, 1, 1}, {kNan, kInf, 0, 1, 1}},
      {"exp", {88.8f, 3e38f, -104, -3e38f}, {kInf, kInf, 0, 0}, {kInf, kInf, 0, 0}},
      {"log", ends, {kNan, kInf, kNan, -kInf, -kInf}, {kNan, 0, -0.0f, kInf, -kInf}},
      {"log", {1, -1}, {0, kNan}, {1, -1}},
      {"sqrt", ends, {kNan, kInf, kNan, 0, -0.0f}, {kNan, 0, kNan, kInf, -kInf}},
      {"square", ends, {kNan, kInf, kInf, 0, 0}, {kNan, kInf, -kInf, 0, -0.0f}},
      {"abs", ends, {kNan, kInf, kInf, 0, 0}, {0, 1, -1, 0, 0}},
      {"neg", ends, {kNan, -kInf, kInf, -0.0f, 0}, {-1, -1, -1, -1, -1}},
      {"reciprocal", ends, {kNan, 0, -0.0f, kInf, -kInf}, {kNan, -0.0f, -0.0f, -kInf, -kInf}},
      {"div_by_number", ends, {kNan, kInf, -kInf, 0, -0.0f}, {1 / 3.0f, 1 / 3.0f, 1 / 3.0f, 1 / 3.0f, 1 / 3.0f}},
      {"div_of_number", ends, {kNan, 0, -0.0f, kInf, -kInf}, {kNan, -0.0f, -0.0f, -kInf, -kInf}},
      {"affine", ends, {kNan, kInf, -kInf, -0.75f, -0.75f}, {2.5f, 2.5f, 2.5f, 2.5f, 2.5f}},
      {"expm1", ends, {kNan, kInf, -1, 0, -0.0f}, {kNan, kInf, 0, 1, 1}},
      {"log1p", ends, {kNan, kInf, kNan, 0, -0.0f}, {kNan, 0, -0.0f, 1, 1}},
      {"log1p", {-1, -2}, {-kInf, kNan}, {kInf, -1}},
      {"log2", ends, {kNan, kInf, kNan, -kInf, -kInf}, {kNan, 0, -0.0f, kInf, -kInf}},
      {"log2", {8, 0x1p-149f}, {3, -149}, {1 / (8 * 0.6931471805599453f), kInf}},
      {"rsqrt", ends, {kNan, 0, kNan, kInf, -kInf}, {kNan, -0.0f, kNan, -kInf, kInf}},
      {"sin", ends, {kNan, kNan, kNan, 0, -0.0f}, {kNan, kNan, kNan, 1, 1}},
      {"cos", ends, {kNan, kNan, kNan, 1, 1}, {kNan, kNan, kNan, -0.0f, 0}},
      {"erf", ends, {kNan, 1, -1, 0, -0.0f}, {kNan, 0, 0, 1.1283791670955126f, 1.1283791670955126f}},
      {"sign", ends, {0, 1, -1, 0, 0}, {0, 0, 0, 0, 0}},
      {"floor", ends, {kNan, kInf, -kInf, 0, -0.0f}, {0, 0, 0, 0, 0}},
      {"floor", {-0.5f, 2.5f, -2.5f, 8388609, 3e38f}, {-1, 2, -3, 8388609, 3e38f}, {0, 0, 0, 0, 0}},
      {"ceil", {kNan, kInf, -0.5f, 2.5f, -2.5f}, {kNan, kInf, -0.0f, 3, -2}, {0, 0, 0, 0, 0}},
      {"round", {kNan, -kInf, 0.5f, 1.5f, 2.5f, -0.5f}, {kNan, -kInf, 0, 2, 2, -0.0f}, {0, 0, 0, 0, 0, 0}},
      {"trunc", {kNan, kInf, -0.5f, 2.5f, -2.5f}, {kNan, kInf, -0.0f, 2, -2}, {0, 0, 0, 0, 0}},
      {"log_sigmoid", ends, {kNan, -0.0f, -kInf, -0.6931472f, -0.6931472f}, {kNan, 0, 1, 0.5f, 0.5f}},
      {"softplus", ends, {kNan, kInf, 0, 0.6931472f, 0.6931472f}, {kNan, 1, 0, 0.5f, 0.5f}},
      {"mish", ends, {kNan, kInf, -0.0f, 0, -0.0f}, {kNan, 1, 0, 0.6f, 0.6f}},
      {"elu", ends, {kNan, kInf, -1, 0, -0.0f}, {1, 1, 0, 1, 1}},
      {"selu",
       ends,
       {kNan, kInf, -1.7580993408473766f, 0, -0.0f},
       {1.0507009873554805f, 1.0507009873554805f, 0, 1.7580993408473766f, 1.7580993408473766f}},
      {"celu", ends, {kNan, kInf, -1, 0, -0.0f}, {1, 1, 0, 1, 1}},
      {"relu6", ends, {kNan, 6, 0, 0, -0.0f}, {1, 0, 0, 0, 0}},
      {"relu6", {6, 3, -1}, {6, 3, 0}, {0, 1, 0}},
      {"hardtanh", ends, {kNan, 1, -1, 0, -0.0f}, {1, 0, 0, 1, 1}},
      {"hardtanh", {1, -1}, {1, -1}, {0, 0}},
      {"clamp", ends, {kNan, 1, -1, 0, -0.0f}, {0, 0, 0, 1, 1}},
      {"clamp", {1, -1}, {1, -1}, {1, 1}},
      {"hardswish", ends, {kNan, kInf, -0.0f, 0, -0.0f}, {1, 1, 0, 0.5f, 0.5f}},
      {"hardswish", {3, -3, 4, -4}, {3, -0.0f, 4, -0.0f}, {1.5f, -0.5f, 1, 0}},
      {"hardsigmoid", ends, {kNan, 1, 0, 0.5f, 0.5f}, {0, 0, 0, 1 / 6.0f, 1 / 6.0f}},
      {"hardsigmoid", {3, -3}, {1, 0}, {0, 0}},
      {"softsign", ends, {kNan, 1, -1, 0, -0.0f}, {kNan, 0, 0, 1, 1}},
  };
  const auto same = [](float a, float b) {
    return std::isnan(b) ? std::isnan(a) : a == b && std::signbit(a) == std::signbit(b);
  };
  Harness harness(2);
  for_each_target([&](const std::string& target) {
    for (const Special& special : cases) {
      const Array ones = array(std::vector<float>(special.x.size(), 1.0f));
      const Outcome outcome =
          harness.run(*op_of(special.op), std::vector{array(special.x)}, Needs(1), std::vector{ones});
      for (std::size_t i = 0; i < special.x.size(); ++i) {
        const float y = outcome.first.as()[i];
        const float gx = outcome.gradients[0]->as()[i];
        EXPECT_TRUE(same(y, special.y[i])) << special.op << " of " << special.x[i] << " is " << y << ", " << target;
        EXPECT_TRUE(same(gx, special.slope[i]) || gx == special.slope[i])
            << special.op << "'s slope at " << special.x[i] << " is " << gx << ", " << target;
      }
    }
  });
}

TEST(Pointwise, DivisionOfSpecialValues) {
  const Array a = array({kNan, 1, 0, 0, kInf, 1, kInf, -1, 1});
  const Array b = array({1, kNan, 0, 1, kInf, kInf, 1, 0, -0.0f});
  const std::vector<float> y = {kNan, kNan, kNan, 0, kNan, 0, kInf, -kInf, -kInf};
  const std::vector<float> ga = {1, kNan, kInf, 1, 0, 0, 1, kInf, -kInf};
  const std::vector<float> gb = {kNan, kNan, kNan, 0, kNan, 0, -kInf, kInf, -kInf};
  Harness harness(2);
  const Array ones = array(std::vector<float>(y.size(), 1.0f));
  const Outcome outcome = harness.run(*op_of("div", "equal"), std::vector{a, b}, Needs(3), std::vector{ones});
  for (std::size_t i = 0; i < y.size(); ++i) {
    const auto expect = [i](float actual, float expected, const char* what) {
      EXPECT_TRUE(std::isnan(expected) ? std::isnan(actual) : actual == expected) << what << ' ' << i << ": " << actual;
    };
    expect(outcome.first.as()[i], y[i], "value");
    expect(outcome.gradients[0]->as()[i], ga[i], "gradient of a");
    expect(outcome.gradients[1]->as()[i], gb[i], "gradient of b");
  }
}

TEST(Pointwise, LargerAndSmallerOfSpecialValues) {
  const Array a = array({kNan, 1, kNan, kInf, 0, 2, -kInf});
  const Array b = array({1, kNan, kNan, kInf, -0.0f, 1, kInf});
  const std::vector<float> largest = {kNan, kNan, kNan, kInf, 0, 2, kInf};
  const std::vector<float> smallest = {kNan, kNan, kNan, kInf, 0, 1, -kInf};
  const std::vector<float> share = {1, 1, 1, 0.5f, 0.5f, 1, 0};
  Harness harness(2);
  const Array ones = array(std::vector<float>(share.size(), 1.0f));
  for_each_target([&](const std::string& target) {
    const Outcome most = harness.run(*op_of("maximum", "equal"), std::vector{a, b}, Needs(3), std::vector{ones});
    const Outcome least = harness.run(*op_of("minimum", "equal"), std::vector{a, b}, Needs(3), std::vector{ones});
    for (std::size_t i = 0; i < share.size(); ++i) {
      EXPECT_EQ(ulps(most.first.as()[i], largest[i]), 0) << i << ", " << target;
      EXPECT_EQ(ulps(least.first.as()[i], smallest[i]), 0) << i << ", " << target;
      const float other = share[i] == 1 && i > 2 ? 0 : share[i] == 0 ? 1 : share[i];
      EXPECT_EQ(most.gradients[0]->as()[i], share[i]) << i << ", " << target;
      EXPECT_EQ(most.gradients[1]->as()[i], other) << i << ", " << target;
      EXPECT_EQ(least.gradients[0]->as()[i], other) << i << ", " << target;
      EXPECT_EQ(least.gradients[1]->as()[i], share[i]) << i << ", " << target;
    }
  });
}

// All pairs of special and of ordinary numbers against the C library in double precision, gradients by PyTorch's rules.
TEST(Pointwise, PowersOfSpecialValues) {
  std::vector<float> numbers = {kNan,  kInf, -kInf, 0,     -0.0f,  1,     -1,    2,     -2,        0.5f,      -0.5f,
                                3,     -3,   1.5f,  -1.5f, 1e-30f, 1e30f, 0.99f, 1.01f, 0x1p-149f, 16777215,  -16777215,
                                1e10f, 127,  -149,  150,   0.1f,   33.3f, -7,    1e-5f, 3.4e38f,   1.0000001f};
  std::vector<float> bases;
  std::vector<float> exponents;
  for (const float a : numbers) {
    for (const float b : numbers) bases.push_back(a), exponents.push_back(b);
  }
  const Array ones = array(std::vector<float>(bases.size(), 1.0f));
  const auto near = [](float actual, double exact) {
    const auto rounded = static_cast<float>(exact);
    if (std::isnan(rounded)) return std::isnan(actual);
    if (std::isinf(rounded)) return actual == rounded || std::fabs(actual) > 3.4028e38f;
    return std::fabs(double{actual} - exact) <= 1e-6 * std::fabs(exact) + 2e-45;
  };
  Harness harness(2);
  for_each_target([&](const std::string& target) {
    const Outcome outcome =
        harness.run(*op_of("pow", "equal"), std::vector{array(bases), array(exponents)}, Needs(3), std::vector{ones});
    for (std::size_t i = 0; i < bases.size(); ++i) {
      const double a = bases[i];
      const double b = exponents[i];
      const float y = outcome.first.as()[i];
      const float ga = outcome.gradients[0]->as()[i];
      const float gb = outcome.gradients[1]->as()[i];
      const std::string what = std::to_string(a) + " ^ " + std::to_string(b) + ", " + target;
      EXPECT_TRUE(near(y, std::pow(a, b))) << what << " is " << y;
      EXPECT_EQ(std::signbit(y), std::isnan(y) ? std::signbit(y) : std::signbit(std::pow(a, b))) << what;
      // Factors that overflow or vanish by themselves are float's.
      const auto below = static_cast<double>(static_cast<float>(std::pow(a, static_cast<float>(b) - 1.0f)));
      EXPECT_TRUE(near(ga, b == 0 ? 0 : b * below)) << what << ", slope of the base " << ga;
      const auto power = static_cast<double>(static_cast<float>(std::pow(a, b)));
      EXPECT_TRUE(near(gb, a == 0 && b >= 0 ? 0 : power * std::log(a))) << what << ", slope of the exponent " << gb;
    }
  });
}

// What each gradient reads, and where it may be written.
TEST(Pointwise, SavesWhatTheSlopeReads) {
  Harness harness(2);
  const auto declared = [&](std::string_view name, std::string_view label, std::vector<Meta> in, std::size_t part) {
    std::ostringstream out;
    const Prepared prepared = harness.prepare(*op_of(name, label), in, Needs(in.size() == 1 ? 1 : 3));
    const Part& p = prepared.parts[part];
    for (const Saved& saved : p.saved) {
      out << (saved.of == Saved::Of::kInput ? 'x' : 'y') << saved.index << ' ';
    }
    for (const auto& [read, k] : p.overwrites) out << "over " << read << ' ';
    out << (p.view ? "view " : "") << std::lround(p.work.bytes / ops::as_double(in[0].bytes));
    return out.str();
  };
  const std::vector<Meta> one = {Meta::plain({6, 8})};
  for (const char* name :
       {"relu", "leaky_relu", "sigmoid", "tanh", "exp", "sqrt", "reciprocal", "rsqrt", "pow_of_number"}) {
    EXPECT_EQ(declared(name, "matrix", one, 0), "y0 over 0 over 1 3") << name;
  }
  for (const char* name : {"gelu", "gelu_tanh", "silu", "log", "square", "abs", "div_of_number", "expm1", "sin", "mish",
                           "elu", "clamp", "relu6", "hardswish", "pow_by_number"}) {
    EXPECT_EQ(declared(name, "matrix", one, 0), "x0 over 0 over 1 3") << name;
  }
  for (const char* name : {"neg", "affine", "div_by_number", "sign", "floor", "round"}) {
    EXPECT_EQ(declared(name, "matrix", one, 0), "over 0 2") << name;
  }
  EXPECT_EQ(declared("affine", "variant 1", one, 0), "view 2") << "x + 3";

  const std::vector<Meta> two = {Meta::plain({6, 8}), Meta::plain({6, 8})};
  EXPECT_EQ(declared("add", "equal", two, 1), "view 2");
  EXPECT_EQ(declared("sub", "equal", two, 1), "over 0 2");
  EXPECT_EQ(declared("mul", "equal", two, 0), "x1 over 1 over 0 3");
  EXPECT_EQ(declared("div", "equal", two, 0), "x1 over 1 over 0 3");
  EXPECT_EQ(declared("div", "equal", two, 1), "x0 x1 over 2 over 0 over 1 4");
  const std::vector<Meta> row = {Meta::plain({6, 8}), Meta::plain({8})};
  EXPECT_EQ(declared("div", "row", row, 0), "x1 over 1 2");
  EXPECT_EQ(declared("div", "row", row, 1), "x0 x1 2");
}

// Kernels of other ops rely on zeros in the padding of a layout: an op that would not leave them there leaves the
// layout.
TEST(Pointwise, PaddingStaysZero) {
  Harness harness(2);
  const Shape shape = {2, 3, 5, 4};
  const dnnl::memory::desc desc({2, 3, 5, 4}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::nChw8c);
  const Meta blocked = harness.machine().meta(shape, desc);
  ASSERT_GT(blocked.bytes, Meta::plain(shape).bytes);
  const std::vector<std::string> plain = {
      "exp",  "log",   "sqrt", "sigmoid",     "reciprocal", "affine",      "div",           "div_of_number",
      "log2", "rsqrt", "cos",  "log_sigmoid", "softplus",   "hardsigmoid", "pow_of_number", "pow"};
  int kept = 0;
  for (const ops::OpEntry& entry : ops::op_table()) {
    const std::vector<Sample> samples = entry.samples();
    const auto at =
        std::ranges::find_if(samples, [](const Sample& s) { return s.label == "one" || s.label == "number first"; });
    if (at == samples.end()) continue;  // not of a formula
    const Sample& sample = *at;
    const std::size_t operands = sample.inputs.size();
    const Prepared prepared = harness.prepare(*sample.op, std::vector<Meta>(operands, blocked), Needs(1));
    const bool leaves = std::ranges::find(plain, entry.name) != plain.end();
    EXPECT_EQ(prepared.outputs[0], leaves ? Meta::plain(shape) : blocked) << entry.name;
    EXPECT_EQ(prepared.parts[0].gx[0], prepared.outputs[0]) << entry.name;
    kept += leaves ? 0 : 1;
    const std::vector<Array> inputs(operands, draw_normal(shape, 5));
    const Outcome outcome = harness.run(*sample.op, inputs, Needs(), {}, {.images = dnnl::memory::format_tag::nChw8c});
    const std::span<const float> bytes(reinterpret_cast<const float*>(outcome.outputs[0].data()),
                                       outcome.outputs[0].size() / sizeof(float));
    for (std::size_t i = 0; !leaves && i < bytes.size(); ++i) {
      EXPECT_TRUE(i % 8 < 3 || bytes[i] == 0) << entry.name << ", channel " << i % 8 << ": " << bytes[i];
    }
  }
  EXPECT_GE(kept, 11);
}

// An operand of one element: its gradient is a sum over more than is summed at once.
TEST(Pointwise, GradientOfANumberIsTheSum) {
  Harness harness(2);
  constexpr std::int64_t kCount = 70001;
  Array b = draw_normal({kCount}, 3);
  for (float& value : b.as()) value = 1 + std::fabs(value);
  const Array gy = draw_normal({kCount}, 4);
  const Array a = array({1.5f});
  const std::pair<const char*, std::function<double(double)>> slopes[] = {{"add", [](double) { return 1.0; }},
                                                                          {"sub", [](double) { return 1.0; }},
                                                                          {"mul", [](double v) { return v; }},
                                                                          {"div", [](double v) { return 1 / v; }}};
  for (const auto& [name, slope] : slopes) {
    const Outcome outcome = harness.run(*op_of(name, "equal"), std::vector{a, b}, Needs(1), std::vector{gy});
    double sum = 0;
    for (std::size_t i = 0; i < kCount; ++i) sum += double{gy.as()[i]} * slope(b.as()[i]);
    EXPECT_NEAR(outcome.gradients[0]->as()[0], sum, 2e-3) << name;
  }
}

}  // namespace
}  // namespace tidemark::testing
