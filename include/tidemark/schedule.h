// How a learning rate changes from step to step. Schedules are plain values with PyTorch's names, defaults and closed
// forms: each gives the rate of step t (from 0) from the rate that the optimizer was made with and t alone, in f64, so
// that a resumed run has exactly the rates of one that never stopped.
//
//   optim::Scheduler scheduler(optimizer, optim::SequentialLR{
//       .schedules = {optim::LinearLR{.start_factor = 0.1, .total_iters = 100}, optim::CosineAnnealingLR{.T_max =
//       900}}, .milestones = {100}});
//   for (...) { ...; optimizer.step(); scheduler.step(); }
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tidemark/optim.h"

#pragma GCC visibility push(default)
namespace tidemark::optim {

// Any schedule, of the library or your own: a value with
//   double lr(double base, std::int64_t t) const
//   std::optional<double> momentum(std::int64_t t) const    // where it moves that, too
//   void check(SourceLocation where) const                  // where its values can be wrong: throws Error
class Schedule {
 public:
  template <class S>
  requires requires(const S& s) { s.lr(1.0, std::int64_t{0}); }
  Schedule(S schedule, SourceLocation where = SourceLocation::current()) {  // NOLINT: converting by design
    if constexpr (requires { schedule.check(where); }) schedule.check(where);
    if constexpr (requires { schedule.momentum(std::int64_t{0}); }) {
      momentum_ = [schedule](std::int64_t t) { return schedule.momentum(t); };
    }
    lr_ = [schedule = std::move(schedule)](double base, std::int64_t t) { return schedule.lr(base, t); };
  }
  double lr(double base, std::int64_t t) const { return lr_(base, t); }
  std::optional<double> momentum(std::int64_t t) const { return momentum_ ? momentum_(t) : std::nullopt; }

 private:
  std::function<double(double, std::int64_t)> lr_;
  std::function<std::optional<double>(std::int64_t)> momentum_;
};

// base gamma^floor(t / step_size)
struct StepLR {
  std::int64_t step_size = 0;
  double gamma = 0.1;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// base gamma^(milestones passed)
struct MultiStepLR {
  std::vector<std::int64_t> milestones = {};
  double gamma = 0.1;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// base gamma^t
struct ExponentialLR {
  double gamma = 1;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// base factor, until total_iters: a constant warm-up.
struct ConstantLR {
  double factor = 1.0 / 3;
  std::int64_t total_iters = 5;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// From base start_factor to base end_factor in total_iters steps: a linear warm-up, or a linear fall.
struct LinearLR {
  double start_factor = 1.0 / 3;
  double end_factor = 1;
  std::int64_t total_iters = 5;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// base (1 - t / total_iters)^power
struct PolynomialLR {
  std::int64_t total_iters = 5;
  double power = 1;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// Half a cosine from base to eta_min in T_max steps, and up again behind them.
struct CosineAnnealingLR {
  std::int64_t T_max = 0;
  double eta_min = 0;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// Half a cosine from base to eta_min in T_0 steps, then again in T_0 T_mult, and so on.
struct CosineAnnealingWarmRestarts {
  std::int64_t T_0 = 0;
  std::int64_t T_mult = 1;
  double eta_min = 0;
  double lr(double base, std::int64_t t) const;
  void check(SourceLocation where) const;
};

// From max_lr / div_factor up to max_lr and down to max_lr / div_factor / final_div_factor, whatever the optimizer's
// own rate; the momentum (beta1, where the optimizer has that) goes the other way. Steps from total_steps on keep the
// last values.
struct OneCycleLR {
  double max_lr = 0;
  std::int64_t total_steps = 0;
  double pct_start = 0.3;  // the part of the steps in which the rate rises
  enum class Anneal : std::uint8_t { kCos, kLinear } anneal_strategy = Anneal::kCos;
  bool cycle_momentum = true;
  double base_momentum = 0.85;
  double max_momentum = 0.95;
  double div_factor = 25;
  double final_div_factor = 1e4;
  bool three_phase = false;  // down to where it began in as many steps, then to the last
  double lr(double base, std::int64_t t) const;
  std::optional<double> momentum(std::int64_t t) const;
  void check(SourceLocation where) const;

