#include "tidemark/schedule.h"

#include <algorithm>
#include <numbers>
#include <string>
#include <string_view>

namespace tidemark::optim {
namespace {

void require(bool holds, const char* kind, std::string_view text, SourceLocation where) {
  if (!holds) throw Error("[" + std::string(kind) + "] " + std::string(text) + " (at " + to_string(where) + ")");
}

bool is_factor(double x) { return x >= 0 && std::isfinite(x); }

// Half a cosine: 1 at 0, 0 at 1.
double half_cosine(double part) { return (1 + std::cos(std::numbers::pi * part)) / 2; }

double to_double(std::int64_t x) { return static_cast<double>(x); }

void require_rising(const std::vector<std::int64_t>& milestones, const char* kind, SourceLocation where) {
  for (std::size_t i = 0; i < milestones.size(); ++i) {
    require(milestones[i] > (i > 0 ? milestones[i - 1] : 0), kind, "milestones must be above 0 and rise", where);
  }
}

void require_numbers(std::span<const double> state, std::size_t count, const char* kind, SourceLocation where) {
  require(state.size() == count, kind,
          "the saved state has " + std::to_string(state.size()) + " numbers, not " + std::to_string(count), where);
}

std::int64_t whole(double x, const char* kind, SourceLocation where) {
  require(x >= 0 && x < 0x1p53 && x == std::floor(x), kind, "the saved state holds a count that is none", where);
  return static_cast<std::int64_t>(x);
}

double worst(Mode mode) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return mode == Mode::kMin ? kInfinity : -kInfinity;
}

}  // namespace

double StepLR::lr(double base, std::int64_t t) const { return base * std::pow(gamma, to_double(t / step_size)); }
void StepLR::check(SourceLocation where) const {
  require(step_size > 0, "StepLR", "step_size must be above 0", where);
  require(is_factor(gamma), "StepLR", "gamma must be 0 or more", where);
}

double MultiStepLR::lr(double base, std::int64_t t) const {
  const auto passed = std::upper_bound(milestones.begin(), milestones.end(), t) - milestones.begin();
  return base * std::pow(gamma, to_double(passed));
}
void MultiStepLR::check(SourceLocation where) const {
  require(!milestones.empty(), "MultiStepLR", "there are no milestones", where);
  require_rising(milestones, "MultiStepLR", where);
  require(is_factor(gamma), "MultiStepLR", "gamma must be 0 or more", where);
}

double ExponentialLR::lr(double base, std::int64_t t) const { return base * std::pow(gamma, to_double(t)); }
void ExponentialLR::check(SourceLocation where) const {
  require(is_factor(gamma), "ExponentialLR", "gamma must be 0 or more", where);
}

double ConstantLR::lr(double base, std::int64_t t) const { return t < total_iters ? base * factor : base; }
void ConstantLR::check(SourceLocation where) const {
  require(factor >= 0 && factor <= 1, "ConstantLR", "factor must be from 0 to 1", where);
  require(total_iters >= 0, "ConstantLR", "total_iters must be 0 or more", where);
}

double LinearLR::lr(double base, std::int64_t t) const {
  const double part = total_iters > 0 ? to_double(std::min(t, total_iters)) / to_double(total_iters) : 1;
  return base * (start_factor + (end_factor - start_factor) * part);
}
void LinearLR::check(SourceLocation where) const {
  // PyTorch refuses a start of 0, from which its recursive form never rises; the closed form does.
  require(start_factor >= 0 && start_factor <= 1, "LinearLR", "start_factor must be from 0 to 1", where);
  require(end_factor >= 0 && end_factor <= 1, "LinearLR", "end_factor must be from 0 to 1", where);
  require(total_iters >= 0, "LinearLR", "total_iters must be 0 or more", where);
}

double PolynomialLR::lr(double base, std::int64_t t) const {
  return base * std::pow(1 - to_double(std::min(t, total_iters)) / to_double(total_iters), power);
}
void PolynomialLR::check(SourceLocation where) const {
  require(total_iters > 0, "PolynomialLR", "total_iters must be above 0", where);
  require(power > 0 && std::isfinite(power), "PolynomialLR", "power must be above 0", where);
}

double CosineAnnealingLR::lr(double base, std::int64_t t) const {
  return eta_min + (base - eta_min) * half_cosine(to_double(t) / to_double(T_max));
}
void CosineAnnealingLR::check(SourceLocation where) const {
  require(T_max > 0, "CosineAnnealingLR", "T_max must be above 0", where);
  require(is_factor(eta_min), "CosineAnnealingLR", "eta_min must be 0 or more", where);
}

