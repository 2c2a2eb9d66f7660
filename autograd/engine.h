// The engine behind a Session: it records ops on the tape, runs the steps that a plan or the online policy gives, and
// keeps handles, lifetimes and versions. One thread uses it.
//
//   record.cc     an op call: its meta, layouts, node, graph op
//   check.cc      what an op declares of itself, and errors with the user's line
//   execute.cc    steps: the only code that places, drops, moves bytes and runs kernels
//   backward.cc   backward as more nodes of the same tape
//   lifetime.cc   handles, who is still needed, settle and expire, the end of a generation
//   leaf.cc       values that the program makes itself: parameters, batches, state
//   report.cc     what happened, in words and numbers
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "autograd/handle.h"
#include "autograd/tape.h"
#include "compute/machine.h"
#include "compute/threads.h"
#include "memory/arena.h"
#include "tidemark/op.h"
#include "tidemark/session.h"

namespace tidemark::detail {

class Engine {
 public:
  Engine(Session& session, const SessionOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const SessionOptions& options() const { return options_; }
  Session& session() { return session_; }
  compute::Machine& machine() { return *machine_; }
  // Throws Error on any thread but the session's own.
  void check_thread(std::string_view what, SourceLocation where) const;
  // Called when the session ends, while its memory is still there.
  std::list<std::function<void()>>& endings() { return endings_; }

  // --- record.cc
  std::vector<Tensor> apply(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                            SourceLocation where);
  // --- backward.cc
  void backward(std::span<const Tensor> losses, BackwardOptions options, SourceLocation where);

  // --- leaf.cc
  // A new leaf with undefined content.
  Tensor new_leaf(const Meta& meta, Category category, std::string_view name, SourceLocation where);
  Tensor detach(Handle* handle, SourceLocation where);
  void read(Handle* handle, void* out, std::int64_t bytes, SourceLocation where);
  void write(Handle* handle, const void* elements, std::int64_t bytes, SourceLocation where);
  void* leaf_data(const Handle* handle);
  bool is_resident(const Handle* handle) const;
  // Makes the handle's category that of parameters; its gradient is wanted.
  void make_parameter(Handle* handle, std::string_view name);
  void set_requires_grad(Handle* handle, bool on);
  void fill_uniform(Handle* handle, float low, float high);
  void fill_normal(Handle* handle, float mean, float stddev);
  RngKey next_key();
  Tensor new_batch(const Meta& meta, SourceLocation where);
  StorageId new_pinned_storage(std::int64_t bytes, Category category, SourceLocation where);
  void free_pinned_storage(StorageId storage);
  void* storage_data(StorageId storage);
  bool stays_in_place(StorageId storage) const;
  // The handle's bytes and those of `back` change places; values computed from the former settle or expire. Where a
  // backward pass is still to read the former bytes they stay as they are: returns a new handle on `back` instead, and
  // `back` becomes a new storage.
  Handle* exchange_batch(Handle* front, StorageId& back, SourceLocation where);

  // --- lifetime.cc
  void handle_died(Handle* handle);
  void optimizer_step(std::span<const Tensor> leaves, const std::function<void()>& update, SourceLocation where);
  void zero_grad(Handle* leaf);
  void set_step(std::int64_t step);
  std::int64_t step() const { return step_; }

  // --- report.cc
  Report report() const;
  std::string explain() const;
  // Of the step under way, or of the last one where nothing is recorded yet; ops are named with the user's line.
  scheduler::Graph graph() const;

 private:
  friend class GradientPass;

  // A step that was recorded whole, and the plan for running it again.
  struct PlanEntry {
    std::vector<std::uint64_t> signatures;
    scheduler::Graph graph;
    BufferId persistent = 0;  // buffers that are there when the step starts
    std::optional<scheduler::Plan> plan;
    std::vector<scheduler::Placement> start;  // where they lie in the plan; empty: not planned yet
  };

  // --- record.cc
  ValueId value_of(Handle* handle, std::string_view op, SourceLocation where);
  ValueId in_layout(ValueId value, std::optional<Layout> layout, SourceLocation where, scheduler::Phase phase);
  std::shared_ptr<const Prepared> prepare(const AnyOp& op, const std::string& attributes, std::span<const Meta> metas,
                                          Needs needs, SourceLocation where);
  NodeId record_forward(const std::shared_ptr<const AnyOp>& op, std::span<const ValueId> inputs, SourceLocation where);
  ValueId new_value(const Meta& meta, Category category, NodeId producer);
  ValueId new_view(ValueId of, const Meta& meta, std::int64_t offset, NodeId producer);
  // Appends the node, and its op to the graph. `attributes` tell apart what the rest of the node does not.
  NodeId append_node(Node node, scheduler::Phase phase, std::int64_t scratch, Work work,
                     std::span<const std::pair<ValueId, ValueId>> overwrites, std::string_view attributes);
  StorageId new_storage(std::int64_t bytes, Category category);
  BufferId buffer_of(StorageId storage);
  ValueId saved_value(const Node& node, const Saved& saved) const;
  void hold(std::span<const StorageId> storages, SourceLocation where);

  // --- execute.cc
  void execute(OpId op);
  void execute_up_to_end();
  void run_steps(const std::vector<scheduler::Step>& steps);
  void run_step(const scheduler::Step& step);
  void run_kernel(const Node& node, std::span<const Buf> reads, const std::vector<bool>& valid, std::byte* scratch);
  void finish_first_run(OpId op);
  void go_online();
  void choose_plan();
  bool same_start(const PlanEntry& entry, const std::vector<scheduler::Placement>& start) const;
  void plan_rest();
  bool follows_plan(OpId op) const;
  void drop_bytes(Storage& storage);
  void place_bytes(StorageId storage, std::int64_t offset);
  void make_resident(StorageId storage, SourceLocation where);
  void place_leaf(StorageId storage, SourceLocation where);
  void compact();
  void verify(const Node& node);
  [[noreturn]] void refuse(const scheduler::Shortage& shortage, SourceLocation where);
  std::byte* data(const Value& value);
  Buf buf(ValueId value);
  std::vector<scheduler::Placement> residents() const;

  // --- lifetime.cc
  Handle* new_handle(const Meta& meta, SourceLocation where);
  Handle* new_leaf_handle(const Meta& meta, StorageId storage, SourceLocation where);
  Handle* handle_for(ValueId value);
  void release_handle(Handle* handle);
  void delete_handle(Handle* handle);
  void add_use(NodeId node);
  void drop_use(NodeId node);
  void drop_reads(StorageId storage);
  void let_go_if_unneeded(StorageId storage);
  void flush_letting_go();
  void free_storage(StorageId storage);
  // What these handles read stays in memory from when it is next there: a plan made from here on does not drop it.
  void begin_settling(std::span<Handle* const> handles);
  // After that, when the values are there: the handles read bytes and no longer the graph.
  void settle(std::span<Handle* const> handles, const std::string& graph_lost);
  bool stays_readable(const Handle* handle) const;
  void expire(Handle* handle, const std::string& reason);
  // What was computed from these storages settles or expires, before they change.
  void before_change(std::span<const StorageId> storages, std::string_view what, SourceLocation where);
  void restart_if_idle();
  void end_generation();
  void start_generation();
  void abandon_step(const std::string& reason);
  scheduler::Graph export_graph() const;
  void remember_step();
  void finish_step();

  // --- report.cc
  std::int64_t fixed_bytes() const;
  std::string pinned_by_category(const scheduler::Shortage& shortage) const;

  Session& session_;
  SessionOptions options_;
  std::thread::id thread_ = std::this_thread::get_id();
  std::list<std::function<void()>> endings_;
  compute::ThreadBinding binding_;
  std::unique_ptr<compute::Machine> machine_;
  memory::Arena arena_;

  std::vector<Storage> storages_;
  std::vector<StorageId> free_storages_;
  std::int64_t next_sequence_ = 0;
  Tape tape_;
  std::uint64_t generation_ = 1;
  bool started_ = false;  // the persistent storages have their buffers in the graph
  BufferId persistent_buffers_ = 0;
  Handle* handles_ = nullptr;

  std::int64_t step_ = 0;
  std::uint32_t ordinal_ = 0;
  bool updating_ = false;  // inside optimizer_step
  struct Undo {
    StorageId storage;
    std::vector<std::byte> bytes;
  };
  std::vector<StorageId> letting_go_;  // persistent, and needed by nobody: dropped by the next hold op
  bool executing_ = false;
  std::vector<Handle*> graded_;  // leaves whose gradient this generation wrote
  std::vector<Undo> undo_;       // running statistics changed in this step, as they were

  // Signature -> prepared kernels; the oldest go first.
  absl::flat_hash_map<std::string, std::shared_ptr<const Prepared>> prepared_;
  std::deque<std::string> prepared_order_;

  // Who decides: a plan for this generation, else the online policy.
  const scheduler::Plan* plan_ = nullptr;
  const PlanEntry* followed_ = nullptr;       // set where the plan was made before the step
  std::optional<scheduler::Plan> rest_plan_;  // made in the step, when backward was called
  OpId plan_end_ = 0;                         // ops before this one are in the plan
  std::size_t plan_cursor_ = 0;
  std::unique_ptr<scheduler::Online> online_;
  std::vector<scheduler::Step> steps_;
  std::deque<PlanEntry> entries_;  // most recently used first

  // What happened.
  StepReport current_;
  std::int64_t unplanned_ops_ = 0;  // of the current step
  StepReport last_;
  std::chrono::steady_clock::time_point step_start_ = std::chrono::steady_clock::now();
  std::int64_t steps_done_ = 0;
  std::int64_t planned_steps_ = 0;
  std::int64_t recomputed_ops_ = 0;  // before the current step
  std::int64_t fixed_peak_ = 0;
  double plan_seconds_ = 0;
  struct PlanCosts {
    double cost = 0;
    double base_cost = 0;
    double lower_bound = 0;
  };
  PlanCosts step_plans_;  // of all plans that the current step has followed
  PlanCosts last_plans_;  // of the last step that followed plans throughout
  Tape last_tape_;        // of the last generation, for explain() and graph()
};

// Whether ops of this thread record gradients.
bool& grad_enabled();

}  // namespace tidemark::detail
