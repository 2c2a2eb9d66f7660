// AdamW: Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019; PyTorch's conventions.
#include <cmath>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "optim/kernels.h"
#include "optim/table.h"
#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"

namespace tidemark::optim {
namespace {

struct AdamWUpdate {
  static constexpr std::string_view name = "adamw";
  AdamWStep step;
  State state;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const { return prepare_update(prep, in, 14); }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    State here = state;
    here.bytes = in[2].data;
    adamw(step, in[0].numel(), in[0].as(), in[1].as(), here, ctx.threads());
  }
};

}  // namespace

AdamW::AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options, SourceLocation where)
    : Optimizer("AdamW", parameters, options.lr, 2, options.state, where), options_(options) {
  const auto require = [&](bool holds, const char* allowed, float value) {
    require_option(holds, "AdamW", allowed, value, where);
  };
  require(options.beta1 >= 0 && options.beta1 < 1, "beta1 must be from 0 to below 1", options.beta1);
  require(options.beta2 >= 0 && options.beta2 < 1, "beta2 must be from 0 to below 1", options.beta2);
  require(options.eps > 0 && std::isfinite(options.eps), "eps must be above 0", options.eps);
  require(options.weight_decay >= 0 && std::isfinite(options.weight_decay), "weight_decay must be 0 or more",
          options.weight_decay);
}

std::shared_ptr<const AnyOp> AdamW::update(std::uint64_t slot) const {
  return any_op(AdamWUpdate{
      .step = {lr(), options_.beta1, options_.beta2, options_.eps, options_.weight_decay, steps()},
      .state = {.format = format_of(options_.state), .seed = seed(), .parameter = slot},
  });
}

NamedOptimizer adamw_optimizer() {
  return {.name = "adamw",
          .options = {NamedOption::number("lr", 3e-4, 0, 1e3, "learning rate"),
                      NamedOption::number("weight-decay", 0.01, 0, 1, "decay of the weights, times the learning rate")},
          .make = [](const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                     SourceLocation where) -> std::unique_ptr<Optimizer> {
            const AdamWOptions options = {
                .lr = values.number("lr"), .weight_decay = values.number("weight-decay"), .state = state};
            return std::make_unique<AdamW>(parameters, options, where);
          }};
}

}  // namespace tidemark::optim
