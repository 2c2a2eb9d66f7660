#include "optim/kernels.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "compute/threads.h"

// The same source for several instruction sets, chosen at load time; fma and sqrt are exact, so all give the same bits.
// Sanitizers cannot run before such a choice is made.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__)
#define TIDEMARK_CLONES
#else
#define TIDEMARK_CLONES __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#endif

namespace tidemark::optim {
namespace {

inline std::uint32_t mix32(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

inline float decode(std::uint16_t h, float scale) {
  // The exponent moved into f32's place is 112 too small; the product is exact for subnormals as well.
  const float magnitude = std::bit_cast<float>((h & 0x7FFFu) << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | (h & 0x8000u) << 16) * scale;
}

// 13 bits.
inline std::uint32_t dither(std::uint32_t index, std::uint32_t key, std::uint32_t step) {
  return (mix32(index * 0x9E3779B1u ^ key) + step * 0x9E3779B9u) >> 19;
}

// Rounds |x| < 2^15 up or down to f16, up where the dither passes what is cut off.
inline std::uint32_t encode(float x, std::uint32_t noise) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  const std::uint32_t normal = ((magnitude + noise) >> 13) - (112u << 10);
  const float small = (std::bit_cast<float>(std::min(magnitude, 0x38800000u)) +
                       static_cast<float>(static_cast<std::int32_t>(noise)) * 0x1p-37f) *
                      0x1p24f;
  const auto subnormal = static_cast<std::uint32_t>(static_cast<std::int32_t>(small));
  return (magnitude < 0x38800000u ? subnormal : normal) | (bits >> 16 & 0x8000u);
}

inline std::int32_t block_exponent(float largest) {
  const auto exponent = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(largest) >> 23) - 127;
  return std::max(-126, exponent - 14);
}

inline float power_of_two(std::int32_t exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

TIDEMARK_CLONES
void load(const std::uint16_t* values, std::int8_t exponent, float* out, std::int64_t count) {
  const float scale = power_of_two(exponent);
  for (std::int64_t i = 0; i < count; ++i) out[i] = decode(values[i], scale);
}

TIDEMARK_CLONES
std::int8_t store(const float* x, std::uint16_t* values, std::int64_t first, std::int64_t count, std::uint32_t key,
                  std::uint32_t step, bool positive) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFu);
  }
  const std::int32_t exponent = block_exponent(std::bit_cast<float>(largest));
  const float scale = power_of_two(-exponent);
  const auto index = static_cast<std::uint32_t>(first);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t noise = dither(index + static_cast<std::uint32_t>(i), key, step);
    std::uint32_t half = encode(x[i] * scale, noise);
    // A root of a second moment that vanished would make the next update a division by eps.
    if (positive && half == 0 && x[i] > 0) half = 1;
    values[i] = static_cast<std::uint16_t>(half);
  }
  return static_cast<std::int8_t>(exponent);
}

struct AdamWFactors {
  float beta1, beta2, rest1, rest2, eps, decay, rate, root;  // rate = lr / correction1, root = 1 / sqrt(correction2)
};

// m and s are f32 here; s is the root of the second moment.
TIDEMARK_CLONES
void adamw_block(const AdamWFactors f, float* p, const float* g, float* m, float* s, std::int64_t count, bool root) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float gradient = g[i];
    const float first = std::fma(f.beta1, m[i], f.rest1 * gradient);
    const float before = root ? s[i] * s[i] : s[i];
    const float second = std::fma(f.beta2, before, f.rest2 * (gradient * gradient));
    const float deviation = std::sqrt(second);
    m[i] = first;
    s[i] = root ? deviation : second;
    p[i] = std::fma(-f.rate, first / std::fma(deviation, f.root, f.eps), p[i] * f.decay);
  }
}

TIDEMARK_CLONES
void sgd_block(const SgdStep step, float* p, const float* g, float* m, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float gradient = std::fma(step.weight_decay, p[i], g[i]);
    const float moved = std::fma(step.momentum, m[i], gradient);
    m[i] = moved;
    const float direction = step.nesterov ? std::fma(step.momentum, moved, gradient) : moved;
    p[i] = std::fma(-step.lr, direction, p[i]);
  }
}

