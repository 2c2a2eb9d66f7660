// Offsets block by block, each at the lowest where it fits beside those before it.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "scheduler/place/lifetimes.h"

namespace tidemark::scheduler {

// Before `run`, the block goes to `offset`.
struct BlockMove {
  std::int32_t run = 0;
  std::int32_t block = 0;
  std::int64_t offset = 0;
};

struct Assignment {
  std::vector<std::int64_t> offset;  // of each block, at first
  std::vector<BlockMove> moves;
  std::int64_t peak = std::numeric_limits<std::int64_t>::max();  // the highest end
  std::int64_t moved_bytes = 0;
};

class FirstFit {
 public:
  enum class Order : std::uint8_t { kBytes, kLength, kArea, kBytesByRootOfLength };  // the largest first

  explicit FirstFit(const Lifetimes& lifetimes);

  // Without moves, as high as it gets. `work`, ranges looked at, is counted down; nothing where it ends before.
  std::optional<Assignment> whole(Order order, std::int64_t& work);

  // Below `limit`, the largest blocks first. What fits nowhere for all of its life is moved while it lives, each time
  // to where it can stay longest. Where one fits nowhere at all, it is placed earlier the next time, `tries` times.
  std::optional<Assignment> in_pieces(std::int64_t limit, int tries, std::int64_t& work);

 private:
  // Of the arena, in half runs: run r is 2 r, and what moves before it is at both places in 2 r - 1.
  struct Taken {
    std::int64_t offset = 0;
    std::int64_t end = 0;
    std::int32_t from = 0;
    std::int32_t to = 0;
  };

  std::vector<std::size_t> ordered(const std::vector<double>& keys) const;
  void take(const Taken& range);
  std::int64_t lowest(const Block& block);
  std::int64_t lowest(const Stay& stay, std::int64_t offset);
  Taken longest(const Taken& wanted, std::int64_t limit);
  bool split(std::size_t block, std::int64_t limit, Assignment& assignment);
  std::optional<std::size_t> try_pieces(const std::vector<double>& keys, std::int64_t limit, Assignment& assignment);

  const Lifetimes& lifetimes_;
  std::vector<Taken> taken_;  // by offset
  std::vector<Taken> near_;
  std::int64_t work_ = 0;
  std::int64_t most_work_ = 0;
};

}  // namespace tidemark::scheduler
