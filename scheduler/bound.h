// Lower bounds on what any valid plan costs, and the instants where memory binds. docs/scheduler.md has the proof.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/program.h"

namespace tidemark::scheduler {

struct Bound {
  double extra = 0;               // no valid plan reruns ops for less in all
  OpId instant = -1;              // where that is decided; -1 where nothing binds
  std::vector<OpId> victims;      // ops whose outputs the knapsack discards there, cheapest a byte first
  std::int64_t least_budget = 0;  // below it no plan exists
};

Bound lower_bound(const Program& program, std::int64_t budget);

// The victims that free at least `bytes` at op `instant`.
std::vector<OpId> knapsack_victims(const Program& program, OpId instant, std::int64_t budget);

}  // namespace tidemark::scheduler
