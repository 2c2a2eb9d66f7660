#include "autograd/gradient_pass.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compute/sparse_rows.h"

namespace tidemark::detail {

const char* GradientPass::way_out(std::string_view what) {
  if (what == "minimize") {
    return "; minimize() goes backward itself, in place of backward() and step(), and takes losses that share values "
           "together: minimize(a + b)";
  }
  return "; pass retain_graph = true to the first, or take both losses together with backward({a, b})";
}

void GradientPass::check(std::span<const ValueId> losses) {
  reached_.assign(tape_.nodes.size(), false);
  std::vector<NodeId> open;
  const auto fail = [&](const std::string& text) {
    throw Error(absl::StrCat("[", std::string(what_), "] ", text, " (at ", to_string(where_), ")"));
  };
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
      fail(absl::StrCat("the loss reaches ", std::string(node.any_op->name()), " at ", to_string(node.where),
                        ", which another backward already went through", way_out(what_)));
    }
    for (ValueId input : node.inputs) {
      const Value& value = tape_.values[input];
      if (!value.requires_grad) continue;
      if (value.producer == kNone && value.leaf == nullptr) {
        const Reason* reason = value.handle == nullptr ? nullptr : value.handle->no_graph;
        fail(absl::StrCat("it cannot go through an input of ", std::string(node.any_op->name()), " at ",
                          to_string(node.where), ": ", reason == nullptr ? "its graph is gone" : reason->text,
                          reason != nullptr && reason->spent ? way_out(what_) : ""));
      }
      reach(input);
    }
  }
  going_ = reached_;
  if (!targets_.empty()) narrow();
  for (ValueId loss : losses) {
    if (const Handle* leaf = tape_.values[loss].leaf; leaf != nullptr && target_of(leaf) != nullptr)
      loss_is_one_ = true;
  }
}

bool GradientPass::leads_to_one() const {
  return loss_is_one_ || std::any_of(targets_.begin(), targets_.end(), [](const Target& each) {
           return each.last != kNone || each.leaf->grad != nullptr;
         });
}

void GradientPass::restrict_to(std::span<Handle* const> leaves) {
  for (Handle* leaf : leaves) {
    target_at_.emplace(leaf, targets_.size());
    targets_.push_back({leaf, kNone, kNone});
  }
}

GradientPass::Target* GradientPass::target_of(const Handle* leaf) {
  const auto found = target_at_.find(leaf);
  return found == target_at_.end() ? nullptr : &targets_[found->second];
}

void GradientPass::narrow() {
  for (std::size_t n = 0; n < going_.size(); ++n) {
    if (!going_[n]) continue;
    going_[n] = std::any_of(tape_.nodes[n].inputs.begin(), tape_.nodes[n].inputs.end(), [&](ValueId input) {
      const Value& value = tape_.values[input];
      if (value.leaf != nullptr) return target_of(value.leaf) != nullptr;
      return value.producer != kNone && going_[static_cast<std::size_t>(value.producer)];
    });
  }
  std::unordered_map<StorageId, Target*> of_storage;
  for (Target& target : targets_) of_storage.emplace(target.leaf->storage, &target);
  for (std::size_t n = going_.size(); n-- > 0;) {
    if (!going_[n]) continue;
    const Node& node = tape_.nodes[n];
    const auto uses = [&](StorageId storage) {
      if (const auto target = of_storage.find(storage); target != of_storage.end()) {
        target->second->last = static_cast<NodeId>(n);
      }
    };
    for (StorageId storage : node.saved) uses(storage);
    for (ValueId input : node.inputs) uses(tape_.values[input].storage);
  }
  for (Target& target : targets_)
    target.last = of_storage.at(target.leaf->storage)->last;  // where two share their bytes
}

void GradientPass::record(std::span<const ValueId> losses, bool retain) {
  const auto last = static_cast<NodeId>(reached_.size());
  for (ValueId loss : losses) contribute(loss, fill(loss, 1.0f));
  std::vector<std::size_t> due(whole_ ? targets_.size() : 0);  // those that are used last come first
  std::iota(due.begin(), due.end(), std::size_t{0});
  std::stable_sort(due.begin(), due.end(),
                   [&](std::size_t x, std::size_t y) { return targets_[x].last > targets_[y].last; });
  std::size_t next = 0;
  const auto hand_over_from = [&](NodeId node) {
    for (; next < due.size() && targets_[due[next]].last == node; ++next) {
      if (const ValueId sum = sum_of(targets_[due[next]].leaf); sum != kNone) whole_(due[next], sum);
    }
  };
  for (NodeId n = last - 1; n >= 0; --n) {
    if (!going_[n]) continue;
    record_node(n);
    hand_over_from(n);
  }
  hand_over_from(kNone);  // what waited for this step and got nothing from this loss
  for (Handle* gradient : std::exchange(replaced_, {})) lifetimes_.release(gradient);
  if (retain) return;
  for (NodeId n = 0; n < last; ++n) {
    if (!reached_[n]) continue;
    // What backward still reads is held by the ops just recorded.
    lifetimes_.retire(tape_.nodes[n]);
  }
}

