// Attention against its definition in double precision across tiles, what masks hide, dropout's masks, memory, errors.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"
#include "tidemark/units.h"

namespace tidemark {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Doubles = std::vector<double>;
using Floats = std::vector<float>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

Tensor bytes(const std::vector<std::uint8_t>& values, const Shape& shape) {
  Tensor out = zeros(shape, u8);
  out.assign(std::span<const std::uint8_t>(values));
  return out;
}

class Attention : public ::testing::Test {
 protected:
  Session session_{{.threads = 2, .seed = 6}};
};

struct Sizes {
  std::int64_t batch, heads, key_heads, queries, keys, size, value_size;
};

// y and the gradients of q, k and v where that of y is gy. seen(n, i, j); bias [queries, keys] or empty.
struct Reference {
  Doubles y, gq, gk, gv;

  Reference(const Sizes& s, const Floats& q, const Floats& k, const Floats& v, const Floats& gy, const Floats& bias,
            const std::function<bool(std::int64_t, std::int64_t, std::int64_t)>& seen)
      : y(gy.size()), gq(q.size()), gk(k.size()), gv(v.size()) {
    const auto at = [](const auto& values, std::int64_t i) {
      return static_cast<double>(values[static_cast<std::size_t>(i)]);
    };
    const auto of = [](Doubles& values, std::int64_t i) -> double& { return values[static_cast<std::size_t>(i)]; };
    const double scale = 1 / std::sqrt(static_cast<double>(s.size));
    for (std::int64_t row = 0; row < s.batch * s.heads * s.queries; ++row) {
      const std::int64_t i = row % s.queries;
      const std::int64_t n = row / s.queries / s.heads;
      const std::int64_t head = row / s.queries % s.heads / (s.heads / s.key_heads);
      const std::int64_t first = (n * s.key_heads + head) * s.keys;
      Doubles p(static_cast<std::size_t>(s.keys));
      Doubles gp(static_cast<std::size_t>(s.keys));
      double most = -INFINITY;
      for (std::int64_t j = 0; j < s.keys; ++j) {
        double score = 0;
        for (std::int64_t e = 0; e < s.size; ++e) score += at(q, row * s.size + e) * at(k, (first + j) * s.size + e);
        of(p, j) = seen(n, i, j) ? score * scale + (bias.empty() ? 0 : at(bias, i * s.keys + j)) : -INFINITY;
        most = std::max(most, of(p, j));
      }
      if (std::isinf(most)) continue;
      double total = 0;
      for (double& value : p) total += value = std::exp(value - most);
      double mean = 0;
      for (std::int64_t j = 0; j < s.keys; ++j) {
        of(p, j) /= total;
        for (std::int64_t e = 0; e < s.value_size; ++e) {
          const double g = at(gy, row * s.value_size + e);
          of(y, row * s.value_size + e) += of(p, j) * at(v, (first + j) * s.value_size + e);
          of(gv, (first + j) * s.value_size + e) += of(p, j) * g;
          of(gp, j) += g * at(v, (first + j) * s.value_size + e);
        }
        mean += of(p, j) * of(gp, j);
      }
      for (std::int64_t j = 0; j < s.keys; ++j) {
        const double slope = of(p, j) * (of(gp, j) - mean) * scale;
        for (std::int64_t e = 0; e < s.size; ++e) {
          of(gq, row * s.size + e) += slope * at(k, (first + j) * s.size + e);
          of(gk, (first + j) * s.size + e) += slope * at(q, row * s.size + e);
        }
      }
    }
  }
};

void expect_close(const Tensor& actual, const Doubles& expected, const std::string& what, double tolerance = 5e-6) {
  const Floats values = actual.to_vector();
  ASSERT_EQ(values.size(), expected.size()) << what;
  double largest = 0;
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    const double error = std::fabs(values[i] - expected[i]);
    worst = std::isnan(error) ? error : std::max(worst, error);
    ASSERT_FALSE(std::isnan(error)) << what << ", " << i;
  }
  EXPECT_LE(worst, tolerance * largest) << what;
}

