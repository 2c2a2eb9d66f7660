// Recording: from a call with tensors to a node of the tape and an op of its graph.
#include <algorithm>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "autograd/check.h"
#include "autograd/engine.h"

namespace tidemark::detail {
namespace {

// Prepared ops kept; a training loop uses a few hundred, so this bounds programs whose shapes never repeat.
constexpr std::size_t kPreparedLimit = 4096;

// Rates that turn work into seconds. Only their ratio and order of magnitude matter: they weigh recomputing a
// convolution against recomputing an activation function. Constants, so that plans do not depend on the day's load.
constexpr double kFlopsPerThread = 50e9;
constexpr double kBytesPerSecond = 20e9;
constexpr double kCallSeconds = 3e-6;

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  hash ^= value + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
  hash ^= hash >> 31;
  return hash * 0xBF58476D1CE4E5B9u;
}

std::uint64_t mix(std::uint64_t hash, std::string_view text) {
  hash = mix(hash, text.size());
  while (!text.empty()) {
    std::uint64_t word = 0;
    const std::size_t count = std::min<std::size_t>(8, text.size());
    std::memcpy(&word, text.data(), count);
    hash = mix(hash, word);
    text.remove_prefix(count);
  }
  return hash;
}

std::uint64_t mix(std::uint64_t hash, const Meta& meta) {
  for (std::int64_t dim : meta.shape.dims()) hash = mix(hash, static_cast<std::uint64_t>(dim));
  hash = mix(hash, static_cast<std::uint64_t>(meta.dtype) << 32 | meta.layout.id);
  return mix(hash, static_cast<std::uint64_t>(meta.bytes));
}

void append_key(std::string& key, const Meta& meta) {
  for (std::int64_t dim : meta.shape.dims()) absl::StrAppend(&key, dim, ",");
  absl::StrAppend(&key, ":", static_cast<int>(meta.dtype), ":", meta.layout.id, ";");
}

template <class List, class Item>
void add_unique(List& list, const Item& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

}  // namespace

StorageId Engine::new_storage(std::int64_t bytes, Category category) {
  StorageId id;
  if (free_storages_.empty()) {
    id = static_cast<StorageId>(storages_.size());
    storages_.emplace_back();
  } else {
    id = free_storages_.back();
    free_storages_.pop_back();
    storages_[id] = Storage{};
  }
  storages_[id].bytes = std::max<std::int64_t>(bytes, 1);  // an empty value still has a place
  storages_[id].category = category;
  storages_[id].sequence = next_sequence_++;
  return id;
}

BufferId Engine::buffer_of(StorageId id) {
  Storage& storage = storages_[id];
  if (storage.buffer == kNone) {
    storage.buffer = static_cast<BufferId>(tape_.graph.buffers.size());
    tape_.graph.buffers.push_back({memory::Extents::round_up(storage.bytes), storage.name, storage.pinned});
    tape_.buffer_storage.push_back(id);
  }
  return storage.buffer;
}

ValueId Engine::new_value(const Meta& meta, Category category, NodeId producer) {
  Value value;
  value.meta = meta;
  value.storage = new_storage(meta.bytes, category);
  value.producer = producer;
  tape_.values.push_back(std::move(value));
  return static_cast<ValueId>(tape_.values.size() - 1);
}

ValueId Engine::new_view(ValueId of, const Meta& meta, std::int64_t offset, NodeId producer) {
  Value value;
  value.meta = meta;
  value.storage = tape_.values[of].storage;
  value.offset = tape_.values[of].offset + offset;
  value.producer = producer;
  tape_.values.push_back(std::move(value));
  return static_cast<ValueId>(tape_.values.size() - 1);
}

ValueId Engine::value_of(Handle* handle, std::string_view op, SourceLocation where) {
  if (handle == nullptr) {
    throw Error(absl::StrCat("[", std::string(op), "] an input is an undefined tensor (at ", to_string(where), ")"));
  }
  if (handle->engine != this) {
    throw Error(absl::StrCat("[", std::string(op),
                             "] an input belongs to another session, or to one that has ended (at ", to_string(where),
                             ")"));
  }
  if (!handle->lost.empty()) {
    throw Error(absl::StrCat("[", std::string(op), "] ", handle->lost, " (read at ", to_string(where), ")"));
  }
  if (handle->value != kNone && handle->generation == generation_) return handle->value;
  Value value;
  value.meta = handle->meta;
  value.storage = handle->storage;
  value.offset = handle->offset;
  value.requires_grad = handle->requires_grad;
  if (handle->requires_grad && handle->leaf) {
    value.leaf = handle;
    ++handle->refs;  // the tape's, given back when the generation ends
  } else {
    value.handle = handle;
  }
  tape_.values.push_back(std::move(value));
  handle->value = static_cast<ValueId>(tape_.values.size() - 1);
  handle->generation = generation_;
  return handle->value;
}

std::shared_ptr<const Prepared> Engine::prepare(const AnyOp& op, const std::string& attributes,
                                                std::span<const Meta> metas, Needs needs, SourceLocation where) {
  std::string key = absl::StrCat(std::string(op.name()), "(", attributes, ")", needs.bits(), ";");
  for (const Meta& meta : metas) append_key(key, meta);
  if (auto found = prepared_.find(key); found != prepared_.end()) return found->second;
  Prep prep(*machine_, op.name(), where);
  std::shared_ptr<const Prepared> prepared;
  try {
    prepared = std::make_shared<const Prepared>(op.prepare(prep, metas, needs));
    check_prepared(*machine_, op.name(), *prepared, metas, where);
  } catch (const std::exception&) {
    rethrow_at(op.name(), where);
  }
  if (prepared_order_.size() >= kPreparedLimit) {
    prepared_.erase(prepared_order_.front());
    prepared_order_.pop_front();
  }
  prepared_order_.push_back(key);
  prepared_.emplace(std::move(key), prepared);
  return prepared;
}

NodeId Engine::append_node(Node node, scheduler::Phase phase, std::int64_t scratch, Work work,
                           std::span<const std::pair<ValueId, ValueId>> overwrites, std::string_view attributes) {
  static constexpr const char* kNames[] = {"",     ".backward", "reorder", "gradient sum", "gradient accumulation",
                                           "fill", "backward",  "leaf"};
  if (!started_) start_generation();
  const auto node_id = static_cast<NodeId>(tape_.nodes.size());
  const auto op_id = static_cast<OpId>(tape_.graph.ops.size());
  scheduler::Op op;
  if (node.any_op != nullptr) op.name = std::string(node.any_op->name());
  absl::StrAppend(&op.name, kNames[static_cast<std::size_t>(node.kind)]);
  op.phase = updating_ ? scheduler::Phase::kUpdate : phase;
  op.cost = kCallSeconds + std::max(work.flops / (kFlopsPerThread * machine_->threads()), work.bytes / kBytesPerSecond);
  op.scratch = memory::Extents::round_up(scratch);

  std::uint64_t signature = mix(mix(static_cast<std::uint64_t>(node.kind), op.name), attributes);
  auto wire = [&](ValueId id, std::vector<BufferId>& list) {
    const Value& value = tape_.values[id];
    const BufferId buffer = buffer_of(value.storage);
    signature = mix(mix(mix(signature, static_cast<std::uint64_t>(buffer)), value.meta),
                    static_cast<std::uint64_t>(value.offset));
    if (std::find(list.begin(), list.end(), buffer) == list.end()) {
      list.push_back(buffer);
      return true;
    }
    return false;
  };
  for (ValueId id : node.updates) {
    if (wire(id, op.updates)) ++storages_[tape_.values[id].storage].reads;
  }
  for (ValueId id : node.reads) {
    const BufferId buffer = buffer_of(tape_.values[id].storage);
    if (std::find(op.updates.begin(), op.updates.end(), buffer) != op.updates.end()) continue;
    if (wire(id, op.reads)) ++storages_[tape_.values[id].storage].reads;
  }
  signature = mix(signature, op.reads.size() << 16 | op.updates.size());
  for (ValueId id : node.outputs) {
    wire(id, op.writes);
    tape_.graph.buffers[op.writes.back()].pinned = false;  // only what no op writes is an input
    tape_.values[id].producer = node_id;
  }
  for (const auto& [read, write] : overwrites) {
    const Storage& from = storages_[tape_.values[read].storage];
    const Storage& to = storages_[tape_.values[write].storage];
    if (from.persistent || memory::Extents::round_up(from.bytes) != memory::Extents::round_up(to.bytes)) continue;
    if (std::find(op.updates.begin(), op.updates.end(), from.buffer) != op.updates.end()) continue;
    op.overwrites.emplace_back(from.buffer, to.buffer);
  }
  op.once = !op.updates.empty() || (node.kind == Node::Kind::kForward && !node.alive) ||
            node.kind == Node::Kind::kHold || node.kind == Node::Kind::kLeaf;
  signature = mix(signature, static_cast<std::uint64_t>(op.scratch) << 1 | static_cast<std::uint64_t>(op.once));

  node.op = op_id;
  tape_.graph.ops.push_back(std::move(op));
  tape_.op_nodes.push_back(node_id);
  tape_.signatures.push_back(signature);
  tape_.nodes.push_back(std::move(node));
  return node_id;
}

ValueId Engine::in_layout(ValueId id, std::optional<Layout> layout, SourceLocation where, scheduler::Phase phase) {
  if (!layout || *layout == tape_.values[id].meta.layout) return id;
  for (const auto& [known, variant] : tape_.values[id].variants) {
    const Storage& storage = storages_[tape_.values[variant].storage];
    // One that nobody needs any more is as good as gone: whether its bytes are still there is the budget's affair.
    if (known == layout->id && storage.handles + storage.reads > 0) return variant;
  }
  const Meta from = tape_.values[id].meta;
  Meta to = from;
  to.layout = *layout;
  to.bytes = layout->plain() ? Meta::plain(from.shape, from.dtype).bytes
                             : static_cast<std::int64_t>(machine_->desc(to).get_size());
  Node node;
  node.kind = Node::Kind::kReorder;
  node.kernel = machine_->reorder(from, to);
  node.where = where;
  node.alive = false;
  node.reads = {id};
  const ValueId out = new_value(to, Category::kWorkspace, kNone);
  node.outputs = {out};
  const std::int64_t scratch = node.kernel->scratch;
  append_node(std::move(node), phase, scratch, {0, static_cast<double>(from.bytes + to.bytes)}, {}, "");
  tape_.values[id].variants.emplace_back(layout->id, out);
  tape_.values[out].variants.emplace_back(from.layout.id, id);
  return out;
}

NodeId Engine::record_forward(const std::shared_ptr<const AnyOp>& op, std::span<const ValueId> inputs,
                              SourceLocation where) {
  Node node;
  node.any_op = op;
  node.where = where;
  node.inputs.assign(inputs.begin(), inputs.end());

  std::vector<Meta> metas;
  std::uint64_t needs_bits = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Value& value = tape_.values[inputs[i]];
    metas.push_back(value.meta);
    if (grad_enabled() && value.requires_grad && i < 64) needs_bits |= std::uint64_t{1} << i;
  }
  Attributes attributes;
  op->describe(attributes);
  node.prepared = prepare(*op, attributes.text(), metas, Needs(needs_bits), where);
  const Prepared& prepared = *node.prepared;
  node.requires_grad = needs_bits != 0 && !prepared.parts.empty();
  // What is computed without gradients is never computed again, so it needs no node to live on.
  node.alive = grad_enabled() && prepared.updates.empty();
  if (prepared.random) node.key = next_key();

  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto layout = i < prepared.input_layouts.size() ? prepared.input_layouts[i] : std::nullopt;
    node.reads.push_back(in_layout(inputs[i], layout, where, scheduler::Phase::kForward));
  }
  for (int i : prepared.updates) node.updates.push_back(inputs[static_cast<std::size_t>(i)]);

  const auto node_id = static_cast<NodeId>(tape_.nodes.size());
  NodeId recorded = node_id;
  if (prepared.view_of) {
    const ValueId base = node.reads[static_cast<std::size_t>(*prepared.view_of)];
    node.outputs = {new_view(base, prepared.outputs.front(), prepared.view_offset, node_id)};
    // A view lives on its base's node where that may have to be computed again; else the bytes are all it needs.
    node.alive = node.requires_grad || !storages_[tape_.values[base].storage].persistent;
    tape_.nodes.push_back(std::move(node));
  } else {
    const int visible = prepared.visible < 0 ? static_cast<int>(prepared.outputs.size()) : prepared.visible;
    std::vector<std::pair<ValueId, ValueId>> overwrites;
    for (std::size_t j = 0; j < prepared.outputs.size(); ++j) {
      const bool is_visible = static_cast<int>(j) < visible;
      const ValueId out =
          new_value(prepared.outputs[j], is_visible ? Category::kActivations : Category::kWorkspace, node_id);
      storages_[tape_.values[out].storage].persistent = !node.alive;
      node.outputs.push_back(out);
    }
    for (const auto& [input, output] : prepared.overwrites) {
      overwrites.emplace_back(node.reads[static_cast<std::size_t>(input)],
                              node.outputs[static_cast<std::size_t>(output)]);
    }
    attributes("needs", static_cast<std::int64_t>(needs_bits));
    recorded = append_node(std::move(node), scheduler::Phase::kForward, prepared.scratch, prepared.work, overwrites,
                           attributes.text());
  }

  Node& made = tape_.nodes[recorded];
  for (const Part& part : prepared.parts) {
    for (const GradOf& gy : part.gy) {
      tape_.values[made.outputs[static_cast<std::size_t>(gy.output)]].requires_grad = made.requires_grad;
    }
  }
  if (made.requires_grad) {
    for (const Part& part : prepared.parts) {
      for (const Saved& saved : part.saved) add_unique(made.saved, tape_.values[saved_value(made, saved)].storage);
    }
    for (StorageId storage : made.saved) ++storages_[storage].reads;
  }
  if (made.alive) {
    ++tape_.alive_nodes;
    for (ValueId input : made.inputs) {
      const Value& value = tape_.values[input];
      if (value.producer != kNone) add_use(value.producer);
      if (storages_[value.storage].persistent) add_unique(made.sources, value.storage);
    }
    for (StorageId storage : made.sources) ++storages_[storage].reads;
  }
  return recorded;
}

