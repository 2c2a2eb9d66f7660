#include "autograd/account.h"

#include <algorithm>

namespace tidemark::detail {

void Account::end_step(std::int64_t step, const memory::Arena& arena) {
  current_.step = step;
  current_.planned = current_.ops > 0 && unplanned_ops_ == 0;
  current_.peak_bytes = arena.ledger().step_peak();
  current_.reserved_bytes = arena.step_reserved_peak();
  current_.live_curve = arena.ledger().step_curve();
  const Clock::time_point now = Clock::now();
  current_.seconds = std::chrono::duration<double>(now - step_start_).count();
  step_start_ = now;
  if (current_.planned) {
    ++planned_steps_;
    last_plans_ = plans_;
    last_work_ = work_;
  }
  ++steps_;
  recomputed_ops_ += current_.recomputed_ops;
  last_ = current_;
  abandon_step();
}

void Account::follow_step(const memory::Arena& arena) {
  const Clock::time_point now = Clock::now();
  last_.ops += current_.ops;
  last_.recomputed_ops += current_.recomputed_ops;
  last_.recompute_seconds += current_.recompute_seconds;
  last_.seconds += std::chrono::duration<double>(now - step_start_).count();
  step_start_ = now;
  last_.peak_bytes = std::max(last_.peak_bytes, arena.ledger().step_peak());
  last_.reserved_bytes = std::max(last_.reserved_bytes, arena.step_reserved_peak());
  recomputed_ops_ += current_.recomputed_ops;
  if (last_.planned) {
    last_work_.once += work_.once;
    last_work_.again += work_.again;
    last_plans_.base_cost += plans_.base_cost;
    last_plans_.lower_bound += plans_.lower_bound;
    last_.planned = unplanned_ops_ == 0;
    if (!last_.planned) --planned_steps_;
  }
  abandon_step();
}

void Account::abandon_step() {
  current_ = {};
  plans_ = {};
  work_ = {};
  unplanned_ops_ = 0;
}

void Account::fill(Report& report) const {
  report.fixed_bytes = fixed_peak_;
  report.steps = steps_;
  report.planned_steps = planned_steps_;
  report.last_step = last_;
  report.recomputed_ops = recomputed_ops_ + current_.recomputed_ops;
  if (last_plans_.base_cost > 0 && last_work_.once > 0) {
    report.plan_cost = last_work_.again / last_work_.once;
    // Sums of the same costs in another order may differ in the last digits.
    report.plan_bound = std::min(last_plans_.lower_bound / last_plans_.base_cost - 1, report.plan_cost);
  }
}

}  // namespace tidemark::detail
