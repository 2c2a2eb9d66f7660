// Leaves: what the tape reads and did not make, and reading and writing values from outside.
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "core/extents.h"

namespace tidemark::detail {
namespace {

using core::Extents;

// Leaves made by the same line, of the same bytes, are likely to be the same thing in each step.
std::uint64_t leaf_key(const Meta& meta, SourceLocation where) {
  const std::string text = absl::StrCat(where.file, ":", where.line, ":", meta.bytes);
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace

// Between steps it gets a place at once. In the middle of one it is an op like any other, so that whoever plans the
// step makes room for it.
void Engine::place_leaf(StorageId id, const Meta& meta, SourceLocation where) {
  storages_[id].where = where;
  storages_[id].key = leaf_key(meta, where);
  if (!tape_.empty()) {
    recorder_.leaf(id, meta, where);
    run_recorded();
    return;
  }
  bool placed = storages_.place_anywhere(id);
  for (LeafSource& source : sources_) {
    if (placed) break;
    if (source.kept == kNone) continue;
    drop_kept(source);
    placed = storages_.place_anywhere(id);
  }
  if (!placed) {
    const std::int64_t pinned = storages_.arena().extents().taken_bytes();
    const std::int64_t bytes = Extents::round_up(storages_[id].bytes);
    storages_.destroy(id);
    refuse({kNone, pinned + bytes, pinned, 0, bytes, 0}, where);
  }
  account_.note_fixed(storages_.fixed_bytes());
}

Tensor Engine::new_leaf(const Meta& meta, Category category, std::string_view name, SourceLocation where) {
  let_go();
  if (!tape_.empty() && tape_.alive_nodes == 0 && !updating_) end_generation();
  const bool pinned = category == Category::kParameters || category == Category::kOptimizer;
  const StorageId id = storages_.create(meta.bytes, category, pinned ? Origin::kPinned : Origin::kCarried);
  storages_[id].name = std::string(name);
  if (tape_.empty()) {
    place_leaf(id, meta, where);
    return Access::adopt(lifetimes_.new_leaf(meta, id, where));
  }
  Tensor tensor = Access::adopt(lifetimes_.new_leaf(meta, id, where));
  place_leaf(id, meta, where);
  return tensor;
}

// A number that has to lie in memory, because it is changed in place or has a gradient.
void Engine::store_number(Handle* handle, SourceLocation where) {
  if (handle->number == nullptr) return;
  let_go();
  const StorageId id = storages_.create(handle->meta.bytes, Category::kBatch, Origin::kCarried);
  const std::unique_ptr<std::byte[]> elements = std::move(handle->number);
  lifetimes_.store(handle, id);
  place_leaf(id, handle->meta, where);
  if (storages_.has_bytes())
    std::memcpy(leaf_data(handle), elements.get(), static_cast<std::size_t>(handle->meta.bytes));
}

Tensor Engine::new_deferred(const Meta& meta, SourceLocation where) {
  sources_.push_back({});
  sources_.back().meta = meta;
  return Access::adopt(lifetimes_.new_sourced(meta, &sources_.back(), where));
}

// What was made without elements gets its place.
void Engine::store_deferred(Handle* handle, SourceLocation where) {
  if (handle->source->read) {
    throw Error(absl::StrCat("[assign] '", handle->source->name,
                             "' is read from its file whenever it is needed, and cannot be changed: load it without ",
                             ".lazy (at ", to_string(where), ")"));
  }
  let_go();
  if (!tape_.empty() && tape_.alive_nodes == 0 && !updating_) end_generation();
  const Category category = handle->parameter ? Category::kParameters : Category::kBatch;
  const StorageId id =
      storages_.create(handle->meta.bytes, category, handle->parameter ? Origin::kPinned : Origin::kCarried);
  storages_[id].name = handle->source->name;
  const bool between_steps = tape_.empty();
  if (between_steps) place_leaf(id, handle->meta, where);
  lifetimes_.store(handle, id);
  if (!between_steps) place_leaf(id, handle->meta, where);
}

void Engine::set_source(Handle* handle, LeafSource source, SourceLocation where) {
  let_go();
  source.meta = handle->meta;
  source.resident = !options_.budget;
  LeafSource* const former = handle->source;
  source.name = former != nullptr ? former->name : storages_[handle->storage].name;
  sources_.push_back(std::move(source));
  if (former == nullptr) {
    const StorageId storage = handle->storage;
    settle_held({&storage, 1}, false, "load", where);
    lifetimes_.unstore(handle, &sources_.back());
    let_go();
    return;
  }
  // What is recorded goes on from the former file.
  if (handle->generation == lifetimes_.generation()) handle->value = kNone;
  --former->handles;
  handle->source = &sources_.back();
  ++handle->source->handles;
  drop_kept(*former);
}

// Between steps. What it held is read again when it is needed.
void Engine::drop_kept(LeafSource& source) {
  if (source.kept == kNone) return;
  const StorageId id = std::exchange(source.kept, kNone);
  --storages_[id].handles;
  storages_.destroy(id);
}

void Engine::make_parameter(Handle* handle, std::string_view name, SourceLocation where) {
  let_go();
  if (handle->source != nullptr) {
    handle->source->name = std::string(name);
    handle->parameter = true;
    handle->requires_grad = true;
    return;
  }
  if (!tape_.empty() && tape_.alive_nodes == 0) end_generation();
  store_number(handle, where);
  Storage& storage = storages_[handle->storage];
  storage.name = std::string(name);
  storages_.set_category(handle->storage, Category::kParameters);
  if (tape_.empty()) storage.origin = Origin::kPinned;  // else when the step ends
  handle->parameter = true;
  handle->requires_grad = true;
}

void Engine::set_requires_grad(Handle* handle, bool on, SourceLocation where) {
  if (on && handle->source != nullptr && handle->source->read) {
    throw Error(absl::StrCat("[set_requires_grad] '", handle->source->name,
                             "' is read from its file whenever it is needed, and cannot be trained: load it without ",
                             ".lazy (at ", to_string(where), ")"));
  }
  if (on) store_number(handle, where);
  handle->requires_grad = on;
  if (handle->generation == lifetimes_.generation()) handle->value = kNone;  // ops recorded from now on see the change
  if (!on) zero_grad(handle);
}

void* Engine::leaf_data(const Handle* handle) {
  if (handle->number != nullptr) return handle->number.get();
  return storages_.data(handle->storage) + handle->offset;
}

bool Engine::is_resident(const Handle* handle) const {
  if (handle->number != nullptr) return true;
  if (handle->source != nullptr) return false;
  return handle->lost == nullptr && storages_[lifetimes_.storage_of(handle)].resident();
}

Tensor Engine::detach(Handle* handle, SourceLocation where) {
  if (handle->number != nullptr || handle->source != nullptr || handle->storage != kNone) {
    if (handle->lost != nullptr) (void)recorder_.value_of(handle, "detach", where);
    return Access::adopt(lifetimes_.copy_of(handle, where));
  }
  const ValueId of = recorder_.value_of(handle, "detach", where);
  const ValueId value = recorder_.new_view(of, handle->meta, 0, tape_.values[of].producer);
  return Access::adopt(lifetimes_.new_view(value, handle->meta, where));
}

void Engine::read(Handle* handle, void* out, SourceLocation where) {
  if (handle->lost != nullptr) (void)recorder_.value_of(handle, "read", where);
  const auto bytes = static_cast<std::size_t>(Meta::plain(handle->meta.shape, handle->meta.dtype).bytes);
  if (bytes == 0) return;
  if (handle->number != nullptr) {
    std::memcpy(out, handle->number.get(), bytes);
    return;
  }
  if (handle->source != nullptr) {
    read_part(handle, 0, handle->meta.bytes, static_cast<std::byte*>(out), where);
    return;
  }
  let_go();
  const bool computed = lifetimes_.computed(handle);
  const StorageId storage = lifetimes_.storage_of(handle);
  // A read is an op, in a dry run as well, so that a plan of the step knows that the value is wanted here.
  if (computed || !storages_[storage].resident()) {
    recorder_.hold({&storage, 1}, Recorder::HoldFor::kRead, where);
    run_recorded();
  }
  if (!storages_.has_bytes()) {
    std::memset(out, 0, bytes);
    return;
  }
  const std::int64_t offset = computed ? tape_.values[handle->value].offset : handle->offset;
  replay_.copy_out(handle->meta, storages_.data(storage) + offset, out);
}

void Engine::read_part(const Handle* handle, std::int64_t first, std::int64_t count, std::byte* to,
                       SourceLocation where) {
  if (!storages_.has_bytes()) {
    std::fill_n(to, count, std::byte{0});
  } else if (handle->source == nullptr) {
    std::copy_n(static_cast<const std::byte*>(leaf_data(handle)) + first, count, to);
  } else if (handle->source->read) {
    handle->source->read(first, count, to);
  } else {
    throw Error(absl::StrCat("[read] '", handle->source->name, "' was made under DeferredInit at ",
                             to_string(handle->where), " and has no elements yet (at ", to_string(where), ")"));
  }
}

void Engine::write(Handle* handle, const std::function<void(std::byte*)>& fill, SourceLocation where) {
  if (!handle->leaf || handle->lost != nullptr) {
    throw Error(absl::StrCat("[assign] only leaves can be overwritten; this value was computed at ",
                             to_string(handle->where), " (at ", to_string(where), ")"));
  }
  let_go();
  if (handle->source != nullptr) {
    store_deferred(handle, where);
  } else if (handle->number == nullptr) {
    const StorageId storage = handle->storage;
    settle_held({&storage, 1}, false, "assign", where);
  } else if (handle->generation == lifetimes_.generation()) {
    handle->value = kNone;  // ops recorded from now on read the new elements
  }
  ++handle->assignments;
  if (storages_.has_bytes() && handle->meta.bytes > 0) fill(static_cast<std::byte*>(leaf_data(handle)));
}

std::optional<std::string> Engine::name_of_unused_gradient() const {
  const auto has_gradient = [](const Handle* leaf) { return leaf->grad != nullptr; };
  const auto found = std::find_if(graded_.begin(), graded_.end(), has_gradient);
  if (found == graded_.end()) return std::nullopt;
  return storages_[(*found)->storage].name;
}

// --- batches

StorageId Engine::new_slot(std::int64_t bytes, std::function<void()> pause, SourceLocation where) {
  let_go();
  if (!tape_.empty() && tape_.alive_nodes == 0) end_generation();
  const StorageId id = storages_.create(bytes, Category::kBatch, Origin::kFilled);
  storages_[id].handles = 1;
  Meta meta;
  meta.bytes = bytes;
  place_leaf(id, meta, where);
  storages_.set_pause(id, std::move(pause));
  return id;
}

Tensor Engine::new_batch(const Meta& meta, SourceLocation where) {
  const StorageId id = new_slot(meta.bytes, nullptr, where);
  Tensor front = Access::adopt(lifetimes_.new_leaf(meta, id, where));
  --storages_[id].handles;  // the storage was born with one
  return front;
}

void Engine::free_slots(Handle* front, StorageId back) noexcept {
  if (half_done_) return;
  const Busy busy(busy_);
  quietly([&] {
    release_batch(front);
    --storages_[back].handles;
    lifetimes_.check_ended(back);
    let_go();
  });
}

void* Engine::slot_data(StorageId id) { return storages_.has_bytes() ? storages_.data(id) : nullptr; }

// Whoever plans a step leaves alone what is pinned when it starts, and may move anything that an op of it made.
bool Engine::stays_in_place(StorageId id) const {
  const BufferId buffer = storages_[id].buffer;
  return buffer == kNone || tape_.graph.buffers[buffer].pinned;
}

void Engine::release_batch(Handle* front) {
  Storage& storage = storages_[front->storage];
  // As with parameters: what an op of this step made stays what it is until the step ends.
  if (stays_in_place(front->storage) && tape_.empty()) storage.origin = Origin::kCarried;
}

Handle* Engine::exchange_batch(Handle* front, StorageId& back, std::function<void()> pause, SourceLocation where) {
  let_go();
  const StorageId old = front->storage;
  const bool pending = std::any_of(tape_.nodes.begin(), tape_.nodes.end(), [&](const Node& node) {
    if (!node.alive || !node.requires_grad || node.retired) return false;
    return std::any_of(node.inputs.begin(), node.inputs.end(),
                       [&](ValueId input) { return tape_.values[input].storage == old; });
  });
  if (!pending) {
    end_stretch({&old, 1}, "the next batch", where);
    settle_held({&old, 1}, false, "the next batch", where);
  }
  const bool held = front->refs > 1 || storages_[old].handles > 1;  // beside the loader's own handle
  if (pending || held) {
    // The batch stays as it is, for whoever holds it, and the loader goes on in a new place.
    const StorageId fresh = new_slot(storages_[old].bytes, std::move(pause), where);
    Handle* next = lifetimes_.new_leaf(front->meta, back, front->where);
    --storages_[back].handles;  // the loader's own
    back = fresh;
    release_batch(front);
    return next;
  }
  storages_.exchange(old, back);
  return front;
}

}  // namespace tidemark::detail