double CosineAnnealingWarmRestarts::lr(double base, std::int64_t t) const {
  std::int64_t length = T_0;
  if (T_mult == 1) t %= length;
  while (t >= length) {
    t -= length;
    // A period that no count reaches is as long as any.
    length = length > std::numeric_limits<std::int64_t>::max() / T_mult ? std::numeric_limits<std::int64_t>::max()
                                                                        : length * T_mult;
  }
  return eta_min + (base - eta_min) * half_cosine(to_double(t) / to_double(length));
}
void CosineAnnealingWarmRestarts::check(SourceLocation where) const {
  require(T_0 > 0, "CosineAnnealingWarmRestarts", "T_0 must be above 0", where);
  require(T_mult > 0, "CosineAnnealingWarmRestarts", "T_mult must be above 0", where);
  require(is_factor(eta_min), "CosineAnnealingWarmRestarts", "eta_min must be 0 or more", where);
}

double OneCycleLR::at(std::int64_t t, double initial, double peak, double last) const {
  struct Phase {
    double end, from, to;
  };
  const double steps = to_double(total_steps);
  const double top = pct_start * steps - 1;
  const Phase phases[] = {{top, initial, peak},
                          {three_phase ? 2 * pct_start * steps - 2 : steps - 1, peak, three_phase ? initial : last},
                          {steps - 1, initial, last}};
  const std::size_t count = three_phase ? 3 : 2;
  const double now = std::min(to_double(t), steps - 1);
  double start = 0;
  std::size_t i = 0;
  for (; i + 1 < count && now > phases[i].end; ++i) start = phases[i].end;
  const double length = phases[i].end - start;
  const double part = length > 0 ? (now - start) / length : 1;
  const Phase& phase = phases[i];
  if (anneal_strategy == Anneal::kLinear) return phase.from + (phase.to - phase.from) * part;
  return phase.to + (phase.from - phase.to) * half_cosine(part);
}
double OneCycleLR::lr(double /*base*/, std::int64_t t) const {
  const double initial = max_lr / div_factor;
  return at(t, initial, max_lr, initial / final_div_factor);
}
std::optional<double> OneCycleLR::momentum(std::int64_t t) const {
  if (!cycle_momentum) return std::nullopt;
  return at(t, max_momentum, base_momentum, max_momentum);
}
void OneCycleLR::check(SourceLocation where) const {
  const char* kind = "OneCycleLR";
  require(is_factor(max_lr) && max_lr > 0, kind, "max_lr must be above 0", where);
  require(total_steps > 0, kind, "total_steps must be above 0", where);
  require(pct_start >= 0 && pct_start <= (three_phase ? 0.5 : 1.0), kind,
          three_phase ? "pct_start must be from 0 to 0.5 with three phases" : "pct_start must be from 0 to 1", where);
  require(div_factor > 0 && std::isfinite(div_factor), kind, "div_factor must be above 0", where);
  require(final_div_factor > 0 && std::isfinite(final_div_factor), kind, "final_div_factor must be above 0", where);
  require(base_momentum >= 0 && base_momentum < 1 && max_momentum >= 0 && max_momentum < 1, kind,
          "base_momentum and max_momentum must be from 0 to below 1", where);
}

void LambdaLR::check(SourceLocation where) const {
  require(static_cast<bool>(lr_lambda), "LambdaLR", "there is no function", where);
}

double ChainedScheduler::lr(double base, std::int64_t t) const {
  for (const Schedule& schedule : schedules) base = schedule.lr(base, t);
  return base;
}
std::optional<double> ChainedScheduler::momentum(std::int64_t t) const {
  std::optional<double> momentum;
  for (const Schedule& schedule : schedules) {
    if (const auto own = schedule.momentum(t)) momentum = own;
  }
  return momentum;
}
void ChainedScheduler::check(SourceLocation where) const {
  require(!schedules.empty(), "ChainedScheduler", "there are no schedules", where);
}

std::pair<std::size_t, std::int64_t> SequentialLR::place(std::int64_t t) const {
  const auto passed =
      static_cast<std::size_t>(std::upper_bound(milestones.begin(), milestones.end(), t) - milestones.begin());
  return {passed, passed == 0 ? t : t - milestones[passed - 1]};
}
double SequentialLR::lr(double base, std::int64_t t) const {
  const auto [which, own] = place(t);
  return schedules[which].lr(base, own);
}
std::optional<double> SequentialLR::momentum(std::int64_t t) const {
  const auto [which, own] = place(t);
  return schedules[which].momentum(own);
}
void SequentialLR::check(SourceLocation where) const {
  require(schedules.size() == milestones.size() + 1, "SequentialLR",
          std::to_string(schedules.size()) + " schedules need one milestone less than that, not " +
              std::to_string(milestones.size()),
          where);
  require_rising(milestones, "SequentialLR", where);
}

