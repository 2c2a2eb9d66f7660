// Adam: Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015. Weight decay is a part of the gradient, as
// in PyTorch.
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

#ifndef TIDEMARK_OPTIM_ADAM_
#define TIDEMARK_OPTIM_ADAM_
namespace tidemark::optim {
// What a step is for every element of a parameter.
struct AdamJob {
  float beta1, beta2, rest1, rest2, eps, weight_decay;
  float rate;  // lr / (1 - beta1^step)
  float root;  // 1 / sqrt(1 - beta2^step)
};
}  // namespace tidemark::optim
#endif  // TIDEMARK_OPTIM_ADAM_

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/adam.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

struct AdamRule {
  static constexpr int kMoments = 2;
  static constexpr bool kRoot[] = {false, true, false};
  static constexpr bool kLate = true;
  AdamJob job;

  HWY_INLINE void advance(VF& p, VF g, VF& m, VF& v, VF& /*none*/) const {
    const VF gradient = decayed(job.weight_decay, p, g);
    m = fma(set(job.beta1), m, hn::Mul(set(job.rest1), gradient));
    v = fma(set(job.beta2), v, hn::Mul(set(job.rest2), hn::Mul(gradient, gradient)));
  }
  HWY_INLINE void finish(VF& p, VF /*gradient*/, VF& m, VF& s, VF& /*none*/) const {
    const VF direction = hn::Div(m, fma(s, set(job.root), set(job.eps)));
    p = fma(set(-job.rate), direction, p);
  }
};

std::int32_t AdamBlocks(const AdamJob& job, const Blocks& blocks) { return update(AdamRule{job}, blocks); }

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(AdamBlocks);

bool adam(const AdamStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const double correction1 = 1 - power(step.beta1, step.step);
  const double correction2 = 1 - power(step.beta2, step.step);
  const AdamJob job{.beta1 = step.beta1,
                    .beta2 = step.beta2,
                    .rest1 = 1 - step.beta1,
                    .rest2 = 1 - step.beta2,
                    .eps = step.eps,
                    .weight_decay = step.weight_decay,
                    .rate = static_cast<float>(step.lr / correction1),
                    .root = static_cast<float>(1 / std::sqrt(correction2))};
  return run_blocks(HWY_DYNAMIC_DISPATCH(AdamBlocks), job, n, p, g, state, step.step, threads);
}

Adam::Adam(const std::vector<Parameter>& parameters, const AdamOptions& options, SourceLocation where)
    : Optimizer({.kind = "Adam",
                 .defaults = {.lr = options.lr,
                              .beta1 = options.beta1,
                              .beta2 = options.beta2,
                              .eps = options.eps,
                              .weight_decay = options.weight_decay},
                 .groups = options.groups,
                 .state = options.state,
                 .moments = [](const Settings&) { return 2; }},
                parameters, where),
      options_(options) {}

std::shared_ptr<const AnyOp> Adam::update(std::uint64_t slot) const {
  const Settings& now = settings_of(slot);
  return update_op<AdamStep, adam>(
      *this, slot,
      {.lr = now.lr, .beta1 = now.beta1, .beta2 = now.beta2, .eps = now.eps, .weight_decay = now.weight_decay});
}

NamedOptimizer adam_optimizer() {
  return {.name = "adam",
          .options = {NamedOption::number("lr", 1e-3, 0, 1e3, "learning rate"),
                      NamedOption::number("weight-decay", 0, 0, 1, "part of the weights added to gradients")},
          .make = [](const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                     SourceLocation where) -> std::unique_ptr<Optimizer> {
            const AdamOptions options = {
                .lr = values.number("lr"), .weight_decay = values.number("weight-decay"), .state = state};
            return std::make_unique<Adam>(parameters, options, where);
          }};
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
