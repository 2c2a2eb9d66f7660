// The engine behind a Session. It coordinates: calls of the program are recorded (Recorder), the Advisor says what runs
// next and where things lie, Replay carries it out in the bytes of Storages, and Lifetimes says what the program still
// wants. One thread uses it.
//
//   engine.cc   op calls and backward; running what is recorded
//   updates.cc  what changes leaves in place: optimizer steps
//   minimize.cc backward and an optimizer step in one pass
//   step_end.cc where a step ends, and what outlives it
//   leaves.cc   values that the program makes itself: leaves, parameters, batches; reading and writing
//   report.cc   what happened, and what is refused, in words and numbers
//   explain.cc  the fate of each value of a step, and why
#pragma once

#include <unistd.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "autograd/account.h"
#include "autograd/advisor.h"
#include "autograd/lifetimes.h"
#include "autograd/prepared_ops.h"
#include "autograd/recorder.h"
#include "autograd/replay.h"
#include "autograd/storages.h"
#include "autograd/tape.h"
#include "autograd/timeline_recorder.h"
#include "compute/machine.h"
#include "compute/threads.h"
#include "tidemark/op.h"
#include "tidemark/session.h"

namespace tidemark::detail {

class GradientPass;

// Ends the text of an error that has cost them.
inline constexpr const char* kGradientsGone =
    "Gradients that earlier backward() calls gave to what this pass reaches are gone: it had added to some of them";

class Engine {
 public:
  Engine(Session& session, const SessionOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const SessionOptions& options() const { return options_; }
  Session& session() { return session_; }
  // Throws Error on any thread but the session's own, in a process forked since, and where memory ran out in a call.
  void check_thread(std::string_view what, SourceLocation where) const;
  // Throws Error inside an op and where the session has ended, too.
  void check_call(std::string_view what, SourceLocation where) const;
  // Every call of the program goes through here: checks it, and does `work`. Where the system has no more memory in the
  // middle of it (bad_alloc), what was under way is half done: the session ends.
  template <class Work>
  std::invoke_result_t<Work> call(std::string_view what, SourceLocation where, Work&& work) {
    check_call(what, where);
    const Busy busy(busy_);
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
        work();
        if (half_done_) throw std::bad_alloc();  // in a destructor, which could not say so
      } else {
        std::invoke_result_t<Work> result = work();
        if (half_done_) throw std::bad_alloc();
        return result;
      }
    } catch (const std::bad_alloc&) {
      end_without_memory(what, where);
    } catch (...) {
      quietly([&] { let_go(); });
      throw;
    }
  }
  // Called when the session ends, while its memory is still there.
  std::list<std::function<void()>>& endings() { return endings_; }

  // --- engine.cc
  std::vector<Tensor> apply(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                            SourceLocation where);
  // `only`: the leaves that get gradients, for minimize(); empty: all of them.
  void backward(std::span<const Tensor> losses, BackwardOptions options, std::span<Handle* const> only,
                SourceLocation where);
  // From destructors.
  void handle_died(Handle* handle) noexcept;
  void zero_grad(Handle* leaf);
  std::int64_t step() const { return keys_.step; }
  void set_step(std::int64_t step);

  // --- updates.cc
  std::int32_t check_gradients(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> gradients,
                               SourceLocation where);
  void optimizer_step(std::span<const Update> updates, SourceLocation where);
  void follow_step(std::span<const Update> updates, SourceLocation where);
  // Running statistics are again what they were before the step.
  void undo_changes();

  // --- minimize.cc
  // Throws Error where the loss is not, and undoes what the step has changed.
  void require_finite(const Tensor& loss, SourceLocation where);
  // Throws Error where the pass gives none of its targets a gradient.
  void require_target(const GradientPass& pass, const Tensor& loss, SourceLocation where) const;
  void minimize(const Tensor& loss, std::span<const PassUpdate> updates, PassOutcome& outcome, SourceLocation where);

