// Products of small integers are exact in f32 whatever the order of their sums, so results are compared bit by bit.
#include "compute/gemm.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/compute/targets.h"

namespace tidemark::compute {
namespace {

struct Case {
  std::int64_t m, n, k;
};

// Both sides of every boundary: tiles, blocks, few rows and many, vectors that are not full.
const std::vector<Case> kCases = {
    {1, 1, 1},      {1, 100, 37},  {2, 3, 5},      {3, 48, 16},    {7, 50, 2},     {8, 96, 2049},  {9, 49, 17},
    {12, 33, 3000}, {16, 7, 64},   {31, 145, 33},  {32, 64, 300},  {33, 64, 300},  {40, 1, 9},     {64, 31, 257},
    {96, 48, 256},  {97, 47, 255}, {100, 577, 10}, {105, 600, 70}, {200, 17, 513}, {13, 1155, 19}, {4, 6, 10000},
    {193, 95, 1},   {1000, 5, 3},  {8, 8, 8},      {5, 2000, 31},
};

constexpr float kGap = -777;

std::vector<float> integers(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& x : out) x = static_cast<float>(static_cast<int>(random() % 9) - 4);
  return out;
}

std::vector<float> fractions(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& x : out) x = static_cast<float>(random()) * 0x1p-32f - 0.4f;
  return out;
}

// A product whose operands have gaps between their rows.
Gemm with_gaps(const Case& c, bool transpose_a, bool transpose_b) {
  Gemm g = Gemm::dense(c.m, c.n, c.k, transpose_a, transpose_b);
  g.lda += 3;
  g.ldb += 5;
  g.ldc += 2;
  return g;
}

std::int64_t a_floats(const Gemm& g) { return (g.transpose_a ? g.k : g.m) * g.lda; }
std::int64_t b_floats(const Gemm& g) { return (g.transpose_b ? g.n : g.k) * g.ldb; }
std::int64_t c_floats(const Gemm& g) { return g.m * g.ldc; }

std::vector<float> expected(const Gemm& g, const std::vector<float>& a, const std::vector<float>& b, const float* bias,
                            std::vector<float> c, bool accumulate) {
  const auto at = [](const std::vector<float>& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; };
  for (std::int64_t i = 0; i < g.m; ++i) {
    for (std::int64_t j = 0; j < g.n; ++j) {
      float& to = c[static_cast<std::size_t>(i * g.ldc + j)];
      float sum = (accumulate ? to : 0.0f) + (bias != nullptr ? bias[j] : 0.0f);
      for (std::int64_t p = 0; p < g.k; ++p) {
        sum +=
            at(a, g.transpose_a ? p * g.lda + i : i * g.lda + p) * at(b, g.transpose_b ? j * g.ldb + p : p * g.ldb + j);
      }
      to = sum;
    }
  }
  return c;
}

// Runs with exactly the scratch that was asked for, and sees to it that no more is touched.
void run(const Gemm& g, const std::vector<float>& a, const std::vector<float>& b, const float* bias,
         std::vector<float>& c, bool accumulate, int threads) {
  const auto floats = static_cast<std::size_t>(gemm_scratch(g, threads)) / sizeof(float);
  std::vector<float> scratch(floats + 64, kGap);
  gemm(g, a.data(), b.data(), bias, c.data(), accumulate, scratch.data(), threads);
  for (std::size_t i = floats; i < scratch.size(); ++i) ASSERT_EQ(scratch[i], kGap) << "beyond the scratch";
}

void expect_same(const std::vector<float>& x, const std::vector<float>& y, const std::string& what) {
  ASSERT_EQ(x.size(), y.size());
  EXPECT_EQ(std::memcmp(x.data(), y.data(), x.size() * sizeof(float)), 0) << what;
}

std::string text_of(const Gemm& g) {
  return std::to_string(g.m) + " x " + std::to_string(g.n) + " x " + std::to_string(g.k) +
         (g.transpose_a ? " A transposed" : "") + (g.transpose_b ? " B transposed" : "");
}

template <class F>
void for_each_product(F&& f) {
  for (const Case& c : kCases) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) f(with_gaps(c, transpose_a, transpose_b));
    }
  }
}