TEST_F(Attention, IsTheDefinitionAcrossTiles) {
  struct Case {
    const char* name;
    Sizes sizes;
    bool causal, hides, biased;
    float magnitude = 1;
    double tolerance = 5e-6;
  };
  for (const Case& c : std::vector<Case>{
           {"plain", {2, 2, 2, 97, 192, 16, 16}, false, false, false},
           {"causal, more queries", {1, 4, 2, 250, 130, 8, 20}, true, false, false},
           {"causal, more keys", {1, 2, 1, 130, 301, 33, 7}, true, true, false},
           {"all masks", {2, 2, 1, 199, 200, 12, 40}, true, true, true},
           {"a long row", {1, 1, 1, 3, 3000, 64, 64}, false, false, true},
           {"scores of 150, which floats hold to 1e-5", {1, 1, 1, 100, 200, 16, 16}, false, false, false, 6, 3e-5},
           {"one", {1, 1, 1, 1, 1, 1, 1}, true, false, false}}) {
    SCOPED_TRACE(c.name);
    const Sizes& s = c.sizes;
    const auto input = [&](std::int64_t heads, std::int64_t rows, std::int64_t size, float magnitude) {
      return parameter(normal({s.batch, heads, rows, size}, 0, magnitude), "x");
    };
    const Tensor q = input(s.heads, s.queries, s.size, c.magnitude);
    const Tensor k = input(s.key_heads, s.keys, s.size, c.magnitude);
    const Tensor v = input(s.key_heads, s.keys, s.value_size, 1);
    const Tensor gy = normal({s.batch, s.heads, s.queries, s.value_size}, 0, 1);
    AttentionOptions options{.causal = c.causal};
    std::vector<std::uint8_t> hidden(static_cast<std::size_t>(s.batch * s.keys));
    // A whole tile, and some keys of others.
    for (std::int64_t i = 0; i < s.batch * s.keys; ++i) {
      hidden[static_cast<std::size_t>(i)] = c.hides && (i % s.keys < 96 ? i < s.keys : i % 5 == 0) ? 3 : 0;
    }
    if (c.hides) options.key_padding_mask = bytes(hidden, {s.batch, s.keys});
    Floats bias;
    if (c.biased) {
      options.attn_mask = normal({s.queries, s.keys}, 0, 2);
      bias = options.attn_mask.to_vector();
    }
    const Tensor y = scaled_dot_product_attention(q, k, v, options);
    sum(y * gy).backward({.retain_graph = true});
    const Reference expected(s, q.to_vector(), k.to_vector(), v.to_vector(), gy.to_vector(), bias,
                             [&](std::int64_t n, std::int64_t i, std::int64_t j) {
                               return hidden[static_cast<std::size_t>(n * s.keys + j)] == 0 && (!c.causal || j <= i);
                             });
    expect_close(y, expected.y, "y", c.tolerance);
    expect_close(q.grad(), expected.gq, "gradient of q", c.tolerance);
    expect_close(k.grad(), expected.gk, "gradient of k", c.tolerance);
    expect_close(v.grad(), expected.gv, "gradient of v", c.tolerance);
  }
}

// Side by side, in rows of three dimensions and in a tensor that is all three at once: the same numbers.
TEST_F(Attention, HeadsMayLieEitherWay) {
  const Tensor x = parameter(normal({2, 100, 24}, 0, 1), "x");
  const auto apart = [](const Tensor& t) { return transpose(reshape(t, {2, 100, 3, 8}), 1, 2); };
  const auto run = [&](const Tensor& y) {
    Tensor leaf = x;
    leaf.zero_grad();
    sum(y * y).backward({.retain_graph = true});
    return std::pair(y.to_vector(), x.grad().to_vector());
  };
  const auto side_by_side = run(scaled_dot_product_attention(x, x, x, {.heads = 3, .causal = true}));
  const Tensor y = scaled_dot_product_attention(apart(x), apart(x), apart(x), {.causal = true});
  const auto other = run(reshape(transpose(y, 1, 2), {2, 100, 24}));
  EXPECT_EQ(side_by_side.first, other.first);
  expect_close(x.grad(), Doubles(side_by_side.second.begin(), side_by_side.second.end()), "gradient");
  const auto packed = run(causal_self_attention(concat({x, x, x}, 2), 3));
  EXPECT_EQ(side_by_side.first, packed.first);
  EXPECT_EQ(scaled_dot_product_attention(x, x, x).to_vector(),
            scaled_dot_product_attention(reshape(x, {2, 1, 100, 24}), reshape(x, {2, 1, 100, 24}),
                                         reshape(x, {2, 1, 100, 24}))
                .to_vector());
}