  // --- leaves.cc
  // A new leaf with undefined content.
  Tensor new_leaf(const Meta& meta, Category category, std::string_view name, SourceLocation where);
  // One without elements, and without bytes until it is written to or has a source.
  Tensor new_deferred(const Meta& meta, SourceLocation where);
  // The leaf's bytes go: it is read from there whenever it is needed. Its name stays.
  void set_source(Handle* handle, LeafSource source, SourceLocation where);
  Tensor detach(Handle* handle, SourceLocation where);
  // All elements, plain and in the value's own type.
  void read(Handle* handle, void* out, SourceLocation where);
  // Of a leaf: bytes [first, first + count), from wherever they are.
  void read_part(const Handle* handle, std::int64_t first, std::int64_t count, std::byte* to, SourceLocation where);
  // `fill` writes all bytes; it is not called where there are none. Where it throws, the elements are undefined.
  void write(Handle* handle, const std::function<void(std::byte* bytes)>& fill, SourceLocation where);
  void* leaf_data(const Handle* handle);
  bool is_resident(const Handle* handle) const;
  // Makes the handle's category that of parameters; its gradient is wanted.
  void make_parameter(Handle* handle, std::string_view name, SourceLocation where);
  void set_requires_grad(Handle* handle, bool on, SourceLocation where);
  RngKey next_key() { return keys_.next(); }
  const KeySequence& keys() const { return keys_; }
  void set_keys(std::int64_t step, std::uint32_t ordinal);
  // The name of a leaf whose gradient no optimizer has used since backward() wrote it.
  std::optional<std::string> name_of_unused_gradient() const;
  // A leaf that a loader's thread fills: `pause` is called before its bytes are moved.
  Tensor new_batch(const Meta& meta, SourceLocation where);
  StorageId new_slot(std::int64_t bytes, std::function<void()> pause, SourceLocation where);
  void* slot_data(StorageId storage);
  bool stays_in_place(StorageId storage) const;
  // The handle's bytes and those of `back` change places; values computed from the former settle or expire. Where the
  // former bytes are still wanted, by the program or by a backward pass, they stay as they are: returns a new handle on
  // `back` instead, and `back` becomes a new storage.
  Handle* exchange_batch(Handle* front, StorageId& back, std::function<void()> pause, SourceLocation where);
  // For destructors: the loader goes, and the batch that it leaves behind belongs to the program.
  void free_slots(Handle* front, StorageId back) noexcept;

  void start_timeline();
  TimelineRecorder& timeline() { return timeline_; }
  // What made the value is taken to cost more, or less, than it does.
  void hint(const Handle* handle, Node::Hint hint);

  // --- explain.cc
  Explanation explanation(int offers) const;

  // --- report.cc
  Report report() const;
  // Of the step under way, or of the last one where nothing is recorded yet; ops are named with the user's line.
  scheduler::Graph graph() const;

 private:
  // While one lives, the engine is inside a call.
  class Busy {
   public:
    explicit Busy(bool& busy) : busy_(busy), before_(std::exchange(busy, true)) {}
    ~Busy() { busy_ = before_; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    bool& busy_;
    bool before_;
  };

  // --- engine.cc
  [[noreturn]] void end_without_memory(std::string_view what, SourceLocation where);
  // For destructors. Where something is refused the step is abandoned, and whoever uses a value of it is told why.
  template <class Work>
  void quietly(Work&& work) noexcept {
    try {
      work();
    } catch (const std::bad_alloc&) {
      half_done_ = true;
      ended_ = no_memory_;
    } catch (const std::exception&) {
      // Said by whatever is called next.
    }
  }
  void check_owners(std::span<const Tensor> inputs, std::string_view what, SourceLocation where) const;
  ValueId loss_value(const Tensor& loss, std::string_view what, SourceLocation where);
  // Records the pass, which is under way from then on.
  void record_pass(GradientPass& pass, std::span<const ValueId> losses, bool retain);
  // Of a gradient: the pass under way makes it, so that there was none before.
  bool made_by_pass(const Handle* grad) const;
  void run_recorded();
  void run(OpId op);
  bool needs_no_room(const scheduler::Op& op) const;
  void carry_out(std::span<const scheduler::Step> steps, std::int64_t shift);
  void begin_step();
  void enter_inputs();
  void finish_first_run(OpId op, bool planned);
  // Takes back what nobody needs any more, where no op has to be recorded for it.
  void collect();
  // The rest of it: ops that mark the place, so that plans know until when the bytes are taken.
  void let_go();
  // Where nothing goes on from what is in memory: all that is recorded is planned from the step's start, and what has
  // run runs again. False where there is no such plan.
  bool start_over();
  std::vector<BufferId> kept_buffers(const scheduler::Graph& graph) const;
  // What the program holds and what was computed from these storages settles or expires before they change. At the end
  // of a step everything else does too, but for what waits for a backward pass.
  void settle_held(std::span<const StorageId> changed, bool step_ends, std::string_view what, SourceLocation where);
  using Reasoned = std::pair<Handle*, const Reason*>;
  struct Held {
    std::map<BufferId, std::vector<Reasoned>> settling;  // by what they read; why they can no longer go backward
    std::vector<Reasoned> expiring;                      // why they can no longer be read
  };
  // What would settle and expire. A backward pass goes through the nodes `going`.
  Held held_values(std::span<const StorageId> changed, bool step_ends, const std::vector<bool>& going,
                   std::string_view what, SourceLocation where);
  void begin_settling(std::span<const Reasoned> handles);
  std::vector<StorageId> causes(std::span<const StorageId> changed) const;
  void end_stretch(std::span<const StorageId> changed, std::string_view what, SourceLocation where);
  void restart_if_idle(const AnyOp& op, SourceLocation where);
  void bring_back();
  void end_generation();
  // Which of the leaves that are read from files stay in memory from step to step: asked once for each kind of step.
  void choose_residents(const scheduler::Graph& room, std::span<const BufferId> used);
  void sweep();
  // Ops before `begun` may have changed what they update. Of a backward pass under way nothing stays. Gradients that
  // were there before it do, unless some have been added to by then: returns whether they are gone for that.
  bool abandon_step(const std::string& text, OpId begun);
  // Where `work` throws, the step is abandoned.
  template <class Work>
  void or_abandon(OpId begun, Work&& work) {
    try {
      work();
    } catch (const BudgetError&) {
      throw;  // by refuse(), which has abandoned it
    } catch (const std::bad_alloc&) {
      throw;  // the session ends
    } catch (const std::exception& error) {
      const std::string text = error.what();
      if (!abandon_step("the step was abandoned: " + text, begun)) throw;
      throw Error(text + ". " + kGradientsGone);
    }
  }
  // The reason, kept as long as the session: those of loops are the same in each step.
  const Reason* once(Reason reason) { return &*reasons_.insert(std::move(reason)).first; }

