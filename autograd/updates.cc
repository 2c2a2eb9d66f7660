// What changes leaves in place: single ops, and an optimizer's step, which is one transaction. See engine.h.
#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "autograd/updating.h"

namespace tidemark::detail {
std::vector<StorageId> Engine::changed_by(const AnyOp& op, std::span<const Tensor> inputs, SourceLocation where) {
  std::vector<Handle*> handles;
  std::vector<Meta> metas;
  handles.reserve(inputs.size());
  metas.reserve(inputs.size());
  for (const Tensor& input : inputs) {
    handles.push_back(Access::handle(input));
    metas.push_back(handles.back()->meta);
  }
  return changed_by(op, handles, metas, where);
}

// The leaves that the op is going to change. They lie in memory from now on, even the small ones.
std::vector<StorageId> Engine::changed_by(const AnyOp& op, std::span<Handle* const> inputs, std::span<const Meta> metas,
                                          SourceLocation where) {
  Attributes attributes;
  op.describe(attributes);
  const auto prepared = prepared_.get(op, attributes.text(), metas, Needs(), where);
  std::vector<StorageId> changed;
  for (int i : prepared->updates) {
    Handle* handle = inputs[static_cast<std::size_t>(i)];
    const auto refuse = [&](const std::string& what) {
      throw Error(absl::StrCat("[", std::string(op.name()), "] it changes input ", i, ", ", what, " (at ",
                               to_string(where), ")"));
    };
    if (!handle->leaf) refuse(absl::StrCat("which must be a leaf, but was computed at ", to_string(handle->where)));
    if (handle->source != nullptr) {
      refuse(absl::StrCat("'", handle->source->name,
                          handle->source->read ? "', which is read from its file whenever it is needed"
                                               : "', which was made under DeferredInit and has no elements yet"));
    }
    store_number(handle, where);
    handle->in_place = true;
    if (std::find(changed.begin(), changed.end(), handle->storage) != changed.end()) {
      refuse("which is the same tensor as another input that it changes");
    }
    changed.push_back(handle->storage);
  }
  return changed;
}

// Changing a leaf that something recorded still depends on: that settles or expires first.
void Engine::note_change(std::span<const StorageId> changed, std::string_view what, SourceLocation where) {
  if (changed.empty()) return;
  settle_held(changed, false, what, where);
  if (!grad_enabled()) return;  // no part of a step that could be refused
  for (StorageId id : changed) {
    if (!storages_.has_bytes() || !storages_[id].pinned()) continue;
    const std::byte* bytes = storages_.data(id);
    undo_.push_back({id, std::vector<std::byte>(bytes, bytes + storages_[id].bytes)});
  }
}

// The last copy of a storage is the newest: going backward, each gets its oldest content.
void Engine::undo_changes() {
  for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo) {
    if (storages_[undo->storage].resident()) {
      std::copy(undo->bytes.begin(), undo->bytes.end(), storages_.data(undo->storage));
    }
  }
  undo_.clear();
}

NodeId Engine::record_update(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                             SourceLocation where) {
  std::vector<ValueId> values;
  values.reserve(inputs.size());
  for (const Tensor& input : inputs) values.push_back(recorder_.value_of(Access::handle(input), op->name(), where));
  return recorder_.forward(op, values, Needs(), keys_, where);
}

std::int32_t Engine::check_gradients(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> gradients,
                                     SourceLocation where) {
  let_go();
  check_owners(gradients, op->name(), where);
  const Updating updating(updating_, recorder_);
  const NodeId node = record_update(op, gradients, where);
  const Tensor result = Access::adopt(lifetimes_.handle_for(tape_.nodes[node].outputs.front()));
  run_recorded();
  std::int32_t number = 0;
  read(Access::handle(result), &number, where);
  if (number != 0) undo_changes();
  return number;
}

void Engine::optimizer_step(std::span<const Update> updates, SourceLocation where) {
  let_go();
  std::vector<StorageId> changed;
  for (const Update& update : updates) {
    if (update.op == nullptr) throw Error(absl::StrCat("[step] an update is no op (at ", to_string(where), ")"));
    check_owners(update.inputs, update.op->name(), where);
    for (StorageId id : changed_by(*update.op, update.inputs, where)) {
      if (std::find(changed.begin(), changed.end(), id) == changed.end()) changed.push_back(id);
    }
  }
  settle_held(changed, true, "an optimizer step", where);
  bring_back();
  {
    const Updating updating(updating_, recorder_);
    run_updates(updates, where);
  }
  end_step();
}

void Engine::follow_step(std::span<const Update> updates, SourceLocation where) {
  let_go();
  if (!tape_.empty() && tape_.alive_nodes == 0) end_generation();
  const bool step_ended = account_.between_steps();
  for (const Update& update : updates) {
    check_owners(update.inputs, update.op->name(), where);
    settle_held(changed_by(*update.op, update.inputs, where), false, update.op->name(), where);
  }
  {
    const Updating updating(updating_, recorder_);
    for (const Update& update : updates) record_update(update.op, update.inputs, where);
    run_recorded();
  }
  if (tape_.alive_nodes == 0) end_generation();
  if (step_ended) account_.follow_step(storages_.arena());
}

void Engine::end_step() {
  ++keys_.step;
  keys_.ordinal = 0;
  if (tape_.alive_nodes == 0) end_generation();
  account_.end_step(keys_.step, storages_.arena());
  storages_.end_step(account_.last_was_planned());
  timeline_.step_ended();
  undo_.clear();
}

// Every update has its place before the first one runs.
void Engine::run_updates(std::span<const Update> updates, SourceLocation where) {
  struct Placed {
    OpId op = kNone;
    std::vector<scheduler::Step> steps;
    std::int64_t shift = 0;
    bool planned = false;
  };
  std::vector<Placed> placed;
  or_abandon(tape_.executed, [&] {
    binding_.check_team();
    for (const Update& update : updates) record_update(update.op, update.inputs, where);
    if (tape_.executed < static_cast<OpId>(tape_.graph.ops.size()) && !advisor_.begun()) begin_step();
    enter_inputs();
    for (OpId op = tape_.executed; op < static_cast<OpId>(tape_.graph.ops.size()); ++op) {
      const Advice advice = advisor_.advise(op);
      if (advice.shortage) refuse(*advice.shortage, where);
      placed.push_back({op, {advice.steps.begin(), advice.steps.end()}, advice.shift, advice.planned});
    }
  });
  std::string done;
  for (const Placed& each : placed) {
    const Node& node = tape_.nodes[tape_.op_nodes[each.op]];
    std::string names;
    for (ValueId id : node.updates) {
      const Storage& storage = storages_[tape_.values[id].storage];
      absl::StrAppend(&names, names.empty() ? "" : ", ", storage.name.empty() ? "a leaf without a name" : storage.name);
    }
    try {
      carry_out(each.steps, each.shift);
    } catch (const std::exception& error) {
      ended_ = Error(absl::StrCat(
          "the session has ended: an update of the optimizer step at ", to_string(where), " failed (", error.what(),
          "). Changed by then: ", done.empty() ? "nothing else" : done, "; perhaps in part: ", names,
          ". Load or assign parameters and optimizer state in a new session"));
      throw Error(absl::StrCat("[step] ", ended_->what()));
    }
    if (done.size() < 500) absl::StrAppend(&done, done.empty() ? "" : ", ", names);
    finish_first_run(each.op, each.planned);
  }
}

}  // namespace tidemark::detail
