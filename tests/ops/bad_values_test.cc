// NaN and infinities are seen: what is not a number stays one, and reaches what it is part of and nothing else.
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ops/table.h"
#include "tests/ops/harness.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

using Floats = std::vector<float>;

// A NaN equals a NaN.
void expect_same(const Floats& actual, const Floats& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const bool same = std::isnan(expected[i]) ? std::isnan(actual[i]) : actual[i] == expected[i];
    EXPECT_TRUE(same) << what << ", element " << i << ": " << actual[i] << " in place of " << expected[i];
  }
}

Floats floats(const Array& array) { return {array.as().begin(), array.as().end()}; }

// An attribute of an op, which is a whole number.
std::int64_t attribute(const AnyOp& op, const std::string& name) {
  Attributes attributes;
  op.describe(attributes);
  return std::stoll(attributes.text().substr(attributes.text().find(name + "=") + name.size() + 1));
}

struct Pooled {
  Floats y;
  Floats gx;
};

// PyTorch's rule, one window after the other: a larger element, or any NaN, takes the place of what was found.
Pooled pooled(const AnyOp& op, const Array& x, const Array& gy) {
  const Shape& in = x.meta.shape;
  const Shape& out = gy.meta.shape;
  const std::int64_t kernel[] = {attribute(op, "kernel_h"), attribute(op, "kernel_w")};
  std::int64_t stride[] = {attribute(op, "stride_h"), attribute(op, "stride_w")};
  const std::int64_t padding[] = {attribute(op, "padding_h"), attribute(op, "padding_w")};
  for (std::size_t d = 0; d < 2; ++d) stride[d] = stride[d] == 0 ? kernel[d] : stride[d];
  Pooled result{{}, Floats(x.as().size(), 0.0f)};
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const std::int64_t plane = i / (out[2] * out[3]);
    const std::int64_t top = i / out[3] % out[2] * stride[0] - padding[0];
    const std::int64_t left = i % out[3] * stride[1] - padding[1];
    std::int64_t best = -1;
    for (std::int64_t row = std::max<std::int64_t>(0, top); row < std::min(in[2], top + kernel[0]); ++row) {
      for (std::int64_t at = std::max<std::int64_t>(0, left); at < std::min(in[3], left + kernel[1]); ++at) {
        const std::int64_t here = (plane * in[2] + row) * in[3] + at;
        const float value = x.as()[static_cast<std::size_t>(here)];
        if (best < 0 || value > x.as()[static_cast<std::size_t>(best)] || std::isnan(value)) best = here;
      }
    }
    result.y.push_back(x.as()[static_cast<std::size_t>(best)]);
    result.gx[static_cast<std::size_t>(best)] += gy.as()[static_cast<std::size_t>(i)];
  }
  return result;
}

std::vector<Sample> pool_samples() {
  std::vector<Sample> samples;
  for (const ops::OpEntry& entry : ops::op_table()) {
    if (entry.name == "max_pool2d") samples = entry.samples();
  }
  return samples;
}

