// The cheapest plan of a small program, by a search over what is resident before each op.
#pragma once

#include <cstdint>
#include <vector>

#include "scheduler/program.h"

namespace tidemark::scheduler {

// Programs that the search takes on.
bool small_enough(const Program& program);

struct Exact {
  enum class Outcome : std::uint8_t { kPlanned, kImpossible, kGaveUp } outcome = Outcome::kGaveUp;
  double extra = 0;         // cost of reruns
  std::vector<Step> steps;  // without places
};

// Live bytes within the budget. Gives up after looking at `most_states`.
Exact exact_plan(const Program& program, std::int64_t budget, std::int64_t most_states);

}  // namespace tidemark::scheduler
