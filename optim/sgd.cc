// Stochastic gradient descent with momentum, Nesterov's or plain, and weight decay; PyTorch's conventions.
#include <span>
#include <string_view>
#include <vector>

#include "optim/kernels.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

// Inputs: parameter, gradient, and the moment (and its exponents) where there is momentum.
struct SgdUpdate {
  static constexpr std::string_view name = "sgd";
  SgdStep step;
  std::uint32_t key = 0;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    prep.require(in[0].shape == in[1].shape,
                 "the parameter has shape " + in[0].shape.to_string() + ", its gradient " + in[1].shape.to_string());
    Prepared prepared;
    prepared.updates = {0};
    for (int i = 2; i < static_cast<int>(in.size()); ++i) prepared.updates.push_back(i);
    for (const Meta& meta : in) prepared.work.bytes += 2 * static_cast<double>(meta.bytes);
    prepared.work.flops = 6 * static_cast<double>(in[0].shape.numel());
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    Moment m;
    if (in.size() > 2) m = {in[2].data, in.size() > 3 ? in[3].as<std::int8_t>() : nullptr, key};
    sgd(step, in[0].numel(), in[0].as(), in[1].as(), m, ctx.threads());
  }
};

}  // namespace

SGD::SGD(const std::vector<Parameter>& parameters, const SGDOptions& options, SourceLocation where)
    : Optimizer(parameters, options.lr, where), options_(options) {
  if (options.state != f16 && options.state != f32) {
    throw Error(std::string("SGD keeps its state in f16 or f32, not ") + to_string(options.state));
  }
  if (options.nesterov && options.momentum <= 0) throw Error("Nesterov's method needs a momentum above 0");
  if (options.momentum > 0) add_moment(options.state, "momentum", where);
}

void SGD::update(Slot& slot, std::uint64_t index, const Tensor& gradient, SourceLocation where) {
  SgdUpdate op;
  op.step = {lr(), options_.momentum, options_.weight_decay, options_.nesterov, steps()};
  op.key = dither_key(seed_, index, 0);
  std::vector<Tensor> inputs = {slot.parameter, gradient};
  inputs.insert(inputs.end(), slot.moments.begin(), slot.moments.end());
  apply_all(any_op(op), inputs, where);
}

}  // namespace tidemark::optim
