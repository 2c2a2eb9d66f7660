// The arithmetic of the optimizers, over raw arrays: one fused pass over blocks of 256 elements. docs/optimizer.md
// explains the 16-bit format and what it is worth.
//
// The state of n elements, packed into state_bytes() bytes. f16: the values of each moment (2 n bytes each), then the
// exponents of each (one int8 a block). f32: the values of each moment (4 n bytes each). Second moments and sums of
// squares are kept as s = sqrt(v) in f16, which halves their range of exponents, and as v in f32. All zeros is the
// state before the first step. A table of which some steps change a few rows has blocks that begin with each row.
//
// All arithmetic is f32 with every fused multiply-add written out: the same bits on every instruction set and with
// every number of threads.
#pragma once

#include <cstdint>
#include <string_view>

namespace tidemark::optim {

inline constexpr std::int64_t kBlock = 256;  // elements that share an exponent; the last block may be partial
constexpr std::int64_t blocks_of(std::int64_t n) { return (n + kBlock - 1) / kBlock; }

enum class Format : std::uint8_t { kF16, kF32 };

// `width`: of the rows that begin with a block; 0: there are none.
constexpr std::int64_t blocks_of(std::int64_t n, std::int64_t width) {
  return width == 0 ? blocks_of(n) : n / width * blocks_of(width);
}

constexpr std::int64_t state_bytes(Format format, int moments, std::int64_t n, std::int64_t width = 0) {
  return moments * (format == Format::kF16 ? 2 * n + blocks_of(n, width) : 4 * n);
}

struct State {
  Format format = Format::kF16;
  void* bytes = nullptr;
  // What tells dithers apart: the run's seed, and the parameter's number in the optimizer.
  std::uint64_t seed = 0;
  std::uint64_t parameter = 0;
  // Of a table whose blocks begin with each row: their width. `rows` says which of them a step changes, each once, and
  // the gradient has these alone; none: all.
  std::int64_t width = 0;
  const std::int32_t* rows = nullptr;
  std::int64_t row_count = 0;
};

// A kernel changes p, of n elements, by the gradients g, which must be below kGradientLimit in magnitude. True where
// all of p is finite afterwards. Each is in its optimizer's own file, and declared here for tests and benchmarks.
// `step` counts from 1.
struct AdamWStep {
  static constexpr std::string_view kName = "adamw";
  static constexpr double kFlops = 14;
  float lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  std::int64_t step = 1;
};
bool adamw(const AdamWStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

// Weight decay is a part of the gradient.
struct AdamStep {
  static constexpr std::string_view kName = "adam";
  static constexpr double kFlops = 14;
  float lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
  std::int64_t step = 1;
};
bool adam(const AdamStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

struct SgdStep {
  static constexpr std::string_view kName = "sgd";
  static constexpr double kFlops = 6;
  float lr = 0, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  std::int64_t step = 1;
};
// One moment, or none where there is no state.
bool sgd(const SgdStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

struct AdagradStep {
  static constexpr std::string_view kName = "adagrad";
  static constexpr double kFlops = 8;
  float lr = 0, lr_decay = 0, eps = 0, weight_decay = 0;
  float initial = 0;  // of the sums: added in step 1
  std::int64_t step = 1;
};
bool adagrad(const AdagradStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

// One moment, another where it is centered, and the last where it is buffered.
struct RmspropStep {
  static constexpr std::string_view kName = "rmsprop";
  static constexpr double kFlops = 14;
  float lr = 0, alpha = 0, eps = 0, momentum = 0, weight_decay = 0;
  bool centered = false;
  bool buffered = false;  // updates have a momentum
  std::int64_t step = 1;
};
bool rmsprop(const RmspropStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

struct LionStep {
  static constexpr std::string_view kName = "lion";
  static constexpr double kFlops = 9;
  float lr = 0, beta1 = 0, beta2 = 0, weight_decay = 0;
  std::int64_t step = 1;
};
bool lion(const LionStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads);

// The square of a gradient from here on has no safe place in f32: it is as bad as an infinite one.
inline constexpr float kGradientLimit = 0x1p63f;
// True where every |x| is below the limit, so that none is infinite or not a number. The limit is positive.
bool all_below(const float* x, std::int64_t n, float limit, int threads);
inline bool all_finite(const float* x, std::int64_t n, int threads) {
  return all_below(x, n, __builtin_inff(), threads);
}

}  // namespace tidemark::optim
