// Leaves: what the tape reads and did not make, and reading and writing values from outside.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"

namespace tidemark::detail {

void Engine::compact() {
  const std::vector<std::pair<std::int64_t, memory::Extents::Block>> blocks(arena_.extents().blocks().begin(),
                                                                            arena_.extents().blocks().end());
  absl::flat_hash_map<std::int64_t, StorageId> at;
  for (std::size_t id = 0; id < storages_.size(); ++id) {
    if (storages_[id].offset != kNone) at[storages_[id].offset] = static_cast<StorageId>(id);
  }
  std::int64_t end = 0;
  for (const auto& [offset, block] : blocks) {
    Storage& storage = storages_[at.at(offset)];
    if (storage.fixed_address || offset == end) {
      end = offset + block.bytes;
      continue;
    }
    arena_.move(offset, end);
    storage.offset = end;
    end += block.bytes;
  }
}

void Engine::place_leaf(StorageId id, SourceLocation where) {
  Storage& storage = storages_[id];
  storage.where = where;
  const std::int64_t bytes = memory::Extents::round_up(storage.bytes);
  auto offset = arena_.extents().best_fit(bytes);
  if (!offset && arena_.extents().free_bytes() >= bytes) {
    compact();
    offset = arena_.extents().best_fit(bytes);
  }
  if (!offset) {
    const std::int64_t pinned = arena_.extents().taken_bytes();
    free_storage(id);
    refuse({kNone, pinned + bytes, pinned, 0, bytes, 0}, where);
  }
  place_bytes(id, *offset);
  fixed_peak_ = std::max(fixed_peak_, fixed_bytes());
}

Tensor Engine::new_leaf(const Meta& meta, Category category, std::string_view name, SourceLocation where) {
  restart_if_idle();
  const StorageId id = new_storage(meta.bytes, category);
  storages_[id].persistent = true;
  storages_[id].pinned = category == Category::kParameters || category == Category::kOptimizer;
  storages_[id].name = std::string(name);
  storages_[id].where = where;
  if (!started_) {
    place_leaf(id, where);
    return Access::adopt(new_leaf_handle(meta, id, where));
  }
  // In the middle of a step it is an op like any other, so that whoever plans the step makes room for it.
  Tensor tensor = Access::adopt(new_leaf_handle(meta, id, where));
  Node node;
  node.kind = Node::Kind::kLeaf;
  node.where = where;
  Value value;
  value.meta = meta;
  value.storage = id;
  tape_.values.push_back(std::move(value));
  node.outputs = {static_cast<ValueId>(tape_.values.size() - 1)};
  append_node(std::move(node), scheduler::Phase::kForward, 0, {}, {}, "");
  execute_up_to_end();
  return tensor;
}

void Engine::make_parameter(Handle* handle, std::string_view name) {
  Storage& storage = storages_[handle->storage];
  if (started_ && tape_.alive_nodes == 0) end_generation();
  storage.name = std::string(name);
  storage.pinned = !started_;  // one made in the middle of a step is pinned from the next on
  storage.category = Category::kParameters;
  arena_.release(storage.offset);  // the same bytes, under another heading
  place_bytes(handle->storage, storage.offset);
  handle->parameter = true;
  handle->requires_grad = true;
}

StorageId Engine::new_pinned_storage(std::int64_t bytes, Category category, SourceLocation where) {
  const StorageId id = new_storage(bytes, category);
  storages_[id].persistent = true;
  storages_[id].pinned = true;
  storages_[id].fixed_address = true;
  storages_[id].handles = 1;
  if (started_ && tape_.alive_nodes == 0) end_generation();
  if (!started_) {
    place_leaf(id, where);
    return id;
  }
  Node node;
  node.kind = Node::Kind::kLeaf;
  node.where = where;
  Value value;
  value.storage = id;
  value.meta.bytes = bytes;
  tape_.values.push_back(std::move(value));
  node.outputs = {static_cast<ValueId>(tape_.values.size() - 1)};
  append_node(std::move(node), scheduler::Phase::kForward, 0, {}, {}, "");
  execute_up_to_end();
  return id;
}

void Engine::free_pinned_storage(StorageId id) {
  --storages_[id].handles;
  let_go_if_unneeded(id);
}

void* Engine::storage_data(StorageId id) { return options_.dry_run ? nullptr : arena_.at(storages_[id].offset); }

// Whoever plans a step leaves alone what is pinned when it starts, and may move anything that an op of it made.
bool Engine::stays_in_place(StorageId id) const {
  const BufferId buffer = storages_[id].buffer;
  return buffer == kNone || tape_.graph.buffers[buffer].pinned;
}

void* Engine::leaf_data(const Handle* handle) { return arena_.at(storages_[handle->storage].offset) + handle->offset; }

bool Engine::is_resident(const Handle* handle) const {
  if (!handle->lost.empty()) return false;
  const StorageId id = handle->storage != kNone ? handle->storage : tape_.values[handle->value].storage;
  return storages_[id].offset != kNone;
}

Tensor Engine::detach(Handle* handle, SourceLocation where) {
  const ValueId of = value_of(handle, "detach", where);
  if (handle->storage != kNone) {
    Handle* view = new_leaf_handle(handle->meta, handle->storage, where);
    view->offset = handle->offset;
    return Access::adopt(view);
  }
  const NodeId producer = tape_.values[of].producer;
  const ValueId value = new_view(of, handle->meta, 0, producer);
  Handle* view = new_handle(handle->meta, where);
  view->generation = generation_;
  view->value = value;
  tape_.values[value].handle = view;
  ++storages_[tape_.values[value].storage].handles;
  add_use(producer);
  return Access::adopt(view);
}

void Engine::read(Handle* handle, void* out, std::int64_t bytes, SourceLocation where) {
  const ValueId id = value_of(handle, "read", where);
  const Meta meta = tape_.values[id].meta;
  const Meta plain = Meta::plain(meta.shape, meta.dtype);
  if (bytes != plain.bytes) {
    throw ShapeError(absl::StrCat("[read] a tensor of shape ", meta.shape.to_string(), " and dtype ",
                                  to_string(meta.dtype), " has ", plain.bytes, " bytes; the caller wants ", bytes,
                                  " (at ", to_string(where), ")"));
  }
  if (options_.dry_run) {
    std::memset(out, 0, static_cast<std::size_t>(bytes));
    return;
  }
  make_resident(tape_.values[id].storage, where);
  const std::byte* source = data(tape_.values[id]);
  if (meta.layout.plain()) {
    std::memcpy(out, source, static_cast<std::size_t>(bytes));
    return;
  }
  const auto kernel = machine_->reorder(meta, plain);
  if (kernel->scratch > 0) throw std::logic_error("a reorder wants scratch outside of the tape");
  machine_->run_reorder(*kernel, meta, source, plain, out, nullptr);
}

void Engine::write(Handle* handle, const void* elements, std::int64_t bytes, SourceLocation where) {
  if (handle->storage == kNone || !handle->leaf) {
    throw Error(absl::StrCat("[assign] only leaves can be overwritten; this value was computed at ",
                             to_string(handle->where), " (at ", to_string(where), ")"));
  }
  if (bytes != handle->meta.bytes) {
    throw ShapeError(absl::StrCat("[assign] a tensor of shape ", handle->meta.shape.to_string(), " has ",
                                  handle->meta.bytes, " bytes; the caller gives ", bytes, " (at ", to_string(where),
                                  ")"));
  }
  const StorageId storage = handle->storage;
  before_change({&storage, 1}, "assign", where);
  if (!options_.dry_run) std::memcpy(leaf_data(handle), elements, static_cast<std::size_t>(bytes));
}

Handle* Engine::exchange_batch(Handle* front, StorageId& back, SourceLocation where) {
  const StorageId old = front->storage;
  const bool pending = std::any_of(tape_.nodes.begin(), tape_.nodes.end(), [&](const Node& node) {
    if (!node.alive || !node.requires_grad || node.retired) return false;
    return std::any_of(node.inputs.begin(), node.inputs.end(),
                       [&](ValueId input) { return tape_.values[input].storage == old; });
  });
  if (pending) {
    // A backward pass is still to come: the batch stays as it is, and this loader goes on in a new place.
    const StorageId fresh = new_pinned_storage(storages_[old].bytes, Category::kBatch, where);
    storages_[old].fixed_address = false;
    Handle* next = new_leaf_handle(front->meta, back, front->where);
    --storages_[back].handles;  // the loader's own
    back = fresh;
    return next;
  }
  before_change({&old, 1}, "the next batch", where);
  std::swap(storages_[old].offset, storages_[back].offset);
  return front;
}

}  // namespace tidemark::detail
