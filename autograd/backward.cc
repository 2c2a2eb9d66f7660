// Backward, as more nodes of the same tape: first all of them are recorded, then the rest of the step is planned where
// no plan is being followed, then they run. Gradients are summed in an order that the tape alone decides.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "autograd/engine.h"

namespace tidemark::detail {

// Records one backward pass.
class GradientPass {
 public:
  GradientPass(Engine& engine, SourceLocation where) : e_(engine), tape_(engine.tape_), where_(where) {}

  void check(std::span<const ValueId> losses) {
    reached_.assign(tape_.nodes.size(), false);
    std::vector<NodeId> open;
    auto reach = [&](ValueId value) {
      const NodeId producer = tape_.values[value].producer;
      if (producer == kNone || reached_[producer] || !tape_.nodes[producer].requires_grad) return;
      reached_[producer] = true;
      open.push_back(producer);
    };
    for (ValueId loss : losses) reach(loss);
    while (!open.empty()) {
      const Node& node = tape_.nodes[open.back()];
      open.pop_back();
      if (node.retired) {
        throw Error(absl::StrCat("backward at ", to_string(where_), " reaches ", std::string(node.any_op->name()),
                                 " at ", to_string(node.where),
                                 ", which another backward already went through; pass retain_graph = true to the "
                                 "first, or take both losses together with backward({a, b})"));
      }
      for (ValueId input : node.inputs) {
        const Value& value = tape_.values[input];
        if (!value.requires_grad) continue;
        if (value.producer == kNone && value.leaf == nullptr) {
          throw Error(absl::StrCat("backward at ", to_string(where_), " cannot go through an input of ",
                                   std::string(node.any_op->name()), " at ", to_string(node.where), ": ",
                                   value.handle != nullptr ? value.handle->graph_lost : "its graph is gone"));
        }
        reach(input);
      }
    }
  }

  void record(std::span<const ValueId> losses, bool retain) {
    const auto last = static_cast<NodeId>(reached_.size());
    for (ValueId loss : losses) contribute(loss, fill(loss, 1.0f));
    for (NodeId n = last - 1; n >= 0; --n) {
      if (reached_[n]) record_node(n);
    }
    if (retain) return;
    for (NodeId n = 0; n < last; ++n) {
      if (!reached_[n]) continue;
      tape_.nodes[n].retired = true;
      const auto saved = std::move(tape_.nodes[n].saved);
      tape_.nodes[n].saved.clear();
      // What backward still reads is held by the ops just recorded.
      for (StorageId storage : saved) e_.drop_reads(storage);
    }
  }

 private:
  // A value of the same meta, filled.
  ValueId fill(ValueId like, float number) {
    const Meta meta = Meta::plain(tape_.values[like].meta.shape);
    Node node;
    node.kind = Node::Kind::kFill;
    node.fill = number;
    node.where = where_;
    const ValueId out = e_.new_value(meta, Category::kActivations, kNone);
    node.outputs = {out};
    e_.append_node(std::move(node), scheduler::Phase::kBackward, 0, {0, static_cast<double>(meta.bytes)}, {},
                   number == 0 ? "0" : "1");
    return out;
  }

  void record_node(NodeId n) {
    const std::shared_ptr<const Prepared> prepared = tape_.nodes[n].prepared;
    const auto outputs = tape_.nodes[n].outputs;
    const bool any = std::any_of(outputs.begin(), outputs.end(), [&](ValueId out) { return grads_.contains(out); });
    if (!any) return;
    for (std::size_t p = 0; p < prepared->parts.size(); ++p) record_part(n, prepared->parts[p], static_cast<int>(p));
    for (ValueId out : outputs) {
      if (auto grad = grads_.find(out); grad != grads_.end()) --shares_[tape_.values[grad->second].storage];
    }
  }

