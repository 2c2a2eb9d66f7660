// Numbers from counters: the same seed and index give the same number on every machine.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace tidemark::data {

// The finaliser of SplitMix64: a bijection whose outputs look random.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
template <class... Rest>
constexpr std::uint64_t mix(std::uint64_t x, std::uint64_t next, Rest... rest) {
  return mix(mix(x) ^ next, static_cast<std::uint64_t>(rest)...);
}

// In [0, below).
constexpr std::int64_t draw(std::uint64_t bits, std::int64_t below) {
  return static_cast<std::int64_t>((static_cast<unsigned __int128>(bits) * static_cast<std::uint64_t>(below)) >> 64);
}

// 0 .. count - 1 in an order that follows from the key (Fisher-Yates).
inline std::vector<std::int64_t> permutation(std::int64_t count, std::uint64_t key) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::int64_t i = count - 1; i > 0; --i) {
    const std::int64_t j = draw(mix(key, static_cast<std::uint64_t>(i)), i + 1);
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
  }
  return order;
}

}  // namespace tidemark::data
