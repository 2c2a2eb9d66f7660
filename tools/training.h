// A model, its optimizer and its batches in the current session, and one step of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tidemark/checkpoint.h"
#include "tidemark/data.h"
#include "tidemark/dry_run.h"
#include "tidemark/nn.h"
#include "tidemark/optim.h"
#include "tidemark/schedule.h"
#include "tidemark/scheduler.h"
#include "tidemark/session.h"
#include "tools/options.h"
#include "tools/workload.h"

namespace tidemark::tools {

// The library's, with defaults of the command's own where others train its models better; --help shows them.
const std::vector<optim::NamedOptimizer>& optimizers();
// Throws UsageError where the options do not fit each other, or one of them would change nothing.
void check_optimizer(const Workload& workload, const OptimizerOptions& options);

class Training {
 public:
  // `hashes`: gradients and weights are hashed in every step.
  Training(const Workload& workload, const OptimizerOptions& optimizer, std::int64_t batch, bool hashes);

  struct Result {
    float loss = 0;
    double seconds = 0;  // without the hashes
    std::uint64_t gradient_hash = 0;
    std::uint64_t weight_hash = 0;
  };
  // The learning rate follows the options' schedule over so many steps; until this is called it stays as it is. Throws
  // UsageError where the warm-up does not fit in.
  void start_schedule(std::int64_t steps);
  // Of the next batch, from a new epoch where one has ended.
  Tensor loss();
  // All of a step.
  Result step();

  nn::Sequential& model() { return model_; }
  const std::vector<Parameter>& all_parameters() const { return parameters_; }
  const std::shared_ptr<optim::Optimizer>& optimizer() const { return optimizer_; }
  std::int64_t parameters() { return model_.parameter_count(); }
  std::int64_t batches() const { return loader_->batches(); }
  // All that a run is made of. start_schedule() comes first.
  void add_to(Checkpointer& checkpoints);
  // Gives the batches' bytes back; no step can follow.
  void release_batches() { loader_.reset(); }

 private:
  std::uint64_t hash_gradients() const;
  std::uint64_t hash_weights();

  nn::Sequential model_;
  std::vector<Parameter> parameters_;
  std::shared_ptr<optim::Optimizer> optimizer_;
  std::string schedule_;
  std::int64_t warmup_;
  std::optional<optim::Scheduler> scheduler_;
  std::optional<data::Loader> loader_;
  std::optional<data::Loader::Iterator> batch_;
  bool hashes_;
};

// "general", or measured on this machine.
Costs costs_of(const std::string& name, int threads);

// One step at this batch size, from shapes alone: no kernel runs and no memory is taken.
DryRun dry_run_of(const Workload& workload, const OptimizerOptions& optimizer, std::int64_t batch,
                  const SessionOptions& options, const DryRunOptions& how);

// Throws BudgetError, saying which budget and which batch size would do, where no plan of a step fits in the options'
// budget.
void require_feasible(const Workload& workload, const OptimizerOptions& optimizer, std::int64_t batch,
                      const SessionOptions& options);

}  // namespace tidemark::tools
