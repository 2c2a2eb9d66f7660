// The arithmetic of the optimizers, over raw arrays: one fused pass over blocks of 256 elements.
//
// 16-bit state (simulated and measured against f64; see docs/optimizer.md): values are f16, scaled by one power of two
// a block, whose exponent is an int8; the second moment is kept as s = sqrt(v), which halves its range of exponents.
// Rounding adds a dither that depends on (seed, parameter, moment, step, index) alone, so that small changes are not
// lost on average, every thread count gives the same bits, and a resumed run goes on exactly.
//
// All arithmetic is f32 with every fused multiply-add written out: the same bits on every instruction set.
#pragma once

#include <cstdint>

namespace tidemark::optim {

inline constexpr std::int64_t kBlock = 256;  // elements that share an exponent; the last block may be partial
constexpr std::int64_t blocks_of(std::int64_t n) { return (n + kBlock - 1) / kBlock; }

// One moment of n elements. With exponents: f16 values and blocks_of(n) exponents; without: f32 values.
struct Moment {
  void* values = nullptr;
  std::int8_t* exponents = nullptr;
  std::uint32_t key = 0;  // of the dither: dither_key()
};
std::uint32_t dither_key(std::uint64_t seed, std::uint64_t parameter, std::uint32_t moment);

struct AdamWStep {
  float lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  std::int64_t step = 1;  // from 1
};
// p, g: n elements. m the first moment; s the root of the second (f16), or the second itself (f32).
void adamw(const AdamWStep& step, std::int64_t n, float* p, const float* g, Moment m, Moment s, int threads);

struct SgdStep {
  float lr = 0, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  std::int64_t step = 1;
};
// `m` without values where there is no momentum.
void sgd(const SgdStep& step, std::int64_t n, float* p, const float* g, Moment m, int threads);

// False where any element is infinite or not a number.
bool all_finite(const float* x, std::int64_t n, int threads);

}  // namespace tidemark::optim
