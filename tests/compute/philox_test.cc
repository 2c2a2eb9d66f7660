#include "compute/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "compute/threads.h"
#include "tests/compute/targets.h"

namespace tidemark::compute {
namespace {

using Block = std::array<std::uint32_t, 4>;

// The known answers that come with Random123.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, StreamIsTheBlocksInOrderOnEveryTarget) {
  const PhiloxKey key{0x0123456789abcdef, 0xfedcba9876543210};
  for (const std::int64_t start : {std::int64_t{0}, (std::int64_t{1} << 34) - 16}) {  // across the carry, too
    std::vector<std::uint32_t> expected;
    for (std::int64_t block = start / 4; block < start / 4 + 16; ++block) {
      const auto b = static_cast<std::uint64_t>(block);
      for (const std::uint32_t word :
           philox4x32({static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32), 0x76543210, 0xfedcba98},
                      {0x89abcdef, 0x01234567})) {
        expected.push_back(word);
      }
    }
    for_each_target([&](const std::string& target) {
      for (std::int64_t first = 0; first < 9; ++first) {
        for (std::int64_t last = first; last <= 64; ++last) {
          std::vector<std::uint32_t> words(static_cast<std::size_t>(last - first) + 1, 0xdeadbeef);
          random_words(key, start + first, start + last, words.data());
          ASSERT_EQ(std::memcmp(words.data(), expected.data() + first, static_cast<std::size_t>(last - first) * 4), 0)
              << target << " " << first << " " << last;
          ASSERT_EQ(words.back(), 0xdeadbeef);
        }
      }
    });
  }
}

TEST(Philox, KeysTellStreamsApart) {
  const RngKey rng{1, 2, 3};
  EXPECT_EQ(philox_key(rng).counter_hi, 0x0000000200000003u);
  std::vector<Block> firsts;
  for (const PhiloxKey key : {philox_key({1, 2, 3}), philox_key({2, 2, 3}), philox_key({1, 3, 3}),
                              philox_key({1, 2, 4}), philox_key({1ull << 32 | 1, 2, 3})}) {
    Block block;
    random_words(key, 0, 4, block.data());
    for (const Block& other : firsts) EXPECT_NE(block, other);
    firsts.push_back(block);
  }
}

template <class Fill>
void same_bits_however_computed(Fill fill) {
  constexpr std::int64_t kN = 10007;
  const PhiloxKey key{42, 7};
  std::vector<float> expected(kN);
  fill(key, 0, kN, expected.data());
  for_each_target([&](const std::string& target) {
    for (const int threads : {1, 2, 3}) {
      std::vector<float> out(kN);
      parallel_for(kN, 1, threads, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; i += 613) fill(key, i, std::min(last, i + 613), out.data() + i);
      });
      ASSERT_EQ(std::memcmp(out.data(), expected.data(), kN * sizeof(float)), 0) << target << " " << threads;
    }
  });
}

TEST(Philox, UniformBitsDoNotDependOnThePartition) { same_bits_however_computed(random_uniform); }
TEST(Philox, NormalBitsDoNotDependOnThePartition) { same_bits_however_computed(random_normal); }

TEST(Philox, UniformIsUniform) {
  std::vector<float> u(1 << 20);
  random_uniform({3, 0}, 0, std::ssize(u), u.data());
  std::vector<int> histogram(64);
  for (const float x : u) {
    ASSERT_GE(x, 0.0f);
    ASSERT_LT(x, 1.0f);
    ++histogram[static_cast<std::size_t>(x * 64)];
  }
  double chi2 = 0;
  for (const int count : histogram) chi2 += (count - 16384.0) * (count - 16384.0) / 16384.0;
  EXPECT_LT(chi2, 120);  // 63 degrees of freedom: mean 63, deviation 11
  EXPECT_GT(chi2, 25);
}

TEST(Philox, NormalFollowsTheFormula) {
  std::vector<float> z(4096);
  std::vector<std::uint32_t> w(z.size());
  random_normal({5, 1}, 0, std::ssize(z), z.data());
  random_words({5, 1}, 0, std::ssize(w), w.data());
  for (std::size_t i = 0; i < z.size(); i += 2) {
    const double radius = std::sqrt(-2 * std::log((w[i] + 0.5) / 4294967296.0));
    const double angle = 2 * 3.14159265358979323846 * w[i + 1] / 4294967296.0;
    ASSERT_NEAR(z[i], radius * std::cos(angle), 3e-7);
    ASSERT_NEAR(z[i + 1], radius * std::sin(angle), 3e-7);
  }
}

TEST(Philox, NormalHasItsMoments) {
  std::vector<float> z(1 << 20);
  random_normal({6, 0}, 0, std::ssize(z), z.data());
  double sum = 0;
  double squares = 0;
  double fourth = 0;
  double neighbours = 0;
  for (std::size_t i = 0; i < z.size(); ++i) {
    const double x = z[i];
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
    if (i > 0) neighbours += x * z[i - 1];
  }
  const double n = static_cast<double>(z.size());
  EXPECT_NEAR(sum / n, 0, 0.004);
  EXPECT_NEAR(squares / n, 1, 0.006);
  EXPECT_NEAR(fourth / n, 3, 0.04);
  EXPECT_NEAR(neighbours / n, 0, 0.004);
}

}  // namespace
}  // namespace tidemark::compute
