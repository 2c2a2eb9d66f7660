// The subcommands: one file each.
#pragma once

#include "tidemark/error.h"

namespace CLI {
class App;
}

namespace tidemark::tools {

// What the process returns.
enum ExitCode : int { kSuccess = 0, kFailure = 1, kImpossibleBudget = 2, kUsage = 64 };

// The command line is wrong; the text says what is allowed.
class UsageError : public Error {
 public:
  using Error::Error;
};

// Each adds its subcommand, which runs when the command line that names it has been parsed.
void add_train(CLI::App& app);
void add_plan(CLI::App& app);
void add_simulate(CLI::App& app);

}  // namespace tidemark::tools
