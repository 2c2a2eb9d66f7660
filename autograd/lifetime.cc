// Lifetimes are the program's, never the budget's: what a handle or a backward pass to come can reach lives, all else
// goes at once. Here too: what happens to values when what they were computed from changes, and where steps end.
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "autograd/engine.h"

namespace tidemark::detail {
namespace {

// Without backward, a tape on which nothing is alive is cut when it is this long, though handles to its values remain.
constexpr std::size_t kLongTape = 256;
constexpr std::size_t kPlanEntries = 16;

}  // namespace

bool& grad_enabled() {
  thread_local bool enabled = true;
  return enabled;
}

Handle* Engine::new_handle(const Meta& meta, SourceLocation where) {
  auto* handle = new Handle;  // owned by its reference count
  handle->engine = this;
  handle->meta = meta;
  handle->where = where;
  handle->next = handles_;
  if (handles_ != nullptr) handles_->previous = handle;
  handles_ = handle;
  return handle;
}

Handle* Engine::new_leaf_handle(const Meta& meta, StorageId storage, SourceLocation where) {
  Handle* handle = new_handle(meta, where);
  handle->leaf = true;
  handle->storage = storage;
  ++storages_[storage].handles;
  return handle;
}

Handle* Engine::handle_for(ValueId id) {
  if (tape_.values[id].handle != nullptr) return tape_.values[id].handle;
  const Value& value = tape_.values[id];
  const Node& node = tape_.nodes[value.producer];
  Handle* handle = new_handle(value.meta, node.where);
  handle->requires_grad = value.requires_grad;
  handle->generation = generation_;
  handle->value = id;
  ++storages_[value.storage].handles;
  if (storages_[value.storage].persistent && !node.alive) {
    handle->storage = value.storage;
    handle->offset = value.offset;
  } else {
    add_use(value.producer);
  }
  tape_.values[id].handle = handle;
  return handle;
}

void Engine::release_handle(Handle* handle) {
  if (--handle->refs == 0) handle_died(handle);
}

void Engine::handle_died(Handle* handle) {
  const bool current = handle->value != kNone && handle->generation == generation_;
  if (current && tape_.values[handle->value].handle == handle) tape_.values[handle->value].handle = nullptr;
  if (handle->grad != nullptr) release_handle(handle->grad);
  if (handle->storage != kNone) {
    --storages_[handle->storage].handles;
    let_go_if_unneeded(handle->storage);
  } else if (current && handle->lost.empty()) {
    const StorageId storage = tape_.values[handle->value].storage;
    const NodeId producer = tape_.values[handle->value].producer;
    --storages_[storage].handles;
    drop_use(producer);
    let_go_if_unneeded(storage);
  }
  delete_handle(handle);
}

void Engine::delete_handle(Handle* handle) {
  if (handle->previous != nullptr) handle->previous->next = handle->next;
  if (handle->next != nullptr) handle->next->previous = handle->previous;
  if (handles_ == handle) handles_ = handle->next;
  delete handle;
}

void Engine::add_use(NodeId node) { ++tape_.nodes[node].uses; }

void Engine::drop_use(NodeId first) {
  std::vector<NodeId> unused = {first};
  while (!unused.empty()) {
    const NodeId id = unused.back();
    unused.pop_back();
    Node& node = tape_.nodes[id];
    if (--node.uses > 0 || !node.alive) continue;
    node.alive = false;
    --tape_.alive_nodes;
    for (ValueId input : node.inputs) {
      if (tape_.values[input].producer != kNone) unused.push_back(tape_.values[input].producer);
    }
    // Letting go may append to the tape, so `node` is not used from here on.
    const auto saved = std::move(node.saved);
    const auto sources = std::move(node.sources);
    tape_.nodes[id].saved.clear();
    tape_.nodes[id].sources.clear();
    for (StorageId storage : saved) drop_reads(storage);
    for (StorageId storage : sources) drop_reads(storage);
  }
}

void Engine::drop_reads(StorageId storage) {
  --storages_[storage].reads;
  let_go_if_unneeded(storage);
}

void Engine::free_storage(StorageId id) {
  drop_bytes(storages_[id]);
  storages_[id] = Storage{};
  free_storages_.push_back(id);
}

void Engine::let_go_if_unneeded(StorageId id) {
  Storage& storage = storages_[id];
  if (storage.handles + storage.reads > 0 || storage.bytes == 0) return;
  if (storage.buffer == kNone) {
    if (storage.persistent && !started_) free_storage(id);
    return;  // the end of the generation takes it
  }
  if (storage.persistent) {
    if (std::find(letting_go_.begin(), letting_go_.end(), id) == letting_go_.end()) letting_go_.push_back(id);
    if (!executing_) flush_letting_go();
    return;
  }
  if (online_ != nullptr) {
    std::vector<scheduler::Step> steps;
    online_->release(storage.buffer, steps);
    run_steps(steps);
  }
}

void Engine::flush_letting_go() {
  std::vector<StorageId> gone;
  for (StorageId id : letting_go_) {
    if (storages_[id].handles + storages_[id].reads == 0) gone.push_back(id);
  }
  letting_go_.clear();
  if (gone.empty()) return;
  // An op of the graph, so that a plan made from it knows until when the bytes are taken.
  executing_ = true;
  hold(gone, {});
  while (tape_.executed < static_cast<OpId>(tape_.graph.ops.size())) execute(tape_.executed);
  executing_ = false;
  letting_go_.clear();  // the hold op's own reads have ended
  for (StorageId id : gone) {
    if (online_ != nullptr && storages_[id].offset != kNone) {
      std::vector<scheduler::Step> steps;
      online_->release(storages_[id].buffer, steps);
      run_steps(steps);
    }
    drop_bytes(storages_[id]);
  }
}

void Engine::hold(std::span<const StorageId> storages, SourceLocation where) {
  Node node;
  node.kind = Node::Kind::kHold;
  node.where = where;
  for (StorageId storage : storages) {
    Value value;
    value.storage = storage;
    value.meta.bytes = storages_[storage].bytes;
    tape_.values.push_back(std::move(value));
    node.reads.push_back(static_cast<ValueId>(tape_.values.size() - 1));
  }
  append_node(std::move(node), scheduler::Phase::kForward, 0, {}, {}, "");
}

bool Engine::stays_readable(const Handle* handle) const { return handle->keep || handle->meta.bytes <= kSmallBytes; }

void Engine::begin_settling(std::span<Handle* const> handles) {
  absl::flat_hash_set<StorageId> settled;
  for (const Handle* handle : handles) {
    Storage& storage = storages_[tape_.values[handle->value].storage];
    if (storage.persistent) continue;
    settled.insert(tape_.values[handle->value].storage);
    storage.persistent = true;
    if (online_ != nullptr) online_->pin(buffer_of(tape_.values[handle->value].storage));
  }
  // Whoever may still be computed again from these bytes needs them as long as it lives.
  for (Node& node : tape_.nodes) {
    if (!node.alive) continue;
    for (ValueId input : node.inputs) {
      const StorageId storage = tape_.values[input].storage;
      if (!settled.contains(storage)) continue;
      if (std::find(node.sources.begin(), node.sources.end(), storage) != node.sources.end()) continue;
      node.sources.push_back(storage);
      ++storages_[storage].reads;
    }
  }
}

void Engine::settle(std::span<Handle* const> handles, const std::string& graph_lost) {
  for (Handle* handle : handles) {
    const Value& value = tape_.values[handle->value];
    handle->storage = value.storage;
    handle->offset = value.offset;
    handle->graph_lost = graph_lost;
    const NodeId producer = value.producer;
    tape_.values[handle->value].handle = nullptr;
    handle->value = kNone;
    drop_use(producer);
  }
}

void Engine::expire(Handle* handle, const std::string& reason) {
  const Value& value = tape_.values[handle->value];
  handle->lost = reason;
  handle->graph_lost = reason;
  const NodeId producer = value.producer;
  const StorageId storage = value.storage;
  tape_.values[handle->value].handle = nullptr;
  handle->value = kNone;
  --storages_[storage].handles;
  drop_use(producer);
  let_go_if_unneeded(storage);
}

void Engine::before_change(std::span<const StorageId> storages, std::string_view what, SourceLocation where) {
  if (tape_.alive_nodes == 0) return;
  const absl::flat_hash_set<StorageId> changed(storages.begin(), storages.end());
  std::vector<StorageId> cause(tape_.nodes.size(), kNone);
  bool any = false;
  for (std::size_t n = 0; n < tape_.nodes.size(); ++n) {
    const Node& node = tape_.nodes[n];
    if (!node.alive) continue;
    for (ValueId input : node.inputs) {
      const Value& value = tape_.values[input];
      if (changed.contains(value.storage)) cause[n] = value.storage;
      if (value.producer != kNone && cause[value.producer] != kNone) cause[n] = cause[value.producer];
    }
    any = any || cause[n] != kNone;
  }
  if (!any) return;
  std::vector<Handle*> settling;
  std::vector<Handle*> expiring;
  std::vector<StorageId> held;
  for (Handle* handle = handles_; handle != nullptr; handle = handle->next) {
    if (handle->storage != kNone || handle->value == kNone || handle->generation != generation_) continue;
    const Value& value = tape_.values[handle->value];
    if (value.producer == kNone || cause[value.producer] == kNone) continue;
    if (stays_readable(handle)) {
      settling.push_back(handle);
      if (std::find(held.begin(), held.end(), value.storage) == held.end()) held.push_back(value.storage);
    } else {
      expiring.push_back(handle);
    }
  }
  std::sort(held.begin(), held.end(),
            [&](StorageId a, StorageId b) { return storages_[a].buffer < storages_[b].buffer; });
  begin_settling(settling);
  if (!held.empty()) {
    hold(held, where);
    execute_up_to_end();
  }
  auto reason = [&](const Handle* handle) {
    const Storage& storage = storages_[cause[tape_.values[handle->value].producer]];
    return absl::StrCat(storage.name.empty() ? "a leaf" : absl::StrCat("'", storage.name, "'"), " (made at ",
                        to_string(storage.where), "), which the value from ", to_string(handle->where),
                        " was computed from, was changed by ", std::string(what), " at ", to_string(where));
  };
  std::vector<std::pair<Handle*, std::string>> reasons;
  reasons.reserve(expiring.size());
  for (Handle* handle : expiring) {
    reasons.emplace_back(
        handle, absl::StrCat("the value is gone: ", reason(handle), "; read it before, or mark it with keep()"));
  }
  std::string graph_lost;
  if (!settling.empty()) graph_lost = absl::StrCat("its graph is gone: ", reason(settling.front()));
  settle(settling, graph_lost);
  for (auto& [handle, text] : reasons) expire(handle, text);
}

void Engine::optimizer_step(std::span<const Tensor> leaves, const std::function<void()>& update, SourceLocation where) {
  std::vector<StorageId> storages;
  for (const Tensor& leaf : leaves) storages.push_back(Access::handle(leaf)->storage);
  before_change(storages, "an optimizer step", where);
  updating_ = true;
  try {
    update();
  } catch (...) {
    updating_ = false;
    throw;
  }
  updating_ = false;
  ++step_;
  ordinal_ = 0;
  finish_step();
}

void Engine::finish_step() {
  current_.step = step_;
  current_.planned = current_.ops > 0 && unplanned_ops_ == 0;
  current_.peak_bytes = arena_.ledger().step_peak();
  const auto now = std::chrono::steady_clock::now();
  current_.seconds = std::chrono::duration<double>(now - step_start_).count();
  step_start_ = now;
  if (current_.planned) {
    ++planned_steps_;
    last_plans_ = step_plans_;
  }
  step_plans_ = {};
  ++steps_done_;
  recomputed_ops_ += current_.recomputed_ops;
  last_ = current_;
  current_ = {};
  unplanned_ops_ = 0;
  if (tape_.alive_nodes == 0) end_generation();
  undo_.clear();
  arena_.reset_step_peak();
}

void Engine::remember_step() {
  if (!options_.budget || options_.dry_run || tape_.graph.ops.size() < 2) return;
  if (tape_.executed != static_cast<OpId>(tape_.graph.ops.size())) return;
  if (followed_ != nullptr && tape_.executed <= plan_end_) return;
  for (const PlanEntry& entry : entries_) {
    if (entry.signatures == tape_.signatures && entry.persistent == persistent_buffers_) return;
  }
  if (entries_.size() == kPlanEntries) entries_.pop_back();
  entries_.push_front({tape_.signatures, tape_.graph, persistent_buffers_, {}, {}});
}

void Engine::restart_if_idle() {
  if (tape_.alive_nodes > 0 || tape_.graph.ops.empty() || updating_) return;
  if (!tape_.went_backward && tape_.graph.ops.size() < kLongTape) {
    for (const Handle* handle = handles_; handle != nullptr; handle = handle->next) {
      if (handle->value != kNone && handle->generation == generation_ && !handle->leaf) return;
    }
  }
  end_generation();
}

void Engine::start_generation() {
  started_ = true;
  // What is pinned stays where it is through the step, so it must not split the room: parameters that were made in the
  // middle of a step lie anywhere.
  std::int64_t pinned_end = 0;
  std::int64_t pinned_bytes = 0;
  for (const Storage& storage : storages_) {
    if (!storage.pinned || storage.offset == kNone) continue;
    const std::int64_t bytes = memory::Extents::round_up(storage.bytes);
    pinned_end = std::max(pinned_end, storage.offset + bytes);
    pinned_bytes += bytes;
  }
  if (pinned_end > pinned_bytes) compact();
  std::vector<StorageId> persistent;
  for (std::size_t id = 0; id < storages_.size(); ++id) {
    if (storages_[id].persistent && storages_[id].offset != kNone) persistent.push_back(static_cast<StorageId>(id));
  }
  std::sort(persistent.begin(), persistent.end(),
            [&](StorageId a, StorageId b) { return storages_[a].sequence < storages_[b].sequence; });
  for (StorageId id : persistent) buffer_of(id);
  persistent_buffers_ = static_cast<BufferId>(persistent.size());
}

void Engine::end_generation() {
  tape_.graph = export_graph();
  remember_step();
  for (Handle* handle = handles_; handle != nullptr; handle = handle->next) {
    if (handle->generation == generation_) handle->value = kNone;
  }
  std::vector<Handle*> leaves;
  for (Value& value : tape_.values) {
    if (value.leaf != nullptr) leaves.push_back(value.leaf);
  }
  last_tape_ = std::exchange(tape_, Tape{});
  ++generation_;
  graded_.clear();
  started_ = false;
  plan_ = nullptr;
  followed_ = nullptr;
  rest_plan_.reset();
  online_.reset();
  letting_go_.clear();
  for (std::size_t id = 0; id < storages_.size(); ++id) {
    Storage& storage = storages_[id];
    if (storage.bytes == 0) continue;
    storage.buffer = kNone;
    storage.reads = 0;
    if (!storage.persistent || storage.handles == 0) free_storage(static_cast<StorageId>(id));
  }
  for (Handle* leaf : leaves) release_handle(leaf);
}

void Engine::abandon_step(const std::string& reason) {
  for (Undo& undo : undo_) {
    if (storages_[undo.storage].offset != kNone) {
      std::copy(undo.bytes.begin(), undo.bytes.end(), arena_.at(storages_[undo.storage].offset));
    }
  }
  undo_.clear();
  executing_ = true;  // nothing is let go by an op of its own any more: the generation ends here
  // Half-summed gradients are worse than none.
  for (Handle* leaf : graded_) {
    Handle* grad = std::exchange(leaf->grad, nullptr);
    if (grad == nullptr) continue;
    grad->lost = reason;
    release_handle(grad);
  }
  graded_.clear();
  for (Handle* handle = handles_; handle != nullptr; handle = handle->next) {
    if (handle->storage != kNone || handle->value == kNone || handle->generation != generation_) continue;
    handle->lost = reason;
    handle->graph_lost = reason;
    --storages_[tape_.values[handle->value].storage].handles;
    handle->value = kNone;
  }
  current_ = {};
  step_plans_ = {};
  unplanned_ops_ = 0;
  tape_.executed = kNone;  // not a step to plan from
  end_generation();
  executing_ = false;
}

void Engine::zero_grad(Handle* leaf) {
  graded_.erase(std::remove(graded_.begin(), graded_.end(), leaf), graded_.end());
  if (Handle* grad = std::exchange(leaf->grad, nullptr)) release_handle(grad);
}

void Engine::set_step(std::int64_t step) {
  step_ = step;
  ordinal_ = 0;
}

RngKey Engine::next_key() { return {options_.seed, static_cast<std::uint32_t>(step_), ordinal_++}; }

}  // namespace tidemark::detail
