// The cheapest plan of a small graph by exhaustive search: Dijkstra over (next op, what is resident), straight from the
// rules. At most 24 buffers.
#pragma once

#include <optional>

#include "tidemark/scheduler.h"

namespace tidemark::scheduler::testing {

// The least cost of an unplaced plan; nullopt where none exists.
std::optional<double> cheapest_plan(const Graph& graph, std::int64_t budget);

}  // namespace tidemark::scheduler::testing
