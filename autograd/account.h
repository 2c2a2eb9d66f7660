// What happened: the numbers that a Report is made of.
#pragma once

#include <chrono>
#include <cstdint>

#include "autograd/advisor.h"
#include "memory/arena.h"
#include "tidemark/session.h"

namespace tidemark::detail {

class Account {
 public:
  // `cost`: what the op is taken to cost.
  void first_run(bool planned, double cost) {
    ++current_.ops;
    if (!planned) ++unplanned_ops_;
    work_.once += cost;
  }
  void recomputed(double seconds, double cost) {
    ++current_.recomputed_ops;
    current_.recompute_seconds += seconds;
    work_.again += cost;
  }
  // For what is read from a file.
  void waited(double seconds) { current_.recompute_seconds += seconds; }
  // Fixed bytes that are live now.
  void note_fixed(std::int64_t bytes) { fixed_peak_ = bytes > fixed_peak_ ? bytes : fixed_peak_; }
  // `hinted`: the plans weighed costs that hints had changed, so that their bound says nothing of the true ones.
  void followed(const Advisor::Costs& costs, bool hinted) {
    plans_.base_cost += costs.base_cost;
    plans_.lower_bound += hinted ? costs.base_cost : costs.lower_bound;
  }
  void end_step(std::int64_t step, const memory::Arena& arena);
  // A step has ended, and nothing has run since.
  bool between_steps() const { return last_.step > 0 && current_.ops == 0; }
  // All that has run since the last step ended belongs to it.
  void follow_step(const memory::Arena& arena);
  bool last_was_planned() const { return last_.planned; }
  void abandon_step();
  void fill(Report& report) const;

 private:
  using Clock = std::chrono::steady_clock;

  struct Work {
    double once = 0;  // every op one time
    double again = 0;
  };

  StepReport current_;
  std::int64_t unplanned_ops_ = 0;  // of the current step
  Work work_;                       // of the current step
  Advisor::Costs plans_;            // of all plans that the current step has followed
  StepReport last_;
  Advisor::Costs last_plans_;  // of the last step that followed plans throughout
  Work last_work_;             // of the same
  Clock::time_point step_start_ = Clock::now();
  std::int64_t steps_ = 0;
  std::int64_t planned_steps_ = 0;
  std::int64_t recomputed_ops_ = 0;  // before the current step
  std::int64_t fixed_peak_ = 0;
};

}  // namespace tidemark::detail