  void record_part(NodeId n, const Part& part, int index) {
    const Node origin = tape_.nodes[n];  // a copy: recording moves the vector
    Node node;
    node.kind = Node::Kind::kPart;
    node.any_op = origin.any_op;
    node.prepared = origin.prepared;
    node.part = index;
    node.key = origin.key;
    node.where = origin.where;
    for (const Saved& saved : part.saved) {
      node.reads.push_back(
          e_.in_layout(e_.saved_value(origin, saved), saved.layout, origin.where, scheduler::Phase::kBackward));
    }
    for (const GradOf& gy : part.gy) {
      const ValueId out = origin.outputs[static_cast<std::size_t>(gy.output)];
      auto grad = grads_.find(out);
      if (grad == grads_.end()) {
        grad = grads_.emplace(out, fill(out, 0.0f)).first;
        ++shares_[tape_.values[grad->second].storage];
      }
      node.reads.push_back(e_.in_layout(grad->second, gy.layout, origin.where, scheduler::Phase::kBackward));
    }
    if (part.view) {
      const ValueId gy = node.reads.back();
      contribute(origin.inputs[static_cast<std::size_t>(part.inputs[0])], e_.new_view(gy, part.gx[0], 0, kNone));
      return;
    }
    Attributes attributes;
    origin.any_op->describe(attributes);
    attributes("part", index);

    Handle* leaf = tape_.values[origin.inputs[static_cast<std::size_t>(part.inputs[0])]].leaf;
    if (part.accumulates && part.inputs.size() == 1 && leaf != nullptr && leaf->grad != nullptr &&
        part.gx[0].layout.plain()) {
      node.accumulate = true;
      node.updates = {e_.value_of(leaf->grad, "backward", where_)};
      e_.graded_.push_back(leaf);
      e_.append_node(std::move(node), scheduler::Phase::kBackward, part.scratch, part.work, {}, attributes.text());
      return;
    }
    std::vector<std::pair<ValueId, ValueId>> overwrites;
    const auto reads = node.reads;
    for (const Meta& meta : part.gx) node.outputs.push_back(e_.new_value(meta, Category::kActivations, kNone));
    const auto gx = node.outputs;
    for (const auto& [read, k] : part.overwrites) {
      overwrites.emplace_back(reads[static_cast<std::size_t>(read)], gx[static_cast<std::size_t>(k)]);
    }
    e_.append_node(std::move(node), scheduler::Phase::kBackward, part.scratch, part.work, overwrites,
                   attributes.text());
    for (std::size_t k = 0; k < part.inputs.size(); ++k) {
      contribute(origin.inputs[static_cast<std::size_t>(part.inputs[k])], gx[k]);
    }
  }

  // Adds gradient `g` to what `target` has.
  void contribute(ValueId target, ValueId g) {
    const Value& value = tape_.values[target];
    if (value.leaf != nullptr) {
      ++shares_[tape_.values[g].storage];
      deliver(value.leaf, g);
      return;
    }
    if (value.producer == kNone || !value.requires_grad) return;
    auto [grad, first] = grads_.try_emplace(target, g);
    if (first) {
      ++shares_[tape_.values[g].storage];
      return;
    }
    const ValueId before = grad->second;
    const ValueId more = e_.in_layout(g, tape_.values[before].meta.layout, where_, scheduler::Phase::kBackward);
    const Meta meta = tape_.values[before].meta;
    Node node;
    node.kind = Node::Kind::kSum;
    node.where = where_;
    node.reads = {before, more};
    const ValueId total = e_.new_value(meta, Category::kActivations, kNone);
    node.outputs = {total};
    const std::pair<ValueId, ValueId> overwrites[] = {{before, total}, {more, total}};
    e_.append_node(std::move(node), scheduler::Phase::kBackward, 0, {0, 3.0 * static_cast<double>(meta.bytes)},
                   overwrites, "");
    --shares_[tape_.values[before].storage];
    ++shares_[tape_.values[total].storage];
    grads_[target] = total;
  }

