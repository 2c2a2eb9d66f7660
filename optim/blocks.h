// What the kernels of all optimizers share outside of the code that is compiled once for each instruction set: where a
// block's state is, the dither, and how a parameter's blocks are shared out to threads. See blocks-inl.h.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "compute/half.h"
#include "compute/threads.h"
#include "optim/kernels.h"

namespace tidemark::optim {

inline constexpr std::uint32_t kGolden = 0x9E3779B9u;  // 2^32 times the golden ratio's fraction
inline constexpr int kMostMoments = 3;

constexpr std::uint32_t mix32(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

// The dither of element i in step t is the upper 13 bits of
//   phase[i mod 256] + mix32(key ^ i / 256) + t * kGolden,
// uniform over elements, and in time the sequence whose parts of any length are spread the most evenly.
struct Phases {
  alignas(64) std::uint32_t values[kBlock];
};
constexpr Phases make_phases() {
  Phases phases{};
  for (std::uint32_t i = 0; i < kBlock; ++i) phases.values[i] = mix32(i * kGolden);
  return phases;
}
inline constexpr Phases kPhases = make_phases();

struct Dither {
  std::uint32_t keys[kMostMoments];
  std::uint32_t time;  // step * kGolden
};
Dither dither_of(const State& state, std::int64_t step);

// By multiplication alone: the C library's pow() may differ in its last bit from machine to machine.
double power(double base, std::int64_t exponent);

// Some of the blocks that a step changes: first to last - 1, counted over the rows of the gradient.
struct Blocks {
  std::int64_t n;
  std::int64_t count;        // of blocks, in all of the parameter
  std::int64_t width;        // of a row; n where there are no rows
  const std::int32_t* rows;  // of the parameter, by row of the gradient; none: the same
  float* p;
  const float* g;
  void* state;
  Format format;
  Dither dither;
  std::int64_t first, last;
};

// Runs `kernel`, which gives the largest bits of a magnitude that it wrote into the parameter: they order like the
// values, with infinity and what is not a number above all. True where all of them are finite.
template <class Kernel, class Job>
bool run_blocks(Kernel kernel, const Job& job, std::int64_t n, float* p, const float* g, const State& state,
                std::int64_t step, int threads) {
  constexpr std::int64_t kGrain = 16;  // blocks: less is not worth a thread
  constexpr std::int32_t kInfinity = 0x7f800000;
  const std::int64_t width = state.width == 0 ? n : state.width;
  const std::int64_t count = state.rows == nullptr ? blocks_of(n, state.width) : state.row_count * blocks_of(width);
  const Blocks all{
      n, blocks_of(n, state.width), width, state.rows, p, g, state.bytes, state.format, dither_of(state, step), 0, 0};
  std::atomic<bool> finite = true;
  compute::parallel_for(count, kGrain, threads, [&](std::int64_t first, std::int64_t last) {
    Blocks part = all;
    part.first = first;
    part.last = last;
    if (kernel(job, part) >= kInfinity) finite = false;
  });
  return finite;
}

}  // namespace tidemark::optim