TEST(BadValues, MaxPoolKeepsToTheRuleInEveryLayout) {
  using Tag = dnnl::memory::format_tag;
  Harness harness(2);
  // Ties are common in all of them.
  const std::vector<Floats> palettes = {{kNan, -kInf, kInf, kLowest, -1, 0, 1},
                                        {kNan, 1, 2, 3, 4, 5, 6, 7, 8, 9},
                                        {-kInf, kLowest},
                                        {-kInf},
                                        {kLowest},
                                        {kNan},
                                        {kInf, -kInf, 3e38f, -3e38f},
                                        {-1, 0, 1, 2}};
  std::mt19937 random(7);
  for (Sample sample : pool_samples()) {
    for (const std::int64_t channels : {sample.inputs[0].shape[1], std::int64_t{16}, std::int64_t{19}}) {
      const Shape shape = sample.inputs[0].shape.with(1, channels);
      const Meta metas[] = {Meta::plain(shape)};
      const Array gy = draw_normal(harness.prepare(*sample.op, metas, Needs()).outputs[0].shape, 3);
      for (const Floats& palette : palettes) {
        Array x = Array::of(shape);
        for (float& value : x.as()) value = palette[random() % palette.size()];
        const Pooled expected = pooled(*sample.op, x, gy);
        for (const Tag tag : {Tag::nchw, Tag::nhwc, Tag::nChw8c, Tag::nChw16c}) {
          const Outcome outcome = harness.run(*sample.op, std::vector{x}, Needs(1), std::vector{gy}, {.images = tag});
          const std::string what = sample.label + ", " + std::to_string(channels) + " channels, layout " +
                                   std::to_string(static_cast<int>(tag)) + ", " + std::to_string(palette[0]);
          expect_same(floats(outcome.first), expected.y, what);
          expect_same(floats(*outcome.gradients[0]), expected.gx, what + ", gradient");
          EXPECT_TRUE(outcome.guards_whole) << what;
        }
      }
    }
  }
}

class Engine : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 3}};
};

// f of x, and the gradient of x, with bad values at `at`; `touched` says which elements of y and gx may not be numbers,
// and must not be. All others are those of a run without.
void expect_touches(const Shape& shape, const std::vector<std::int64_t>& at, float bad,
                    const std::function<Tensor(const Tensor&)>& f, const std::function<bool(std::int64_t)>& y_touched,
                    const std::function<bool(std::int64_t)>& gx_touched) {
  const Floats clean = normal(shape, 0, 1).to_vector();
  Floats spoilt = clean;
  for (const std::int64_t i : at) spoilt[static_cast<std::size_t>(i)] = bad;
  const auto run = [&](const Floats& values) {
    const Tensor x = parameter(tensor(values, shape), "x");
    const Tensor y = f(x);
    sum(y * 0.5f).backward();
    return std::pair(y.to_vector(), x.grad().to_vector());
  };
  const auto [y, gx] = run(spoilt);
  const auto [clean_y, clean_gx] = run(clean);
  const auto check = [](const Floats& values, const Floats& others, const auto& touched, const char* what) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (touched(static_cast<std::int64_t>(i))) {
        EXPECT_FALSE(std::isfinite(values[i])) << what << " " << i;
      } else {
        EXPECT_EQ(values[i], others[i]) << what << " " << i;
      }
    }
  };
  check(y, clean_y, y_touched, "y");
  check(gx, clean_gx, gx_touched, "gx");
}

constexpr std::int64_t kWidth = 21;
bool in_row_two(std::int64_t i) { return i / kWidth == 2; }

TEST_F(Engine, RowsOfSoftmaxAndLayerNormAreSpoiltAlone) {
  const Tensor gamma = full({kWidth}, 1.5f);
  const Tensor beta = zeros({kWidth});
  for (const float bad : {kNan, kInf}) {
    expect_touches(
        {5, kWidth}, {2 * kWidth + 4}, bad, [](const Tensor& x) { return softmax(x); }, in_row_two, in_row_two);
    expect_touches(
        {5, kWidth}, {2 * kWidth}, bad, [&](const Tensor& x) { return layer_norm(x, gamma, beta); }, in_row_two,
        in_row_two);
  }
  const Floats y = softmax(tensor({-kInf, 1, 1, -kInf, -kInf, -kInf}, {2, 3})).to_vector();
  expect_same(y, {0, 0.5f, 0.5f, kNan, kNan, kNan}, "softmax of -inf");
}

