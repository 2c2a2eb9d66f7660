// What single ops promise beyond the table: indices out of range, extreme values, masks, references in double.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "compute/philox.h"
#include "ops/table.h"
#include "tests/ops/harness.h"

namespace tidemark::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// The op of a sample of the table.
std::shared_ptr<const AnyOp> op_of(std::string_view name, std::string_view label) {
  for (const ops::OpEntry& entry : ops::op_table()) {
    if (entry.name != name) continue;
    for (const Sample& sample : entry.samples()) {
      if (sample.label == label) return sample.op;
    }
  }
  ADD_FAILURE() << "no sample " << label << " of " << name;
  return nullptr;
}

Array array(const Shape& shape, std::initializer_list<float> values) {
  Array out = Array::of(shape);
  std::ranges::copy(values, out.as().begin());
  return out;
}

Array indices(const Shape& shape, std::initializer_list<std::int32_t> values) {
  Array out = Array::of(shape, i32);
  std::ranges::copy(values, out.as<std::int32_t>().begin());
  return out;
}

void expect_refused(std::string_view name, std::string_view label, const Meta& data, const Meta& picks,
                    bool picks_first, std::int32_t bad, const std::string& text) {
  compute::Machine machine(2);
  const auto op = op_of(name, label);
  const std::vector<Meta> metas = picks_first ? std::vector{picks, data} : std::vector{data, picks};
  Prep prep(machine, name, {});
  const Prepared prepared = op->prepare(prep, metas, Needs());
  std::vector<float> values(static_cast<std::size_t>(data.shape.numel()), 1.0f);
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(picks.shape.numel()), 0);
  chosen.back() = bad;
  Buf in[] = {{values.data(), &data}, {chosen.data(), &picks}};
  if (picks_first) std::swap(in[0], in[1]);
  std::vector<std::vector<float>> results;
  std::vector<Buf> out;
  for (const Meta& meta : prepared.outputs) {
    results.emplace_back(static_cast<std::size_t>(meta.shape.numel()), -7.0f);
    out.push_back({results.back().data(), &meta});
  }
  Ctx ctx(machine, prepared.state.get(), nullptr, {}, false);
  try {
    op->forward(ctx, in, out);
    ADD_FAILURE() << name << " took " << bad;
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
  for (const auto& result : results) {
    for (const float value : result) EXPECT_EQ(value, -7.0f) << "something was written";
  }
}

TEST(Embedding, RefusesIndicesOutOfRangeBeforeWriting) {
  for (const std::int32_t bad : {-1, 7, 1 << 30}) {
    expect_refused("embedding", "repeated", Meta::plain({7, 4}), Meta::plain({2, 3}, i32), true, bad,
                   std::string("index ") + std::to_string(bad) + " at position 5 is outside [0, 7)");
  }
}

TEST(CrossEntropy, RefusesClassesOutOfRangeBeforeWriting) {
  for (const std::int32_t bad : {-1, 10}) {
    expect_refused("cross_entropy", "batch", Meta::plain({4, 10}), Meta::plain({4}, i32), false, bad,
                   std::string("class ") + std::to_string(bad) + " at position 3 is outside [0, 10)");
  }
}

TEST(CrossEntropy, HoldsForLargeLogits) {
  Harness harness(2);
  const Array logits = array({2, 3}, {1000, 0, -1000, -2000, -2001, -kInf});
  const Array loss = harness.forward(*op_of("cross_entropy", "batch"), std::vector{logits, indices({2}, {0, 1})});
  EXPECT_NEAR(loss.as()[0], (0 + std::log1p(std::exp(1.0))) / 2, 1e-3);
}

TEST(Softmax, HoldsForLargeValues) {
  Harness harness(2);
  const Array y =
      harness.forward(*op_of("softmax", "rows"), std::vector{array({2, 3}, {3e38f, 3e38f, -3e38f, -kInf, 5, 5})});
  const float expected[] = {0.5f, 0.5f, 0, 0, 0.5f, 0.5f};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(y.as()[i], expected[i]) << i;
}

TEST(Gelu, IsAccurateInBothTails) {
  Harness harness(2);
  Array x = Array::of({4001});
  for (std::size_t i = 0; i < 4001; ++i) x.as()[i] = static_cast<float>(static_cast<double>(i) * 0.005 - 10);
  const Array y = harness.forward(*op_of("gelu", "matrix"), std::vector{x});
  double worst = 0;
  for (std::size_t i = 0; i < 4001; ++i) {
    const double v = x.as()[i];
    const double exact = v * 0.5 * std::erfc(-v / std::sqrt(2.0));
    if (v != 0) worst = std::max(worst, std::fabs(double{y.as()[i]} / exact - 1));
  }
  EXPECT_LT(worst, 1e-6);
}

