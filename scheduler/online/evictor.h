// The online policy: what to discard when the next op needs room and the future is unknown.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/place/occupancy.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

// Buffers are in one of these states: resident; evicted (not resident, may be computed again); gone (released, and
// nothing can bring it back). A buffer that is not released never becomes gone: what would cause it is preceded by
// computing the buffer again. What is released is dropped, but for what something discarded needs, and for roots and
// levers. A root cannot be computed again, and what the program holds is computed from it: without it that can no
// longer be discarded. A lever can, but something much larger that the program holds in memory is computed from it: as
// long as the lever is there, that is cheap to discard. What one call changes is journaled and taken back where the
// call fails.
class Evictor {
 public:
  Evictor(const Graph& graph, std::int64_t budget, const Start& start);

  // `releases` is what nothing reads after the op: it may be written over, and is dropped.
  std::optional<Shortage> admit(OpId op, std::span<const BufferId> releases, std::vector<Step>& steps);
  std::optional<Shortage> restore(BufferId buffer, std::vector<Step>& steps);
  std::optional<Shortage> reserve(BufferId buffer, std::vector<Step>& steps, std::int64_t& offset);
  void release(BufferId buffer, std::vector<Step>& steps);
  void pin(BufferId buffer);

  std::int64_t work() const { return work_; }  // ops looked at for scores

 private:
  struct LastCost {  // what rerun_cost() said last
    double cost = 0;
    std::int32_t tick = 0;
    std::int32_t call = 0;
  };
  struct BufferState {
    std::int64_t bytes = 0;
    std::int64_t offset = 0;
    OpId producer = -1;
    std::int32_t touched = 0;  // tick of the last use
    std::int32_t locks = 0;    // by what runs now
    std::int32_t awaited = 0;  // uses to come in the present call
    std::int32_t wants = 0;    // readers that would have to run again for something held
    bool resident = false;
    bool pending = false;  // has a place as an output of the op about to run
    bool released = false;
    bool wanted = false;          // discarded, and held or needed to compute what is
    bool in_pinned_zone = false;  // pinned in the graph: neither dropped nor moved
    bool pinned = false;          // by pin()
    bool listed = false;          // in spared_
    LastCost last;
    std::vector<OpId> readers;
  };
  struct OpState {
    std::vector<BufferId> reads;  // with updates, each once
    std::int32_t wanted = 0;      // outputs
    bool ran = false;
    bool lost = false;  // may not run again
  };
  struct Change {
    enum class Kind : std::uint8_t { kPlaced, kRemoved, kMoved } kind;
    BufferId buffer;
    std::int64_t offset;  // before the change
    bool pending;
    std::int32_t touched;
  };
  struct Frame {  // ops to run again, the innermost frame's first
    std::vector<OpId> ops;
    std::size_t next = 0;
  };

  // evictor.cc: the program so far, and what calls change.
  void ingest_buffers();
  void ingest_new(BufferId b);
  void check_known(BufferId b, const std::string& who) const;
  void check_readable(BufferId b, const std::string& reader) const;
  void check_op(OpId op) const;
  void ingest(OpId op, bool started);
  void forget(OpId op);
  void advance();
  void begin_call(const std::vector<Step>& steps);
  void roll_back(std::vector<Step>& steps);
  void note_cost(BufferId b, double cost);
  void set_state(BufferId b, bool resident, bool pending);
  void place(BufferId b, std::int64_t offset, bool pending);
  void remove(BufferId b);
  void move(BufferId b, std::int64_t offset, std::vector<Step>& steps);
  void drop(BufferId b, std::vector<Step>& steps);
  bool recomputable(BufferId b) const { return at(b).producer >= 0 && !op_at(at(b).producer).lost; }
  void lose_op(OpId op);
  void lose_buffer(BufferId b);
  bool must_run_again(OpId op) const;
  void set_ran(OpId op);
  void update_wanted(BufferId b);
  void spread_wants(OpId op, std::int32_t change);
  void find_dependent(BufferId b, std::vector<BufferId>& dependent) const;
  bool has_held_dependent(BufferId b) const;
  bool lever(BufferId b) const;
  void let_go(BufferId b, std::vector<Step>& steps);
  void drop_released(BufferId b, std::vector<Step>& steps);
  void drop_idle(std::vector<Step>& steps);
  std::vector<BufferId> needed_before_update(OpId op) const;
  void commit_updates(OpId op);
  bool counted_as_pinned(BufferId b) const;
  std::int64_t overwritable(OpId op, std::span<const BufferId> releases) const;
  Shortage shortage(OpId op, std::span<const BufferId> reads, std::span<const BufferId> writes,
                    std::int64_t scratch) const;
  Shortage more_than_there_was(Shortage result) const;

