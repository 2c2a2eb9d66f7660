// Adagrad: Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 2011; PyTorch's conventions.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "optim/blocks.h"
#include "optim/kernels.h"
#include "optim/table.h"
#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"

#ifndef TIDEMARK_OPTIM_ADAGRAD_
#define TIDEMARK_OPTIM_ADAGRAD_
namespace tidemark::optim {
struct AdagradJob {
  float rate;  // lr / (1 + (step - 1) lr_decay)
  float eps, weight_decay;
  float initial;  // what the sums begin with, in the first step; 0 later
};
}  // namespace tidemark::optim
#endif  // TIDEMARK_OPTIM_ADAGRAD_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/adagrad.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

struct AdagradRule {
  static constexpr int kMoments = 1;
  static constexpr bool kRoot[] = {true, false, false};
  static constexpr bool kLate = false;
  AdagradJob job;

  HWY_INLINE void advance(VF& p, VF g, VF& sum, VF& /*none*/, VF& /*none*/) const {
    const VF gradient = decayed(job.weight_decay, p, g);
    const VF more = fma(gradient, gradient, hn::Add(sum, set(job.initial)));
    sum = hn::Min(more, set(std::numeric_limits<float>::max()));  // it only grows
  }
  HWY_INLINE void finish(VF& p, VF g, VF& s, VF& /*none*/, VF& /*none*/) const {
    const VF gradient = decayed(job.weight_decay, p, g);
    p = fma(set(-job.rate), hn::Div(gradient, hn::Add(s, set(job.eps))), p);
  }
};

std::int32_t AdagradBlocks(const AdagradJob& job, const Blocks& blocks) { return update(AdagradRule{job}, blocks); }

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(AdagradBlocks);

bool adagrad(const AdagradStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const double slower = 1 + static_cast<double>(step.step - 1) * step.lr_decay;
  const AdagradJob job{.rate = static_cast<float>(step.lr / slower),
                       .eps = step.eps,
                       .weight_decay = step.weight_decay,
                       .initial = step.step == 1 ? step.initial : 0};
  return run_blocks(HWY_DYNAMIC_DISPATCH(AdagradBlocks), job, n, p, g, state, step.step, threads);
}

Adagrad::Adagrad(const std::vector<Parameter>& parameters, const AdagradOptions& options, SourceLocation where)
    : Optimizer({.kind = "Adagrad",
                 .defaults = {.lr = options.lr, .eps = options.eps, .weight_decay = options.weight_decay},
                 .groups = options.groups,
                 .state = options.state,
                 .moments = [](const Settings&) { return 1; }},
                parameters, where),
      options_(options) {
  require_option(options.lr_decay >= 0 && std::isfinite(options.lr_decay), "Adagrad", "lr_decay must be 0 or more",
                 options.lr_decay, where);
  require_option(options.initial_accumulator_value >= 0 && std::isfinite(options.initial_accumulator_value), "Adagrad",
                 "initial_accumulator_value must be 0 or more", options.initial_accumulator_value, where);
}

std::shared_ptr<const AnyOp> Adagrad::update(std::uint64_t slot) const {
  const Settings& now = settings_of(slot);
  return update_op<AdagradStep, adagrad>(*this, slot,
                                         {.lr = now.lr,
                                          .lr_decay = options_.lr_decay,
                                          .eps = now.eps,
                                          .weight_decay = now.weight_decay,
                                          .initial = options_.initial_accumulator_value});
}

std::string Adagrad::why_every_row(std::uint64_t slot) const {
  if (settings_of(slot).weight_decay != 0) return "weight decay changes every row in each step";
  return options_.initial_accumulator_value != 0 ? "initial_accumulator_value is that of every row" : "";
}

NamedOptimizer adagrad_optimizer() {
  return {.name = "adagrad",
          .options = {NamedOption::number("lr", 0.01, 0, 1e3, "learning rate"),
                      NamedOption::number("lr-decay", 0, 0, 1, "how fast the learning rate falls"),
                      NamedOption::number("weight-decay", 0, 0, 1, "part of the weights added to gradients")},
          .make = [](const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                     SourceLocation where) -> std::unique_ptr<Optimizer> {
            const AdagradOptions options = {.lr = values.number("lr"),
                                            .lr_decay = values.number("lr-decay"),
                                            .weight_decay = values.number("weight-decay"),
                                            .state = state};
            return std::make_unique<Adagrad>(parameters, options, where);
          }};
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
