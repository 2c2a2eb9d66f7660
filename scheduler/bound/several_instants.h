// A lower bound from several instants together: what is resident at one was resident at the one before, or was
// computed in between.
#pragma once

#include <cstdint>
#include <span>

#include "scheduler/program.h"

namespace tidemark::scheduler {

// No valid plan reruns ops for less. Looks for instants beside `instant` that raise the bound, until it has reached
// `enough` or `work` arcs of networks have been looked at.
double bound_of_several_instants(const Program& program, std::int64_t budget, OpId instant, double enough,
                                 std::int64_t work);

}  // namespace tidemark::scheduler