  // --- updates.cc
  std::vector<StorageId> changed_by(const AnyOp& op, std::span<const Tensor> inputs, SourceLocation where);
  std::vector<StorageId> changed_by(const AnyOp& op, std::span<Handle* const> inputs, std::span<const Meta> metas,
                                    SourceLocation where);
  void note_change(std::span<const StorageId> changed, std::string_view what, SourceLocation where);
  NodeId record_update(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs, SourceLocation where);
  void end_step();
  void run_updates(std::span<const Update> updates, SourceLocation where);

  // --- minimize.cc
  void plan_pass(SourceLocation where);
  void run_pass(std::span<const std::pair<OpId, std::size_t>> update_ops, PassOutcome& outcome);

  // --- leaves.cc
  void place_leaf(StorageId storage, const Meta& meta, SourceLocation where);
  void store_number(Handle* handle, SourceLocation where);
  void store_deferred(Handle* handle, SourceLocation where);
  void drop_kept(LeafSource& source);
  void release_batch(Handle* front);

  // --- report.cc
  [[noreturn]] void refuse(const scheduler::Shortage& shortage, SourceLocation where);
  std::string pinned_by_category(const scheduler::Shortage& shortage) const;
  void keep_what_is_held(scheduler::Graph& graph) const;
  std::vector<BufferId> used_buffers() const;
  scheduler::Graph room_graph(std::span<const BufferId> buffers) const;
  scheduler::Graph real_graph(scheduler::Graph graph) const;

  Session& session_;
  SessionOptions options_;
  std::thread::id thread_ = std::this_thread::get_id();
  pid_t process_ = getpid();
  std::list<std::function<void()>> endings_;
  compute::ThreadBinding binding_;
  compute::Machine machine_;

  TimelineRecorder timeline_;
  std::list<LeafSource> sources_;                 // kept as long as the session, as tapes and handles point to them
  std::set<std::uint64_t> steps_with_residents_;  // kinds of steps for which residents were chosen
  Tape tape_;
  Tape last_tape_;  // of the last step, for explain() and graph()
  Storages storages_;
  Lifetimes lifetimes_;
  PreparedOps prepared_;
  Recorder recorder_;
  Advisor advisor_;
  Account account_;
  Replay replay_;
  KeySequence keys_;
  std::set<Reason> reasons_;
  // Made beforehand, for when there is no memory for a better one.
  const Error no_memory_{"the session has ended: the system had no memory left in the middle of a call"};

  // What is under way.
  bool busy_ = false;                  // inside a call: what ends is taken back when it is over
  bool updating_ = false;              // what is recorded belongs to the end of the step
  std::optional<Error> ended_;         // why no call is possible any more
  bool half_done_ = false;             // memory ran out in a call: nothing here is to be relied on
  bool complete_ = false;              // nothing but updates is expected after what is recorded
  int started_over_ = 0;               // in this step
  std::vector<StorageId> carried_;     // as the advisor counts them
  std::size_t entered_ = 0;            // buffers that the advisor knows
  std::vector<StorageId> letting_go_;  // needed by nobody; dropped by the next hold op
  std::vector<Handle*> graded_;        // leaves whose gradient this generation wrote
  // A backward pass, from when it is recorded until its last op has run.
  struct Pass {
    OpId first = 0;                   // its first op
    std::vector<Handle*> leaves;      // that it gives a gradient, or more of it
    std::vector<StorageId> existing;  // gradients that they had before
  };
  std::optional<Pass> pass_;
  struct Undo {
    StorageId storage;
    std::vector<std::byte> bytes;
  };
  std::vector<Undo> undo_;  // running statistics changed in this step, as they were
};

// Whether ops of this thread record gradients.
bool& grad_enabled();

}  // namespace tidemark::detail
