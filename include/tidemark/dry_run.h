// The bytes and the costs of a program before it runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tidemark/explanation.h"
#include "tidemark/scheduler.h"
#include "tidemark/session.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct DryRun {
  // At their most, whatever ran; batches at the peak.
  std::int64_t parameters = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer = 0;
  std::int64_t batches = 0;
  // At the peak of the program without a budget.
  std::int64_t activations = 0;
  std::int64_t scratch = 0;  // workspaces and scratchpads of kernels

  std::int64_t peak = 0;      // without a budget: the most bytes in memory together
  std::int64_t smallest = 0;  // the smallest budget that was planned for the last step; program and evaluation may need
                              // more, which smallest_budget() finds out
  bool smallest_is_exact = false;          // no smaller one is possible
  std::vector<Explanation::Offer> offers;  // from `smallest` to `peak`
  scheduler::Graph graph;                  // of the last step
  std::string text() const;
};

struct DryRunOptions {
  bool plan = true;  // else `smallest` and `offers` stay empty: for large programs that takes most of the time
  int offers = 10;   // budgets to plan for
};

// Runs `program` in a session of these options that runs no kernel and takes no memory (values read as zeros), without
// a budget. It makes a model and runs as many steps as differ, two for most. Throws what the program throws.
DryRun dry_run(SessionOptions options, const std::function<void()>& program, const DryRunOptions& how = {});

}  // namespace tidemark
#pragma GCC visibility pop
