#include "tools/training.h"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>
#include <vector>

#include "tidemark/ops/losses.h"
#include "tidemark/session.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command.h"
#include "tools/hash.h"

namespace tidemark::tools {
namespace {

// The op that needs the most bytes together, and what for.
std::string most_demanding_op(const DryRun& run) {
  const scheduler::Graph& graph = run.graph;
  std::int64_t most = -1;
  std::string text;
  for (const scheduler::Op& op : graph.ops) {
    std::int64_t pinned = 0;
    std::int64_t inputs = 0;
    std::int64_t outputs = 0;
    for (const scheduler::Buffer& buffer : graph.buffers) pinned += buffer.pinned ? buffer.bytes : 0;
    for (const auto* list : {&op.reads, &op.updates}) {
      for (const scheduler::BufferId b : *list) inputs += graph.buffers[b].pinned ? 0 : graph.buffers[b].bytes;
    }
    for (const scheduler::BufferId b : op.writes) outputs += graph.buffers[b].bytes;
    const std::int64_t own = inputs + outputs + op.scratch;
    if (own <= most || op.reads.empty()) continue;
    most = own;
    text = op.name + "\n  it needs  " + format_bytes(own) + ": inputs " + format_bytes(inputs) + ", output " +
           format_bytes(outputs) + ", scratchpad " + format_bytes(op.scratch) + "\n  pinned    " + format_bytes(pinned);
  }
  std::string held;
  for (const auto& [category, bytes] :
       {std::pair(Category::kParameters, run.parameters), std::pair(Category::kOptimizer, run.optimizer),
        std::pair(Category::kBatch, run.batches)}) {
    if (bytes > 0) held += (held.empty() ? "" : ", ") + std::string(to_string(category)) + " " + format_bytes(bytes);
  }
  return text + ": " + held;
}

std::unique_ptr<optim::Optimizer> make_optimizer(const std::vector<Parameter>& parameters,
                                                 const OptimizerOptions& options) {
  const optim::NamedOptimizer& optimizer = find_named(optimizers(), "optimizer", options.kind, {});
  return optimizer.make(parameters, NamedValues(optimizer.options, options.options, {}),
                        options.state == "f32" ? f32 : f16, SourceLocation::current());
}

}  // namespace

const std::vector<optim::NamedOptimizer>& optimizers() {
  static const std::vector<optim::NamedOptimizer> kOptimizers = [] {
    std::vector<optim::NamedOptimizer> own = optim::optimizers();
    const auto set = [&](std::string_view optimizer, std::string_view option, double value) {
      const auto named = [](std::string_view name) { return [name](const auto& entry) { return entry.name == name; }; };
      const auto entry = std::find_if(own.begin(), own.end(), named(optimizer));
      std::find_if(entry->options.begin(), entry->options.end(), named(option))->value = value;
    };
    set("adamw", "lr", 3e-4);
    set("sgd", "momentum", 0.9);
    set("sgd", "weight-decay", 0.01);
    return own;
  }();
  return kOptimizers;
}

void check_optimizer(const Workload& workload, const OptimizerOptions& options) {
  const std::string chosen = "--optimizer " + options.kind + " with these options";
  const Session session({.threads = 1, .dry_run = true});
  nn::Sequential model = workload.make_model();
  try {
    const auto optimizer = make_optimizer(model.parameters(), options);
    if (options.state && optimizer->state().empty()) {
      throw UsageError("--state is for an optimizer that keeps moments, and " + chosen + " keeps none");
    }
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw UsageError(chosen + ": " + without_place(error));
  }
}

Training::Training(const Workload& workload, const OptimizerOptions& optimizer, std::int64_t batch, bool hashes)
    : model_(workload.make_model()),
      parameters_(model_.parameters()),
      optimizer_(make_optimizer(parameters_, optimizer)),
      schedule_(optimizer.schedule),
      warmup_(optimizer.warmup),
      hashes_(hashes) {
  const auto seed = static_cast<std::uint64_t>(workload.options().seed);
  loader_.emplace(workload.train(),
                  data::LoaderOptions{.batch = batch, .shuffle = true, .drop_last = true, .seed = seed});
  // The hash of the weights that a step leaves is the first op of the next step; the first step has one as well, so
  // that all steps are the same program.
  if (hashes_) hash_weights();
}

std::uint64_t Training::hash_gradients() const {
  std::vector<Tensor> gradients;
  for (const Parameter& parameter : parameters_) {
    if (const Tensor gradient = parameter.grad(); gradient.defined()) gradients.push_back(gradient);
  }
  return hash_bits(gradients);
}

std::uint64_t Training::hash_weights() {
  std::vector<Tensor> weights(parameters_.begin(), parameters_.end());
  for (const Parameter& tensor : model_.state()) weights.push_back(tensor);
  return hash_bits(weights);
}

void Training::start_schedule(std::int64_t steps) {
  if (warmup_ > 0 && warmup_ >= steps) {
    throw UsageError("--warmup " + std::to_string(warmup_) + " leaves nothing of a run of " + std::to_string(steps) +
                     " steps");
  }
  const std::int64_t rest = schedule_ == "one-cycle" ? steps : steps - warmup_;
  optim::Schedule schedule = optim::LinearLR{.start_factor = 1, .end_factor = 1};
  if (schedule_ == "linear") schedule = optim::LinearLR{.start_factor = 1, .end_factor = 0, .total_iters = rest};
  if (schedule_ == "cosine") schedule = optim::CosineAnnealingLR{.T_max = rest};
  if (schedule_ == "one-cycle") {
    const optim::Settings settings = optimizer_->settings();
    optim::OneCycleLR cycle{.max_lr = static_cast<double>(settings.lr), .total_steps = steps};
    if (warmup_ > 0) cycle.pct_start = static_cast<double>(warmup_) / static_cast<double>(steps);
    cycle.cycle_momentum = settings.momentum > 0 || settings.beta1 > 0;
    schedule = cycle;
  } else if (warmup_ > 0) {
    const optim::LinearLR rise{.start_factor = 1 / static_cast<double>(warmup_), .total_iters = warmup_ - 1};
    schedule = optim::SequentialLR{.schedules = {rise, schedule}, .milestones = {warmup_}};
  }
  scheduler_.emplace(*optimizer_, std::move(schedule));
}

Tensor Training::loss() {
  if (batch_) ++*batch_;
  // A run that is resumed at the end of an epoch begins with an empty pass.
  while (!batch_ || *batch_ == std::default_sentinel) batch_ = loader_->begin();
  const data::Batch& batch = **batch_;
  return cross_entropy(model_(batch.x), batch.y);
}

Training::Result Training::step() {
  using Clock = std::chrono::steady_clock;
  Result result;
  const auto start = Clock::now();
  {
    const Tensor value = loss();
    value.backward();
    result.loss = value.item();
  }  // gone before the hash of the weights, so that it leaves no trace in the next step
  const auto pause = Clock::now();
  if (hashes_) result.gradient_hash = hash_gradients();
  const auto resume = Clock::now();
  optimizer_->step();
  if (scheduler_) scheduler_->step();
  optimizer_->zero_grad();
  result.seconds = std::chrono::duration<double>((Clock::now() - resume) + (pause - start)).count();
  if (hashes_) result.weight_hash = hash_weights();
  return result;
}

void Training::add_to(Checkpointer& checkpoints) {
  checkpoints.add("model", model_).add("optimizer", *optimizer_).add("data", *loader_);
  if (scheduler_) checkpoints.add("schedule", *scheduler_);
}

Costs costs_of(const std::string& name, int threads) {
  return name == "calibrated" ? Costs::calibrated(threads) : Costs();
}

DryRun dry_run_of(const Workload& workload, const OptimizerOptions& optimizer, std::int64_t batch,
                  const SessionOptions& options, const DryRunOptions& how) {
  return dry_run(
      options,
      [&] {
        Training training(workload, optimizer, batch, false);
        training.step();
      },
      how);
}

void require_feasible(const Workload& workload, const OptimizerOptions& optimizer, std::int64_t batch,
                      const SessionOptions& options) {
  const auto run_with = [&](std::int64_t size) {
    return dry_run_of(workload, optimizer, size, options, {.offers = 0});
  };
  const DryRun run = run_with(batch);
  // Not whether a plan happens to be found at this budget: what is refused is all below the smallest that was planned.
  const std::int64_t needed = run.smallest;
  const std::int64_t budget = options.budget.value_or(needed);
  if (budget >= needed) return;
  std::string text = format_bytes(budget) + " cannot hold " + most_demanding_op(run) +
                     "\n  help: the smallest budget " + (run.smallest_is_exact ? "" : "planned ") +
                     "for this step is " + format_bytes_up(needed) + ", " + std::to_string(needed) + " bytes";
  if (batch > 1) {
    const std::int64_t half = run_with(batch / 2).smallest;
    const std::string less = format_bytes(half);
    text += " (batch " + std::to_string(batch) + " -> " + std::to_string(batch / 2) + " would need " +
            (less == format_bytes(needed) ? std::to_string(half) + " bytes" : less) + ")";
  }
  throw BudgetError(text, needed,
                    run.smallest_is_exact ? BudgetError::Needed::kExactly : BudgetError::Needed::kPlanned);
}

}  // namespace tidemark::tools
