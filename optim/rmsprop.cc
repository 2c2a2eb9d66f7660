// RMSprop: Hinton's lecture 6e of 2012, centered as in Graves, "Generating sequences with recurrent neural networks",
// 2013; PyTorch's conventions.
//
// Centered, what is kept is the variance itself: v - a^2 would cancel where gradients hardly change, and what is left
// of 16 bits would be noise. From d = g - a follow a + (1 - alpha) d and alpha (variance + (1 - alpha) d^2), exactly.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "optim/blocks.h"
#include "optim/kernels.h"
#include "optim/table.h"
#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"

#ifndef TIDEMARK_OPTIM_RMSPROP_
#define TIDEMARK_OPTIM_RMSPROP_
namespace tidemark::optim {
struct RMSpropJob {
  float lr, alpha, rest, eps, momentum, weight_decay;
  float mix;  // alpha (1 - alpha)
  bool centered, buffered;
};
}  // namespace tidemark::optim
#endif  // TIDEMARK_OPTIM_RMSPROP_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/rmsprop.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

// The second moment, then the average gradient where it is centered, then the momentum where updates have one.
template <bool kCentered, bool kBuffered>
struct RMSpropRule {
  static constexpr int kMoments = 1 + (kCentered ? 1 : 0) + (kBuffered ? 1 : 0);
  static constexpr bool kRoot[] = {true, false, false};
  static constexpr bool kLate = false;
  RMSpropJob job;

  HWY_INLINE void advance(VF& p, VF g, VF& v, VF& average, VF& /*m*/) const {
    const VF gradient = decayed(job.weight_decay, p, g);
    if constexpr (kCentered) {
      const VF off = hn::Sub(gradient, average);
      v = fma(set(job.alpha), v, hn::Mul(hn::Mul(set(job.mix), off), off));
      average = fma(set(job.alpha), average, hn::Mul(set(job.rest), gradient));
    } else {
      v = fma(set(job.alpha), v, hn::Mul(set(job.rest), hn::Mul(gradient, gradient)));
    }
  }
  HWY_INLINE void finish(VF& p, VF g, VF& s, VF& second, VF& third) const {
    const VF gradient = decayed(job.weight_decay, p, g);
    VF direction = hn::Div(gradient, hn::Add(s, set(job.eps)));
    if constexpr (kBuffered) {
      VF& m = kCentered ? third : second;
      m = fma(set(job.momentum), m, direction);
      direction = m;
    }
    p = fma(set(-job.lr), direction, p);
  }
};

std::int32_t RMSpropBlocks(const RMSpropJob& job, const Blocks& blocks) {
  if (job.centered) {
    return job.buffered ? update(RMSpropRule<true, true>{job}, blocks) : update(RMSpropRule<true, false>{job}, blocks);
  }
  return job.buffered ? update(RMSpropRule<false, true>{job}, blocks) : update(RMSpropRule<false, false>{job}, blocks);
}

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(RMSpropBlocks);

bool rmsprop(const RmspropStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const RMSpropJob job{.lr = step.lr,
                       .alpha = step.alpha,
                       .rest = 1 - step.alpha,
                       .eps = step.eps,
                       .momentum = step.momentum,
                       .weight_decay = step.weight_decay,
                       .mix = step.alpha * (1 - step.alpha),
                       .centered = step.centered,
                       .buffered = step.buffered};
  return run_blocks(HWY_DYNAMIC_DISPATCH(RMSpropBlocks), job, n, p, g, state, step.step, threads);
}

RMSprop::RMSprop(const std::vector<Parameter>& parameters, const RMSpropOptions& options, SourceLocation where)
    : Optimizer({.kind = "RMSprop",
                 .defaults = {.lr = options.lr,
                              .momentum = options.momentum,
                              .eps = options.eps,
                              .weight_decay = options.weight_decay},
                 .groups = options.groups,
                 .state = options.state,
                 .moments = [centered = options.centered](
                                const Settings& now) { return 1 + (centered ? 1 : 0) + (now.momentum > 0 ? 1 : 0); }},
                parameters, where),
      options_(options) {
  require_option(options.alpha >= 0 && options.alpha < 1, "RMSprop", "alpha must be from 0 to below 1", options.alpha,
                 where);
}

std::shared_ptr<const AnyOp> RMSprop::update(std::uint64_t slot) const {
  const Settings& now = settings_of(slot);
  return update_op<RmspropStep, rmsprop>(*this, slot,
                                         {.lr = now.lr,
                                          .alpha = options_.alpha,
                                          .eps = now.eps,
                                          .momentum = now.momentum,
                                          .weight_decay = now.weight_decay,
                                          .centered = options_.centered,
                                          .buffered = moments_of(slot) > (options_.centered ? 2 : 1)});
}

NamedOptimizer rmsprop_optimizer() {
  return {.name = "rmsprop",
          .options = {NamedOption::number("lr", 0.01, 0, 1e3, "learning rate"),
                      NamedOption::number("alpha", 0.99, 0, 0.9999, "part of the second moment that goes on"),
                      NamedOption::number("momentum", 0, 0, 0.9999, "part of the last update that goes on"),
                      NamedOption::flag("centered", "divide by the deviation from the average gradient"),
                      NamedOption::number("weight-decay", 0, 0, 1, "part of the weights added to gradients")},
          .make = [](const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                     SourceLocation where) -> std::unique_ptr<Optimizer> {
            const RMSpropOptions options = {.lr = values.number("lr"),
                                            .alpha = values.number("alpha"),
                                            .weight_decay = values.number("weight-decay"),
                                            .momentum = values.number("momentum"),
                                            .centered = values.flag("centered"),
                                            .state = state};
            return std::make_unique<RMSprop>(parameters, options, where);
          }};
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
