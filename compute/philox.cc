#include "compute/philox.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "compute/philox.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::compute::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Whole blocks [first, last), four words each.
#if HWY_TARGET == HWY_SCALAR
void Blocks(PhiloxKey key, std::int64_t first, std::int64_t last, std::uint32_t* out) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  for (std::int64_t block = first; block < last; ++block, out += 4) {
    const auto index = static_cast<std::uint64_t>(block);
    const auto words = philox4x32({low(index), high(index), low(key.counter_hi), high(key.counter_hi)},
                                  {low(key.seed), high(key.seed)});
    std::copy(words.begin(), words.end(), out);
  }
}
#else
// A lane of 64 bits computes one block; of the counter's words only the lower half of a lane counts, so that a
// product's upper half need not be cleared between rounds.
void Blocks(PhiloxKey key, std::int64_t first, std::int64_t last, std::uint32_t* out) {
  const hn::ScalableTag<std::uint64_t> d;
  const hn::Repartition<std::uint32_t, decltype(d)> d32;
  using V = hn::Vec<decltype(d)>;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const V factor_a = hn::Set(d, 0xD2511F53u);
  const V factor_b = hn::Set(d, 0xCD9E8D57u);
  for (std::int64_t block = first; block < last; block += lanes) {
    const V index = hn::Iota(d, static_cast<std::uint64_t>(block));
    V c0 = index;
    V c1 = hn::ShiftRight<32>(index);
    V c2 = hn::Set(d, key.counter_hi);
    V c3 = hn::Set(d, key.counter_hi >> 32);
    auto k0 = static_cast<std::uint32_t>(key.seed);
    auto k1 = static_cast<std::uint32_t>(key.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const V a = hn::MulEven(hn::BitCast(d32, c0), hn::BitCast(d32, factor_a));
      const V b = hn::MulEven(hn::BitCast(d32, c2), hn::BitCast(d32, factor_b));
      c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(b), c1), hn::Set(d, k0));
      c1 = b;
      c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(a), c3), hn::Set(d, k1));
      c3 = a;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    // A lane of each result holds two words of its block.
    const V words01 = hn::BitCast(d, hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(c1)), hn::BitCast(d32, c0)));
    const V words23 = hn::BitCast(d, hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(c3)), hn::BitCast(d32, c2)));
    std::uint64_t pairs[2 * hn::MaxLanes(d)];
    hn::StoreInterleaved2(words01, words23, d, pairs);
    std::memcpy(out + 4 * (block - first), pairs, static_cast<std::size_t>(16 * std::min(lanes, last - block)));
  }
}
#endif

}  // namespace tidemark::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::compute {

HWY_EXPORT(Blocks);

namespace {

constexpr std::int64_t kChunk = 1024;  // words that are turned into floats at a time

// The natural logarithm of u in (0, 1]. Plain additions and multiplications in a fixed order, here and below: the C
// library chooses its code by the processor, and its last bit with it.
double log_of(double u) {
  const auto bits = std::bit_cast<std::uint64_t>(u);
  // u = m * 2^e with m in [sqrt(1/2), sqrt(2)).
  constexpr std::uint64_t kSqrtHalf = 0x3FE6A09E667F3BCDu;
  const std::uint64_t shifted = bits - kSqrtHalf;
  const auto e = static_cast<std::int64_t>(shifted) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(e) << 52));
  // ln m = 2 artanh(t), |t| <= 0.172: the series to t^19 leaves 1e-17.
  const double t = (m - 1) / (m + 1);
  const double t2 = t * t;
  double sum = 1.0 / 19;
  for (const double term : {1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3, 1.0}) {
    sum = sum * t2 + term;
  }
  constexpr double kLn2 = 0.693147180559945309417;
  return static_cast<double>(e) * kLn2 + 2 * t * sum;
}

// Cosine and sine of the angle that is w / 2^32 of a full turn.
std::pair<double, double> turn(std::uint32_t w) {
  const std::uint32_t quadrant = (w + (1u << 29)) >> 30;
  const auto rest = static_cast<std::int32_t>(w - (quadrant << 30));
  constexpr double kHalfPi = 1.57079632679489661923;
  const double x = rest * (kHalfPi * 0x1p-30);  // in [-pi/4, pi/4]: the series below leave 1e-11
  const double x2 = x * x;
  double s = -1.0 / 39916800;
  for (const double term : {1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6, 1.0}) s = s * x2 + term;
  s *= x;
  double c = 1.0 / 479001600;
  for (const double term : {-1.0 / 3628800, 1.0 / 40320, -1.0 / 720, 1.0 / 24, -0.5, 1.0}) c = c * x2 + term;
  if ((quadrant & 1) != 0) {
    const double old = c;
    c = -s;
    s = old;
  }
  return (quadrant & 2) != 0 ? std::pair(-c, -s) : std::pair(c, s);
}

}  // namespace

void random_words(PhiloxKey key, std::int64_t first, std::int64_t last, std::uint32_t* out) {
  const auto part = [&](std::int64_t block, std::int64_t from, std::int64_t to) {
    std::uint32_t words[4];
    HWY_DYNAMIC_DISPATCH(Blocks)(key, block, block + 1, words);
    out = std::copy(words + from, words + to, out);
  };
  if (first >= last) return;
  if (first % 4 != 0) {
    const std::int64_t block = first / 4;
    const std::int64_t end = std::min(last, 4 * (block + 1));
    part(block, first % 4, end - 4 * block);
    first = end;
  }
  const std::int64_t whole = (last - first) / 4;
  HWY_DYNAMIC_DISPATCH(Blocks)(key, first / 4, first / 4 + whole, out);
  first += 4 * whole;
  out += 4 * whole;
  if (first < last) part(first / 4, 0, last - first);
}

void random_uniform(PhiloxKey key, std::int64_t first, std::int64_t last, float* out) {
  std::uint32_t words[kChunk];
  for (; first < last; first += kChunk, out += kChunk) {
    const std::int64_t n = std::min(kChunk, last - first);
    random_words(key, first, first + n, words);
    for (std::int64_t i = 0; i < n; ++i)
      out[i] = static_cast<float>(static_cast<std::int32_t>(words[i] >> 8)) * 0x1p-24f;
  }
}

void random_normal(PhiloxKey key, std::int64_t first, std::int64_t last, float* out) {
  std::uint32_t words[kChunk];
  const std::int64_t end = last + last % 2;
  for (std::int64_t chunk = first - first % 2; chunk < end; chunk += kChunk) {
    const std::int64_t n = std::min(kChunk, end - chunk);
    random_words(key, chunk, chunk + n, words);
    for (std::int64_t i = 0; i < n; i += 2) {
      const double radius = std::sqrt(-2 * log_of((words[i] + 0.5) * 0x1p-32));
      const auto [c, s] = turn(words[i + 1]);
      if (chunk + i >= first) out[chunk + i - first] = static_cast<float>(radius * c);
      if (chunk + i + 1 < last) out[chunk + i + 1 - first] = static_cast<float>(radius * s);
    }
  }
}

}  // namespace tidemark::compute
#endif  // HWY_ONCE