TEST(Gemm, IsTheProductOnEveryInstructionSet) {
  for_each_product([](const Gemm& g) {
    const auto a = integers(a_floats(g), 1);
    const auto b = integers(b_floats(g), 2);
    const auto bias = integers(g.n, 3);
    const auto before = integers(c_floats(g), 4);
    const auto product = expected(g, a, b, bias.data(), before, false);
    const auto sum = expected(g, a, b, nullptr, before, true);
    for_each_target([&](const std::string& target) {
      auto c = before;
      run(g, a, b, bias.data(), c, false, 2);
      expect_same(c, product, target + ": " + text_of(g));
      c = before;
      run(g, a, b, nullptr, c, true, 2);
      expect_same(c, sum, target + ": added, " + text_of(g));
    });
  });
}

TEST(Gemm, GivesTheSameBitsAtEveryNumberOfThreads) {
  for_each_product([](const Gemm& g) {
    const auto a = fractions(a_floats(g), 5);
    const auto b = fractions(b_floats(g), 6);
    const auto bias = fractions(g.n, 7);
    std::vector<float> alone(static_cast<std::size_t>(c_floats(g)), kGap);
    run(g, a, b, bias.data(), alone, false, 1);
    for (const int threads : {2, 3, 6}) {
      std::vector<float> c(alone.size(), kGap);
      run(g, a, b, bias.data(), c, false, threads);
      expect_same(c, alone, std::to_string(threads) + " threads: " + text_of(g));
    }
  });
}

// C is written past the caches from some size on.
TEST(Gemm, IsTheProductWhereTheResultIsLarge) {
  for (const std::int64_t n : {2048, 2051}) {
    const Gemm g = Gemm::dense(2050, n, 3, true, false);
    const auto a = integers(a_floats(g), 8);
    const auto b = integers(b_floats(g), 9);
    std::vector<float> c(static_cast<std::size_t>(c_floats(g)), kGap);
    const auto product = expected(g, a, b, nullptr, c, false);
    run(g, a, b, nullptr, c, false, 2);
    expect_same(c, product, text_of(g));
  }
}

TEST(Gemm, WithNothingToSumIsTheBias) {
  const Gemm g = Gemm::dense(3, 4, 0);
  const std::vector<float> bias = {1, 2, 3, 4};
  std::vector<float> c(12, kGap);
  gemm(g, nullptr, nullptr, bias.data(), c.data(), false, nullptr, 2);
  for (std::size_t i = 0; i < c.size(); ++i) EXPECT_EQ(c[i], bias[i % 4]);
  gemm(g, nullptr, nullptr, nullptr, c.data(), true, nullptr, 2);
  for (std::size_t i = 0; i < c.size(); ++i) EXPECT_EQ(c[i], bias[i % 4]);
}

TEST(GemmBatch, IsItsProducts) {
  constexpr std::int64_t kCount = 7;
  for (const Case& size : {Case{5, 6, 7}, Case{40, 50, 60}, Case{64, 20, 300}}) {
    const Gemm g = Gemm::dense(size.m, size.n, size.k);
    const auto a = fractions(kCount * a_floats(g), 10);
    const auto b = fractions(kCount * b_floats(g), 11);
    std::vector<float> each(static_cast<std::size_t>(kCount * c_floats(g)), kGap);
    std::vector<float> scratch(static_cast<std::size_t>(gemm_scratch(g, 3)) / sizeof(float));
    for (std::int64_t i = 0; i < kCount; ++i) {
      gemm(g, a.data() + i * a_floats(g), b.data() + i * b_floats(g), nullptr, each.data() + i * c_floats(g), false,
           scratch.data(), 1);
    }
    for (const int threads : {1, 2, 3}) {
      std::vector<float> c(each.size(), kGap);
      gemm_batch(g, kCount, a.data(), a_floats(g), b.data(), b_floats(g), c.data(), c_floats(g), false, scratch.data(),
                 threads);
      expect_same(c, each, std::to_string(threads) + " threads: " + text_of(g));
    }
  }
}

}  // namespace
}  // namespace tidemark::compute
