// AdamW: Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019; PyTorch's conventions.
#include <span>
#include <string_view>
#include <vector>

#include "optim/kernels.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

// Inputs: parameter, gradient, first moment (and exponents), second moment (and exponents).
struct AdamWUpdate {
  static constexpr std::string_view name = "adamw";
  AdamWStep step;
  std::uint32_t keys[2] = {0, 0};

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    prep.require(in[0].shape == in[1].shape,
                 "the parameter has shape " + in[0].shape.to_string() + ", its gradient " + in[1].shape.to_string());
    Prepared prepared;
    prepared.updates = {0};
    for (int i = 2; i < static_cast<int>(in.size()); ++i) prepared.updates.push_back(i);
    for (const Meta& meta : in) prepared.work.bytes += 2 * static_cast<double>(meta.bytes);
    prepared.work.flops = 20 * static_cast<double>(in[0].shape.numel());
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    Moment m{in[2].data, nullptr, keys[0]};
    Moment s{in.back().data, nullptr, keys[1]};
    if (in.size() == 6) {
      m.exponents = in[3].as<std::int8_t>();
      s = {in[4].data, in[5].as<std::int8_t>(), keys[1]};
    }
    adamw(step, in[0].numel(), in[0].as(), in[1].as(), m, s, ctx.threads());
  }
};

}  // namespace

AdamW::AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options, SourceLocation where)
    : Optimizer(parameters, options.lr, where), options_(options) {
  if (options.state != f16 && options.state != f32) {
    throw Error(std::string("AdamW keeps its state in f16 or f32, not ") + to_string(options.state));
  }
  add_moment(options.state, "m", where);
  add_moment(options.state, "s", where);
}

void AdamW::update(Slot& slot, std::uint64_t index, const Tensor& gradient, SourceLocation where) {
  AdamWUpdate op;
  op.step = {lr(), options_.beta1, options_.beta2, options_.eps, options_.weight_decay, steps()};
  op.keys[0] = dither_key(seed_, index, 0);
  op.keys[1] = dither_key(seed_, index, 1);
  std::vector<Tensor> inputs = {slot.parameter, gradient};
  inputs.insert(inputs.end(), slot.moments.begin(), slot.moments.end());
  apply_all(any_op(op), inputs, where);
}

}  // namespace tidemark::optim