TEST_F(Attention, QueriesThatSeeNothingGiveZeros) {
  for (const bool by_bias : {false, true}) {
    const Tensor q = parameter(normal({1, 1, 3, 4}, 0, 1), "q");
    const Tensor k = parameter(normal({1, 1, 2, 4}, 0, 1), "k");
    const Tensor v = parameter(normal({1, 1, 2, 4}, 0, 1), "v");
    AttentionOptions options;
    if (by_bias) {
      options.attn_mask = full({1, 1, 1, 2}, -kInf);
    } else {
      options.key_padding_mask = bytes({1, 200}, {1, 2});
    }
    const Tensor y = scaled_dot_product_attention(q, k, v, options);
    sum(y).backward({.retain_graph = true});
    for (const Tensor& zero : {y, q.grad(), k.grad(), v.grad()}) {
      for (const float value : zero.to_vector()) EXPECT_EQ(value, 0) << by_bias;
    }
  }
  // No keys at all.
  const Tensor q = parameter(normal({1, 2, 3, 4}, 0, 1), "q");
  const Tensor y = scaled_dot_product_attention(q, zeros({1, 2, 0, 4}), zeros({1, 2, 0, 5}));
  EXPECT_EQ(y.shape(), Shape({1, 2, 3, 5}));
  sum(y).backward({.retain_graph = true});
  EXPECT_EQ(y.to_vector(), Floats(30, 0.0f));
  EXPECT_EQ(q.grad().to_vector(), Floats(24, 0.0f));
}

// What is hidden, or later, changes no bit, whatever it is; a bad key that is seen makes the row one of NaNs.
TEST_F(Attention, BadValuesReachWhoSeesThem) {
  constexpr std::int64_t kLength = 130;
  constexpr std::int64_t kBad = 70;
  const Tensor q = parameter(normal({1, kLength, 8}, 0, 1), "q");
  const Floats clean = normal({1, kLength, 8}, 0, 1).to_vector();
  std::vector<std::uint8_t> hidden(kLength, 0);
  hidden[kBad] = 1;
  const auto run = [&](float bad, const AttentionOptions& options) {
    Floats values = clean;
    if (bad != 0) std::fill_n(values.begin() + kBad * 8, 8, bad);
    const Tensor k = parameter(tensor(values, {1, kLength, 8}), "k");
    Tensor leaf = q;
    leaf.zero_grad();
    const Tensor y = scaled_dot_product_attention(q, k, k, options);
    sum(y).backward({.retain_graph = true});
    return std::vector<Floats>{y.to_vector(), q.grad().to_vector(), k.grad().to_vector()};
  };
  const AttentionOptions hides{.key_padding_mask = bytes(hidden, {1, kLength})};
  const AttentionOptions causal{.causal = true};
  const std::vector<Floats> expected = run(1, hides);
  const std::vector<Floats> before = run(0, causal);
  for (const float bad : {kNan, kInf, -kInf}) {
    EXPECT_EQ(run(bad, hides), expected) << bad;
    const std::vector<Floats> spoilt = run(bad, causal);
    for (std::size_t what : {0, 1}) {
      EXPECT_EQ(std::memcmp(spoilt[what].data(), before[what].data(), kBad * 8 * sizeof(float)), 0) << bad;
      for (std::size_t i = kBad * 8; i < kLength * 8; ++i) EXPECT_TRUE(std::isnan(spoilt[what][i])) << bad << " " << i;
    }
  }
}

