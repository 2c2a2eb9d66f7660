// What all optimizers share: which parameters have state, the check of gradients, the step.
#include "tidemark/optim.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "compute/machine.h"
#include "optim/kernels.h"
#include "tidemark/op.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

// 0 where every gradient is finite, else 1 + the index of the first that is not.
struct CheckFinite {
  static constexpr std::string_view name = "check_finite";

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared prepared;
    prepared.outputs = {Meta::plain({}, i32)};
    for (const Meta& meta : in) prepared.work.bytes += static_cast<double>(meta.bytes);
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    std::int32_t bad = 0;
    for (std::size_t i = 0; i < in.size() && bad == 0; ++i) {
      if (!all_finite(in[i].as(), in[i].numel(), ctx.threads())) bad = static_cast<std::int32_t>(i) + 1;
    }
    *out[0].as<std::int32_t>() = bad;
  }
};

}  // namespace

Optimizer::Optimizer(const std::vector<Parameter>& parameters, float lr, SourceLocation where) : lr_(lr) {
  for (const Parameter& parameter : parameters) {
    if (!parameter.defined() || !parameter.is_leaf()) {
      throw Error("an optimizer's parameters must be leaves; '" + parameter.name() + "' is not (at " +
                  to_string(where) + ")");
    }
    if (!parameter.requires_grad()) continue;
    const bool tied =
        std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.parameter.same(parameter); });
    if (!tied) slots_.push_back({parameter, parameter.name(), {}});
  }
  if (slots_.empty()) {
    throw Error("an optimizer needs at least one parameter that requires a gradient (at " + to_string(where) + ")");
  }
  seed_ = slots_.front().parameter.session().options().seed;
}

Optimizer::~Optimizer() = default;

void Optimizer::add_moment(DType dtype, const char* name, SourceLocation where) {
  for (Slot& slot : slots_) {
    const std::int64_t n = slot.parameter.numel();
    const std::string label = slot.name + "." + name;
    slot.moments.push_back(state({n}, dtype, Category::kOptimizer, label, where));
    if (dtype == f16) {
      slot.moments.push_back(state({blocks_of(n)}, u8, Category::kOptimizer, label + ".exponents", where));
    }
  }
}

void Optimizer::set_lr(float lr) { lr_ = lr; }

void Optimizer::zero_grad() {
  for (Slot& slot : slots_) slot.parameter.zero_grad();
}

void Optimizer::step(SourceLocation where) {
  Session& session = slots_.front().parameter.session();
  std::vector<Tensor> leaves;
  std::vector<Tensor> gradients;
  std::vector<std::size_t> graded;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].parameter.requires_grad()) continue;
    Tensor gradient = slots_[i].parameter.grad();
    if (!gradient.defined()) continue;
    leaves.push_back(slots_[i].parameter);
    gradients.push_back(std::move(gradient));
    graded.push_back(i);
  }
  detail::optimizer_step(
      session, leaves,
      [&] {
        if (gradients.empty()) return;
        const NoGrad no_grad;
        const Tensor bad = apply_all(any_op(CheckFinite{}), gradients, where).front();
        if (const auto index = bad.item<std::int32_t>(where); index != 0) {
          throw Error("the gradient of '" + slots_[graded[static_cast<std::size_t>(index - 1)]].name +
                      "' is not finite; the step at " + to_string(where) +
                      " was refused and changed nothing. Lower the learning rate, or look for a division by zero or "
                      "a logarithm of it in the loss");
        }
        ++steps_;
        for (std::size_t i = 0; i < gradients.size(); ++i) {
          update(slots_[graded[i]], graded[i], gradients[i], where);
        }
      },
      where);
}

}  // namespace tidemark::optim
