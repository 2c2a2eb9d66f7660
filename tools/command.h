// The subcommands: one file each.
#pragma once

#include <span>

namespace tidemark::tools {

// What the process returns.
enum ExitCode : int { kSuccess = 0, kFailure = 1, kImpossibleBudget = 2, kUsage = 64 };

struct Command {
  const char* name;
  const char* summary;
  int (*run)(std::span<const char* const> arguments);  // after the subcommand's name; errors are exceptions
};

extern const Command kPlan;
extern const Command kSimulate;
extern const Command kTrain;

}  // namespace tidemark::tools
