// Where in a plan sources run: early enough for what they read from a disk to be there when it is wanted.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/program.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

// Steps without places, in which sources before op `end` that write one buffer run earlier: as long as no more than
// `room` bytes are live, and no further ahead than twice the time that they take themselves. A source may be carried
// out beside the steps that follow it, so one that is done before its buffer is wanted costs no time. Sources keep
// their order. What is discarded, and the sum of costs, stay the same. Returns whether any was moved.
bool run_sources_early(const Graph& graph, const Program& program, OpId end, std::int64_t room,
                       std::vector<Step>& steps);

}  // namespace tidemark::scheduler