TIDEMARK_CLONES
bool finite(const float* x, std::int64_t n) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFu);
  }
  return largest < 0x7F800000u;
}

}  // namespace

std::uint32_t dither_key(std::uint64_t seed, std::uint64_t parameter, std::uint32_t moment) {
  const auto fold = [](std::uint32_t hash, std::uint64_t value) {
    hash = mix32(hash ^ static_cast<std::uint32_t>(value));
    return mix32(hash ^ static_cast<std::uint32_t>(value >> 32) ^ 0x9E3779B9u);
  };
  return fold(fold(fold(0x243F6A88u, seed), parameter), moment);
}

void adamw(const AdamWStep& step, std::int64_t n, float* p, const float* g, Moment m, Moment s, int threads) {
  const auto t = static_cast<double>(step.step);
  const double correction1 = 1 - std::pow(static_cast<double>(step.beta1), t);
  const double correction2 = 1 - std::pow(static_cast<double>(step.beta2), t);
  const AdamWFactors factors{step.beta1,
                             step.beta2,
                             1 - step.beta1,
                             1 - step.beta2,
                             step.eps,
                             static_cast<float>(1 - static_cast<double>(step.lr) * step.weight_decay),
                             static_cast<float>(step.lr / correction1),
                             static_cast<float>(1 / std::sqrt(correction2))};
  const auto counter = static_cast<std::uint32_t>(step.step);
  compute::parallel_for(blocks_of(n), 16, threads, [&](std::int64_t first_block, std::int64_t last_block) {
    float first[kBlock];
    float second[kBlock];
    for (std::int64_t block = first_block; block < last_block; ++block) {
      const std::int64_t start = block * kBlock;
      const std::int64_t count = std::min(kBlock, n - start);
      if (m.exponents == nullptr) {
        adamw_block(factors, p + start, g + start, static_cast<float*>(m.values) + start,
                    static_cast<float*>(s.values) + start, count, false);
        continue;
      }
      auto* m_values = static_cast<std::uint16_t*>(m.values) + start;
      auto* s_values = static_cast<std::uint16_t*>(s.values) + start;
      load(m_values, m.exponents[block], first, count);
      load(s_values, s.exponents[block], second, count);
      adamw_block(factors, p + start, g + start, first, second, count, true);
      m.exponents[block] = store(first, m_values, start, count, m.key, counter, false);
      s.exponents[block] = store(second, s_values, start, count, s.key, counter, true);
    }
  });
}

void sgd(const SgdStep& step, std::int64_t n, float* p, const float* g, Moment m, int threads) {
  const auto counter = static_cast<std::uint32_t>(step.step);
  compute::parallel_for(blocks_of(n), 16, threads, [&](std::int64_t first_block, std::int64_t last_block) {
    float moved[kBlock];
    for (std::int64_t block = first_block; block < last_block; ++block) {
      const std::int64_t start = block * kBlock;
      const std::int64_t count = std::min(kBlock, n - start);
      if (m.values == nullptr) {
        std::fill_n(moved, count, 0.0f);
        sgd_block(step, p + start, g + start, moved, count);
      } else if (m.exponents == nullptr) {
        sgd_block(step, p + start, g + start, static_cast<float*>(m.values) + start, count);
      } else {
        auto* values = static_cast<std::uint16_t*>(m.values) + start;
        load(values, m.exponents[block], moved, count);
        sgd_block(step, p + start, g + start, moved, count);
        m.exponents[block] = store(moved, values, start, count, m.key, counter, false);
      }
    }
  });
}

bool all_finite(const float* x, std::int64_t n, int threads) {
  std::atomic<bool> good = true;
  compute::parallel_for(n, 4096, threads, [&](std::int64_t first, std::int64_t last) {
    if (!finite(x + first, last - first)) good = false;
  });
  return good;
}

}  // namespace tidemark::optim
