#include "autograd/recorder.h"

#include <xxhash.h>

#include <algorithm>
#include <concepts>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/extents.h"

namespace tidemark::detail {
namespace {

using core::Extents;

template <class List, class Item>
void add_unique(List& list, const Item& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

// What makes two ops of two steps the same, as bytes to be hashed.
class Signature {
 public:
  void add(std::integral auto number) {
    const auto wide = static_cast<std::uint64_t>(number);
    bytes_.append(reinterpret_cast<const char*>(&wide), sizeof wide);
  }
  void add(std::string_view text) {
    add(text.size());
    bytes_.append(text);
  }
  void add(const Meta& meta) {
    add(meta.shape.rank());
    for (std::int64_t dim : meta.shape.dims()) add(dim);
    add(static_cast<std::uint64_t>(meta.dtype) << 32 | meta.layout.id);
    add(meta.bytes);
  }
  std::uint64_t hash() const { return XXH3_64bits(bytes_.data(), bytes_.size()); }

 private:
  std::string bytes_;
};

std::string op_name(const Node& node) {
  if (node.kind == Node::Kind::kFile) return absl::StrCat("read ", node.source->name);
  static constexpr const char* kNames[] = {"",     ".backward",   "reorder", "gradient sum", "gradient accumulation",
                                           "fill", "held values", "leaf",    "number"};
  return absl::StrCat(node.any_op == nullptr ? "" : std::string(node.any_op->name()),
                      kNames[static_cast<std::size_t>(node.kind)]);
}

}  // namespace

// What lies in the pinned zone takes nothing of the room, and an op's output lies in the room wherever it goes later.
BufferId Recorder::buffer_of(StorageId id) {
  Storage& storage = storages_[id];
  if (storage.buffer == kNone) {
    storage.buffer = static_cast<BufferId>(tape_.graph.buffers.size());
    const bool outside = storage.pinned() && storage.resident();
    tape_.graph.buffers.push_back({outside ? 0 : Extents::round_up(storage.bytes), storage.name, outside});
    tape_.buffer_storage.push_back(id);
    tape_.wires.push_back(kNone);
  }
  return storage.buffer;
}

ValueId Recorder::new_value(const Meta& meta, Category category, NodeId producer) {
  Value value;
  value.meta = meta;
  value.storage = storages_.create(meta.bytes, category, Origin::kComputed);
  value.producer = producer;
  tape_.values.push_back(std::move(value));
  return static_cast<ValueId>(tape_.values.size() - 1);
}

ValueId Recorder::new_view(ValueId of, const Meta& meta, std::int64_t offset, NodeId producer) {
  Value value;
  value.meta = meta;
  value.storage = tape_.values[of].storage;
  value.offset = tape_.values[of].offset + offset;
  value.producer = producer;
  tape_.values.push_back(std::move(value));
  return static_cast<ValueId>(tape_.values.size() - 1);
}

ValueId Recorder::value_of(Handle* handle, std::string_view op, SourceLocation where) {
  if (handle->lost != nullptr) {
    throw Error(absl::StrCat("[", std::string(op), "] ", handle->lost->text, " (read at ", to_string(where), ")"));
  }
  if (handle->value != kNone && handle->generation == lifetimes_.generation()) return handle->value;
  if (handle->number != nullptr) {
    handle->value = number(handle, where);
  } else if (handle->source != nullptr) {
    handle->value = from_file(handle, op, where);
  } else {
    Value value;
    value.meta = handle->meta;
    value.storage = handle->storage;
    value.offset = handle->offset;
    value.requires_grad = handle->requires_grad;
    if (handle->requires_grad && handle->leaf) {
      value.leaf = handle;
      ++handle->refs;  // the tape's, given back when the generation ends
    }
    tape_.values.push_back(std::move(value));
    handle->value = static_cast<ValueId>(tape_.values.size() - 1);
  }
  Value& value = tape_.values[handle->value];
  value.requires_grad = handle->requires_grad;
  if (value.leaf == nullptr) value.handle = handle;
  handle->generation = lifetimes_.generation();
  return handle->value;
}

ValueId Recorder::number(const Handle* handle, SourceLocation where) {
  Node node;
  node.kind = Node::Kind::kNumber;
  node.where = where;
  node.number.assign(handle->number.get(), handle->number.get() + handle->meta.bytes);
  const ValueId out = new_value(handle->meta, Category::kActivations, kNone);
  node.outputs = {out};
  append(std::move(node), scheduler::Phase::kForward, 0, {}, {}, "");
  tape_.values[out].producer = kNone;  // it depends on nothing
  return out;
}

ValueId Recorder::from_file(const Handle* handle, std::string_view op, SourceLocation where) {
  if (!handle->source->read) {
    throw Error(absl::StrCat("[", std::string(op), "] '", handle->source->name, "' was made under DeferredInit at ",
                             to_string(handle->where), " and has no elements yet: load them first (at ",
                             to_string(where), ")"));
  }
  begin_tape();
  LeafSource& source = *handle->source;
  if (source.generation == lifetimes_.generation()) return source.value;
  source.used = storages_.has_bytes();  // a dry run has no steps before the one that is looked at
  return file_node(source, new_file_storage(source), where);
}

ValueId Recorder::file_node(LeafSource& source, StorageId storage, SourceLocation where) {
  Node node;
  node.kind = Node::Kind::kFile;
  node.where = where;
  node.source = &source;
  Value value;
  value.meta = source.meta;
  value.storage = storage;
  tape_.values.push_back(std::move(value));
  const auto out = static_cast<ValueId>(tape_.values.size() - 1);
  node.outputs = {out};
  append(std::move(node), scheduler::Phase::kForward, 0, {}, {}, storages_[storage].resident() ? "resident" : "");
  tape_.values[out].producer = kNone;  // it depends on nothing
  source.value = out;
  source.generation = lifetimes_.generation();
  if (source.resident) lifetimes_.add_read(storage);  // until the step ends
  return out;
}

// Leaves that were read from files before come first, as ops that have run and may run again: in memory since the last
// step, or to be read when they are needed. Others follow where they are first used.
void Recorder::begin_tape() {
  if (std::exchange(tape_.begun, true)) return;
  for (LeafSource& source : sources_) {
    if (!source.used || source.handles == 0) continue;
    StorageId storage = std::exchange(source.kept, kNone);
    const bool there = storage != kNone;
    if (there) {
      storages_[storage].origin = Origin::kComputed;
      --storages_[storage].handles;
    } else {
      storage = new_file_storage(source);
    }
    file_node(source, storage, {});
    tape_.nodes.back().ran = true;
    if (there) {
      tape_.history.emplace_back(scheduler::Step::Kind::kRun, static_cast<OpId>(tape_.graph.ops.size() - 1));
    }
  }
  tape_.sources = static_cast<OpId>(tape_.graph.ops.size());
  tape_.executed = tape_.sources;
}

StorageId Recorder::new_file_storage(const LeafSource& source) {
  const StorageId storage = storages_.create(source.meta.bytes, Category::kParameters, Origin::kComputed);
  storages_[storage].name = source.name;
  return storage;
}

NodeId Recorder::append(Node node, scheduler::Phase phase, std::int64_t scratch, Work work, Overwrites overwrites,
                        std::string_view attributes) {
  begin_tape();
  const auto node_id = static_cast<NodeId>(tape_.nodes.size());
  const auto op_id = static_cast<OpId>(tape_.graph.ops.size());
  scheduler::Op op;
  op.name = op_name(node);
  op.phase = phase_.value_or(phase);
  op.scratch = Extents::round_up(scratch);

  Signature signature;
  signature.add(static_cast<int>(node.kind));
  signature.add(std::exchange(tape_.hints, 0));
  signature.add(std::string_view(op.name));
  signature.add(attributes);
  const auto wire = [&](ValueId id, std::vector<BufferId>& list) {
    const Value& value = tape_.values[id];
    const BufferId buffer = buffer_of(value.storage);
    std::int32_t& number = tape_.wires[buffer];
    if (number == kNone) number = tape_.wire_count++;
    signature.add(number);
    signature.add(tape_.graph.buffers[buffer].bytes);
    signature.add(value.meta);
    signature.add(value.offset);
    if (std::find(list.begin(), list.end(), buffer) != list.end()) return false;
    list.push_back(buffer);
    return true;
  };
  for (ValueId id : node.updates) {
    if (wire(id, op.updates)) lifetimes_.add_read(tape_.values[id].storage);
  }
  for (ValueId id : node.reads) {
    const BufferId buffer = buffer_of(tape_.values[id].storage);
    if (std::find(op.updates.begin(), op.updates.end(), buffer) != op.updates.end()) continue;
    if (wire(id, op.reads)) lifetimes_.add_read(tape_.values[id].storage);
  }
  signature.add(op.reads.size());
  signature.add(op.updates.size());
  for (ValueId id : node.outputs) {
    wire(id, op.writes);
    tape_.values[id].producer = node_id;
  }
  for (const auto& [read, write] : overwrites) {
    const Storage& from = storages_[tape_.values[read].storage];
    const Storage& to = storages_[tape_.values[write].storage];
    if (!from.reproducible() || Extents::round_up(from.bytes) != Extents::round_up(to.bytes)) continue;
    if (std::find(op.updates.begin(), op.updates.end(), from.buffer) != op.updates.end()) continue;
    op.overwrites.emplace_back(from.buffer, to.buffer);
    signature.add(tape_.wires[from.buffer]);
    signature.add(tape_.wires[to.buffer]);
  }
  op.once = !op.updates.empty() || (node.kind == Node::Kind::kForward && !node.alive) ||
            node.kind == Node::Kind::kHold || node.kind == Node::Kind::kLeaf;
  signature.add(op.scratch);
  signature.add(op.once);
  const std::uint64_t hash = signature.hash();
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    storages_[tape_.values[node.outputs[i]].storage].key = hash + i;
  }

