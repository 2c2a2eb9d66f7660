// Offsets as the program goes: where no hole is large enough for what an op writes, blocks slide together.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "scheduler/place/place.h"

namespace tidemark::scheduler {

// Places every buffer inside [0, limit), of a few policies by the one that moves the fewest bytes. `inputs` is what is
// resident at the start; what is pinned stays where it is. nullopt where that cannot be done, which only what cannot
// move can cause.
std::optional<Placed> place_with_moves(const Program& program, const std::vector<Step>& steps, std::int64_t limit,
                                       const std::vector<Placement>& inputs);

}  // namespace tidemark::scheduler
