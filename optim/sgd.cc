// Stochastic gradient descent with momentum, Nesterov's or plain, and weight decay; PyTorch's conventions.
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

#ifndef TIDEMARK_OPTIM_SGD_
#define TIDEMARK_OPTIM_SGD_
namespace tidemark::optim {
struct SgdJob {
  float lr, momentum, weight_decay;
  bool nesterov;
};
}  // namespace tidemark::optim
#endif  // TIDEMARK_OPTIM_SGD_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/sgd.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

// Without a moment its momentum is 0.
template <int kCount>
struct SgdRule {
  static constexpr int kMoments = kCount;
  static constexpr bool kRoot[] = {false, false, false};
  static constexpr bool kLate = false;
  SgdJob job;

  HWY_INLINE void advance(VF& p, VF g, VF& m, VF& /*none*/, VF& /*none*/) const {
    const VF momentum = set(job.momentum);
    const VF gradient = fma(set(job.weight_decay), p, g);
    m = fma(momentum, m, gradient);
    const VF direction = job.nesterov ? fma(momentum, m, gradient) : m;
    p = fma(set(-job.lr), direction, p);
  }
  HWY_INLINE void finish(VF& /*p*/, VF /*g*/, VF& /*m*/, VF& /*none*/, VF& /*none*/) const {}
};

std::int32_t SgdBlocks(const SgdJob& job, const Blocks& blocks) {
  return blocks.state == nullptr ? update(SgdRule<0>{job}, blocks) : update(SgdRule<1>{job}, blocks);
}

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(SgdBlocks);

bool sgd(const SgdStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const SgdJob job{.lr = step.lr,
                   .momentum = state.bytes == nullptr ? 0 : step.momentum,
                   .weight_decay = step.weight_decay,
                   .nesterov = step.nesterov};
  return run_blocks(HWY_DYNAMIC_DISPATCH(SgdBlocks), job, n, p, g, state, step.step, threads);
}

SGD::SGD(const std::vector<Parameter>& parameters, const SGDOptions& options, SourceLocation where)
    : Optimizer({.kind = "SGD",
                 .defaults = {.lr = options.lr, .momentum = options.momentum, .weight_decay = options.weight_decay},
                 .groups = options.groups,
                 .state = options.state,
                 .moments = [](const Settings& now) { return now.momentum > 0 ? 1 : 0; }},
                parameters, where),
      options_(options) {
  require_option(!options.nesterov || options.momentum > 0, "SGD", "Nesterov's method needs a momentum above 0",
                 options.momentum, where);
}

std::shared_ptr<const AnyOp> SGD::update(std::uint64_t slot) const {
  const Settings& now = settings_of(slot);
  return update_op<SgdStep, sgd>(
      *this, slot,
      {.lr = now.lr, .momentum = now.momentum, .weight_decay = now.weight_decay, .nesterov = options_.nesterov});
}

std::string SGD::why_every_row(std::uint64_t slot) const {
  if (settings_of(slot).weight_decay != 0) return "weight decay changes every row in each step";
  return moments_of(slot) > 0 ? "momentum changes every row in each step" : "";
}

NamedOptimizer sgd_optimizer() {
  return {.name = "sgd",
          .options = {NamedOption::number("lr", 0.01, 0, 1e3, "learning rate"),
                      NamedOption::number("momentum", 0, 0, 0.9999, "part of the last update that goes on"),
                      NamedOption::flag("nesterov", "Nesterov's momentum"),
                      NamedOption::number("weight-decay", 0, 0, 1, "part of the weights added to gradients")},
          .make = [](const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                     SourceLocation where) -> std::unique_ptr<Optimizer> {
            const SGDOptions options = {.lr = values.number("lr"),
                                        .momentum = values.number("momentum"),
                                        .nesterov = values.flag("nesterov"),
                                        .weight_decay = values.number("weight-decay"),
                                        .state = state};
            return std::make_unique<SGD>(parameters, options, where);
          }};
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