TEST_F(Engine, ChannelsOfBatchNormAreSpoiltAlone) {
  for (const std::int64_t channels : {3, 16, 19}) {
    const Tensor gamma = full({channels}, 1);
    const Tensor beta = zeros({channels});
    for (const bool training : {true, false}) {
      Tensor mean = state({channels}, f32, Category::kParameters, "mean");
      Tensor variance = state({channels}, f32, Category::kParameters, "variance");
      variance.assign(std::span<const float>(Floats(static_cast<std::size_t>(channels), 1.0f)));
      const auto f = [&](const Tensor& x) {
        return batch_norm(x, gamma, beta, mean, variance, {.training = training, .momentum = 0});
      };
      const std::int64_t places = 12;
      const std::int64_t at = (channels + 2) * places + 5;  // the second image's channel 2
      const auto channel = [&](std::int64_t i) { return i / places % channels == 2; };
      const auto element = [&](std::int64_t i) { return i == at; };
      const auto nothing = [](std::int64_t) { return false; };
      if (training) {
        expect_touches({2, channels, 4, 3}, {at}, kNan, f, channel, channel);
      } else {
        expect_touches({2, channels, 4, 3}, {at}, kNan, f, element, nothing);
      }
    }
  }
}

TEST_F(Engine, LossesOfBadValuesAreBadAndGradientsAloneInTheirRows) {
  const auto classes = tensor({3, 1, 0, 20, 7}, {5});
  const auto loss_of = [&](const Floats& values) {
    const Tensor x = parameter(tensor(values, {5, kWidth}), "x");
    const Tensor loss = cross_entropy(x, classes);
    loss.backward();
    return std::pair(loss.item(), x.grad().to_vector());
  };
  const Floats clean = normal({5, kWidth}, 0, 1).to_vector();
  const Floats clean_gx = loss_of(clean).second;
  for (const float bad : {kNan, kInf}) {
    Floats spoilt = clean;
    spoilt[2 * kWidth + 9] = bad;
    const auto [loss, gx] = loss_of(spoilt);
    EXPECT_TRUE(std::isnan(loss));
    for (std::int64_t i = 0; i < 5 * kWidth; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (in_row_two(i)) {
        EXPECT_TRUE(std::isnan(gx[at])) << i;
      } else {
        EXPECT_EQ(gx[at], clean_gx[at]) << i;
      }
    }
  }
  // A class that cannot be costs nothing where another is meant, and everything where it is.
  Floats masked = clean;
  masked[2 * kWidth + 9] = -kInf;
  EXPECT_TRUE(std::isfinite(loss_of(masked).first));
  EXPECT_EQ(loss_of(masked).second[2 * kWidth + 9], 0);
  masked[2 * kWidth] = -kInf;
  EXPECT_EQ(loss_of(masked).first, kInf);
  EXPECT_EQ(loss_of(masked).second[2 * kWidth], -0.2f);
  const Tensor a = parameter(tensor({1, kNan, 3}, {3}), "a");
  const Tensor distance = mse_loss(a, zeros({3}));
  distance.backward();
  EXPECT_TRUE(std::isnan(distance.item()));
  EXPECT_TRUE(std::isnan(a.grad().to_vector()[1]));
  EXPECT_EQ(a.grad().to_vector()[2], 2);
}

TEST_F(Engine, SumsAndProductsOfBadValuesAreBad) {
  EXPECT_TRUE(std::isnan(sum(tensor({1, kNan, 2}, {3})).item()));
  EXPECT_TRUE(std::isnan(sum(tensor({kInf, -kInf}, {2})).item()));
  expect_same(sum(tensor({1, kInf, 2, 3}, {2, 2}), {0}).to_vector(), {3, kInf}, "sum of columns");
  expect_same(mean(tensor({1, kNan, 2, 4}, {2, 2}), {-1}).to_vector(), {kNan, 3}, "mean of rows");
  const Tensor w = parameter(zeros({1, 2}), "w");
  const Tensor b = parameter(zeros({1}), "b");
  sum(linear(tensor({1, kNan, 2, 3}, {2, 2}), w, b)).backward();
  expect_same(w.grad().to_vector(), {3, kNan}, "gradient of a weight");
  expect_same(b.grad().to_vector(), {2}, "gradient of a bias");
}

