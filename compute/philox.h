// Counter-based random numbers: Philox4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011). Element i of a stream depends on the key and on i alone, so any thread may compute any
// part, in any order, on any instruction set, and again: the bits are the same.
//
// Element i is word i % 4 of block i / 4; the block's counter is {i / 4 (64 bits), counter_hi}, its key the seed.
#pragma once

#include <array>
#include <cstdint>

#include "tidemark/rng.h"

namespace tidemark::compute {

struct PhiloxKey {
  std::uint64_t seed = 0;
  std::uint64_t counter_hi = 0;  // tells the streams of one seed apart
};

constexpr PhiloxKey philox_key(const RngKey& key) { return {key.seed, std::uint64_t{key.step} << 32 | key.ordinal}; }

// One block.
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

// Elements [first, last) of the stream, the first of them to out[0]. Fastest where `first` is a multiple of 4.
void random_words(PhiloxKey key, std::int64_t first, std::int64_t last, std::uint32_t* out);
// Uniform in [0, 1): the upper 24 bits of the word times 2^-24.
void random_uniform(PhiloxKey key, std::int64_t first, std::int64_t last, float* out);
// Mean 0, variance 1, |x| < 6.8: elements 2k and 2k + 1 are the Box-Muller pair of words 2k and 2k + 1.
void random_normal(PhiloxKey key, std::int64_t first, std::int64_t last, float* out);

}  // namespace tidemark::compute
