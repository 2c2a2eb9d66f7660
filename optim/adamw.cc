// AdamW: Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019; PyTorch's conventions.
#include <cstdint>
#include <memory>
#include <vector>

#include "optim/blocks.h"
#include "optim/kernels.h"
#include "optim/table.h"
#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "optim/adamw.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/adam-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

std::int32_t AdamWBlocks(const AdamJob& job, const Blocks& blocks) { return update(AdamRule<true>{job}, blocks); }

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(AdamWBlocks);

bool adamw(const AdamWStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const AdamJob job = adam_job(step, 0, static_cast<float>(1 - static_cast<double>(step.lr) * step.weight_decay));
  return run_blocks(HWY_DYNAMIC_DISPATCH(AdamWBlocks), job, n, p, g, state, step.step, threads);
}

AdamW::AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options, SourceLocation where)
    : Optimizer({.kind = "AdamW",
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

std::shared_ptr<const AnyOp> AdamW::update(std::uint64_t slot) const {
  const Settings& now = settings_of(slot);
  return update_op<AdamWStep, adamw>(
      *this, slot,
      {.lr = now.lr, .beta1 = now.beta1, .beta2 = now.beta2, .eps = now.eps, .weight_decay = now.weight_decay});
}

NamedOptimizer adamw_optimizer() {
  return {.name = "adamw",
          .options = {NamedOption::number("lr", 1e-3, 0, 1e3, "learning rate"),
                      NamedOption::number("weight-decay", 0.01, 0, 1, "decay of the weights, times the learning rate")},
          .make = [](const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                     SourceLocation where) -> std::unique_ptr<Optimizer> {
            const AdamWOptions options = {
                .lr = values.number("lr"), .weight_decay = values.number("weight-decay"), .state = state};
            return std::make_unique<AdamW>(parameters, options, where);
          }};
}

}  // namespace tidemark::optim
#endif  // HWY_ONCE