TEST(Dropout, FollowsTheKeysStream) {
  Harness harness(2);
  Array x = Array::of({100, 1000});
  std::ranges::fill(x.as(), 1.0f);
  const Trial trial{.key = {11, 2, 9}};
  const Array y = harness.forward(*op_of("dropout", "tenth"), std::vector{x}, trial);
  std::vector<std::uint32_t> words(x.as().size());
  compute::random_words(compute::philox_key(trial.key), 0, static_cast<std::int64_t>(words.size()), words.data());
  double kept = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool keep = words[i] >= static_cast<std::uint32_t>(double{0.1f} * 0x1p32);
    EXPECT_EQ(y.as()[i], keep ? 1.0f / 0.9f : 0.0f) << i;
    kept += keep ? 1 : 0;
  }
  EXPECT_NEAR(kept / 1e5, 0.9, 0.004);
  for (const RngKey& other : {RngKey{12, 2, 9}, RngKey{11, 3, 9}, RngKey{11, 2, 10}}) {
    EXPECT_NE(harness.forward(*op_of("dropout", "tenth"), std::vector{x}, {.key = other}).bytes, y.bytes);
  }
}

// Against the definition, in double, across several blocks of queries.
TEST(Attention, IsTheDefinition) {
  Harness harness(2);
  constexpr std::int64_t kLength = 150;
  constexpr std::int64_t kHeads = 2;
  constexpr std::int64_t kSize = 15;
  constexpr std::int64_t kWidth = kHeads * kSize;
  const Array qkv = draw_normal({1, kLength, 3 * kWidth}, 3);
  const Array y = harness.forward(*op_of("causal_self_attention", "two_heads"), std::vector{qkv});
  const auto at = [&](std::int64_t row, std::int64_t column) {
    return double{qkv.as()[static_cast<std::size_t>(row * 3 * kWidth + column)]};
  };
  for (std::int64_t head = 0; head < kHeads; ++head) {
    for (std::int64_t i = 0; i < kLength; ++i) {
      std::vector<double> weights;
      double total = 0;
      for (std::int64_t j = 0; j <= i; ++j) {
        double score = 0;
        for (std::int64_t c = 0; c < kSize; ++c) score += at(i, head * kSize + c) * at(j, kWidth + head * kSize + c);
        weights.push_back(std::exp(score / std::sqrt(double{kSize})));
        total += weights.back();
      }
      for (std::int64_t c = 0; c < kSize; ++c) {
        double expected = 0;
        for (std::int64_t j = 0; j <= i; ++j) {
          expected += weights[static_cast<std::size_t>(j)] / total * at(j, 2 * kWidth + head * kSize + c);
        }
        EXPECT_NEAR(y.as()[static_cast<std::size_t>(i * kWidth + head * kSize + c)], expected, 2e-6);
      }
    }
  }
}

// No position sees a later one.
TEST(Attention, IsCausal) {
  Harness harness(2);
  Array qkv = draw_normal({1, 60, 24}, 8);
  const auto op = op_of("causal_self_attention", "two_heads");
  const Array before = harness.forward(*op, std::vector{qkv});
  for (std::size_t i = 40 * 24; i < 60 * 24; ++i) qkv.as()[i] = 9;
  const Array after = harness.forward(*op, std::vector{qkv});
  EXPECT_EQ(std::memcmp(before.bytes.data(), after.bytes.data(), 40 * 8 * sizeof(float)), 0);
}

TEST(LayerNorm, HoldsForALargeMean) {
  Harness harness(2);
  Array x = draw_normal({4, 64}, 5);
  const Array small = harness.forward(*op_of("layer_norm", "rows"), std::vector{x, array({64}, {}), array({64}, {})});
  for (const float value : small.as()) EXPECT_EQ(value, 0);
  Array ones = Array::of({64});
  std::ranges::fill(ones.as(), 1.0f);
  for (float& value : x.as()) value = std::round(value * 64) / 64;
  const Array near = harness.forward(*op_of("layer_norm", "rows"), std::vector{x, ones, array({64}, {})});
  for (float& value : x.as()) value += 4096;
  const Array far = harness.forward(*op_of("layer_norm", "rows"), std::vector{x, ones, array({64}, {})});
  for (std::size_t i = 0; i < near.as().size(); ++i) EXPECT_NEAR(near.as()[i], far.as()[i], 2e-3) << i;
}

}  // namespace
}  // namespace tidemark::testing