ValueId GradientPass::fill(ValueId like, float number) {
  const Meta meta = Meta::plain(tape_.values[like].meta.shape);
  Node node;
  node.kind = Node::Kind::kFill;
  node.fill = number;
  node.where = where_;
  const ValueId out = recorder_.new_value(meta, Category::kActivations, kNone);
  node.outputs = {out};
  recorder_.append(std::move(node), scheduler::Phase::kBackward, 0, {0, static_cast<double>(meta.bytes)}, {},
                   number == 0 ? "0" : "1");
  return out;
}

void GradientPass::record_node(NodeId n) {
  const std::shared_ptr<const Prepared> prepared = tape_.nodes[n].prepared;
  const auto outputs = tape_.nodes[n].outputs;
  const bool any = std::any_of(outputs.begin(), outputs.end(), [&](ValueId out) { return grads_.contains(out); });
  if (!any) return;
  // Gradients that die with this node come last: what goes on then does not have to lie beside them.
  const auto dies = [&](const Part& part) {
    return std::all_of(part.inputs.begin(), part.inputs.end(), [&](int input) {
      const Target* target = target_of(tape_.values[tape_.nodes[n].inputs[static_cast<std::size_t>(input)]].leaf);
      return target != nullptr && target->last == n;
    });
  };
  std::vector<std::size_t> order(prepared->parts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (whole_)
    std::stable_partition(order.begin(), order.end(), [&](std::size_t p) { return !dies(prepared->parts[p]); });
  for (std::size_t p : order) record_part(n, prepared->parts[p], static_cast<int>(p));
  for (ValueId out : outputs) {
    if (auto grad = grads_.find(out); grad != grads_.end()) --shares_[tape_.values[grad->second].storage];
  }
}

std::vector<ValueId> GradientPass::operands(const Node& origin, const Part& part) {
  std::vector<ValueId> reads;
  for (const Saved& saved : part.saved) {
    reads.push_back(recorder_.in_layout(recorder_.saved_value(origin, saved), saved.layout, origin.where,
                                        scheduler::Phase::kBackward));
  }
  for (const GradOf& gy : part.gy) {
    const ValueId out = origin.outputs[static_cast<std::size_t>(gy.output)];
    auto grad = grads_.find(out);
    if (grad == grads_.end()) {
      grad = grads_.emplace(out, fill(out, 0.0f)).first;
      ++shares_[tape_.values[grad->second].storage];
    }
    reads.push_back(recorder_.in_layout(grad->second, gy.layout, origin.where, scheduler::Phase::kBackward));
  }
  return reads;
}

void GradientPass::record_part(NodeId n, const Part& part, int index) {
  const Node origin = tape_.nodes[n];  // a copy: recording moves the vector
  const bool wanted = std::any_of(part.inputs.begin(), part.inputs.end(), [&](int input) {
    return takes_gradient(origin.inputs[static_cast<std::size_t>(input)]);
  });
  if (!wanted) return;
  const std::vector<ValueId> reads = operands(origin, part);
  if (part.view) {
    contribute(origin.inputs[static_cast<std::size_t>(part.inputs[0])],
               recorder_.new_view(reads.back(), part.gx[0], 0, kNone));
    return;
  }
  Node node;
  node.kind = Node::Kind::kPart;
  node.any_op = origin.any_op;
  node.prepared = origin.prepared;
  node.part = index;
  node.key = origin.key;
  node.where = origin.where;
  node.reads.assign(reads.begin(), reads.end());
  Attributes attributes;
  origin.any_op->describe(attributes);
  attributes("part", index);

  Handle* leaf = tape_.values[origin.inputs[static_cast<std::size_t>(part.inputs[0])]].leaf;
  const bool has_sum = leaf != nullptr && sum_of(leaf) != kNone;
  if (part.accumulates && part.inputs.size() == 1 && has_sum && part.gx[0].layout.plain()) {
    node.accumulate = true;
    node.updates = {dense_sum_of(leaf)};
    leaves_.push_back(leaf);
    recorder_.append(std::move(node), scheduler::Phase::kBackward, part.scratch, part.work, {}, attributes.text());
    return;
  }
  std::vector<std::pair<ValueId, ValueId>> overwrites;
  for (const Meta& meta : part.gx) node.outputs.push_back(recorder_.new_value(meta, Category::kActivations, kNone));
  const auto gx = node.outputs;
  for (const auto& [read, k] : part.overwrites) {
    overwrites.emplace_back(reads[static_cast<std::size_t>(read)], gx[static_cast<std::size_t>(k)]);
  }
  recorder_.append(std::move(node), scheduler::Phase::kBackward, part.scratch, part.work, overwrites,
                   attributes.text());
  for (std::size_t k = 0; k < part.inputs.size(); ++k) {
    contribute(origin.inputs[static_cast<std::size_t>(part.inputs[k])], gx[k]);
  }
}

bool GradientPass::takes_gradient(ValueId target) {
  const Value& value = tape_.values[target];
  if (value.leaf != nullptr) return targets_.empty() || target_of(value.leaf) != nullptr;
  if (value.producer == kNone || !value.requires_grad) return false;
  return going_[static_cast<std::size_t>(value.producer)];
}

void GradientPass::contribute(ValueId target, ValueId g) {
  if (!takes_gradient(target)) return;
  const Value& value = tape_.values[target];
  if (value.leaf != nullptr) {
    ++shares_[tape_.values[g].storage];
    deliver(value.leaf, g);
    return;
  }
  if (is_sparse(g)) g = recorder_.in_layout(g, Layout{}, where_, scheduler::Phase::kBackward);
  auto [grad, first] = grads_.try_emplace(target, g);
  if (first) {
    ++shares_[tape_.values[g].storage];
    return;
  }
  const ValueId before = grad->second;
  const ValueId more = recorder_.in_layout(g, tape_.values[before].meta.layout, where_, scheduler::Phase::kBackward);
  const Meta meta = tape_.values[before].meta;
  Node node;
  node.kind = Node::Kind::kSum;
  node.where = where_;
  node.reads = {before, more};
  const ValueId total = recorder_.new_value(meta, Category::kActivations, kNone);
  node.outputs = {total};
  const std::pair<ValueId, ValueId> overwrites[] = {{before, total}, {more, total}};
  recorder_.append(std::move(node), scheduler::Phase::kBackward, 0, {0, 3.0 * static_cast<double>(meta.bytes)},
                   overwrites, "");
  --shares_[tape_.values[before].storage];
  ++shares_[tape_.values[total].storage];
  grads_[target] = total;
}

ValueId GradientPass::sum_of(Handle* leaf) {
  if (Target* own = target_of(leaf); own != nullptr && own->sum != kNone) return own->sum;
  return leaf->grad == nullptr ? kNone : recorder_.value_of(leaf->grad, "backward", where_);
}

ValueId GradientPass::dense_sum_of(Handle* leaf) {
  const ValueId sum = sum_of(leaf);
  if (sum == kNone || !is_sparse(sum)) return sum;
  const ValueId dense = fill(sum, 0.0f);
  become_gradient(leaf, dense);
  accumulate(dense, sum);
  return dense;
}

bool GradientPass::is_sparse(ValueId gradient) const {
  return compute::is_sparse_rows(tape_.values[gradient].meta.layout);
}

ValueId GradientPass::sparse_sum(ValueId a, ValueId b) {
  const Meta& x = tape_.values[a].meta;
  const std::int64_t rows = compute::row_bound(x.layout) + compute::row_bound(tape_.values[b].meta.layout);
  const Meta meta = compute::sparse_rows(x.shape, std::min(rows, x.shape[0]));
  Node node;
  node.kind = Node::Kind::kSum;
  node.where = where_;
  node.reads = {a, b};
  const ValueId total = recorder_.new_value(meta, Category::kActivations, kNone);
  node.outputs = {total};
  recorder_.append(std::move(node), scheduler::Phase::kBackward, 0, {0, 2.0 * static_cast<double>(meta.bytes)}, {}, "");
  return total;
}

void GradientPass::accumulate(ValueId sum, ValueId g) {
  Node node;
  node.kind = Node::Kind::kAccumulate;
  node.where = where_;
  node.reads = {g};
  node.updates = {sum};
  recorder_.append(std::move(node), scheduler::Phase::kBackward, 0,
                   {0, 3.0 * static_cast<double>(tape_.values[g].meta.bytes)}, {}, "");
}

void GradientPass::become_gradient(Handle* leaf, ValueId sum) {
  const StorageId storage = tape_.values[sum].storage;
  storages_[storage].category = Category::kGradients;
  storages_[storage].name = absl::StrCat(storages_[leaf->storage].name, ".grad");
  if (whole_) {
    target_of(leaf)->sum = sum;
    return;
  }
  storages_[storage].origin = Origin::kCarried;
  Handle* grad = lifetimes_.new_leaf(tape_.values[sum].meta, storage, leaf->where);
  grad->value = sum;
  grad->generation = lifetimes_.generation();
  ++grad->refs;
  if (Handle* before = std::exchange(leaf->grad, grad)) replaced_.push_back(before);
}

void GradientPass::deliver(Handle* leaf, ValueId g) {
  leaves_.push_back(leaf);
  if (is_sparse(g)) {
    const ValueId sum = sum_of(leaf);
    if (sum == kNone) return become_gradient(leaf, g);
    if (is_sparse(sum)) return become_gradient(leaf, sparse_sum(sum, g));
    return accumulate(sum, g);
  }
  const ValueId plain = recorder_.in_layout(g, Layout{}, where_, scheduler::Phase::kBackward);
  if (plain != g) shares_[tape_.values[plain].storage] = 1;
  ValueId sum = dense_sum_of(leaf);
  if (sum == kNone) {
    sum = plain;
    const bool exclusive = shares_[tape_.values[plain].storage] == 1 && tape_.values[plain].offset == 0 &&
                           storages_[tape_.values[plain].storage].reproducible();
    if (!exclusive) sum = fill(plain, 0.0f);
    become_gradient(leaf, sum);
    if (exclusive) return;
  }
  accumulate(sum, plain);
}

}  // namespace tidemark::detail