 private:
  double at(std::int64_t t, double initial, double peak, double last) const;
};

// base lambda(t)
struct LambdaLR {
  std::function<double(std::int64_t t)> lr_lambda;
  double lr(double base, std::int64_t t) const { return base * lr_lambda(t); }
  void check(SourceLocation where) const;
};

// Each takes the rate that the one before gives as its base: the product of their factors, where all are factors.
struct ChainedScheduler {
  std::vector<Schedule> schedules;
  double lr(double base, std::int64_t t) const;
  std::optional<double> momentum(std::int64_t t) const;
  void check(SourceLocation where) const;
};

// One after the other: schedule k begins, with its own step 0, at milestones[k - 1].
struct SequentialLR {
  std::vector<Schedule> schedules;
  std::vector<std::int64_t> milestones;
  double lr(double base, std::int64_t t) const;
  std::optional<double> momentum(std::int64_t t) const;
  void check(SourceLocation where) const;

 private:
  std::pair<std::size_t, std::int64_t> place(std::int64_t t) const;
};

// Moves an optimizer's rate, from the one that it has; a group with a rate of its own keeps its proportion.
class Scheduler {
 public:
  Scheduler(Optimizer& optimizer, Schedule schedule, SourceLocation where = SourceLocation::current());
  // To be called after optimizer.step(): the rate of the next step.
  void step(SourceLocation where = SourceLocation::current());
  std::int64_t steps() const { return steps_; }
  // To be saved and loaded: the run goes on at the same rates.
  std::vector<double> state() const { return {base_, static_cast<double>(steps_)}; }
  void load(std::span<const double> state, SourceLocation where = SourceLocation::current());

 private:
  void go_to(double base, std::int64_t steps, SourceLocation where);

  Optimizer& optimizer_;
  Schedule schedule_;
  double base_;
  std::int64_t steps_ = 0;
};

enum class Mode : std::uint8_t { kMin, kMax };  // whether a metric is better where it is smaller, or larger

struct PlateauOptions {
  Mode mode = Mode::kMin;
  double factor = 0.1;
  std::int64_t patience = 10;
  double threshold = 1e-4;
  enum class Threshold : std::uint8_t { kRelative, kAbsolute } threshold_mode = Threshold::kRelative;
  std::int64_t cooldown = 0;
  double min_lr = 0;
  double eps = 1e-8;  // changes of the rate by no more are left out
};
// Multiplies the rate by `factor` where a metric has not become better for more than `patience` calls.
class ReduceLROnPlateau {
 public:
  explicit ReduceLROnPlateau(const PlateauOptions& options = {}, SourceLocation where = SourceLocation::current());
  // The rate after this metric. One that is not a number is no better than any.
  double lr(double now, double metric);
  void step(Optimizer& optimizer, double metric, SourceLocation where = SourceLocation::current());
  double best() const { return best_; }
  std::vector<double> state() const;
  void load(std::span<const double> state, SourceLocation where = SourceLocation::current());

 private:
  PlateauOptions options_;
  double best_;
  std::int64_t bad_ = 0;
  std::int64_t cooling_ = 0;
};

struct EarlyStoppingOptions {
  std::int64_t patience = 10;
  double min_delta = 0;  // what counts as better
  Mode mode = Mode::kMin;
};
// Says when to stop: where a metric has not become better for `patience` calls in a row.
class EarlyStopping {
 public:
  explicit EarlyStopping(const EarlyStoppingOptions& options = {}, SourceLocation where = SourceLocation::current());
  // True where training should stop. A metric that is not a number is no better than any.
  bool step(double metric);
  bool improved() const { return bad_ == 0; }  // by the last metric: a time to save the weights
  double best() const { return best_; }
  std::vector<double> state() const { return {best_, static_cast<double>(bad_)}; }
  void load(std::span<const double> state, SourceLocation where = SourceLocation::current());

 private:
  EarlyStoppingOptions options_;
  double best_;
  std::int64_t bad_ = 0;
};

}  // namespace tidemark::optim
#pragma GCC visibility pop
