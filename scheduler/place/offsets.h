// Offsets chosen ahead of time, from all that is known of when each buffer comes and goes.
#pragma once

#include <cstdint>
#include <optional>

#include "scheduler/place/first_fit.h"
#include "scheduler/place/lifetimes.h"

namespace tidemark::scheduler {

// Without moves where that is found, by a few orders of first fit, by fillings from below, and by a search for fillings
// below what those need; with the lowest peak found. Else first fit in pieces that move. Nothing where neither fits
// below `limit`. Work is bounded by counts.
std::optional<Assignment> choose_offsets(const Lifetimes& lifetimes, std::int64_t limit);

}  // namespace tidemark::scheduler
