// Adam: Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015. Weight decay is a part of the gradient, as
// in PyTorch.
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
#define HWY_TARGET_INCLUDE "optim/adam.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "optim/adam-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::optim::HWY_NAMESPACE {

std::int32_t AdamBlocks(const AdamJob& job, const Blocks& blocks) { return update(AdamRule<false>{job}, blocks); }

}  // namespace tidemark::optim::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::optim {

HWY_EXPORT(AdamBlocks);

bool adam(const AdamStep& step, std::int64_t n, float* p, const float* g, const State& state, int threads) {
  const AdamJob job = adam_job(step, step.weight_decay, 1);
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

std::string Adam::why_every_row(std::uint64_t slot) const {
  return settings_of(slot).weight_decay != 0 ? "weight decay changes every row in each step" : "";
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
