// The command line as a whole: which subcommand it names, with what options.
#pragma once

#include <functional>

#include "tools/options.h"

namespace tidemark::tools {

// What is done with each subcommand.
struct Actions {
  std::function<void(const TrainCommand&)> train;
  std::function<void(const PlanCommand&)> plan;
  std::function<void(const SimulateCommand&)> simulate;
  std::function<void(const ExplainCommand&)> explain;
  std::function<void(const SweepCommand&)> sweep;
};

// Calls the action of the subcommand that is named, or prints the help or the version where that is asked for. Throws
// UsageError where the line is wrong, and what the action throws.
void run_command_line(int argc, const char* const* argv, const Tables& tables, const Actions& actions);

}  // namespace tidemark::tools