// With equal scores and unit values the output is the matrix of probabilities itself.
TEST_F(Attention, DropoutScalesWhatItKeeps) {
  constexpr std::int64_t kKeys = 128;
  Floats unit(kKeys * kKeys, 0.0f);
  for (std::size_t i = 0; i < kKeys; ++i) unit[i * kKeys + i] = 1;
  const Tensor v = tensor(unit, {1, 1, kKeys, kKeys});
  const Tensor q = zeros({1, 1, 101, 4});
  const Tensor k = zeros({1, 1, kKeys, 4});
  const auto run = [&](float p) { return scaled_dot_product_attention(q, k, v, {.dropout_p = p}).to_vector(); };
  const Floats y = run(0.25f);
  std::int64_t dropped = 0;
  for (const float value : y) {
    if (value == 0) {
      ++dropped;
    } else {
      EXPECT_FLOAT_EQ(value, 1.0f / kKeys / 0.75f);
    }
  }
  EXPECT_NEAR(static_cast<double>(dropped) / static_cast<double>(y.size()), 0.25, 0.02);
  EXPECT_NE(run(0.25f), y);  // the next op has a key of its own
  EXPECT_EQ(run(1), Floats(y.size(), 0.0f));
  const Floats none = run(0);
  EXPECT_EQ(none, Floats(y.size(), 1.0f / kKeys));
  EXPECT_EQ(scaled_dot_product_attention(q, k, v, {.dropout_p = 0.5f, .training = false}).to_vector(), none);
}

TEST(AttentionTeams, GiveTheSameBits) {
  const auto run = [](int threads, std::int64_t heads) {
    Session session({.threads = threads, .seed = 2});
    const auto input = [&](std::int64_t rows) { return parameter(normal({1, heads, rows, 24}, 0, 1), "x"); };
    const Tensor q = input(300);
    const Tensor k = input(210);
    const Tensor v = input(210);
    const Tensor y = scaled_dot_product_attention(q, k, v, {.causal = true, .dropout_p = 0.1f});
    sum(y * y).backward({.retain_graph = true});
    return std::vector<Floats>{y.to_vector(), q.grad().to_vector(), k.grad().to_vector(), v.grad().to_vector()};
  };
  for (const std::int64_t heads : {1, 2, 5}) {
    const std::vector<Floats> one = run(1, heads);
    for (const int threads : {2, 3, 7}) {
      const std::vector<Floats> other = run(threads, heads);
      for (std::size_t i = 0; i < one.size(); ++i) {
        EXPECT_EQ(std::memcmp(one[i].data(), other[i].data(), one[i].size() * sizeof(float)), 0)
            << heads << " heads, " << threads << " threads, " << i;
      }
    }
  }
}

// The scores alone would be 1 GiB.
TEST(AttentionMemory, GrowsWithTheLengthAndNotItsSquare) {
  constexpr std::int64_t kEach = 16_MiB;
  Session session({.budget = 8 * kEach + 40_MiB, .threads = 2});
  std::vector<Tensor> leaves;
  for (int i = 0; i < 3; ++i) leaves.push_back(parameter(normal({2, 8, 4096, 64}, 0, 1), "x"));
  ASSERT_EQ(leaves[0].numel() * 4, kEach);
  const Tensor y = scaled_dot_product_attention(leaves[0], leaves[1], leaves[2], {.causal = true});
  sum(y).backward();
  for (const Tensor& leaf : leaves) EXPECT_TRUE(std::isfinite(leaf.grad().to_vector().back()));
  const Report report = session.report();
  EXPECT_EQ(report.recomputed_ops, 0);
  EXPECT_LE(report.peak_bytes, 8 * kEach + 40_MiB);
}

