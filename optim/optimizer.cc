// What all optimizers share: which parameters have state, the checks before a step, the step.
#include <algorithm>
#include <limits>
#include <span>
#include <string_view>

#include "optim/kernels.h"
#include "optim/update.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"
#include "tidemark/sparse_grad.h"

namespace tidemark::optim {
namespace {

// 0 where every magnitude is below the limit, else 1 + the index of the first tensor in which one is not.
struct CheckFinite {
  static constexpr std::string_view name = "check_finite";
  float limit;

  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared prepared;
    prepared.outputs = {Meta::plain({}, i32)};
    for (const Meta& meta : in) prepared.work.bytes += static_cast<double>(meta.bytes);
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    std::int32_t bad = 0;
    for (std::size_t i = 0; i < in.size() && bad == 0; ++i) {
      const auto [elements, count] = compute::stored_floats(*in[i].meta, in[i].data);
      if (!all_below(elements, count, limit, ctx.threads())) bad = static_cast<std::int32_t>(i) + 1;
    }
    *out[0].as<std::int32_t>() = bad;
  }
};

std::string label(const Parameter& parameter, std::size_t index) {
  return parameter.name().empty() ? "parameter " + std::to_string(index) : parameter.name();
}

std::string number(float value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", static_cast<double>(value));
  return text;
}

}  // namespace

Optimizer::Optimizer(const Config& config, const std::vector<Parameter>& parameters, SourceLocation where)
    : kind_(config.kind), has_(config.defaults), moments_(config.moments), state_(config.state) {
  if (state_ != f16 && state_ != f32)
    fail(std::string("the state must be f16 or f32, not ") + to_string(state_), where);
  bool any = false;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const std::string name = label(parameter, i);
    if (!parameter.defined() || !parameter.is_leaf())
      fail("'" + name + "' is not a leaf, so it cannot be optimized", where);
    if (&parameter.session(where) != &Session::current()) fail("'" + name + "' belongs to another session", where);
    const auto known = [&](const Slot& slot) { return slot.parameter.same(parameter); };
    if (std::any_of(slots_.begin(), slots_.end(), known)) continue;
    Slot& slot = slots_.emplace_back();
    slot.parameter = parameter;
    slot.name = name;
    slot.health = std::make_shared<Health>();
    any = any || parameter.requires_grad();
  }
  make_sets(config, parameters, where);
  if (!any) fail("there is no parameter that requires a gradient", where);
  seed_ = slots_.front().parameter.session().options().seed;
  for (Slot& slot : slots_) {
    if (slot.parameter.requires_grad()) make_state(slot, where);
  }
}

Optimizer::~Optimizer() = default;

std::string Optimizer::why_every_row(std::uint64_t) const { return "a step of this optimizer changes every row"; }

void Optimizer::fail(const std::string& text, SourceLocation where) const {
  throw Error("[" + kind_ + "] " + text + " (at " + to_string(where) + ")");
}

void Optimizer::make_all_state(SourceLocation where) {
  for (Slot& slot : slots_) make_state(slot, where);
}

void Optimizer::make_state(Slot& slot, SourceLocation where) const {
  const int moments = sets_[slot.set].moments;
  if (slot.state.defined()) return;
  slot.width = detail::is_read_sparsely(slot.parameter) ? slot.parameter.size(1) : 0;
  if (moments == 0) return;
  const std::int64_t bytes = state_bytes(format_of(state_), moments, slot.parameter.numel(), slot.width);
  slot.state = tidemark::state({bytes}, u8, Category::kOptimizer, slot.name + "." + kind_, where);
}

// Tables may have become such since the optimizer was made.
void Optimizer::check_tables(SourceLocation where) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!slot.parameter.requires_grad() || !detail::is_read_sparsely(slot.parameter)) continue;
    if (const std::string why = why_every_row(i); !why.empty()) {
      fail("'" + slot.name + "' is a table that is read with .sparse = true, whose gradient has a few of its rows; " +
               why +
               ". Leave out .sparse, or take optim::Adam, optim::Adagrad or optim::SGD without weight decay and " +
               "momentum for such tables, in an optimizer of their own",
           where);
    }
    if (slot.width != 0) continue;
    if (slot.state.defined() && state_ == f16 && slot.parameter.size(1) % kBlock != 0) {
      if (slot.steps > 0) {
        fail("'" + slot.name + "' is read with .sparse = true now, and its state of " + std::to_string(slot.steps) +
                 " steps is that of another table: its blocks do not begin with its rows. Read it so from the first " +
                 "step on, or keep the state in f32",
             where);
      }
      slot.state = Tensor();
      make_state(slot, where);
    }
    slot.width = slot.parameter.size(1);
  }
}

