// The subcommands: one file each.
#pragma once

#include "tidemark/error.h"

namespace tidemark::tools {

// What the process returns.
enum ExitCode : int { kSuccess = 0, kFailure = 1, kImpossibleBudget = 2, kUsage = 64 };

// The command line is wrong; the text says what is allowed.
class UsageError : public Error {
 public:
  using Error::Error;
};

// Each runs its subcommand; the command line has been parsed and checked.
struct TrainCommand;
struct PlanCommand;
struct SimulateCommand;
struct ExplainCommand;
struct SweepCommand;
void train(const TrainCommand& options);
void plan(const PlanCommand& command);
void simulate(const SimulateCommand& command);
void explain(const ExplainCommand& command);
void sweep(const SweepCommand& command);

}  // namespace tidemark::tools
