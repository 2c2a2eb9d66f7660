// The closure bound in whole buffers: branch and bound over which ops run again.
#pragma once

#include <cstdint>

#include "scheduler/closure.h"

namespace tidemark::scheduler {

// No plan within the budget costs less, and none holds only parts of buffers: at least closure.bound(budget). The
// search ends after `work` arcs of networks looked at, which leaves a bound that is lower. `choice` becomes the
// cheapest one seen that fits, or where there is none, one that nearly does.
double whole_bound(Closure& closure, std::int64_t budget, std::int64_t work, Closure::Choice* choice = nullptr);

}  // namespace tidemark::scheduler
