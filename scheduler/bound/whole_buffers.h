// The bound of an instant in whole buffers: branch and bound over which ops run again.
#pragma once

#include <cstdint>

#include "scheduler/bound/instant_bound.h"

namespace tidemark::scheduler {

// No plan within the budget costs less, and none holds only parts of buffers: at least at_instant.bound(budget). It
// ends after `work` arcs of networks looked at, which leaves a bound that is lower. `choice` becomes the
// cheapest one seen that fits, or where there is none, one that nearly does.
double whole_bound(InstantBound& at_instant, std::int64_t budget, std::int64_t work,
                   InstantBound::Choice* choice = nullptr);

}  // namespace tidemark::scheduler
