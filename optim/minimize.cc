// minimize(): backward and step in one pass.
#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "optim/kernels.h"
#include "optim/update.h"
#include "tidemark/clip.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

// An update that looks at its gradient before it changes a byte.
class CheckedUpdate final : public AnyOp {
 public:
  // Sets `refused` before it throws.
  CheckedUpdate(std::shared_ptr<const AnyOp> update, std::shared_ptr<bool> refused)
      : update_(std::move(update)), refused_(std::move(refused)) {}
  std::string_view name() const override { return update_->name(); }
  void describe(Attributes& attributes) const override { update_->describe(attributes); }
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const override {
    return update_->prepare(prep, in, needs);
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const override {
    const auto [elements, count] = compute::stored_floats(*in[1].meta, in[1].data);
    if (!all_below(elements, count, kGradientLimit, ctx.threads())) {
      *refused_ = true;
      throw Error("its gradient is not finite, or 2^63 and more");
    }
    update_->forward(ctx, in, out);
  }
  void backward(Ctx&, int, std::span<const Buf>, std::span<const Buf>, std::span<const Buf>) const override {}

 private:
  std::shared_ptr<const AnyOp> update_;
  std::shared_ptr<bool> refused_;
};

}  // namespace

void Optimizer::check_whole(SourceLocation where) {
  std::string names;
  for (const Broken& broken : broken_) {
    const Slot& slot = slots_[broken.slot];
    const auto assigned = [](const Tensor& leaf, std::int64_t before) {
      return !leaf.defined() || detail::assignments(leaf) > before;
    };
    if (assigned(slot.parameter, broken.parameter) && assigned(slot.state, broken.state)) continue;
    names += (names.empty() ? "'" : ", '") + slot.name + "'";
  }
  if (!names.empty()) {
    detail::undo_changes(slots_.front().parameter.session(where), where);
    throw Error("[" + kind_ + "] a pass of minimize() broke off after it had updated " + names +
                "; assign or load these parameters and their state() first (at " + to_string(where) + ")");
  }
  broken_.clear();
}

std::int64_t Optimizer::gradient_bytes() const {
  std::int64_t bytes = 0;
  for (const Slot& slot : slots_) {
    if (slot.parameter.requires_grad())
      bytes += (slot.parameter.numel() * 4 + 63) / 64 * 64;  // as the arena places them
  }
  return bytes;
}

void Optimizer::minimize_whole(const Tensor& loss, const MinimizeOptions& options, SourceLocation where) {
  std::vector<Tensor> leaves;
  std::vector<Parameter> parameters;
  for (const Slot& slot : slots_) {
    if (!slot.parameter.requires_grad()) continue;
    leaves.push_back(slot.parameter);
    parameters.emplace_back(slot.parameter, slot.name);
  }
  Session& session = slots_.front().parameter.session(where);
  const bool earlier =
      std::any_of(leaves.begin(), leaves.end(), [](const Tensor& leaf) { return leaf.grad().defined(); });
  detail::backward_to(session, loss, leaves, where);
  // What it has added to is gone whether the step is taken or refused: what is not finite must not be added to the
  // next one.
  const auto clear = [&] {
    try {
      detail::undo_changes(session, where);
      zero_grad(where);
    } catch (const Error&) {
      // The session has ended, as the first error says.
    }
  };
  const std::string gone = ". Gradients of earlier backward() calls are gone, as this one's were added to them";
  try {
    if (options.clip_value > 0) clip_grad_value(parameters, options.clip_value, where);
    if (options.clip_norm > 0) clip_grad_norm(parameters, options.clip_norm, {}, where);
    step(where);
  } catch (const BudgetError& error) {
    using Needed = BudgetError::Needed;
    clear();
    if (!earlier) throw;
    throw BudgetError(error.what() + gone, error.needed_bytes(),
                      error.exact()     ? Needed::kExactly
                      : error.planned() ? Needed::kPlanned
                                        : Needed::kAtLeast);
  } catch (const std::exception& error) {
    clear();
    if (!earlier) throw;
    throw Error(error.what() + gone);
  }
  zero_grad(where);
}

void Optimizer::minimize(const Tensor& loss, const MinimizeOptions& options, SourceLocation where) {
  Session& session = slots_.front().parameter.session(where);
  check_whole(where);
  check_tables(where);
  check_parameters(session, where);
  if (!loss.defined()) throw Error("[minimize] the loss is undefined (at " + to_string(where) + ")");
  if (std::none_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.parameter.requires_grad(); })) {
    fail("every parameter is frozen", where);
  }
  require_option(options.clip_value >= 0, kind_, "clip_value must be 0 or more", options.clip_value, where);
  require_option(options.clip_norm >= 0, kind_, "clip_norm must be 0 or more", options.clip_norm, where);
  if (options.check == MinimizeOptions::Check::kWhole || options.clip_value > 0 || options.clip_norm > 0) {
    return minimize_whole(loss, options, where);
  }
  std::vector<detail::PassUpdate> updates;
  std::vector<std::size_t> slots;
  // The ops say which step this is, so the counts go first; they go back where the step is refused, and where the loss
  // does not reach a parameter.
  const std::int64_t before = steps_;
  const std::vector<std::int64_t> counts = step_counts();
  std::vector<std::size_t> without_state;              // thawed, and perhaps not reached
  const auto refused = std::make_shared<bool>(false);  // a gradient, before its update had changed a byte
  detail::PassOutcome outcome;
  const auto take_back = [&](bool all) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (!all && outcome.updated[i]) continue;
      Slot& slot = slots_[slots[i]];
      slot.steps = counts[slots[i]];
      const bool had_none = std::find(without_state.begin(), without_state.end(), slots[i]) != without_state.end();
      if (had_none && (i >= outcome.updated.size() || !outcome.updated[i])) slot.state = Tensor();
    }
  };
  try {
    ++steps_;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (!slot.parameter.requires_grad()) continue;
      if (!slot.state.defined()) without_state.push_back(i);
      make_state(slot, where);
      ++slot.steps;
      const std::shared_ptr<const AnyOp> op = update(i);
      updates.push_back(
          {slot.parameter, slot.state, op == nullptr ? nullptr : std::make_shared<CheckedUpdate>(op, refused)});
      slots.push_back(i);
    }
    detail::minimize(session, loss, updates, outcome, where);
    stepped_ = true;
    take_back(false);
  } catch (const std::exception& error) {
    steps_ = before;
    take_back(true);
    std::string updated;
    for (std::size_t i = 0; i < outcome.updated.size(); ++i) {
      const bool in_part = std::cmp_equal(i, outcome.failed) && !*refused;
      if (!outcome.updated[i] && !in_part) continue;
      const Slot& slot = slots_[slots[i]];
      broken_.push_back(
          {slots[i], detail::assignments(slot.parameter), slot.state.defined() ? detail::assignments(slot.state) : 0});
      updated += (updated.empty() ? "'" : ", '") + slot.name + "'";
    }
    if (outcome.failed < 0 && broken_.empty()) throw;
    const std::string stopped =
        outcome.failed < 0 ? "the pass"
                           : "the update of '" + slots_[slots[static_cast<std::size_t>(outcome.failed)]].name + "'";
    throw Error("[" + kind_ + "] " + stopped + " broke off: " + error.what() + ". " +
                (updated.empty() ? "No parameter has changed"
                                 : "Updated by then: " + updated +
                                       "; assign or load these parameters and their state() before the next step") +
                " (at " + to_string(where) + ")");
  }
}

}  // namespace tidemark::optim
