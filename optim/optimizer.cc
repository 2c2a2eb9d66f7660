// What all optimizers share: which parameters have state, the check of gradients, the step.
#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>

#include "optim/kernels.h"
#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

// 0 where every gradient can be used, else 1 + the index of the first that cannot.
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
      if (!all_below(in[i].as(), in[i].numel(), kGradientLimit, ctx.threads())) bad = static_cast<std::int32_t>(i) + 1;
    }
    *out[0].as<std::int32_t>() = bad;
  }
};

std::string label(const Parameter& parameter, std::size_t index) {
  return parameter.name().empty() ? "parameter " + std::to_string(index) : parameter.name();
}

void check_lr(const std::string& kind, float lr, SourceLocation where) {
  require_option(lr >= 0 && std::isfinite(lr), kind, "lr must be 0 or more", lr, where);
}

}  // namespace

Optimizer::Optimizer(const char* kind, const std::vector<Parameter>& parameters, float lr, int moments, DType state,
                     SourceLocation where)
    : kind_(kind), lr_(lr) {
  const auto fail = [&](const std::string& text) {
    throw Error("[" + kind_ + "] " + text + " (at " + to_string(where) + ")");
  };
  check_lr(kind_, lr, where);
  if (state != f16 && state != f32) fail(std::string("the state must be f16 or f32, not ") + to_string(state));
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const std::string name = label(parameter, i);
    if (!parameter.defined() || !parameter.is_leaf()) fail("'" + name + "' is not a leaf, so it cannot be optimized");
    if (&parameter.session(where) != &Session::current()) fail("'" + name + "' belongs to another session");
    std::vector<Slot>& list = parameter.requires_grad() ? slots_ : frozen_;
    const auto known = [&](const Slot& slot) { return slot.parameter.same(parameter); };
    if (std::none_of(list.begin(), list.end(), known)) list.push_back({parameter, name, {}});
  }
  if (slots_.empty()) fail("there is no parameter that requires a gradient");
  seed_ = slots_.front().parameter.session().options().seed;
  if (moments == 0) return;
  for (Slot& slot : slots_) {
    const std::int64_t bytes = state_bytes(format_of(state), moments, slot.parameter.numel());
    slot.state = tidemark::state({bytes}, u8, Category::kOptimizer, slot.name + "." + kind_, where);
  }
}

Optimizer::~Optimizer() = default;

void Optimizer::set_lr(float lr, SourceLocation where) {
  check_lr(kind_, lr, where);
  lr_ = lr;
}

void Optimizer::set_steps(std::int64_t steps, SourceLocation where) {
  if (steps < 0) {
    throw Error("[" + kind_ + "] the number of steps cannot be " + std::to_string(steps) + " (at " + to_string(where) +
                ")");
  }
  steps_ = steps;
}

std::vector<Parameter> Optimizer::state() const {
  std::vector<Parameter> result;
  for (const Slot& slot : slots_) {
    if (slot.state.defined()) result.emplace_back(slot.state, slot.name + "." + kind_);
  }
  return result;
}

void Optimizer::zero_grad() {
  for (Slot& slot : slots_) slot.parameter.zero_grad();
}

void Optimizer::check_frozen(SourceLocation where) const {
  for (const Slot& slot : frozen_) {
    if (slot.parameter.requires_grad() && slot.parameter.grad().defined()) {
      throw Error("[" + kind_ + "] '" + slot.name + "' was frozen when the optimizer was made, so it has no state; " +
                  "make the optimizer again (at " + to_string(where) + ")");
    }
  }
}

void Optimizer::step(SourceLocation where) {
  Session& session = slots_.front().parameter.session(where);
  check_frozen(where);
  check_whole(where);
  std::vector<Tensor> gradients;
  std::vector<std::size_t> graded;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].parameter.requires_grad()) continue;
    Tensor gradient = slots_[i].parameter.grad();
    if (!gradient.defined()) continue;
    gradients.push_back(std::move(gradient));
    graded.push_back(i);
  }
  if (gradients.empty() && !stepped_) {
    throw Error("[" + kind_ + "] step() before any backward(): no parameter of the optimizer has a gradient (at " +
                to_string(where) + ")");
  }
  if (!gradients.empty()) {
    if (const auto bad = detail::check_gradients(session, any_op(CheckFinite{}), gradients, where); bad != 0) {
      throw Error("[" + kind_ + "] the gradient of '" + slots_[graded[static_cast<std::size_t>(bad - 1)]].name +
                  "' is not finite, or 2^63 and more; the step was refused and changed nothing. Lower the learning " +
                  "rate, or look for a division by zero or a logarithm of it in the loss (at " + to_string(where) +
                  ")");
    }
  }
  // The ops say which step this is, so the count goes first; it goes back where the step is refused.
  const std::int64_t before = steps_;
  if (!gradients.empty()) ++steps_;
  try {
    std::vector<detail::Update> updates;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const Slot& slot = slots_[graded[i]];
      updates.push_back({update(graded[i]), {slot.parameter, gradients[i]}});
      if (slot.state.defined()) updates.back().inputs.push_back(slot.state);
    }
    detail::optimizer_step(session, updates, where);
  } catch (...) {
    steps_ = before;
    throw;
  }
  stepped_ = true;
}

}  // namespace tidemark::optim
