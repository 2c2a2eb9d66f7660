#include "autograd/lifetimes.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace tidemark::detail {

Lifetimes::~Lifetimes() {
  for (Value& value : tape_.values) {
    if (value.leaf != nullptr) --value.leaf->refs;
  }
  // Where the program has let go of a handle, the tape was its last holder, or the session had ended before.
  for (Handle* list : {computed_, stored_, others_}) {
    for (Handle* handle = list; handle != nullptr; handle = handle->next) {
      if (handle->refs == 0 && handle->grad != nullptr) --std::exchange(handle->grad, nullptr)->refs;
    }
  }
  for (Handle* list : {computed_, stored_, others_}) {
    for (Handle* handle = list; handle != nullptr;) {
      Handle* next = handle->next;
      handle->engine = nullptr;
      if (handle->refs == 0) delete handle;
      handle = next;
    }
  }
}

StorageId Lifetimes::storage_of(const Handle* handle) const {
  return handle->storage != kNone ? handle->storage : tape_.values[handle->value].storage;
}

void Lifetimes::join(Handle* handle, Handle** list) {
  handle->previous = nullptr;
  handle->next = *list;
  if (*list != nullptr) (*list)->previous = handle;
  *list = handle;
}

void Lifetimes::leave(Handle* handle) {
  if (handle->previous != nullptr) handle->previous->next = handle->next;
  if (handle->next != nullptr) handle->next->previous = handle->previous;
  for (Handle** list : {&computed_, &stored_, &others_}) {
    if (*list == handle) *list = handle->next;
  }
}

void Lifetimes::erase(Handle* handle) {
  leave(handle);
  delete handle;
}

Handle* Lifetimes::new_handle(const Meta& meta, SourceLocation where, Handle** list) {
  auto* handle = new Handle;  // owned by its reference count
  handle->engine = engine_;
  handle->meta = meta;
  handle->where = where;
  join(handle, list);
  return handle;
}

Handle* Lifetimes::new_leaf(const Meta& meta, StorageId storage, SourceLocation where) {
  Handle* handle = new_handle(meta, where, &stored_);
  handle->leaf = true;
  handle->storage = storage;
  ++storages_[storage].handles;
  return handle;
}

Handle* Lifetimes::new_sourced(const Meta& meta, LeafSource* source, SourceLocation where) {
  Handle* handle = new_handle(meta, where, &others_);
  handle->leaf = true;
  handle->source = source;
  ++source->handles;
  return handle;
}

Handle* Lifetimes::copy_of(const Handle* handle, SourceLocation where) {
  if (handle->source != nullptr) return new_sourced(handle->meta, handle->source, where);
  if (handle->number == nullptr) {
    Handle* copy = new_leaf(handle->meta, handle->storage, where);
    copy->offset = handle->offset;
    return copy;
  }
  Handle* copy = new_handle(handle->meta, where, &others_);
  copy->leaf = true;
  copy->number = std::make_unique<std::byte[]>(static_cast<std::size_t>(handle->meta.bytes));
  std::copy_n(handle->number.get(), handle->meta.bytes, copy->number.get());
  return copy;
}

Handle* Lifetimes::new_view(ValueId id, const Meta& meta, SourceLocation where) {
  Value& value = tape_.values[id];
  Handle* handle = new_handle(meta, where, &computed_);
  handle->generation = generation_;
  handle->value = id;
  value.handle = handle;
  ++storages_[value.storage].handles;
  add_use(value.producer);
  return handle;
}

Handle* Lifetimes::handle_for(ValueId id) {
  Value& value = tape_.values[id];
  if (value.handle != nullptr) return value.handle;
  const Node& node = tape_.nodes[value.producer];
  Handle* handle = nullptr;
  if (!storages_[value.storage].reproducible() && !node.alive) {
    handle = new_leaf(value.meta, value.storage, node.where);
    handle->leaf = false;
    handle->offset = value.offset;
    handle->generation = generation_;
    handle->value = id;
    value.handle = handle;
  } else {
    handle = new_view(id, value.meta, node.where);
  }
  handle->requires_grad = value.requires_grad;
  return handle;
}

void Lifetimes::release(Handle* handle) {
  if (--handle->refs == 0) died(handle);
}

void Lifetimes::died(Handle* handle) {
  const bool current = handle->value != kNone && handle->generation == generation_;
  if (current && tape_.values[handle->value].handle == handle) tape_.values[handle->value].handle = nullptr;
  if (handle->grad != nullptr) release(handle->grad);
  if (handle->source != nullptr) {
    --handle->source->handles;
  } else if (handle->storage != kNone) {
    --storages_[handle->storage].handles;
    check_ended(handle->storage);
  } else if (computed(handle)) {
    const StorageId storage = tape_.values[handle->value].storage;
    --storages_[storage].handles;
    drop_use(tape_.values[handle->value].producer);
    check_ended(storage);
  }
  erase(handle);
}

void Lifetimes::drop_use(NodeId first) {
  std::vector<NodeId> unused = {first};
  while (!unused.empty()) {
    Node& node = tape_.nodes[unused.back()];
    unused.pop_back();
    if (--node.uses > 0 || !node.alive) continue;
    node.alive = false;
    --tape_.alive_nodes;
    if (node.requires_grad && !node.retired) --tape_.open_nodes;
    for (ValueId input : node.inputs) {
      if (tape_.values[input].producer != kNone) unused.push_back(tape_.values[input].producer);
    }
    for (StorageId storage : node.saved) drop_read(storage);
    for (StorageId storage : node.sources) drop_read(storage);
    node.saved.clear();
    node.sources.clear();
  }
}

void Lifetimes::drop_read(StorageId storage) {
  --storages_[storage].reads;
  check_ended(storage);
}

