// The online policy over a whole program: the one loop that runs it.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "scheduler/program.h"

namespace tidemark::scheduler {

struct TraceOptions {
  // The policy is told of each buffer's last use, and of nothing else. Else Op::releases say what the program lets go,
  // and the last use only where an op carries none.
  bool last_uses = false;
  std::int64_t most_runs = std::numeric_limits<std::int64_t>::max();
  std::int64_t most_work = std::numeric_limits<std::int64_t>::max();  // ops looked at for scores
};

struct Trace {
  std::vector<Placement> inputs;
  std::vector<Step> steps;
  std::optional<Shortage> shortage;  // it ended there
  bool given_up = false;             // more runs or work than allowed
  bool complete() const { return !shortage && !given_up; }
};

Trace trace_online(const Graph& graph, const Program& program, std::int64_t budget, const std::optional<Start>& start,
                   const TraceOptions& options = {});

}  // namespace tidemark::scheduler
