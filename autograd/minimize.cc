// Backward and an optimizer step in one pass, which no gradient outlives: see engine.h.
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "autograd/gradient_pass.h"
#include "autograd/updating.h"

namespace tidemark::detail {

void Engine::require_finite(const Tensor& loss, SourceLocation where) {
  let_go();
  check_owners({&loss, 1}, "minimize", where);
  (void)loss_value(loss, "minimize", where);
  float number = 0;
  read(Access::handle(loss), &number, where);
  if (std::isfinite(number)) return;
  undo_changes();
  throw Error(absl::StrCat("[minimize] the loss is ", number, "; the step was refused and changed nothing (at ",
                           to_string(where), ")"));
}

void Engine::require_target(const GradientPass& pass, const Tensor& loss, SourceLocation where) const {
  if (pass.leads_to_one()) return;
  throw Error(absl::StrCat("[minimize] the loss made at ", to_string(Access::handle(loss)->where),
                           " depends on none of the optimizer's parameters (at ", to_string(where), ")"));
}

void Engine::minimize(const Tensor& loss, std::span<const PassUpdate> updates, PassOutcome& outcome,
                      SourceLocation where) {
  constexpr std::string_view kWhat = "minimize";
  outcome.updated.assign(updates.size(), false);
  require_finite(loss, where);

  std::vector<Handle*> leaves;
  std::vector<StorageId> changed;
  for (const PassUpdate& update : updates) {
    if (update.op == nullptr) throw Error(absl::StrCat("[minimize] an update is no op (at ", to_string(where), ")"));
    Handle* leaf = Access::handle(update.parameter);
    std::vector<Handle*> inputs = {leaf, nullptr};
    std::vector<Meta> metas = {leaf->meta, Meta::plain(leaf->meta.shape)};
    if (update.state.defined()) {
      inputs.push_back(Access::handle(update.state));
      metas.push_back(inputs.back()->meta);
    }
    for (StorageId id : changed_by(*update.op, inputs, metas, where)) changed.push_back(id);
    leaves.push_back(leaf);
  }

  GradientPass pass(tape_, storages_, lifetimes_, recorder_, kWhat, where);
  std::vector<std::pair<OpId, std::size_t>> update_ops;  // and which updates they are
  Held held;
  bool first = true;
  // What the program holds stays readable, or is given up, before the first of the parameters changes.
  const auto hold = [&] {
    std::vector<StorageId> storages;
    for (const auto& [buffer, handles] : held.settling) {
      storages.push_back(tape_.buffer_storage[buffer]);
      begin_settling(handles);
    }
    if (!storages.empty()) recorder_.hold(storages, Recorder::HoldFor::kSettling, where);
  };
  pass.restrict_to(leaves);
  pass.hand_over([&](std::size_t at, ValueId gradient) {
    if (std::exchange(first, false)) hold();
    const PassUpdate& update = updates[at];
    const Updating updating(updating_, recorder_);
    std::vector<ValueId> inputs = {recorder_.value_of(leaves[at], kWhat, where), gradient};
    if (update.state.defined()) inputs.push_back(recorder_.value_of(Access::handle(update.state), kWhat, where));
    recorder_.forward(update.op, inputs, Needs(), keys_, where);
    update_ops.emplace_back(static_cast<OpId>(tape_.graph.ops.size()) - 1, at);
  });
  const ValueId value = recorder_.value_of(Access::handle(loss), kWhat, where);
  pass.check({&value, 1});
  require_target(pass, loss, where);
  held = held_values(changed, true, pass.reached(), kWhat, where);
  record_pass(pass, {&value, 1}, false);
  plan_pass(where);
  run_pass(update_ops, outcome);
  pass_.reset();
  for (Handle* leaf : leaves) {
    if (Handle* grad = std::exchange(leaf->grad, nullptr)) lifetimes_.release(grad);
  }
  for (const auto& [handle, reason] : held.expiring) lifetimes_.expire(handle, reason);
  for (const auto& [buffer, handles] : held.settling) {
    for (const auto& [handle, no_graph] : handles) lifetimes_.settle({&handle, 1}, no_graph);
  }
  let_go();
  end_step();
}

// Everything that is recorded, or an error.
void Engine::plan_pass(SourceLocation where) {
  complete_ = true;
  bool planned = false;
  or_abandon(tape_.executed, [&] {
    binding_.check_team();
    if (!advisor_.begun()) begin_step();
    enter_inputs();
    carry_out(advisor_.plan_rest(kept_buffers(tape_.graph), Advisor::Wanted::kAlways).steps, 0);
    planned = advisor_.follows_plan() || start_over();
  });
  if (planned) return;
  // Nothing of it runs; the largest op says best what the matter is.
  scheduler::Shortage shortage;
  for (OpId id = tape_.executed; id < static_cast<OpId>(tape_.graph.ops.size()); ++id) {
    const scheduler::Op& op = tape_.graph.ops[id];
    scheduler::Shortage each;
    each.op = id;
    each.scratch = op.scratch;
    for (BufferId b : op.reads) each.inputs += tape_.graph.buffers[b].bytes;
    for (BufferId b : op.writes) each.outputs += tape_.graph.buffers[b].bytes;
    each.needed = each.inputs + each.outputs + each.scratch;
    if (shortage.op == kNone || each.needed > shortage.needed) shortage = each;
  }
  refuse(shortage, where);
}

void Engine::run_pass(std::span<const std::pair<OpId, std::size_t>> update_ops, PassOutcome& outcome) {
  while (tape_.executed < static_cast<OpId>(tape_.graph.ops.size())) {
    const bool updates = !update_ops.empty() && update_ops.front().first == tape_.executed;
    const std::size_t update = updates ? update_ops.front().second : 0;
    try {
      run(tape_.executed);
    } catch (const std::bad_alloc&) {
      throw;  // the session ends
    } catch (const std::exception&) {
      if (updates) outcome.failed = static_cast<std::ptrdiff_t>(update);
      throw;
    }
    if (!updates) continue;
    outcome.updated[update] = true;
    update_ops = update_ops.subspan(1);
  }
}

}  // namespace tidemark::detail