Scheduler::Scheduler(Optimizer& optimizer, Schedule schedule, SourceLocation where)
    : optimizer_(optimizer), schedule_(std::move(schedule)), base_(static_cast<double>(optimizer.lr())) {
  go_to(base_, 0, where);
}

// Where the schedule throws, or the optimizer refuses its rate, nothing has changed.
void Scheduler::go_to(double base, std::int64_t steps, SourceLocation where) {
  const std::optional<double> momentum = schedule_.momentum(steps);
  optimizer_.set_lr(static_cast<float>(schedule_.lr(base, steps)), where);
  if (momentum) optimizer_.set_momentum(static_cast<float>(*momentum), where);
  base_ = base;
  steps_ = steps;
}

void Scheduler::step(SourceLocation where) { go_to(base_, steps_ + 1, where); }

void Scheduler::load(std::span<const double> state, SourceLocation where) {
  require_numbers(state, 2, "Scheduler", where);
  require(is_factor(state[0]), "Scheduler", "the saved state holds a learning rate that is none", where);
  go_to(state[0], whole(state[1], "Scheduler", where), where);
}

ReduceLROnPlateau::ReduceLROnPlateau(const PlateauOptions& options, SourceLocation where)
    : options_(options), best_(worst(options.mode)) {
  const char* kind = "ReduceLROnPlateau";
  require(options.factor >= 0 && options.factor < 1, kind, "factor must be from 0 to below 1", where);
  require(options.patience >= 0, kind, "patience must be 0 or more", where);
  require(is_factor(options.threshold), kind, "threshold must be 0 or more", where);
  require(options.cooldown >= 0, kind, "cooldown must be 0 or more", where);
  require(is_factor(options.min_lr), kind, "min_lr must be 0 or more", where);
  require(is_factor(options.eps), kind, "eps must be 0 or more", where);
}

double ReduceLROnPlateau::lr(double now, double metric) {
  const double sign = options_.mode == Mode::kMin ? -1 : 1;
  const double bar = options_.threshold_mode == PlateauOptions::Threshold::kRelative
                         ? best_ * (1 + sign * options_.threshold)
                         : best_ + sign * options_.threshold;
  if (options_.mode == Mode::kMin ? metric < bar : metric > bar) {
    best_ = metric;
    bad_ = 0;
  } else {
    ++bad_;
  }
  if (cooling_ > 0) {
    --cooling_;
    bad_ = 0;
  }
  if (bad_ <= options_.patience) return now;
  cooling_ = options_.cooldown;
  bad_ = 0;
  const double less = std::max(now * options_.factor, options_.min_lr);
  return now - less > options_.eps ? less : now;
}

void ReduceLROnPlateau::step(Optimizer& optimizer, double metric, SourceLocation where) {
  const auto now = static_cast<double>(optimizer.lr());
  const double next = lr(now, metric);
  if (next < now) optimizer.set_lr(static_cast<float>(next), where);
}

std::vector<double> ReduceLROnPlateau::state() const { return {best_, to_double(bad_), to_double(cooling_)}; }

void ReduceLROnPlateau::load(std::span<const double> state, SourceLocation where) {
  require_numbers(state, 3, "ReduceLROnPlateau", where);
  const std::int64_t bad = whole(state[1], "ReduceLROnPlateau", where);
  cooling_ = whole(state[2], "ReduceLROnPlateau", where);
  bad_ = bad;
  best_ = state[0];
}

EarlyStopping::EarlyStopping(const EarlyStoppingOptions& options, SourceLocation where)
    : options_(options), best_(worst(options.mode)) {
  require(options.patience > 0, "EarlyStopping", "patience must be above 0", where);
  require(is_factor(options.min_delta), "EarlyStopping", "min_delta must be 0 or more", where);
}

bool EarlyStopping::step(double metric) {
  const bool better =
      options_.mode == Mode::kMin ? metric < best_ - options_.min_delta : metric > best_ + options_.min_delta;
  if (better) best_ = metric;
  bad_ = better ? 0 : bad_ + 1;
  return bad_ >= options_.patience;
}

void EarlyStopping::load(std::span<const double> state, SourceLocation where) {
  require_numbers(state, 2, "EarlyStopping", where);
  bad_ = whole(state[1], "EarlyStopping", where);
  best_ = state[0];
}

}  // namespace tidemark::optim
