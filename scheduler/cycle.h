// Programs that run again and again: what stays in memory from one run to the next.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

// A source is an op that reads nothing, changes nothing and may run again: reading a file, say.
bool is_source(const Op& op);

struct Cycle {
  std::vector<BufferId> resident;  // outputs of sources that are in memory when the program starts and when it ends
  double cost = 0;                 // of a run from there to there
};

// Of the choices that were tried the cheapest. `graph` may have any sources, run at their places in the program or
// before them; each is left out where what it writes is resident at the start. With up to ten sources every choice is
// tried that could be cheaper; with more, those that cost most to run again a byte come first, as many of them as turn
// out best. Nothing where no plan was found.
std::optional<Cycle> choose_residents(const Graph& graph, std::int64_t budget, const PlanOptions& options = {});

}  // namespace tidemark::scheduler
