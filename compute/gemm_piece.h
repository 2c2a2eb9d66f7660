// How matrix products are cut up: what the driver in gemm.cc and the code that is compiled for each instruction set
// agree on.
#pragma once

#include <algorithm>
#include <cstdint>

#include "compute/gemm.h"
#include "core/round_up.h"

namespace tidemark::compute {

// Tiles of C are at most kMaxTileRows x kMaxTileColumns; which part of that an instruction set uses is its own affair.
inline constexpr std::int64_t kMaxTileRows = 8;
inline constexpr std::int64_t kMaxTileColumns = 48;

// A block of A (kBlockRows x kBlockDepth) stays in the second cache; a block of B (kBlockDepth x kBlockColumns) in the
// third. Both are whole tiles of every instruction set.
inline constexpr std::int64_t kBlockRows = 96;
inline constexpr std::int64_t kBlockDepth = 384;
inline constexpr std::int64_t kBlockColumns = 384;

// Up to this many rows of A it does not pay to pack B, which may be the weights of a large layer: it streams by once.
inline constexpr std::int64_t kSkinnyRows = 32;

// The part of C that one thread makes.
struct Piece {
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
};

enum class GemmMethod {
  kPacked,  // both operands packed, C in tiles
  kDots,    // few rows against rows of a transposed B: dot products
  kRows,    // few rows, to which the rows of B are added, each with its factor
};

inline GemmMethod method_of(const Gemm& g) {
  if (g.transpose_a || g.m > kSkinnyRows) return GemmMethod::kPacked;
  return g.transpose_b ? GemmMethod::kDots : GemmMethod::kRows;
}

using core::round_up;

// Floats of packed B; packed A follows them.
inline std::int64_t packed_b_floats(const Gemm& g) {
  return std::min(round_up(g.n, kMaxTileColumns), kBlockColumns) * std::min(g.k, kBlockDepth);
}

inline std::int64_t packed_floats(const Gemm& g) {
  const std::int64_t rows = std::min(round_up(g.m, kMaxTileRows), kBlockRows);
  return round_up(packed_b_floats(g) + rows * std::min(g.k, kBlockDepth), 16);
}

}  // namespace tidemark::compute
