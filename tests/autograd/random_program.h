// Random training programs: branches, views, shared inputs, dropout, batch norm, handles that come and go. The same
// seed gives the same program, so that runs at different budgets can be compared bit for bit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/session.h"

namespace tidemark::test {

struct ProgramResult {
  std::vector<std::vector<float>> values;  // per step: loss, every gradient, running statistics, weights
  Report report;
  std::int64_t recomputed_ops = 0;
  std::int64_t planned_steps = 0;
};

// Runs program `seed` for `steps` optimizer steps. Throws BudgetError where the budget cannot hold it.
ProgramResult run_program(std::uint64_t seed, int steps, std::optional<std::int64_t> budget, Histogram* histogram);

// The same at a budget close to the smallest that the program gets through with.
ProgramResult run_at_smallest_budget(std::uint64_t seed, int steps, const ProgramResult& unlimited,
                                     Histogram* histogram);

}  // namespace tidemark::test
