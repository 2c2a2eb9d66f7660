// A session: one budget, one arena, one machine binding, one tape.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/costs.h"
#include "tidemark/explanation.h"
#include "tidemark/scheduler.h"
#include "tidemark/tensor.h"
#include "tidemark/timeline.h"
#include "tidemark/units.h"

#pragma GCC visibility push(default)
namespace tidemark {

class AnyOp;
struct DryRun;

namespace detail {
class [[gnu::visibility("hidden")]] Engine;
}  // namespace detail

struct SessionOptions {
  std::optional<std::int64_t> budget = {};  // bytes; without it memory grows as needed and is reported the same way
  int threads = 0;                          // 0: every CPU this process may use
  std::uint64_t seed = 1;
  bool verify_replay = false;  // hash every replayed value against its first one; a difference throws Error
  bool dry_run = false;        // shapes only: no kernels, no memory; values read as zeros
  Costs costs = {};            // that plans weigh
};

// From one optimizer step to the next.
struct StepReport {
  std::int64_t step = 0;            // from 1
  std::int64_t peak_bytes = 0;      // the most bytes live together
  std::int64_t reserved_bytes = 0;  // the highest address used in the arena
  bool planned = false;             // every op followed a plan that was there before it ran
  std::int64_t ops = 0;
  std::int64_t recomputed_ops = 0;
  double seconds = 0;
  double recompute_seconds = 0;
  // The course of memory over the step: the most bytes live together in each of up to 64 equal stretches, counted in
  // changes of what is live.
  std::vector<std::int64_t> live_curve;
};

struct Report {
  std::optional<std::int64_t> budget;
  std::int64_t peak_bytes = 0;      // the most bytes ever live together
  std::int64_t reserved_bytes = 0;  // the highest address ever used in the arena
  std::int64_t live_bytes = 0;
  std::int64_t fixed_bytes = 0;  // parameters, gradients, optimizer state and batches, at their most
  std::int64_t rss_bytes = 0;
  std::int64_t rss_peak_bytes = 0;
  std::int64_t live_by_category[kCategories] = {};
  std::int64_t peak_by_category[kCategories] = {};  // at the moment of the peak
  std::int64_t most_by_category[kCategories] = {};  // each at its own highest
  std::int64_t primitives = 0;                      // kernels that were generated
  std::int64_t steps = 0;
  std::int64_t planned_steps = 0;
  std::int64_t recomputed_ops = 0;  // in all
  StepReport last_step;
  std::int64_t plans = 0;     // made in all
  std::int64_t replans = 0;   // of these, for steps that had a plan already
  std::string replan_reason;  // of the last of these
  double plan_seconds = 0;    // planning, in all
  double plan_cost = 0;       // of the last planned step, over running every op once: 0.041 is +4.1 %
  double plan_bound = 0;      // no plans of that step and budget cost less; 0 where the program gave hints
  // Ops that a backward pass may still go through: a sum of losses that is never taken backward grows.
  std::int64_t waiting_nodes = 0;
  std::string waiting_since;  // "train.cc:41": the first of them
  std::string summary() const;
};

class Session {
 public:
  explicit Session(SessionOptions options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The innermost living session of this thread; throws Error where there is none.
  static Session& current();

  const SessionOptions& options() const;
  Report report(SourceLocation where = SourceLocation::current()) const;
  // The fate of each value of the last step (or of what was recorded since, where something was) and why; who held
  // memory at the peak; and what as many larger budgets would buy, for which it plans, in host memory and some tenths
  // of a second each for thousands of ops.
  Explanation explanation(int offers = 4, SourceLocation where = SourceLocation::current()) const;
  // The same as text, a line a value.
  std::string explain(int offers = 4, SourceLocation where = SourceLocation::current()) const;
  // What was recorded since the last optimizer step, or where nothing was: the whole last step.
  scheduler::Graph graph(SourceLocation where = SourceLocation::current()) const;

  // From now on what runs and what is in memory is written down, until stop_timeline(), in host memory outside of the
  // budget: some 100 bytes a kernel. Throws Error where that goes on already.
  void start_timeline(SourceLocation where = SourceLocation::current());
  // What was written down; throws Error where nothing was.
  Timeline stop_timeline(SourceLocation where = SourceLocation::current());
  // What `program` would take, by a session of these options of its own that runs no kernel (dry_run.h).
  DryRun dry_run(const std::function<void()>& program) const;

  // Optimizer steps taken; part of the key of every random op. Set it when a run is resumed.
  std::int64_t step(SourceLocation where = SourceLocation::current()) const;
  void set_step(std::int64_t step, SourceLocation where = SourceLocation::current());

  detail::Engine& engine() { return *engine_; }

 private:
  std::unique_ptr<detail::Engine> engine_;
  std::uint64_t thread_;  // of its own
};

// The smallest budget found in which `program` runs, in bytes: training, evaluation, loaders and all. `program` makes a
// model and runs as many steps as differ (two, and an evaluation, for most). It is called several times, in sessions of
// these options that run no kernel and take no memory; values read as zeros. Throws what the program throws.
std::int64_t smallest_budget(SessionOptions options, const std::function<void()>& program);

// A leaf that a model owns: counted as a parameter, it requires a gradient. `name` is for messages.
Tensor parameter(const Tensor& initial, std::string_view name, SourceLocation where = SourceLocation::current());
// State of a layer or an optimizer that is no gradient's subject (running statistics, moments). Zeros.
Tensor state(const Shape& shape, DType dtype, Category category, std::string_view name,
             SourceLocation where = SourceLocation::current());

namespace detail {
// For optimizers.
struct Update {
  std::shared_ptr<const AnyOp> op;  // changes some of its inputs in place, and has no output
  std::vector<Tensor> inputs;
};
// Runs an op on the gradients of the step that is about to end; returns the number that it gives (i32). Where that is
// not 0 the step is refused: running statistics are again what they were before it.
std::int32_t check_gradients(Session& session, const std::shared_ptr<const AnyOp>& op,
                             std::span<const Tensor> gradients, SourceLocation where);
// Running statistics are again what they were before the step that is refused.
void undo_changes(Session& session, SourceLocation where);
// Ends the step with these updates, all of them or none. Everything computed from what they change settles or expires
// first; every update is recorded, prepared and placed before the first one runs. What throws before that has changed
// nothing. An update that throws while it runs ends the session: the text names what has changed.
void optimizer_step(Session& session, std::span<const Update> updates, SourceLocation where);
// Runs updates that belong to the step that has just ended: what follows from the parameters that it has changed. In
// the middle of a step they belong to that one.
void follow_step(Session& session, std::span<const Update> updates, SourceLocation where);
// backward() that gives only these leaves gradients. Refused where the loss is not finite.
void backward_to(Session& session, const Tensor& loss, std::span<const Tensor> leaves, SourceLocation where);
// What a pass that updates as it goes does with one parameter.
struct PassUpdate {
  Tensor parameter;
  Tensor state;                     // undefined: there is none
  std::shared_ptr<const AnyOp> op;  // takes {parameter, gradient, state}
};
// How far it came, where it threw.
struct PassOutcome {
  std::vector<bool> updated;   // by update: it has run, perhaps in part
  std::ptrdiff_t failed = -1;  // the update that threw
};
// Goes backward from the loss, and updates each of the parameters as soon as its gradient is whole; the gradient dies
// with the update. What a parameter's gradient was before counts; where the loss does not reach it, it is applied last.
// The step ends. Nothing runs before all of it is planned, so a BudgetError changes nothing, nor does a loss that is
// not finite. What an update throws stops the pass there.
void minimize(Session& session, const Tensor& loss, std::span<const PassUpdate> updates, PassOutcome& outcome,
              SourceLocation where);
// How often elements were assigned to a leaf.
std::int64_t assignments(const Tensor& leaf);
// For files. Bytes [first, first + count) of a leaf, row-major; zeros in a dry run.
void read_leaf(const Tensor& leaf, std::int64_t first, std::int64_t count, std::byte* to, SourceLocation where);
// The leaf, which needs no gradient, gives its bytes back: `read` gives them whenever they are needed, from several
// threads at once.
struct LeafReader {
  std::function<void(std::int64_t first, std::int64_t count, std::byte* to)> read;
  double seconds = 0;     // that all of it takes
  bool in_parts = false;  // reading it in parts takes no more
};
void set_reader(const Tensor& leaf, LeafReader reader, SourceLocation where);
bool has_reader(const Tensor& leaf);
// DeferredInit is on, and the leaf was made under it: what would initialise it does nothing.
bool waits_for_elements(const Tensor& leaf);
// Overwrites a leaf, as assign() does, with what `fill` writes there; in a dry run it is not called. Where it throws
// the elements are undefined.
void fill_leaf(const Tensor& leaf, const std::function<void(std::byte* bytes)>& fill, SourceLocation where);
// How many keys of random ops were drawn since the last optimizer step.
std::uint32_t random_ordinal(Session& session);
// As set_step(), with so many keys drawn since.
void set_random_ordinal(Session& session, std::int64_t step, std::uint32_t ordinal, SourceLocation where);
// The name of a leaf whose gradient was written by a backward pass and used by no optimizer step yet; nothing where
// there is none.
std::optional<std::string> unused_gradient(Session& session);
// Ties an object to a session that may end before it.
class SessionTie {
 public:
  // `before_end` is called when the session ends, while its memory is still there.
  SessionTie(Session& session, std::function<void()> before_end);
  ~SessionTie();
  SessionTie(const SessionTie&) = delete;
  SessionTie& operator=(const SessionTie&) = delete;
  // Throws Error where the session has ended, or belongs to another thread; `what` was made at `where`.
  Session& session(const char* what, SourceLocation where) const;

