// tidemark explain: why each value of a step is kept, discarded or computed again.
#include <cstdio>

#include "tidemark/session.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/training.h"
#include "tools/workload.h"

namespace tidemark::tools {

void explain(const ExplainCommand& command) {
  const auto budget = training_budget(command.budget);
  const auto threads = static_cast<int>(command.threads);
  const Workload workload(command.workload);
  check_optimizer(workload, command.optimizer);
  const SessionOptions options{.budget = budget,
                               .threads = threads,
                               .seed = static_cast<std::uint64_t>(command.workload.seed),
                               .dry_run = true,
                               .costs = costs_of(command.costs, threads)};
  if (budget) require_feasible(workload, command.optimizer, command.workload.batch, options);
  Session session(options);
  Training training(workload, command.optimizer, command.workload.batch, false);
  // The first step is decided op by op, up to its backward pass; from the second on a plan drives all of it.
  for (int step = 0; step < 3; ++step) training.step();
  std::fputs(session.explain(static_cast<int>(command.offers)).c_str(), stdout);
}

}  // namespace tidemark::tools
