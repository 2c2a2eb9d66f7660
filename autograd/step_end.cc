// Where a step ends, and what outlives it: see engine.h.
#include <xxhash.h>

#include <algorithm>
#include <map>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "scheduler/cycle.h"

namespace tidemark::detail {
namespace {

// A stretch without gradients that goes on for this many ops ends where its first op comes again; at twice as many it
// ends anyway.
constexpr std::size_t kLongStretch = 256;

}  // namespace

// --- what outlives a change

// By node: which of the storages that are about to change it was computed from; kNone: from none of them.
std::vector<StorageId> Engine::causes(std::span<const StorageId> changed) const {
  const std::unordered_set<StorageId> changing(changed.begin(), changed.end());
  std::vector<StorageId> cause(tape_.nodes.size(), kNone);
  for (std::size_t n = 0; n < tape_.nodes.size(); ++n) {
    const Node& node = tape_.nodes[n];
    if (!node.alive) continue;
    for (ValueId input : node.inputs) {
      const Value& value = tape_.values[input];
      if (changing.contains(value.storage)) cause[n] = value.storage;
      if (value.producer != kNone && cause[value.producer] != kNone) cause[n] = cause[value.producer];
    }
  }
  return cause;
}

Engine::Held Engine::held_values(std::span<const StorageId> changed, bool step_ends, const std::vector<bool>& going,
                                 std::string_view what, SourceLocation where) {
  Held held;
  if (tape_.alive_nodes == 0) return held;
  const std::vector<StorageId> cause = causes(changed);
  const std::vector<bool> waiting = step_ends ? lifetimes_.waiting_nodes(going) : std::vector<bool>();
  const auto reason = [&](const Handle* handle) {
    const StorageId id = cause[tape_.values[handle->value].producer];
    if (id == kNone) return absl::StrCat("the step ended with ", std::string(what), " at ", to_string(where));
    const Storage& storage = storages_[id];
    return absl::StrCat(storage.name.empty() ? "a leaf" : absl::StrCat("'", storage.name, "'"), " (made at ",
                        to_string(storage.where), "), which the value from ", to_string(handle->where),
                        " was computed from, was changed by ", std::string(what), " at ", to_string(where));
  };
  lifetimes_.for_each_computed([&](Handle* handle) {
    const Value& value = tape_.values[handle->value];
    const bool changes = cause[value.producer] != kNone;
    if (!changes && (!step_ends || (value.requires_grad && waiting[value.producer]))) return;
    if (changes && handle->requires_grad && !handle->stays_readable()) {
      held.expiring.emplace_back(handle, once({absl::StrCat("the value is gone: ", reason(handle),
                                                            "; read it before, mark it with keep(), or detach() it")}));
      return;
    }
    const Reason* no_graph = nullptr;
    if (handle->requires_grad) no_graph = once({absl::StrCat("its graph is gone: ", reason(handle))});
    held.settling[storages_[value.storage].buffer].emplace_back(handle, no_graph);
  });
  return held;
}

void Engine::settle_held(std::span<const StorageId> changed, bool step_ends, std::string_view what,
                         SourceLocation where) {
  const Held held = held_values(changed, step_ends, {}, what, where);
  for (const auto& [handle, reason] : held.expiring) lifetimes_.expire(handle, reason);
  // One after the other: what the first was computed from can go before the second has to be there.
  for (const auto& [buffer, handles] : held.settling) {
    const StorageId storage = tape_.buffer_storage[buffer];
    begin_settling(handles);
    recorder_.hold({&storage, 1}, Recorder::HoldFor::kSettling, where);
    run_recorded();
    for (const auto& [handle, no_graph] : handles) lifetimes_.settle({&handle, 1}, no_graph);
    let_go();
  }
  collect();
}

void Engine::begin_settling(std::span<const Reasoned> handles) {
  std::vector<Handle*> plain;
  for (const auto& [handle, reason] : handles) plain.push_back(handle);
  for (StorageId settled : lifetimes_.begin_settling(plain)) advisor_.pin(storages_[settled].buffer);
}

// --- where steps end

// Values that no backward pass waits for need not be computed again when the next batch comes, or a loop begins anew.
void Engine::end_stretch(std::span<const StorageId> changed, std::string_view what, SourceLocation where) {
  settle_held(changed, true, what, where);
  if (tape_.alive_nodes == 0 && !tape_.empty()) end_generation();
}

void Engine::restart_if_idle(const AnyOp& op, SourceLocation where) {
  if (tape_.empty() || updating_) return;
  if (tape_.alive_nodes == 0) {
    let_go();
    end_generation();
    return;
  }
  const std::size_t size = tape_.graph.ops.size();
  if (tape_.open_nodes > 0) return;
  if (tape_.under_no_grad == grad_enabled()) {
    end_stretch({}, "the begin or end of NoGrad", where);
    return;
  }
  if (size < kLongStretch) return;
  const Node& first = tape_.nodes.front();
  const bool again = first.any_op != nullptr && first.any_op->name() == op.name() && first.where.line == where.line &&
                     std::string_view(first.where.file) == where.file;
  if (again || size >= 2 * kLongStretch) end_stretch({}, "a long stretch without gradients", where);
}

// A plan may discard a settled value and compute it again before its next use; a step that ends earlier than the plan
// has to bring it back.
void Engine::bring_back() {
  std::vector<StorageId> held;
  bool missing = false;
  for (StorageId id : tape_.buffer_storage) {
    const Storage& storage = storages_[id];
    if (storage.reproducible() || storage.handles == 0 || storage.pinned()) continue;
    held.push_back(id);
    missing = missing || !storage.resident();
  }
  if (!missing) return;
  recorder_.hold(held, Recorder::HoldFor::kRead, {});
  run_recorded();
}

void Engine::end_generation() {
  bring_back();
  account_.followed(advisor_.costs(), tape_.hinted);
  const std::vector<BufferId> used = used_buffers();
  const bool whole = tape_.executed == static_cast<OpId>(tape_.graph.ops.size());
  std::function<scheduler::Graph()> room;
  if (whole) room = [&] { return room_graph(used); };
  if (whole && options_.budget && storages_.has_bytes() && !sources_.empty()) choose_residents(room_graph(used), used);
  advisor_.end(room, used);
  tape_.graph = real_graph(std::move(tape_.graph));
  lifetimes_.make_numbers([&](const Handle* handle) {
    const Meta plain = Meta::plain(handle->meta.shape, handle->meta.dtype);
    auto elements = std::make_unique<std::byte[]>(static_cast<std::size_t>(plain.bytes));
    if (storages_.has_bytes() && plain.bytes > 0) {
      replay_.copy_out(handle->meta, storages_.data(handle->storage) + handle->offset, elements.get());
    }
    return elements;
  });
  sweep();
}

void Engine::choose_residents(const scheduler::Graph& room, std::span<const BufferId> used) {
  std::vector<LeafSource*> source_of(room.buffers.size(), nullptr);
  std::vector<BufferId> wire(tape_.buffer_storage.size(), kNone);
  for (std::size_t i = 0; i < used.size(); ++i) wire[used[i]] = static_cast<BufferId>(i);
  std::string kind;  // of step: its ops, but for reading
  bool any = false;
  for (const Node& node : tape_.nodes) {
    if (node.op == kNone) continue;
    const scheduler::Op& op = tape_.graph.ops[node.op];
    if (node.kind != Node::Kind::kFile) {
      absl::StrAppend(&kind, op.name, " ", op.scratch, " ");
      for (BufferId b : op.writes) absl::StrAppend(&kind, tape_.graph.buffers[b].bytes, " ");
      continue;
    }
    any = true;
    source_of[wire[op.writes.front()]] = node.source;
  }
  if (!any || !steps_with_residents_.insert(XXH3_64bits(kind.data(), kind.size())).second) return;
  const auto cycle = scheduler::choose_residents(room, storages_.arena().extents().limit() - storages_.pinned_end(),
                                                 {.seed = options_.seed});
  if (!cycle) return;
  for (LeafSource* source : source_of) {
    if (source != nullptr) source->resident = false;
  }
  for (BufferId b : cycle->resident) {
    if (source_of[b] != nullptr) source_of[b]->resident = true;
  }
}

// Forgets the tape, and destroys what nobody holds.
void Engine::sweep() {
  for (const Node& node : tape_.nodes) {
    if (node.kind != Node::Kind::kFile) continue;
    LeafSource& source = *node.source;
    const StorageId id = tape_.values[node.outputs.front()].storage;
    if (!source.resident || source.handles == 0 || !storages_[id].resident() || !storages_.came_whole(id)) continue;
    storages_[id].origin = Origin::kCarried;
    ++storages_[id].handles;
    source.kept = id;
  }
  const std::vector<Handle*> leaves = lifetimes_.end_generation();
  last_tape_ = std::exchange(tape_, Tape{});
  graded_.clear();
  carried_.clear();
  letting_go_.clear();
  complete_ = false;
  started_over_ = 0;
  (void)lifetimes_.take_ended();
  for (std::size_t i = 0; i < storages_.all().size(); ++i) {
    const auto id = static_cast<StorageId>(i);
    Storage& storage = storages_[id];
    if (storage.bytes == 0) continue;
    storage.buffer = kNone;
    storage.reads = 0;
    storage.ending = false;
    storage.hashed = false;
    if (storage.reproducible() || storage.handles == 0) storages_.destroy(id);
  }
  for (Handle* leaf : leaves) lifetimes_.release(leaf);
  collect();
}

bool Engine::abandon_step(const std::string& text, OpId begun) {
  undo_changes();
  const Reason* reason = once({text});
  const auto earlier = [&](const Handle* leaf) { return leaf->grad != nullptr && !made_by_pass(leaf->grad); };
  std::vector<Handle*> leaves = graded_;
  // A plan may discard a gradient and compute it again before its next use.
  bool spoilt = std::any_of(leaves.begin(), leaves.end(), [&](const Handle* leaf) {
    return earlier(leaf) && !storages_[leaf->grad->storage].resident();
  });
  if (pass_) {
    leaves.insert(leaves.end(), pass_->leaves.begin(), pass_->leaves.end());
    for (OpId op = pass_->first; op < begun; ++op) {
      const auto& updates = tape_.graph.ops[op].updates;
      spoilt = spoilt || std::any_of(updates.begin(), updates.end(), [&](BufferId buffer) {
                 const std::vector<StorageId>& existing = pass_->existing;
                 return std::find(existing.begin(), existing.end(), tape_.buffer_storage[buffer]) != existing.end();
               });
    }
  }
  // Half-summed gradients are worse than none, and so are those of which some have more in them than others.
  bool gone = false;
  for (Handle* leaf : leaves) {
    if (leaf->grad == nullptr || (earlier(leaf) && !spoilt)) continue;
    gone = gone || earlier(leaf);
    Handle* grad = std::exchange(leaf->grad, nullptr);
    grad->lost = reason;
    lifetimes_.release(grad);
  }
  pass_.reset();
  lifetimes_.lose_computed(reason);
  account_.abandon_step();
  tape_.graph = real_graph(std::move(tape_.graph));
  advisor_.end(nullptr, {});
  sweep();
  return gone;
}

}  // namespace tidemark::detail