  // Gives a leaf its gradient, or adds to the one it has.
  void deliver(Handle* leaf, ValueId g) {
    const ValueId plain = e_.in_layout(g, Layout{}, where_, scheduler::Phase::kBackward);
    if (plain != g) shares_[tape_.values[plain].storage] = 1;
    e_.graded_.push_back(leaf);
    if (leaf->grad == nullptr) {
      ValueId own = plain;
      const bool exclusive = shares_[tape_.values[plain].storage] == 1 && tape_.values[plain].offset == 0 &&
                             !e_.storages_[tape_.values[plain].storage].persistent;
      if (!exclusive) own = fill(plain, 0.0f);
      const StorageId storage = tape_.values[own].storage;
      e_.storages_[storage].category = Category::kGradients;
      e_.storages_[storage].persistent = true;
      e_.storages_[storage].name = absl::StrCat(e_.storages_[leaf->storage].name, ".grad");
      Handle* grad = e_.new_leaf_handle(Meta::plain(leaf->meta.shape), storage, leaf->where);
      grad->value = own;
      grad->generation = e_.generation_;
      ++grad->refs;
      leaf->grad = grad;
      if (exclusive) return;
    }
    Node node;
    node.kind = Node::Kind::kAccumulate;
    node.where = where_;
    node.reads = {plain};
    node.updates = {e_.value_of(leaf->grad, "backward", where_)};
    e_.append_node(std::move(node), scheduler::Phase::kBackward, 0,
                   {0, 3.0 * static_cast<double>(tape_.values[plain].meta.bytes)}, {}, "");
  }

  Engine& e_;
  Tape& tape_;
  SourceLocation where_;
  std::vector<bool> reached_;
  absl::flat_hash_map<ValueId, ValueId> grads_;  // of forward values
  absl::flat_hash_map<StorageId, int> shares_;   // how many targets share a gradient's bytes
};

void Engine::backward(std::span<const Tensor> losses, BackwardOptions options, SourceLocation where) {
  std::vector<ValueId> values;
  for (const Tensor& loss : losses) {
    Handle* handle = Access::handle(loss);
    const ValueId value = value_of(handle, "backward", where);
    if (handle->meta.shape.numel() != 1 || handle->meta.dtype != f32) {
      throw ShapeError(absl::StrCat("[backward] a loss must be one f32 number; this one has shape ",
                                    handle->meta.shape.to_string(), " (at ", to_string(where), ")"));
    }
    if (!handle->requires_grad) {
      throw Error(absl::StrCat("[backward] the loss made at ", to_string(handle->where),
                               " depends on nothing that requires a gradient (at ", to_string(where), ")"));
    }
    if (!handle->graph_lost.empty()) {
      throw Error(absl::StrCat("[backward] the loss made at ", to_string(handle->where),
                               " cannot go backward: ", handle->graph_lost, " (at ", to_string(where), ")"));
    }
    values.push_back(value);
  }
  GradientPass pass(*this, where);
  pass.check(values);
  executing_ = true;  // what becomes unneeded meanwhile is let go after the pass
  pass.record(values, options.retain_graph);
  tape_.went_backward = true;

  // Small values that the program still holds, and the gradients, are there when backward returns.
  std::vector<Handle*> settling;
  std::vector<StorageId> held;
  auto hold_storage = [&](StorageId storage) {
    if (std::find(held.begin(), held.end(), storage) == held.end()) held.push_back(storage);
  };
  for (Handle* handle = handles_; handle != nullptr; handle = handle->next) {
    if (handle->storage != kNone || handle->value == kNone || handle->generation != generation_) continue;
    const Value& value = tape_.values[handle->value];
    if (!tape_.nodes[value.producer].retired || !stays_readable(handle)) continue;
    settling.push_back(handle);
    hold_storage(value.storage);
  }
  for (const Handle* leaf : graded_) {
    if (leaf->grad != nullptr) hold_storage(leaf->grad->storage);
  }
  for (StorageId storage : held) buffer_of(storage);
  std::sort(held.begin(), held.end(),
            [&](StorageId a, StorageId b) { return storages_[a].buffer < storages_[b].buffer; });
  begin_settling(settling);
  hold(held, where);
  plan_rest();
  execute_up_to_end();
  settle(settling, absl::StrCat("backward at ", to_string(where),
                                " already went through its graph; pass retain_graph = true, or take both losses "
                                "together with backward({a, b})"));
}

}  // namespace tidemark::detail