void Lifetimes::retire(Node& node) {
  if (node.alive && !node.retired) --tape_.open_nodes;
  node.retired = true;
  for (StorageId storage : node.saved) drop_read(storage);
  node.saved.clear();
}

void Lifetimes::check_ended(StorageId id) {
  Storage& storage = storages_[id];
  if (storage.handles + storage.reads > 0 || storage.bytes == 0 || storage.ending) return;
  storage.ending = true;
  ended_.push_back(id);
}

std::vector<StorageId> Lifetimes::take_ended() {
  std::vector<StorageId> gone;
  for (StorageId id : ended_) {
    storages_[id].ending = false;
    if (storages_[id].handles + storages_[id].reads == 0 && storages_[id].bytes > 0) gone.push_back(id);
  }
  ended_.clear();
  return gone;
}

std::vector<StorageId> Lifetimes::begin_settling(std::span<Handle* const> handles) {
  std::vector<StorageId> settled;
  std::unordered_set<StorageId> known;
  for (const Handle* handle : handles) {
    const StorageId id = tape_.values[handle->value].storage;
    if (!storages_[id].reproducible() || !known.insert(id).second) continue;
    storages_[id].origin = Origin::kCarried;
    settled.push_back(id);
  }
  if (settled.empty()) return settled;
  // Whoever may still be computed again from these bytes needs them as long as it lives.
  for (Node& node : tape_.nodes) {
    if (!node.alive) continue;
    for (ValueId input : node.inputs) {
      const StorageId storage = tape_.values[input].storage;
      if (!known.contains(storage)) continue;
      if (std::find(node.sources.begin(), node.sources.end(), storage) != node.sources.end()) continue;
      node.sources.push_back(storage);
      add_read(storage);
    }
  }
  return settled;
}

void Lifetimes::settle(std::span<Handle* const> handles, const Reason* no_graph) {
  for (Handle* handle : handles) {
    Value& value = tape_.values[handle->value];
    handle->storage = value.storage;
    handle->offset = value.offset;
    if (handle->requires_grad && handle->no_graph == nullptr) handle->no_graph = no_graph;
    handle->value = kNone;
    value.handle = nullptr;
    leave(handle);
    join(handle, &stored_);
    drop_use(value.producer);
  }
}

void Lifetimes::expire(Handle* handle, const Reason* reason) {
  Value& value = tape_.values[handle->value];
  handle->lost = reason;
  handle->no_graph = reason;
  handle->value = kNone;
  value.handle = nullptr;
  leave(handle);
  join(handle, &others_);
  --storages_[value.storage].handles;
  drop_use(value.producer);
  check_ended(value.storage);
}

std::vector<bool> Lifetimes::waiting_nodes(const std::vector<bool>& going) const {
  std::vector<bool> waiting(tape_.nodes.size(), false);
  for (std::size_t n = 0; n < tape_.nodes.size(); ++n) {
    const Node& node = tape_.nodes[n];
    if (!node.alive || !node.requires_grad || node.retired || (n < going.size() && going[n])) continue;
    waiting[n] = std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId input) {
      const Value& value = tape_.values[input];
      if (!value.requires_grad || value.leaf != nullptr) return true;
      return value.producer != kNone && waiting[static_cast<std::size_t>(value.producer)];
    });
  }
  return waiting;
}

bool Lifetimes::becomes_number(const Handle* handle) const {
  const Storage& storage = storages_[handle->storage];
  return handle->meta.bytes <= kNumberBytes && storage.origin == Origin::kCarried && storage.resident() &&
         storage.category != Category::kGradients && storage.category != Category::kOptimizer && !handle->in_place &&
         !handle->parameter && handle->grad == nullptr && !(handle->leaf && handle->requires_grad) &&
         storage.reads == 0;
}

void Lifetimes::take_number(Handle* handle, std::unique_ptr<std::byte[]> elements) {
  const StorageId storage = handle->storage;
  handle->number = std::move(elements);
  handle->meta = Meta::plain(handle->meta.shape, handle->meta.dtype);
  handle->storage = kNone;
  handle->offset = 0;
  leave(handle);
  join(handle, &others_);
  --storages_[storage].handles;
  check_ended(storage);
}

void Lifetimes::store(Handle* handle, StorageId storage) {
  handle->number.reset();
  if (handle->source != nullptr) --std::exchange(handle->source, nullptr)->handles;
  handle->storage = storage;
  handle->value = kNone;
  leave(handle);
  join(handle, &stored_);
  ++storages_[storage].handles;
}

void Lifetimes::unstore(Handle* handle, LeafSource* source) {
  const StorageId storage = std::exchange(handle->storage, kNone);
  handle->source = source;
  ++source->handles;
  handle->value = kNone;
  leave(handle);
  join(handle, &others_);
  --storages_[storage].handles;
  check_ended(storage);
}

std::vector<Handle*> Lifetimes::end_generation() {
  ++generation_;
  for (Handle* handle = stored_; handle != nullptr; handle = handle->next) {
    Storage& storage = storages_[handle->storage];
    if (handle->parameter && storage.origin == Origin::kCarried) storage.origin = Origin::kPinned;
  }
  std::vector<Handle*> leaves;
  for (Value& value : tape_.values) {
    if (value.leaf != nullptr) leaves.push_back(std::exchange(value.leaf, nullptr));
  }
  return leaves;
}

void Lifetimes::lose_computed(const Reason* reason) {
  while (computed_ != nullptr) {
    Handle* handle = computed_;
    handle->lost = reason;
    handle->no_graph = reason;
    --storages_[tape_.values[handle->value].storage].handles;
    handle->value = kNone;
    leave(handle);
    join(handle, &others_);
  }
}

}  // namespace tidemark::detail