  const auto measured = costs_.measured.find(hash);
  node.seconds = measured != costs_.measured.end()
                     ? measured->second
                     : costs_.seconds_per_call + std::max(costs_.seconds_per_flop / machine_.threads() * work.flops,
                                                          costs_.seconds_per_byte * work.bytes);
  if (node.source != nullptr) node.seconds = costs_.seconds_per_call + node.source->seconds;
  op.cost = node.seconds;
  node.op = op_id;
  tape_.graph.ops.push_back(std::move(op));
  tape_.op_nodes.push_back(node_id);
  tape_.signatures.push_back(hash);
  tape_.nodes.push_back(std::move(node));
  return node_id;
}

ValueId Recorder::in_layout(ValueId id, std::optional<Layout> layout, SourceLocation where, scheduler::Phase phase) {
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
                             : static_cast<std::int64_t>(machine_.desc(to).get_size());
  Node node;
  node.kind = Node::Kind::kReorder;
  node.kernel = machine_.reorder(from, to);
  node.where = where;
  node.reads = {id};
  const ValueId out = new_value(to, Category::kWorkspace, kNone);
  node.outputs = {out};
  const std::int64_t scratch = node.kernel->scratch;
  append(std::move(node), phase, scratch, {0, static_cast<double>(from.bytes + to.bytes)}, {}, "");
  tape_.values[id].variants.emplace_back(layout->id, out);
  tape_.values[out].variants.emplace_back(from.layout.id, id);
  return out;
}

NodeId Recorder::forward(const std::shared_ptr<const AnyOp>& op, std::span<const ValueId> inputs, Needs needs,
                         KeySequence& keys, SourceLocation where) {
  begin_tape();
  Node node;
  node.any_op = op;
  node.where = where;
  node.inputs.assign(inputs.begin(), inputs.end());
  std::vector<Meta> metas;
  metas.reserve(inputs.size());
  for (ValueId input : inputs) metas.push_back(tape_.values[input].meta);
  Attributes attributes;
  op->describe(attributes);
  node.prepared = prepared_.get(*op, attributes.text(), metas, needs, where);
  const Prepared& prepared = *node.prepared;
  node.requires_grad = needs.any() && !prepared.parts.empty();
  node.alive = prepared.updates.empty();  // what changes its inputs cannot run again
  if (prepared.random) node.key = keys.next();

  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto layout = i < prepared.input_layouts.size() ? prepared.input_layouts[i] : std::nullopt;
    node.reads.push_back(in_layout(inputs[i], layout, where, scheduler::Phase::kForward));
  }
  for (int i : prepared.updates) node.updates.push_back(inputs[static_cast<std::size_t>(i)]);