void Optimizer::check_count(std::int64_t steps, SourceLocation where) const {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  if (steps < 0 || steps > kMost) fail("the number of steps must be 0 to 2^31, not " + std::to_string(steps), where);
}

void Optimizer::set_steps(std::int64_t steps, SourceLocation where) {
  check_count(steps, where);
  steps_ = steps;
  // A parameter without the state that others have is one that never took a step.
  for (Slot& slot : slots_) slot.steps = slot.state.defined() || sets_[slot.set].moments == 0 ? steps : 0;
}

std::vector<std::int64_t> Optimizer::step_counts() const {
  std::vector<std::int64_t> counts;
  for (const Slot& slot : slots_) counts.push_back(slot.steps);
  return counts;
}

void Optimizer::set_step_counts(std::span<const std::int64_t> counts, SourceLocation where) {
  if (counts.size() != slots_.size()) {
    fail("there are " + std::to_string(slots_.size()) + " parameters, so " + std::to_string(counts.size()) +
             " counts do not fit",
         where);
  }
  for (const std::int64_t count : counts) {
    check_count(count, where);
  }
  for (std::size_t i = 0; i < counts.size(); ++i) slots_[i].steps = counts[i];
}

std::vector<Parameter> Optimizer::state() const {
  std::vector<Parameter> result;
  for (const Slot& slot : slots_) {
    if (slot.state.defined()) result.emplace_back(slot.state, slot.name + "." + kind_);
  }
  return result;
}

void Optimizer::zero_grad(SourceLocation where) {
  for (Slot& slot : slots_) slot.parameter.zero_grad(where);
}

// Parameters that an update has left infinite or not a number: nobody but their updates looks at them before that.
void Optimizer::check_parameters(Session& session, SourceLocation where) {
  for (Slot& slot : slots_) {
    const std::int64_t since = slot.health->bad_since;
    if (since == 0 || !slot.parameter.requires_grad()) continue;
    const auto check = any_op(CheckFinite{std::numeric_limits<float>::infinity()});
    if (detail::check_gradients(session, check, {&slot.parameter, 1}, where) != 0) {
      fail("parameter '" + slot.name + "' is not finite since step " + std::to_string(since) +
               "; the learning rate is " + number(sets_[slot.set].now.lr) +
               ". The step was refused and changed nothing: assign finite values and " +
               "lower the learning rate to go on",
           where);
    }
    // Finite values were assigned. The moments belong to the run that went wrong, so they begin anew.
    slot.health->bad_since = 0;
    slot.steps = 0;
    if (!slot.state.defined()) continue;
    const std::vector<std::uint8_t> zeros(static_cast<std::size_t>(slot.state.numel()));
    slot.state.assign(std::span<const std::uint8_t>(zeros), where);
  }
}

void Optimizer::check_gradients(Session& session, std::span<const Tensor> gradients, std::span<const std::size_t> slots,
                                SourceLocation where) const {
  const auto bad = detail::check_gradients(session, any_op(CheckFinite{kGradientLimit}), gradients, where);
  if (bad == 0) return;
  fail("the gradient of '" + slots_[slots[static_cast<std::size_t>(bad - 1)]].name +
           "' is not finite, or 2^63 and more; the step was refused and changed nothing. Lower the learning rate, or " +
           "look for a division by zero or a logarithm of it in the loss",
       where);
}

void Optimizer::step(SourceLocation where) {
  Session& session = slots_.front().parameter.session(where);
  check_whole(where);
  check_tables(where);
  check_parameters(session, where);
  std::vector<Tensor> gradients;
  std::vector<std::size_t> graded;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i].parameter.requires_grad()) continue;
    Tensor gradient = detail::stored_grad(slots_[i].parameter, where);
    if (!gradient.defined()) continue;
    gradients.push_back(std::move(gradient));
    graded.push_back(i);
  }
  if (gradients.empty() && !stepped_) {
    fail("step() before any backward(): no parameter of the optimizer has a gradient", where);
  }
  if (!gradients.empty()) check_gradients(session, gradients, graded, where);
  for (const std::size_t i : graded) make_state(slots_[i], where);  // of those that were frozen until now
  // The ops say which step this is, so the counts go first; they go back where the step is refused.
  const std::int64_t before = steps_;
  if (!gradients.empty()) ++steps_;
  for (const std::size_t i : graded) ++slots_[i].steps;
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
    for (const std::size_t i : graded) --slots_[i].steps;
    throw;
  }
  stepped_ = true;
}

}  // namespace tidemark::optim