TEST_F(Attention, WrongCallsAreRefused) {
  const std::string here = "attention_test.cc:";
  const auto x = [](const Shape& shape) { return zeros(shape); };
  struct Case {
    Shape q, k, v;
    AttentionOptions options;
    std::string text;
  };
  const Shape four{2, 4, 5, 6};
  for (const Case& c :
       std::vector<Case>{{four, {2, 3, 5, 6}, {2, 3, 5, 6}, {}, "k [2, 3, 5, 6]"},
                         {four, {2, 4, 5, 7}, {2, 4, 5, 6}, {}, "k [2, 4, 5, 7]"},
                         {four, {2, 4, 5, 6}, {2, 4, 6, 6}, {}, "v [2, 4, 6, 6]"},
                         {{4, 5}, {4, 5}, {4, 5}, {}, "must be [N, H, T, E]"},
                         {four, four, four, {.heads = 2}, "heads = 2 must be left out"},
                         {{2, 5, 7}, {2, 5, 7}, {2, 5, 7}, {.heads = 2}, "heads = 2 side by side"},
                         {{2, 5, 8}, {2, 5, 8}, {2, 5, 8}, {.heads = 0}, "heads = 0"},
                         {four, four, four, {.scale = kNan}, "scale is not finite"},
                         {four, four, four, {.dropout_p = kNan}, "dropout_p is nan"},
                         {four, four, four, {.dropout_p = 1.5f}, "must lie in [0, 1]"},
                         {four, four, four, {.key_padding_mask = zeros({2, 4}, u8)}, "[2, 4] u8; it must be [2, 5] u8"},
                         {four, four, four, {.key_padding_mask = zeros({2, 5})}, "[2, 5] f32; it must be [2, 5] u8"},
                         {four, four, four, {.attn_mask = zeros({3, 5})}, "broadcast to [N, H, T, S] = [2, 4, 5, 5]"},
                         {four, four, four, {.attn_mask = parameter(zeros({5, 5}), "bias")}, "detach()"}}) {
    EXPECT_THAT(
        [&] { (void)scaled_dot_product_attention(x(c.q), x(c.k), x(c.v), c.options); },
        ThrowsMessage<Error>(AllOf(HasSubstr(c.text), HasSubstr("scaled_dot_product_attention"), HasSubstr(here))))
        << c.text;
  }
}

TEST_F(Attention, RotaryEmbeddingDependsOnDistancesAlone) {
  const Tensor q = normal({1, 1, 16}, 0, 1);
  const Tensor k = normal({1, 1, 16}, 0, 1);
  for (const bool interleaved : {false, true}) {
    const auto turned = [&](const Tensor& x, std::int64_t at) {
      return rotary_embedding(x, {.offset = at, .interleaved = interleaved});
    };
    const float near = sum(turned(q, 3) * turned(k, 8)).item();
    const float far = sum(turned(q, 1'000'003) * turned(k, 1'000'008)).item();
    EXPECT_NEAR(near, far, 1e-5f);
    EXPECT_GT(std::fabs(near - sum(q * k).item()), 1e-3f);
    EXPECT_EQ(turned(q, 0).to_vector(), q.to_vector());
    // Back again.
    const Tensor x = parameter(normal({2, 5, 16}, 0, 1), "x");
    const Tensor y = turned(x, 2);
    sum(y * y.detach()).backward();
    const Floats gx = x.grad().to_vector();
    const Floats values = x.to_vector();
    for (std::size_t i = 0; i < gx.size(); ++i) EXPECT_NEAR(gx[i], values[i], 1e-6f);
  }
  const auto says = [](const char* text) {
    return ThrowsMessage<ShapeError>(AllOf(HasSubstr(text), HasSubstr("attention_test.cc:")));
  };
  EXPECT_THAT([] { (void)rotary_embedding(zeros({4, 3})); }, says("[4, 3]"));
  EXPECT_THAT([] { (void)rotary_embedding(zeros({4})); }, says("[4]"));
  EXPECT_THAT([] { (void)rotary_embedding(zeros({4, 8}), {.base = kNan}); }, says("base is nan"));
  EXPECT_THAT([] { (void)rotary_embedding(zeros({4, 8}), {.heads = 3}); }, says("heads = 3"));
  EXPECT_THAT([] { (void)rotary_embedding(zeros({4, 8}), {.positions = zeros({4})}); }, says("[4] f32"));
  EXPECT_THAT([] { (void)rotary_embedding(zeros({4, 8}), {.positions = zeros({3}, i32)}); }, says("[3] i32"));
}

}  // namespace
}  // namespace tidemark