  const auto node_id = static_cast<NodeId>(tape_.nodes.size());
  if (prepared.view_of) {
    const ValueId base = node.reads[static_cast<std::size_t>(*prepared.view_of)];
    node.outputs = {new_view(base, prepared.outputs.front(), prepared.view_offset, node_id)};
    // A view lives on its base's node where that may have to be computed again; else the bytes are all it needs.
    node.alive = node.requires_grad || storages_[tape_.values[base].storage].reproducible();
    tape_.nodes.push_back(std::move(node));
  } else {
    const int visible = prepared.visible < 0 ? static_cast<int>(prepared.outputs.size()) : prepared.visible;
    std::vector<std::pair<ValueId, ValueId>> overwrites;
    for (std::size_t j = 0; j < prepared.outputs.size(); ++j) {
      const bool is_visible = static_cast<int>(j) < visible;
      const ValueId out =
          new_value(prepared.outputs[j], is_visible ? Category::kActivations : Category::kWorkspace, node_id);
      if (!node.alive) storages_[tape_.values[out].storage].origin = Origin::kCarried;
      node.outputs.push_back(out);
    }
    for (const auto& [input, output] : prepared.overwrites) {
      overwrites.emplace_back(node.reads[static_cast<std::size_t>(input)],
                              node.outputs[static_cast<std::size_t>(output)]);
    }
    attributes("needs", static_cast<std::int64_t>(needs.bits()));
    append(std::move(node), scheduler::Phase::kForward, prepared.scratch, prepared.work, overwrites, attributes.text());
  }

