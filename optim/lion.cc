// Lion: Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.
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

#ifndef TIDEMARK_OPTIM_LION_
#define TIDEMARK_OPTIM_LION_
namespace tidemark::optim {
struct LionJob {
  float lr, beta1, beta2, rest1, rest2;
  float decay;  // 1 - lr weight_decay
};
}  // namespace tidemark::optim
#endif  // TIDEMARK_OPTIM_LION_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/lion.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

struct LionRule {
  static constexpr int kMoments = 1;
  static constexpr bool kRoot[] = {false, false, false};
  static constexpr bool kLate = false;
  LionJob job;

  HWY_INLINE void advance(VF& p, VF gradient, VF& m, VF& /*none*/, VF& /*none*/) const {
    const VF mixed = fma(set(job.beta1), m, hn::Mul(set(job.rest1), gradient));
    const VF sign = hn::IfThenElseZero(hn::Ne(mixed, hn::Zero(DF())), hn::CopySignToAbs(set(1), mixed));
    p = fma(set(-job.lr), sign, hn::Mul(p, set(job.decay)));
    m = fma(set(job.beta2), m, hn::Mul(set(job.rest2), gradient));
  }
  HWY_INLINE void finish(VF& /*p*/, VF /*g*/, VF& /*m*/, VF& /*none*/, VF& /*none*/) const {}
};

std::int32_t LionBlocks(const LionJob& job, const Blocks& blocks) { return update(LionRule{job}, blocks); }

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(LionBlocks);

bool lion(const LionStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const LionJob job{.lr = step.lr,
                    .beta1 = step.beta1,
                    .beta2 = step.beta2,
                    .rest1 = 1 - step.beta1,
                    .rest2 = 1 - step.beta2,
                    .decay = static_cast<float>(1 - static_cast<double>(step.lr) * step.weight_decay)};
  return run_blocks(HWY_DYNAMIC_DISPATCH(LionBlocks), job, n, p, g, state, step.step, threads);
}

Lion::Lion(const std::vector<Parameter>& parameters, const LionOptions& options, SourceLocation where)
    : Optimizer({.kind = "Lion",
                 .defaults = {.lr = options.lr,
                              .beta1 = options.beta1,
                              .beta2 = options.beta2,
                              .weight_decay = options.weight_decay},
                 .groups = options.groups,
                 .state = options.state,
                 .moments = [](const Settings&) { return 1; }},
                parameters, where),
      options_(options) {}

std::shared_ptr<const AnyOp> Lion::update(std::uint64_t slot) const {
  const Settings& now = settings_of(slot);
  return update_op<LionStep, lion>(
      *this, slot, {.lr = now.lr, .beta1 = now.beta1, .beta2 = now.beta2, .weight_decay = now.weight_decay});
}

NamedOptimizer lion_optimizer() {
  return {.name = "lion",
          .options = {NamedOption::number("lr", 1e-4, 0, 1e3, "learning rate"),
                      NamedOption::number("weight-decay", 0, 0, 10, "decay of the weights, times the learning rate")},
          .make = [](const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                     SourceLocation where) -> std::unique_ptr<Optimizer> {
            const LionOptions options = {
                .lr = values.number("lr"), .weight_decay = values.number("weight-decay"), .state = state};
            return std::make_unique<Lion>(parameters, options, where);
          }};
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
