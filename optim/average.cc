#include "tidemark/average.h"

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

constexpr std::int64_t kGrain = 4096;

// Inputs: average, weight. `share` is no attribute: every update records the same op.
struct UpdateAverage {
  static constexpr std::string_view name = "update_average";
  float share;

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared prepared;
    prepared.updates = {0};
    prepared.work = {.flops = 3 * static_cast<double>(in[0].shape.numel()),
                     .bytes = static_cast<double>(2 * in[0].bytes + in[1].bytes)};
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    float* average = in[0].as();
    const float* weight = in[1].as();
    ctx.parallel_for(in[0].numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
      if (share == 1) {
        std::copy(weight + first, weight + last, average + first);
        return;
      }
      for (std::int64_t i = first; i < last; ++i) average[i] += share * (weight[i] - average[i]);
    });
  }
};

struct SwapInPlace {
  static constexpr std::string_view name = "swap_in_place";

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared prepared;
    prepared.updates = {0, 1};
    prepared.work.bytes = static_cast<double>(4 * in[0].bytes);
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    ctx.parallel_for(in[0].numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
      std::swap_ranges(in[0].as() + first, in[0].as() + last, in[1].as() + first);
    });
  }
};

[[noreturn]] void fail(const char* kind, const std::string& text, SourceLocation where) {
  throw Error("[" + std::string(kind) + "] " + text + " (at " + to_string(where) + ")");
}

}  // namespace

WeightAverage::WeightAverage(const char* kind, const std::vector<Parameter>& parameters, SourceLocation where)
    : kind_(kind) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const std::string name = parameter.name().empty() ? "parameter " + std::to_string(i) : parameter.name();
    if (!parameter.defined() || !parameter.is_leaf()) fail(kind, "'" + name + "' is not a leaf", where);
    if (parameter.dtype() != f32) fail(kind, "'" + name + "' is not f32", where);
    if (&parameter.session(where) != &Session::current())
      fail(kind, "'" + name + "' belongs to another session", where);
    const auto known = [&](const Parameter& other) { return other.same(parameter); };
    if (std::any_of(parameters_.begin(), parameters_.end(), known)) continue;
    parameters_.emplace_back(parameter, name);
    const std::string own = name + "." + kind;
    averages_.emplace_back(tidemark::state(parameter.shape(), f32, Category::kOptimizer, own, where), own);
  }
  if (parameters_.empty()) fail(kind, "there are no parameters", where);
}

void WeightAverage::update(SourceLocation where) {
  if (exchanged_) fail(kind_, "update() while the model has the averages; exchange() back first", where);
  const float part = updates_ == 0 ? 1 : share(updates_);
  const auto op = any_op(UpdateAverage{part});
  std::vector<detail::Update> updates;
  for (std::size_t i = 0; i < parameters_.size(); ++i) updates.push_back({op, {averages_[i], parameters_[i]}});
  detail::follow_step(averages_.front().session(where), updates, where);
  ++updates_;
}

void WeightAverage::exchange(SourceLocation where) {
  if (updates_ == 0) fail(kind_, "exchange() before the first update()", where);
  const NoGrad no_grad;
  const auto op = any_op(SwapInPlace{});
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor inputs[] = {averages_[i], parameters_[i]};
    (void)apply_all(op, inputs, where);
  }
  exchanged_ = !exchanged_;
}

void WeightAverage::set_updates(std::int64_t updates, SourceLocation where) {
  if (updates < 0) fail(kind_, "the number of updates cannot be " + std::to_string(updates), where);
  updates_ = updates;
}

ExponentialAverage::ExponentialAverage(const std::vector<Parameter>& parameters,
                                       const ExponentialAverageOptions& options, SourceLocation where)
    : WeightAverage("ExponentialAverage", parameters, where), options_(options) {
  require_option(options.decay >= 0 && options.decay < 1, "ExponentialAverage", "decay must be from 0 to below 1",
                 options.decay, where);
}

float ExponentialAverage::share(std::int64_t /*updates*/) const { return 1 - options_.decay; }

MeanWeights::MeanWeights(const std::vector<Parameter>& parameters, SourceLocation where)
    : WeightAverage("MeanWeights", parameters, where) {}

float MeanWeights::share(std::int64_t updates) const {
  return static_cast<float>(1 / static_cast<double>(updates + 1));
}

}  // namespace tidemark::optim
