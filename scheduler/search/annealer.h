// Local search over sets of reruns: from a knapsack at the binding instant to a plan near the optimum.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "scheduler/bound/instant_bound.h"
#include "scheduler/search/schedule.h"

namespace tidemark::scheduler {

class Annealer {
 public:
  Annealer(const Program& program, std::int64_t budget, std::uint64_t seed);

  // Begins from the choice of the bound at the binding instant: what does not stay there is recomputed at its next use.
  // The target is tightened until the simulated peak fits, or the bound has done `work`.
  void warm_start(InstantBound& at_instant, OpId instant, std::int64_t work);
  // Begins from no reruns but those that a start in mid-program needs.
  void cold_start();
  // From now on within a smaller budget, from the schedule as it is.
  void tighten(std::int64_t budget);
  // From the schedule as it is. `heat` is the temperature at first, in costs of a typical rerun. `work` counts events
  // touched, so that a run takes the same steps on every machine.
  void anneal(std::int64_t work, double heat, bool until_feasible = false);
  // From the schedule as it is towards one whose peak is `least`, until one is `enough`; the room is then the lowest
  // peak found, with a plan.
  void squeeze(std::int64_t least, std::int64_t enough, std::int64_t work);

  // Combines the best plan with the bests of the walks since the last call.
  void cross_walks();

  bool feasible() const { return feasible_; }
  double best_extra() const { return best_extra_; }
  const std::vector<Schedule::Key>& best() const { return best_; }
  const Schedule& schedule() const { return schedule_; }
  void load(std::span<const Schedule::Key> reruns);

 private:
  static constexpr double kWeigh = -1;  // in place of a chance

  struct Change {
    bool added;
    OpId op;
    OpId stage;
  };

  std::uint64_t random();
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(random() % n); }
  double uniform() { return static_cast<double>(random() >> 11) * 0x1.0p-53; }

  void add(OpId op, OpId stage);
  void remove(OpId op, OpId stage);
  void undo(std::size_t size);
  // Once there is a plan, mostly by weighing.
  double chance_or_weigh(double chance) { return feasible_ && uniform() < 0.7 ? kWeigh : chance; }
  bool rather_keep(BufferId b, Schedule::Key k, double chance);
  bool add_with_ancestors(OpId op, OpId stage, double chance, double pending, int depth);
  bool add_as_chosen(OpId op, OpId stage, const InstantBound::Choice& choice);
  void remove_with_idle(OpId op, OpId stage);
  bool idle(OpId op, OpId stage) const;
  void carry_out(const InstantBound::Choice& choice, OpId instant, std::size_t groups);
  void mend();

  std::vector<Schedule::Key> sorted_reruns() const;
  Schedule::Key random_rerun();

  bool relieve();
  bool remove_random();
  bool swap();
  bool shift();
  bool clear_stage();
  void keep_if_best();
  void note_best();
  void begin_log();
  void end_log();
  std::vector<Schedule::Key> logged(std::size_t size) const;
  void aim(double room);
  double energy() const { return schedule_.extra() + penalty_ * schedule_.overflow(); }

  const Program& program_;
  Schedule schedule_;
  std::uint64_t state_;
  std::vector<Change> journal_;
  std::vector<Schedule::Key> base_;  // what a start in mid-program needs
  // Of the present move: the energy up to which it will be accepted, drawn before it is made, so that it is given up as
  // soon as it must come out above; what it cannot take away of the energy besides the cost of reruns; the bytes that
  // it is about to free.
  double limit_ = std::numeric_limits<double>::infinity();
  double floor_ = 0;
  double credit_ = 0;
  bool given_up_ = false;
  double penalty_ = 0;
  double unit_ = 0;  // a typical cost of one rerun
  bool feasible_ = false;
  double best_extra_ = 0;
  std::vector<Schedule::Key> best_;
  double walk_extra_ = std::numeric_limits<double>::infinity();  // of the present walk
  std::vector<Schedule::Key> walk_best_;
  std::vector<std::vector<Schedule::Key>> walks_;
  // What a walk has accepted since `log_base_`, so that a new best is a number of changes and not yet a sorted copy.
  std::vector<Change> log_;
  std::vector<Schedule::Key> log_base_;
  static constexpr std::size_t kNotLogged = std::numeric_limits<std::size_t>::max();
  std::size_t best_logged_ = kNotLogged;  // the changes up to the best
  std::size_t walk_logged_ = kNotLogged;
  std::vector<std::int32_t> seen_;  // visit marks by op
  std::int32_t visit_ = 0;
};

}  // namespace tidemark::scheduler
