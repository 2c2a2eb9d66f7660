// Advisor: what runs next, what is dropped and where things lie. It knows graphs, signatures and placements, and no
// tensor, storage or kernel. What it says is advice: the arena checks every placement.
//
// A step that was seen before follows a plan of the whole step. A plan is known by the step's signatures and holds
// offsets from its own start, so that it fits wherever there is that much room. A step that is new, or that turns out
// to be another one than was foreseen, goes on op by op (scheduler::Online), until all of it is known.
//
// All offsets are counted from the end of the pinned zone. Carried values that the step is not going to read lie
// below the plan's start; those that it reads are brought to where the plan has them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "autograd/known_steps.h"
#include "autograd/timeline_recorder.h"
#include "tidemark/scheduler.h"

namespace tidemark::detail {

// Steps in order. `planned`: they come from a plan that was made before this step began to run.
struct Advice {
  std::span<const scheduler::Step> steps;
  std::int64_t shift = 0;  // to be added to the steps' offsets
  bool planned = false;
  std::optional<scheduler::Shortage> shortage;  // then there are no steps, and nothing has changed
};

class Advisor {
 public:
  using BufferId = scheduler::BufferId;
  using OpId = scheduler::OpId;

  // A value of an earlier step, or of the program. `key` says what made it, to know it again in the next step.
  struct Carried {
    std::uint64_t key = 0;
    std::int64_t bytes = 0;  // a multiple of 64
    std::int64_t offset = 0;
  };
  // Gives the carried value a buffer in the graph, though no op has read it.
  using Adopt = std::function<BufferId(std::size_t carried)>;

  // `graph` and `signatures` (one an op) grow as the program records; they are read from begin() to end().
  // `limited`: memory may run out, so that values have to be discarded.
  Advisor(const scheduler::Graph& graph, const std::vector<std::uint64_t>& signatures, bool limited, std::uint64_t seed,
          TimelineRecorder& timeline);
  ~Advisor();
  Advisor(const Advisor&) = delete;
  Advisor& operator=(const Advisor&) = delete;

  // --- a step
  // The output of one of the step's first ops, which is in memory since an earlier step.
  struct Resident {
    OpId op = 0;
    std::int64_t bytes = 0;  // a multiple of 64
    std::int64_t offset = 0;
  };
  // What a step begins with: its first `done` ops have run in earlier steps, and may run again.
  struct Begin {
    std::vector<Carried> carried = {};  // the oldest first
    OpId done = 0;
    std::vector<Resident> residents = {};
  };
  // Before the first op that is to run does, when it is recorded. Returns where each is to lie, the carried values and
  // then the residents.
  std::vector<std::int64_t> begin(std::int64_t room, Begin with, Adopt adopt);
  bool begun() const { return begun_; }
  // A buffer that no op writes, at its first use: a carried value, or one that lies in the pinned zone. Where another
  // carried value of the same bytes was foreseen: that one, and the two have to change places before the next advice.
  std::optional<std::size_t> enter_carried(BufferId buffer, std::size_t carried);
  void enter_pinned(BufferId buffer);
  // The program has let go of a carried value that no op has read.
  void forget_carried(std::size_t carried);
  // Steps may move a value that the plan is going to read and no op has read yet, so that it has no buffer but in the
  // plan: which one that is, or nothing where the program has let go of it.
  std::optional<std::size_t> unread(BufferId buffer) const;
  // What lets the op run for the first time.
  Advice advise(OpId op);
  // Every op up to the end of backward is recorded: the rest is planned where no plan is followed. `keep`: what has to
  // be in memory when the last of them has run.
  // Gives steps that drop what nobody needs, to be carried out at once.
  enum class Wanted : std::uint8_t { kWhereMemoryIsLimited, kAlways };
  Advice plan_rest(std::span<const BufferId> keep, Wanted wanted = Wanted::kWhereMemoryIsLimited);
  // Where plan_rest() found no plan: one of the whole step, from its start, in which what has run runs again.
  // `ran_for_good`, by op: it has run and cannot run again, so that what it wrote is an input by now. Those that read
  // what is gone are added.
  // Returns where the inputs have to lie before op 0 runs again.
  std::optional<std::vector<scheduler::Placement>> plan_again(std::span<const BufferId> keep,
                                                              std::vector<bool>& ran_for_good);
  // The program needs the buffer no more; steps that drop it where nobody plans ahead.
  Advice release(BufferId buffer);
  // A released buffer that no op can write is not in memory any more.
  void gone(BufferId buffer);
  // From when it is next resident, the buffer stays so until it is released.
  void pin(BufferId buffer);
  bool follows_plan() const { return plan_ != nullptr; }
  // The step is over. `program` gives what was recorded, whole, with buffers in the order of first use, each of which
  // is `buffers[i]` of the graph; it is known from now on. Empty: the step broke off.
  void end(const std::function<scheduler::Graph()>& program, std::span<const BufferId> buffers);

