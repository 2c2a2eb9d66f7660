// Any lines as the words of a command line: they are refused as wrong usage, or an action gets options in their ranges.
#include <iostream>
#include <string>
#include <vector>

#include "tests/fuzz/input.h"
#include "tidemark/error.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command_line.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

// The library's own come with kernels; these have an option of each kind, and names that several entries share.
const std::vector<nn::NamedModel>& models() {
  static const std::vector<nn::NamedModel> kModels = {
      {.name = "mlp",
       .summary = "of images",
       .options = {NamedOption::whole("width", 256, 1, 1 << 20, "units"), NamedOption::flag("batch-norm", "normalised"),
                   NamedOption::number("dropout", 0.5, 0, 0.99, "probability")}},
      {.name = "gpt",
       .summary = "of text",
       .reads_tokens = true,
       .options = {NamedOption::whole("width", 128, 1, 1 << 20, "of a token"),
                   NamedOption::number("dropout", 0.1, 0, 0.99, "probability")}},
  };
  return kModels;
}
const std::vector<optim::NamedOptimizer>& optimizers() {
  static const std::vector<optim::NamedOptimizer> kOptimizers = {
      {.name = "adamw", .options = {NamedOption::number("lr", 1e-3, 0, 1e30, "learning rate")}},
      {.name = "sgd",
       .options = {NamedOption::number("lr", 0.1, 0, 1e30, "learning rate"), NamedOption::flag("nesterov", "ahead")}},
  };
  return kOptimizers;
}

template <class Named>
void require_values(const std::vector<Named>& entries, const std::string& name, const NamedValues::Given& given) {
  const Named& entry = find_named(entries, "entry", name, {});
  const NamedValues values(entry.options, given, {});
  for (const NamedOption& option : entry.options) {
    const double value = option.kind == NamedOption::Kind::kWhole ? static_cast<double>(values.whole(option.name))
                                                                  : static_cast<double>(values.number(option.name));
    require(value >= static_cast<float>(option.least) && value <= static_cast<float>(option.most),
            "a value is allowed");
  }
}

void require_workload(const tools::WorkloadOptions& workload, const tools::OptimizerOptions& optimizer) {
  require(workload.batch >= 1 && workload.batch <= 1 << 30 && workload.seed >= 0, "batch and seed are in range");
  require(!tools::parse_data(workload.data).kind.empty(), "data has a kind");
  require_values(models(), workload.model, workload.model_options);
  require_values(optimizers(), optimizer.kind, optimizer.options);
}

void train(const tools::TrainCommand& command) {
  require_workload(command.workload, command.optimizer);
  require(!command.steps || !command.epochs, "steps or epochs");
  require(tools::training_budget(command.budget).value_or(1) > 0, "a budget is more than nothing");
}

void explain(const tools::ExplainCommand& command) {
  require_workload(command.workload, command.optimizer);
  require(tools::training_budget(command.budget).value_or(1) > 0, "a budget is more than nothing");
  require(command.offers >= 0 && command.offers <= 1000, "offers are in range");
}

void sweep(const tools::SweepCommand& command) {
  require_workload(command.workload, command.optimizer);
  require(command.rounds >= 1 && command.steps >= 1 && !command.budgets.empty(), "there is something to measure");
}

void plan(const tools::PlanCommand& command) {
  require(command.graph.empty() == command.of_model, "a graph or a model");
  require(command.of_model || command.sweep || !command.budget.empty(), "a graph and a budget");
  if (command.of_model) require_workload(command.workload, command.optimizer);
  if (command.of_model && !command.sweep && command.budget.empty()) return;
  require(!command.sweep || (command.budget.empty() && command.out.empty()), "a table has no budget and no file");
  std::vector<std::string> texts = command.budgets;
  if (!command.sweep) texts = {command.budget};
  for (const std::string& text : texts) {
    try {
      require(tools::budget_of(text, std::int64_t{1} << 53) >= 0, "a budget is not negative");
    } catch (const tools::UsageError&) {
    }
  }
}

void simulate(const tools::SimulateCommand& command) {
  require(!command.graph.empty() && !command.budget.empty() && command.policy == "online", "all that is required");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::cout.setstate(std::ios::badbit);  // nobody reads the help
  fuzz::Input input(data, size);
  std::vector<std::string> words{"tidemark"};
  while (!input.empty()) words.push_back(input.line());
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  try {
    tools::run_command_line(static_cast<int>(argv.size()), argv.data(), {models(), optimizers()},
                            {train, plan, simulate, explain, sweep});
  } catch (const tools::UsageError& error) {
    require(*error.what() != '\0', "an error says something");
  }
  return 0;
}
