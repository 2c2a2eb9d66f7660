// The arithmetic of the optimizers, over raw arrays: one fused pass over blocks of 256 elements. docs/optimizer.md
// explains the 16-bit format and what it is worth.
//
// The state of n elements, packed into state_bytes() bytes. f16: the values of each moment (2 n bytes each), then the
// exponents of each (one int8 a block). f32: the values of each moment (4 n bytes each). The first moment comes first;
// the second is kept as s = sqrt(v) in f16, which halves its range of exponents, and as v in f32. All zeros is the
// state before the first step.
//
// All arithmetic is f32 with every fused multiply-add written out: the same bits on every instruction set and with
// every number of threads.
#pragma once

#include <cstdint>

namespace tidemark::optim {

inline constexpr std::int64_t kBlock = 256;  // elements that share an exponent; the last block may be partial
constexpr std::int64_t blocks_of(std::int64_t n) { return (n + kBlock - 1) / kBlock; }

enum class Format : std::uint8_t { kF16, kF32 };

constexpr std::int64_t state_bytes(Format format, int moments, std::int64_t n) {
  return moments * (format == Format::kF16 ? 2 * n + blocks_of(n) : 4 * n);
}

struct State {
  Format format = Format::kF16;
  void* bytes = nullptr;
  // What tells dithers apart: the run's seed, and the parameter's number in the optimizer.
  std::uint64_t seed = 0;
  std::uint64_t parameter = 0;
};

// p and g: n elements each. Gradients must be below kGradientLimit in magnitude.
struct AdamWStep {
  float lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  std::int64_t step = 1;  // from 1
};
void adamw(const AdamWStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

struct SgdStep {
  float lr = 0, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  std::int64_t step = 1;
};
// `state` is not touched where momentum is 0.
void sgd(const SgdStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

// The square of a gradient from here on has no safe place in f32: it is as bad as an infinite one.
inline constexpr float kGradientLimit = 0x1p63f;
// True where every |x| is below the limit, so that none is infinite or not a number. The limit is positive.
bool all_below(const float* x, std::int64_t n, float limit, int threads);
inline bool all_finite(const float* x, std::int64_t n, int threads) {
  return all_below(x, n, __builtin_inff(), threads);
}

}  // namespace tidemark::optim
