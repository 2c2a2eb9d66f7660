// What lies in memory when, of a list of steps: the input of every assignment of offsets that is chosen ahead of time.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "scheduler/program.h"

namespace tidemark::scheduler {

// A buffer in memory, from one run to another, both included. Run 0 is the start.
struct Stay {
  std::int32_t from = 0;
  std::int32_t to = 0;
  std::int64_t bytes = 0;  // a multiple of the alignment
  BufferId buffer = kScratch;
};

// Stays that follow each other at one offset: what overwrites a buffer takes its place.
struct Block {
  std::span<const Stay> stays;
  std::int64_t given = kAnywhere;  // the offset, where the start gives one
  std::int32_t from() const { return stays.front().from; }
  std::int32_t to() const { return stays.back().to; }
  std::int32_t runs() const { return to() - from() + 1; }
  std::int64_t bytes() const;  // of the largest
  const Stay& at(std::int32_t run) const;
};

struct Lifetimes {
  std::int32_t runs = 0;  // the start among them
  std::vector<Stay> stays;
  // Of the start, by buffer; then of each run what it newly writes beside the rest, in the order of its writes, and its
  // scratch. What has no bytes has no block.
  std::vector<Block> blocks;
  std::int64_t live_peak = 0;
  std::int64_t given_end = 0;  // the highest end of what the start gives an offset

  Lifetimes() = default;
  Lifetimes(Lifetimes&&) = default;
  Lifetimes& operator=(Lifetimes&&) = default;
  Lifetimes(const Lifetimes&) = delete;  // blocks point into `stays`
  Lifetimes& operator=(const Lifetimes&) = delete;
  ~Lifetimes() = default;

  // Time turned round, blocks in the same order.
  Lifetimes reversed() const;
};

// `inputs` is what is resident at the start, by buffer.
Lifetimes lifetimes_of(const Program& program, const std::vector<Step>& steps, std::span<const Placement> inputs);

}  // namespace tidemark::scheduler
