// Static allocation problems with a known solution: a rectangle, time by offsets, cut into buffers.
#pragma once

#include <cstdint>
#include <random>

#include "tidemark/scheduler.h"

namespace tidemark::scheduler::testing {

enum class Cuts : std::uint8_t { kGuillotine, kPinwheel };  // straight through a rectangle; or into five, round one

// A graph of `runs` ops whose buffers, at most `buffers` of them, fill `units` of the arena while each op runs. Some
// order of offsets needs no byte more and no move.
Graph cut_rectangle(std::mt19937_64& rng, int buffers, int runs, std::int64_t units, Cuts cuts);

}  // namespace tidemark::scheduler::testing