// As PyTorch, which multiplies with zero.
TEST_F(Engine, DropoutHidesNoBadValue) {
  const Floats y = dropout(full({1000}, kNan)).to_vector();
  for (const float value : y) EXPECT_TRUE(std::isnan(value));
  const Floats rest = dropout(tensor({kInf, 2, -3}, {3}), {.p = 1}).to_vector();
  expect_same(rest, {kNan, 0, 0}, "dropout of everything");
}

// Queries, keys and values of a later position have no part in an earlier one's output or gradients.
class Masked : public Engine, public ::testing::WithParamInterface<std::int64_t> {};

TEST_P(Masked, LaterPositionsReachNoEarlierOne) {
  const std::int64_t length = 101;
  const std::int64_t heads = 2;
  const std::int64_t width = 30;
  const std::int64_t row = 3 * width;
  const std::int64_t from = GetParam();
  const Floats clean = normal({1, length, row}, 0, 1).to_vector();
  // The loss looks at the positions before `from` alone.
  const auto run = [&](const Floats& values) {
    const Tensor x = parameter(tensor(values, {1, length, row}), "x");
    const Tensor y = causal_self_attention(x, heads);
    const Tensor seen = slice(y, 1, 0, from);
    const Floats out = seen.to_vector();
    return out;
  };
  const Floats expected = run(clean);
  for (const float bad : {kNan, kInf, -kInf}) {
    for (const std::int64_t part : {0, 1, 2}) {  // queries, keys, values
      Floats spoilt = clean;
      for (std::int64_t i = 0; i < width; ++i) spoilt[static_cast<std::size_t>(from * row + part * width + i)] = bad;
      expect_same(run(spoilt), expected, "part " + std::to_string(part) + " at " + std::to_string(from));
    }
  }
}

TEST_P(Masked, GradientsOfEarlierPositionsReachNoLaterOne) {
  Harness harness(2);
  const std::int64_t length = 101;
  const std::int64_t width = 30;
  const std::int64_t row = 3 * width;
  const std::int64_t from = GetParam();
  std::shared_ptr<const AnyOp> op;
  for (const ops::OpEntry& entry : ops::op_table()) {
    if (entry.name == "causal_self_attention") op = entry.samples()[0].op;
  }
  const Array qkv = draw_normal({1, length, row}, 4);
  const Array gy = draw_normal({1, length, width}, 5);
  const auto gradient = [&](const Array& x, const Array& g) {
    return floats(*harness.run(*op, std::vector{x}, Needs(1), std::vector{g}).gradients[0]);
  };
  const Floats clean = gradient(qkv, gy);
  // A bad gradient of position `from` spoils it and what is before, of which keys and values are seen by it.
  Array bad_gy = gy;
  bad_gy.as()[static_cast<std::size_t>(from * width + 3)] = kNan;
  const Floats spoilt = gradient(qkv, bad_gy);
  for (std::int64_t i = (from + 1) * row; i < length * row; ++i) {
    EXPECT_EQ(spoilt[static_cast<std::size_t>(i)], clean[static_cast<std::size_t>(i)]) << i;
  }
  // A bad key and value of position `from` spoil no earlier query's gradient.
  for (const std::int64_t part : {1, 2}) {
    Array x = qkv;
    for (std::int64_t i = 0; i < width; ++i) x.as()[static_cast<std::size_t>(from * row + part * width + i)] = kNan;
    const Floats gx = gradient(x, gy);
    for (std::int64_t position = 0; position < length; ++position) {
      for (std::int64_t i = 0; i < width; ++i) {
        const auto at = static_cast<std::size_t>(position * row + i);
        if (position < from) {
          EXPECT_EQ(gx[at], clean[at]) << "query " << position << ", " << i;
        } else {
          EXPECT_TRUE(std::isnan(gx[at])) << "query " << position << ", " << i;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Positions, Masked, ::testing::Values(1, 5, 6, 47, 48, 50, 95, 96, 97, 100));

}  // namespace
}  // namespace tidemark::testing
