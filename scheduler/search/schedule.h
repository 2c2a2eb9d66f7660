// A schedule under change: the first runs in program order, and a set of reruns, each "op q again just before op t".
// Retention is implied and minimal: a buffer stays from where it is written to its last use before it is written again.
// Adding or taking away one rerun updates cost and memory in place.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "scheduler/program.h"
#include "scheduler/search/profile.h"

namespace tidemark::scheduler {

class Schedule {
 public:
  // Where an op runs: before the first run of op `stage`, or as that first run where they are equal. stage op_count is
  // the end of the program. Ordered by time.
  using Key = Profile::Key;
  static Key key(OpId op, OpId stage) { return (static_cast<Key>(stage + 1) << 32) | static_cast<Key>(op + 1); }
  static OpId op_of(Key k) { return static_cast<OpId>(k & 0xffffffffU) - 1; }
  static OpId stage_of(Key k) { return static_cast<OpId>(k >> 32) - 1; }

  struct Occurrence {
    Key key = 0;
    bool produced = false;
  };

  // `room` is what buffers that are not pinned may take together. The schedule begins without reruns; where that leaves
  // a read without its buffer (only after a start in mid-program), missing() is not zero until reruns mend it.
  Schedule(const Program& program, double room);

  bool contains(OpId op, OpId stage) const;
  bool may_add(OpId op, OpId stage) const;
  bool may_remove(OpId op, OpId stage) const;
  void add(OpId op, OpId stage);
  void remove(OpId op, OpId stage);
  void clear();

  double extra() const { return extra_; }                  // cost of the reruns
  double overflow() const { return profile_.overflow(); }  // sum over events of bytes above the room
  int missing() const { return missing_; }
  double peak() const { return profile_.peak(); }
  double room() const { return profile_.room(); }
  void set_room(double room) { profile_.set_room(room); }
  std::int64_t work() const { return profile_.work(); }
  // Memory by event, in order of time. The first event is the start, the last the end; neither is an op.
  const Profile& profile() const { return profile_; }
  // In the order in which they came, where none was taken away.
  const std::vector<Key>& reruns() const { return reruns_; }
  // The buffer's occurrence after event k, and before it; nullptr where there is none.
  const Occurrence* next(BufferId b, Key k) const;
  const Occurrence* previous(BufferId b, Key k) const;
  // In memory across event k, which neither reads nor writes it.
  bool live_across(BufferId b, Key k) const;
  // Resident when event k begins.
  bool live_before(BufferId b, Key k) const;
  bool last_use(BufferId b, Key k) const;  // nothing reads it between k and where it is next written

 private:
  std::size_t find(BufferId b, Key k) const;
  void refresh_own(Key k);
  double own_bytes(OpId op, Key k) const;
  void insert_occurrence(BufferId b, std::size_t position, Key k, bool produced);

  const Program& program_;
  Profile profile_;
  std::vector<std::vector<Occurrence>> occurrences_;
  std::vector<std::vector<BufferId>> reads_;  // without pinned buffers
  std::vector<double> bytes_;
  std::vector<double> op_bytes_;
  double extra_ = 0;
  int missing_ = 0;
  std::vector<Key> reruns_;
  std::unordered_map<Key, std::size_t> rerun_at_;  // in reruns_
};

}  // namespace tidemark::scheduler
