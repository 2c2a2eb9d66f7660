// What Adam and AdamW have in common: the moments, the direction, and what a step is for every element of a parameter.
// Compiled once for each instruction set: include it after hwy/foreach_target.h.
#include "optim/blocks-inl.h"

#ifndef TIDEMARK_OPTIM_ADAM_JOB_
#define TIDEMARK_OPTIM_ADAM_JOB_
#include <cmath>

namespace tidemark::optim {

struct AdamJob {
  float beta1, beta2, rest1, rest2, eps;
  float rate;          // lr / (1 - beta1^step)
  float root;          // 1 / sqrt(1 - beta2^step)
  float weight_decay;  // part of the gradient
  float kept;          // of the parameter, beside the direction
};

template <class Step>
AdamJob adam_job(const Step& step, float weight_decay, float kept) {
  const double correction1 = 1 - power(step.beta1, step.step);
  const double correction2 = 1 - power(step.beta2, step.step);
  return {.beta1 = step.beta1,
          .beta2 = step.beta2,
          .rest1 = 1 - step.beta1,
          .rest2 = 1 - step.beta2,
          .eps = step.eps,
          .rate = static_cast<float>(step.lr / correction1),
          .root = static_cast<float>(1 / std::sqrt(correction2)),
          .weight_decay = weight_decay,
          .kept = kept};
}

}  // namespace tidemark::optim
#endif  // TIDEMARK_OPTIM_ADAM_JOB_

#if defined(TIDEMARK_OPTIM_ADAM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPTIM_ADAM_INL_H_
#undef TIDEMARK_OPTIM_ADAM_INL_H_
#else
#define TIDEMARK_OPTIM_ADAM_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

// kDecoupled: weight decay shrinks the parameter, and is no part of the gradient.
template <bool kDecoupled>
struct AdamRule {
  static constexpr int kMoments = 2;
  static constexpr bool kRoot[] = {false, true, false};
  static constexpr bool kLate = true;
  AdamJob job;

  HWY_INLINE void advance(VF& p, VF g, VF& m, VF& v, VF& /*none*/) const {
    const VF gradient = kDecoupled ? g : decayed(job.weight_decay, p, g);
    m = fma(set(job.beta1), m, hn::Mul(set(job.rest1), gradient));
    v = fma(set(job.beta2), v, hn::Mul(set(job.rest2), hn::Mul(gradient, gradient)));
  }
  HWY_INLINE void finish(VF& p, VF /*gradient*/, VF& m, VF& s, VF& /*none*/) const {
    const VF direction = hn::Div(m, fma(s, set(job.root), set(job.eps)));
    p = fma(set(-job.rate), direction, kDecoupled ? hn::Mul(p, set(job.kept)) : p);
  }
};

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per target
