// Lower bounds on what any valid plan costs, and the instants where memory binds. docs/scheduler.md has the proof.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/program.h"

namespace tidemark::scheduler {

struct Bound {
  double extra = 0;               // no valid plan reruns ops for less in all
  OpId instant = -1;              // where that is decided; -1 where nothing binds
  std::int64_t least_budget = 0;  // below it no plan exists
};

// The most bytes that the op can save by writing over what it reads.
std::int64_t most_in_place(const Program& program, OpId op);

// The bound of an instant at the instants where a knapsack, or a grid refined where it is highest, says that memory
// binds most. `work` counts arcs of the networks looked at.
Bound lower_bound(const Program& program, std::int64_t budget, std::int64_t work);

// Instants above the budget where an op needs more for itself than its neighbours do, or where the larger part of what
// may be left out has to be: the first of each kind.
std::vector<OpId> narrow_instants(const Program& program, std::int64_t budget);

// Below it no plan exists.
std::int64_t least_budget(const Program& program);

}  // namespace tidemark::scheduler