ValueId Engine::saved_value(const Node& node, const Saved& saved) const {
  const auto index = static_cast<std::size_t>(saved.index);
  if (saved.of == Saved::Of::kOutput) return node.outputs[index];
  // Where forward read the input in the wanted layout already, that copy is what backward shares.
  if (saved.layout && *saved.layout == tape_.values[node.reads[index]].meta.layout) return node.reads[index];
  return node.inputs[index];
}

std::vector<Tensor> Engine::apply(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                                  SourceLocation where) {
  restart_if_idle();
  std::vector<ValueId> values;
  for (const Tensor& input : inputs) values.push_back(value_of(Access::handle(input), op->name(), where));

  // Changing a leaf that something recorded still depends on: that settles or expires first.
  Attributes attributes;
  std::vector<StorageId> changed;
  if (!updating_) {
    std::vector<Meta> metas;
    metas.reserve(values.size());
    for (ValueId value : values) metas.push_back(tape_.values[value].meta);
    op->describe(attributes);
    const auto prepared = prepare(*op, attributes.text(), metas, Needs(), where);
    for (int i : prepared->updates) {
      const auto input = static_cast<std::size_t>(i);
      const Handle* handle = Access::handle(inputs[input]);
      const auto refuse = [&](const std::string& what) {
        throw Error(absl::StrCat("[", std::string(op->name()), "] it changes input ", i, ", ", what, " (at ",
                                 to_string(where), ")"));
      };
      if (!handle->leaf) refuse(absl::StrCat("which must be a leaf, but was computed at ", to_string(handle->where)));
      const StorageId storage = tape_.values[values[input]].storage;
      if (std::find(changed.begin(), changed.end(), storage) != changed.end()) {
        refuse("which is the same tensor as another input that it changes");
      }
      changed.push_back(storage);
    }
    if (!changed.empty()) {
      before_change(changed, op->name(), where);
      for (StorageId storage : changed) {
        const Storage& s = storages_[storage];
        if (options_.dry_run || !s.pinned) continue;
        const std::byte* bytes = arena_.at(s.offset);
        undo_.push_back({storage, std::vector<std::byte>(bytes, bytes + s.bytes)});
      }
    }
  }

  const NodeId id = record_forward(op, values, where);
  const Node& node = tape_.nodes[id];
  const int visible = node.prepared->visible < 0 ? static_cast<int>(node.outputs.size()) : node.prepared->visible;
  std::vector<Tensor> outputs;
  outputs.reserve(static_cast<std::size_t>(visible));
  for (int i = 0; i < visible; ++i) {
    outputs.push_back(Access::adopt(handle_for(node.outputs[static_cast<std::size_t>(i)])));
  }
  execute_up_to_end();
  return outputs;
}

}  // namespace tidemark::detail