  // evictor_room.cc: room for bytes, and scores.
  bool evictable(BufferId b) const;
  bool root(BufferId b) const;
  double loss_of_root(BufferId b, double enough) const;
  bool movable(BufferId b) const { return b != kScratch && !at(b).in_pinned_zone; }
  double rerun_cost(BufferId b, double most) const;
  std::optional<std::int64_t> make_room(std::int64_t bytes, std::vector<Step>& steps);
  void compact(const std::vector<Occupancy::Segment>& segments, const Occupancy::Window& window,
               std::vector<Step>& steps);
  BufferId spare_victim(std::int64_t bytes);
  BufferId least_victim();
  bool evict_least(std::vector<Step>& steps);
  void take_back(std::int64_t bytes, std::size_t first, std::vector<Step>& steps);

  // evictor_restore.cc: running ops, and computing again what is missing.
  bool run(OpId op, std::span<const BufferId> releases, std::vector<Step>& steps);
  bool may_overwrite(const Op& op, const std::pair<BufferId, BufferId>& pair, std::span<const BufferId> releases) const;
  std::vector<std::pair<BufferId, BufferId>> choose_overwrites(OpId op, std::span<const BufferId> releases,
                                                               std::vector<BufferId>& dependent);
  bool bring(std::span<const BufferId> wanted, std::vector<Step>& steps);
  std::vector<OpId> missing_ops(std::span<const BufferId> wanted) const;
  void let_go_if_unwanted(BufferId b, std::vector<Step>& steps);

  BufferState& at(BufferId b) { return buffers_[static_cast<std::size_t>(b)]; }
  const BufferState& at(BufferId b) const { return buffers_[static_cast<std::size_t>(b)]; }
  OpState& op_at(OpId op) { return ops_[static_cast<std::size_t>(op)]; }
  const OpState& op_at(OpId op) const { return ops_[static_cast<std::size_t>(op)]; }

  const Graph& graph_;
  Occupancy occupancy_;
  std::vector<BufferState> buffers_;
  std::vector<OpState> ops_;
  std::vector<BufferId> resident_;  // ascending, so that what calls looked at does not depend on refused ones
  std::vector<Change> journal_;
  std::vector<std::pair<BufferId, LastCost>> costs_before_;  // the present call
  std::vector<OpId> lost_;                                   // by the present call
  std::int32_t call_ = 0;
  std::size_t steps_before_ = 0;
  std::int32_t tick_before_ = -1;
  std::vector<BufferId> idle_;              // released ones that nothing discarded needs any more, or so it was
  std::deque<BufferId> spared_;             // roots and levers, or they were
  std::vector<BufferId> changed_;           // by update_wanted(), kept for its memory
  std::vector<Frame> frames_;               // of the present call
  std::int64_t missing_ = 0;                // ops that must run again
  bool roots_stay_ = false;                 // no root may be a victim
  bool again_ = false;                      // something that the call waits for was discarded and is computed once more
  std::vector<double> staleness_;           // by ticks since the last use, up to the present one
  std::int32_t tick_ = -1;                  // runs so far, with those again
  mutable std::vector<std::int32_t> seen_;  // visit marks by op
  mutable std::int32_t visit_ = 0;
  mutable std::vector<OpId> found_;
  mutable std::int64_t work_ = 0;
};

}  // namespace tidemark::scheduler
