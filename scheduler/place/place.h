// Offsets for a list of steps, with moves where no hole is large enough.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "scheduler/program.h"
#include "scheduler/search/schedule.h"

namespace tidemark::scheduler {

// The steps of a schedule, without places: what nobody needs any more is dropped at once, overwrites are used.
std::vector<Step> emit(const Program& program, const Schedule& schedule);

struct Placed {
  std::vector<Placement> inputs;
  std::vector<Step> steps;
  std::int64_t reserved_peak = 0;
  std::int64_t moved_bytes = 0;
};

// What is resident at the start, by buffer, with the offsets that are given; pinned buffers without one go to the low
// end, where what cannot move splits nothing, and the others stay kAnywhere.
std::vector<Placement> places_at_start(const Program& program, const std::optional<Start>& start);

// Whether the given offsets are multiples of 64 and no two buffers overlap.
bool start_is_possible(const Program& program, const std::vector<Placement>& inputs);

// The highest end of what the start gives an offset.
std::int64_t end_at_start(const Program& program, const std::optional<Start>& start);

// Places every buffer inside [0, limit), at multiples of 64. With a start, what is resident begins at its offset, and
// pinned buffers stay there. nullopt where that cannot be done, which only what cannot move can cause.
std::optional<Placed> place(const Program& program, const std::vector<Step>& steps, std::int64_t limit,
                            const std::optional<Start>& start);

}  // namespace tidemark::scheduler