 private:
  struct [[gnu::visibility("hidden")]] Impl;
  std::unique_ptr<Impl> impl_;
};

// While it lives the program waits for a loader: a span of the session's timeline.
class DataWait {
 public:
  DataWait(Session& session, SourceLocation where);
  ~DataWait();
  DataWait(const DataWait&) = delete;
  DataWait& operator=(const DataWait&) = delete;

 private:
  Session& session_;
  SourceLocation where_;
  std::chrono::steady_clock::time_point began_;
};

// For loaders: a batch leaf and the place that its next content is written to meanwhile. exchange() swaps the two.
// After its session has ended a slot can only be destroyed.
class BatchSlot {
 public:
  // Throws ShapeError where such a batch cannot be.
  static void check(const Shape& shape, DType dtype, SourceLocation where);
  // `pause` is called before back() moves, between steps: whoever writes there has finished when it returns.
  BatchSlot(Session& session, const Shape& shape, DType dtype, std::function<void()> pause, SourceLocation where);
  ~BatchSlot();
  BatchSlot(BatchSlot&&) noexcept;
  BatchSlot& operator=(BatchSlot&&) = delete;
  // Where the next batch is written to; null in a dry run.
  void* back() const;
  // Whether back() is the same until the next exchange(), so that a thread may write there meanwhile. A place that was
  // made in the middle of a step may move until the step has ended: write to it right before exchange().
  bool back_stays() const;
  // Makes the back buffer the batch. What was computed from the former batch is settled or expires; where the program
  // still holds the former batch itself it keeps its bytes, and the slot goes on in others.
  Tensor exchange(SourceLocation where);

 private:
  struct [[gnu::visibility("hidden")]] Impl;
  std::unique_ptr<Impl> impl_;
};
}  // namespace detail

}  // namespace tidemark
#pragma GCC visibility pop
