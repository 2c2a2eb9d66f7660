// Equal bits, by memcmp over parameters and state: at every number of threads, on every instruction set, for a partial
// last block, and after a run was stopped and resumed.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/compute/targets.h"
#include "tests/optim/arrays.h"

namespace tidemark::optim {
namespace {

using testing::Arrays;

struct Kind {
  const char* name;
  Format format;
  int moments;
  std::function<void(Arrays&, std::int64_t, int)> step;  // of this number, on so many threads
};

std::vector<Kind> kinds() {
  const auto adamw = [](Arrays& arrays, std::int64_t t, int threads) {
    arrays.step(AdamWStep{.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .weight_decay = 0.1f, .step = t},
                threads);
  };
  const auto sgd = [](float momentum, bool nesterov) {
    return [=](Arrays& arrays, std::int64_t t, int threads) {
      arrays.step(SgdStep{.lr = 1e-2f, .momentum = momentum, .weight_decay = 1e-3f, .nesterov = nesterov, .step = t},
                  threads);
    };
  };
  const auto adam = [](Arrays& arrays, std::int64_t t, int threads) {
    arrays.step(AdamStep{.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .weight_decay = 0.1f, .step = t},
                threads);
  };
  const auto adagrad = [](Arrays& arrays, std::int64_t t, int threads) {
    arrays.step(
        AdagradStep{.lr = 1e-2f, .lr_decay = 0.1f, .eps = 1e-10f, .weight_decay = 0.1f, .initial = 1e-4f, .step = t},
        threads);
  };
  const auto rmsprop = [](bool centered, bool buffered) {
    return [=](Arrays& arrays, std::int64_t t, int threads) {
      arrays.step(RmspropStep{.lr = 1e-2f,
                              .alpha = 0.9f,
                              .eps = 1e-8f,
                              .momentum = buffered ? 0.9f : 0,
                              .weight_decay = 0.1f,
                              .centered = centered,
                              .buffered = buffered,
                              .step = t},
                  threads);
    };
  };
  const auto lion = [](Arrays& arrays, std::int64_t t, int threads) {
    arrays.step(LionStep{.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.99f, .weight_decay = 0.1f, .step = t}, threads);
  };
  return {{"adamw f16", Format::kF16, 2, adamw},
          {"adamw f32", Format::kF32, 2, adamw},
          {"sgd f16", Format::kF16, 1, sgd(0.9f, false)},
          {"sgd f32", Format::kF32, 1, sgd(0.9f, false)},
          {"sgd nesterov f16", Format::kF16, 1, sgd(0.9f, true)},
          {"sgd nesterov f32", Format::kF32, 1, sgd(0.9f, true)},
          {"sgd without momentum", Format::kF16, 0, sgd(0, false)},
          {"adam f16", Format::kF16, 2, adam},
          {"adam f32", Format::kF32, 2, adam},
          {"adagrad f16", Format::kF16, 1, adagrad},
          {"adagrad f32", Format::kF32, 1, adagrad},
          {"rmsprop f16", Format::kF16, 1, rmsprop(false, false)},
          {"rmsprop f32", Format::kF32, 1, rmsprop(false, false)},
          {"rmsprop momentum f16", Format::kF16, 2, rmsprop(false, true)},
          {"rmsprop centered f16", Format::kF16, 2, rmsprop(true, false)},
          {"rmsprop centered momentum f16", Format::kF16, 3, rmsprop(true, true)},
          {"rmsprop centered momentum f32", Format::kF32, 3, rmsprop(true, true)},
          {"lion f16", Format::kF16, 1, lion},
          {"lion f32", Format::kF32, 1, lion}};
}

// Gradients of every kind: spread over 40 octaves, zeros, subnormals, the largest and the smallest that there are.
// Drawn once for each step and size.
const std::vector<float>& hostile(std::size_t n, int t) {
  static std::map<std::pair<std::size_t, int>, std::vector<float>> drawn;
  std::vector<float>& g = drawn[{n, t}];
  if (!g.empty()) return g;
  g.resize(n);
  testing::fill_spread(g, static_cast<std::uint64_t>(t), 40);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t what = (i * 2654435761u + static_cast<std::size_t>(t)) % 97;
    if (what < 10) g[i] = 0;
    if (what == 10) g[i] = -0.0f;
    if (what == 11) g[i] = std::numeric_limits<float>::denorm_min();
    if (what == 12) g[i] = -1e-40f;
    if (what == 13) g[i] = std::numeric_limits<float>::min();
    if (what == 14 && i / 256 % 5 == 1) g[i] = std::nextafter(kGradientLimit, 0.0f);
    if (i / 256 % 7 == 3) g[i] = 0;  // whole blocks
    if (i / 256 % 7 == 5) g[i] *= 1e-30f;
  }
  return g;
}

constexpr int kSteps = 6;
Arrays run(const Kind& kind, std::int64_t n, int threads, int first = 1, int last = kSteps,
           std::optional<Arrays> from = {}) {
  Arrays arrays = from ? *from : Arrays(kind.format, kind.moments, n);
  if (!from) std::copy_n(hostile(arrays.g.size(), 0).begin(), n, arrays.p.begin());
  for (int t = first; t <= last; ++t) {
    arrays.g = hostile(arrays.g.size(), t);
    kind.step(arrays, t, threads);
  }
  return arrays;
}

TEST(Bits, AreEqualAtEveryNumberOfThreads) {
  for (const Kind& kind : kinds()) {
    for (const std::int64_t n : {1, 255, 256, 257, 8191, 100'003, 1'000'003}) {
      const Arrays one = run(kind, n, 1, 1, n > 500'000 ? 2 : kSteps);
      for (const int threads : {2, 3}) {
        EXPECT_TRUE(same_bits(one, run(kind, n, threads, 1, n > 500'000 ? 2 : kSteps)))
            << kind.name << ", " << n << " elements, " << threads << " threads";
      }
    }
  }
}

TEST(Bits, AreEqualOnEveryInstructionSet) {
  for (const Kind& kind : kinds()) {
    std::optional<Arrays> first;
    std::string first_target;
    int targets = 0;
    for_each_target([&](const std::string& target) {
      const Arrays arrays = run(kind, 40'003, 1);
      if (!first) {
        first = arrays;
        first_target = target;
      }
      EXPECT_TRUE(same_bits(*first, arrays)) << kind.name << " on " << target << " and on " << first_target;
      ++targets;
    });
    EXPECT_GE(targets, 2);
  }
}

// Sums that lie so near the middle of two floats that a double does not show on which side: also where the processor
// has no fused multiply-add, the product and the sum are rounded once, together.
TEST(Bits, OfAFusedMultiplyAddAreRoundedOnce) {
  const float below = 1 - 0x1p-20f;             // (1 + 2^-20) (1 - 2^-20) = 1 - 2^-40
  const float above = 1 - 0x1p-12f + 0x1p-24f;  // (1 + 2^-12) (1 - 2^-12 + 2^-24) = 1 + 2^-36
  const float p[] = {1, 1 + 0x1p-23f, -1, -1 - 0x1p-23f, 1.5f, -1.5f - 0x1p-23f};
  for (const auto& [lr, factor] : {std::pair{1 + 0x1p-20f, below}, std::pair{1 + 0x1p-12f, above}}) {
    for (const float half_ulp : {0x1p-24f, -0x1p-24f}) {
      for_each_target([&, lr = lr, factor = factor](const std::string& target) {
        Arrays arrays(Format::kF32, 0, 300);
        for (std::size_t i = 0; i < arrays.g.size(); ++i) {
          arrays.p[i] = p[i % std::size(p)];
          arrays.g[i] = half_ulp * factor;
        }
        arrays.step(SgdStep{.lr = lr});
        for (std::size_t i = 0; i < arrays.g.size(); ++i) {
          const float expected = std::fma(-lr, half_ulp * factor, p[i % std::size(p)]);
          ASSERT_EQ(arrays.p[i], expected) << target << ": " << p[i % std::size(p)];
        }
      });
    }
  }
}

TEST(Bits, OfGradientChecksAreEqualOnEveryInstructionSet) {
  std::vector<float> g(1000, 1.0f);
  for_each_target([&](const std::string& target) {
    for (std::size_t at = 0; at < g.size(); at += 37) {
      g[at] = -std::nanf("");
      EXPECT_FALSE(all_finite(g.data(), 1000, 1)) << target << " at " << at;
      g[at] = 1;
      EXPECT_TRUE(all_finite(g.data(), 1000, 1)) << target;
    }
  });
}

// The last block is treated as a full one with zeros behind, and nothing behind it is touched.
TEST(Bits, OfAPartialBlockAreThoseOfAFullOne) {
  for (const Kind& kind : kinds()) {
    for (const std::int64_t n : {1, 2, 15, 100, 255, 257, 300, 511, 1'000'003}) {
      const std::int64_t whole = blocks_of(n) * kBlock;
      Arrays part(kind.format, kind.moments, n);
      Arrays full(kind.format, kind.moments, whole);
      for (Arrays* arrays : {&part, &full}) std::copy_n(hostile(part.g.size(), 0).begin(), n, arrays->p.begin());
      for (int t = 1; t <= (n > 1000 ? 1 : kSteps); ++t) {
        part.g = hostile(part.g.size(), t);
        std::copy_n(part.g.begin(), n, full.g.begin());
        kind.step(part, t, 2);
        kind.step(full, t, 2);
      }
      EXPECT_TRUE(part.guards_whole() && full.guards_whole()) << kind.name << ", " << n << " elements";
      for (std::int64_t i = 0; i < n; ++i) {
        const auto at = static_cast<std::size_t>(i);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(part.p[at]), std::bit_cast<std::uint32_t>(full.p[at]))
            << kind.name << " " << i << " of " << n;
        for (int moment = 0; moment < kind.moments; ++moment) {
          ASSERT_EQ(part.raw(moment, i), full.raw(moment, i)) << kind.name << " " << i << " of " << n;
        }
      }
    }
  }
}

TEST(Bits, AreEqualAfterAResume) {
  for (const Kind& kind : kinds()) {
    const Arrays whole = run(kind, 5003, 2);
    Arrays half = run(kind, 5003, 1, 1, kSteps / 2);
    Arrays resumed(kind.format, kind.moments, 5003);
    resumed.p = half.p;
    resumed.bytes = half.bytes;
    EXPECT_FALSE(same_bits(whole, half)) << kind.name;
    EXPECT_TRUE(same_bits(whole, run(kind, 5003, 2, kSteps / 2 + 1, kSteps, resumed))) << kind.name;
  }
}

// FNV-1a over parameters and state.
std::uint64_t hash_of(const Arrays& arrays) {
  std::uint64_t hash = 0xCBF29CE484222325u;
  const auto add = [&](const void* data, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) {
      hash = (hash ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001B3u;
    }
  };
  add(arrays.p.data(), arrays.p.size() * sizeof(float));
  add(arrays.bytes.data(), arrays.bytes.size());
  return hash;
}

// A run that was saved by an earlier version goes on in this one.
TEST(Bits, AreThoseOfEarlierVersions) {
  const std::map<std::string, std::uint64_t> expected = {
      {"adamw f16", 0xe5b6ba295ccceee1u},
      {"adamw f32", 0xdef081721cd19067u},
      {"sgd f16", 0x39841181a35630e7u},
      {"sgd f32", 0x36f89fce6113eefcu},
      {"sgd nesterov f16", 0xf00f717c3ffadab6u},
      {"sgd nesterov f32", 0xbf870db0454d3f26u},
      {"sgd without momentum", 0x54c8cd461dd174e3u},
      {"adam f16", 0x7a4c098a94af6ac3u},
      {"adam f32", 0x37f35bcf0767946eu},
      {"adagrad f16", 0x9510e3a944cc7841u},
      {"adagrad f32", 0x33006d30a93365efu},
      {"rmsprop f16", 0x621a4af1d8b12c28u},
      {"rmsprop f32", 0xcb795d2edccd5037u},
      {"rmsprop momentum f16", 0xd628871c65dd4441u},
      {"rmsprop centered f16", 0x43740f4b26ac08adu},
      {"rmsprop centered momentum f16", 0x67d1d015fc29b859u},
      {"rmsprop centered momentum f32", 0x5790b16f262a73c6u},
      {"lion f16", 0x950415675cc64f11u},
      {"lion f32", 0xfbc26dcf821fad3au},
  };
  for (const Kind& kind : kinds()) {
    const std::uint64_t hash = hash_of(run(kind, 40'003, 2));
    const auto known = expected.find(kind.name);
    EXPECT_NE(known, expected.end()) << "{\"" << kind.name << "\", 0x" << std::hex << hash << "u},";
    if (known == expected.end()) continue;
    EXPECT_EQ(hash, known->second) << kind.name << ": 0x" << std::hex << hash;
  }
}

// What is stored depends on the step's number: the dither of step 4 is not that of step 3.
TEST(Bits, FollowTheStepNumber) {
  for (const Kind& kind : kinds()) {
    if (kind.format == Format::kF32 || kind.moments != 1) continue;
    const Arrays third = run(kind, 512, 1, 3, 3);
    Arrays other = third;
    other.forget();
    kind.step(other, 4, 1);
    EXPECT_NE(third.bytes, other.bytes) << kind.name;
  }
}

}  // namespace
}  // namespace tidemark::optim