  const auto made_id = static_cast<NodeId>(tape_.nodes.size() - 1);
  Node& made = tape_.nodes[made_id];
  for (const Part& part : prepared.parts) {
    for (const GradOf& gy : part.gy) {
      tape_.values[made.outputs[static_cast<std::size_t>(gy.output)]].requires_grad = made.requires_grad;
    }
  }
  if (made.requires_grad) {
    for (const Part& part : prepared.parts) {
      for (const Saved& saved : part.saved) add_unique(made.saved, tape_.values[saved_value(made, saved)].storage);
    }
    for (StorageId storage : made.saved) lifetimes_.add_read(storage);
  }
  if (made.alive) keep_sources(made);
  return made_id;
}

// As long as the node lives it may be computed again: from nodes, and from bytes that no node can produce.
void Recorder::keep_sources(Node& node) {
  ++tape_.alive_nodes;
  if (node.requires_grad) ++tape_.open_nodes;
  for (ValueId input : node.inputs) {
    const Value& value = tape_.values[input];
    if (value.producer != kNone) lifetimes_.add_use(value.producer);
    if (!storages_[value.storage].reproducible()) add_unique(node.sources, value.storage);
  }
  for (StorageId storage : node.sources) lifetimes_.add_read(storage);
}

ValueId Recorder::saved_value(const Node& node, const Saved& saved) const {
  const auto index = static_cast<std::size_t>(saved.index);
  if (saved.of == Saved::Of::kOutput) return node.outputs[index];
  // Where forward read the input in the wanted layout already, that copy is what backward shares.
  if (saved.layout && *saved.layout == tape_.values[node.reads[index]].meta.layout) return node.reads[index];
  return node.inputs[index];
}

void Recorder::hold(std::span<const StorageId> storages, HoldFor purpose, SourceLocation where) {
  Node node;
  node.kind = Node::Kind::kHold;
  node.settles = purpose == HoldFor::kSettling;
  node.where = where;
  for (StorageId storage : storages) {
    Value value;
    value.storage = storage;
    value.meta.bytes = storages_[storage].bytes;
    tape_.values.push_back(std::move(value));
    node.reads.push_back(static_cast<ValueId>(tape_.values.size() - 1));
  }
  append(std::move(node), scheduler::Phase::kForward, 0, {}, {}, absl::StrCat(static_cast<int>(purpose)));
}

void Recorder::leaf(StorageId storage, const Meta& meta, SourceLocation where) {
  Node node;
  node.kind = Node::Kind::kLeaf;
  node.where = where;
  Value value;
  value.meta = meta;
  value.storage = storage;
  tape_.values.push_back(std::move(value));
  node.outputs = {static_cast<ValueId>(tape_.values.size() - 1)};
  append(std::move(node), scheduler::Phase::kForward, 0, {}, {}, "");
}

}  // namespace tidemark::detail
