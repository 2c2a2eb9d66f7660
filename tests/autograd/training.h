// Training runs of the built-in models at small sizes, to be compared bit for bit between budgets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tidemark/scheduler.h"
#include "tidemark/session.h"

namespace tidemark::test {

enum class Model : std::uint8_t { kMlp, kVgg16, kGpt };
enum class Rule : std::uint8_t { kAdamW, kSgd };
std::string name(Model model, Rule rule);

struct TrainingOptions {
  Model model = Model::kMlp;
  Rule rule = Rule::kAdamW;
  int steps = 5;
  std::optional<std::int64_t> budget = {};
  bool verify_replay = true;
};

// Values with names that say what and when: "step 2: gradient of 3.weight".
using Trace = std::vector<std::pair<std::string, std::vector<std::uint8_t>>>;

struct TrainingResult {
  Trace trace;  // per step: loss, every gradient, then weights and running statistics
  std::vector<StepReport> steps;
  std::vector<std::int64_t> reserved;  // after each step
  Report report;
  scheduler::Graph graph;  // of the last step
};

// Throws BudgetError where the budget cannot hold it.
TrainingResult train(const TrainingOptions& options);

// The name of the first value that differs; nothing where all are equal.
std::optional<std::string> first_difference(const Trace& a, const Trace& b);

// The smallest budget, within `tolerance` bytes, at which `runs(budget)` throws no BudgetError; `high` must work.
template <class Run>
std::int64_t smallest_budget(std::int64_t high, std::int64_t tolerance, Run&& runs) {
  std::int64_t low = 0;
  while (high - low > tolerance) {
    const std::int64_t middle = (low + high) / 2 / 64 * 64;
    try {
      runs(middle);
      high = middle;
    } catch (const BudgetError& error) {
      low = std::max<std::int64_t>(middle, std::min<std::int64_t>(error.needed_bytes() - 64, high - tolerance));
    }
  }
  return high;
}

}  // namespace tidemark::test