  // Of the plans that this step has followed.
  struct Costs {
    double base_cost = 0;
    double lower_bound = 0;
  };
  const Costs& costs() const { return costs_; }
  const Planning& planning() const { return known_.planning(); }
  // The smallest room for which the step was planned: the `whole` where that is known (it was recorded before, or is
  // `complete`), else what is recorded. `exact`: no smaller one is possible.
  struct Smallest {
    std::int64_t room = 0;
    bool whole = false;
    bool exact = false;
  };
  std::optional<Smallest> smallest_room(std::span<const BufferId> keep, bool complete);

 private:
  // Which carried value each input of `known` is likely to be, by buffer; nothing where one has no counterpart.
  std::optional<std::vector<std::int32_t>> match(const KnownStep& known) const;
  void follow(KnownStep& known, const scheduler::Plan& plan, std::int64_t shift, std::vector<std::int32_t> foreseen);
  bool fits(OpId op) const;
  bool drops_next(BufferId buffer) const;
  void diverge(OpId op);
  // Follows the rest of another known step, which the present one turned out to be.
  bool change_plan(OpId op);
  void go_online();
  void track(const scheduler::Step& step, std::int64_t shift);
  void grow();
  std::vector<scheduler::Placement> residents() const;
  scheduler::Graph program(std::span<const BufferId> keep) const;

  const scheduler::Graph& graph_;
  const std::vector<std::uint64_t>& signatures_;
  bool limited_;
  std::uint64_t seed_;

  KnownSteps known_;

  // The present step.
  bool begun_ = false;
  std::int64_t room_ = 0;
  std::vector<Carried> carried_;
  std::vector<BufferId> carried_buffer_;  // by carried value; -1: not read yet
  Adopt adopt_;
  OpId done_ = 0;                     // ops at the begin that had run before
  std::vector<OpId> resident_ops_;    // those of them whose outputs were in memory
  OpId advised_ = 0;                  // ops before this one have run
  std::vector<std::int64_t> offset_;  // by buffer; -1: not resident
  std::vector<bool> pinned_;
  std::vector<bool> released_;
  const scheduler::Plan* plan_ = nullptr;
  KnownStep* following_ = nullptr;      // whose plan that is; nullptr: one of this step alone
  std::vector<std::int32_t> foreseen_;  // by buffer of the plan: which carried value it should be
  std::int64_t shift_ = 0;
  OpId plan_end_ = 0;
  std::size_t cursor_ = 0;
  bool replanned_ = false;  // a plan was made again in this step
  bool mistaken_ = false;   // a carried value is not the one that was foreseen
  bool adopted_ = false;    // buffers that no op uses are among the graph's
  std::optional<scheduler::Plan> own_plan_;
  std::unique_ptr<scheduler::Online> online_;
  std::vector<scheduler::Step> steps_;
  Costs costs_;
};

}  // namespace tidemark::detail
