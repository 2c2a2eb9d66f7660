// Stochastic gradient descent with momentum, Nesterov's or plain, and weight decay; PyTorch's conventions.
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

struct SgdUpdate {
  static constexpr std::string_view name = "sgd";
  SgdStep step;
  State state;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const { return prepare_update(prep, in, 6); }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    State here = state;
    if (in.size() > 2) here.bytes = in[2].data;
    sgd(step, in[0].numel(), in[0].as(), in[1].as(), here, ctx.threads());
  }
};

}  // namespace

SGD::SGD(const std::vector<Parameter>& parameters, const SGDOptions& options, SourceLocation where)
    : Optimizer("SGD", parameters, options.lr, options.momentum != 0 ? 1 : 0, options.state, where), options_(options) {
  require_option(options.momentum >= 0 && options.momentum < 1, "SGD", "momentum must be from 0 to below 1",
                 options.momentum, where);
  require_option(!options.nesterov || options.momentum > 0, "SGD", "Nesterov's method needs a momentum above 0",
                 options.momentum, where);
  require_option(options.weight_decay >= 0 && std::isfinite(options.weight_decay), "SGD",
                 "weight_decay must be 0 or more", options.weight_decay, where);
}

std::shared_ptr<const AnyOp> SGD::update(std::uint64_t slot) const {
  return any_op(SgdUpdate{
      .step = {lr(), options_.momentum, options_.weight_decay, options_.nesterov, steps()},
      .state = {.format = format_of(options_.state), .seed = seed(), .parameter = slot},
  });
}

NamedOptimizer sgd_optimizer() {
  return {.name = "sgd",
          .options = {NamedOption::number("lr", 0.01, 0, 1e3, "learning rate"),
                      NamedOption::number("momentum", 0.9, 0, 0.9999, "part of the last update that goes on"),
                      NamedOption::flag("nesterov", "Nesterov's momentum"),
                      NamedOption::number("weight-decay", 0.01, 0, 1, "part of the weights added to gradients")},
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
