// One backward pass, as more nodes of the same tape. It records; nothing runs. Gradients are summed in an order that
// the tape alone decides.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autograd/lifetimes.h"
#include "autograd/recorder.h"

namespace tidemark::detail {

class GradientPass {
 public:
  // `what`: the call that it is of, for messages.
  GradientPass(Tape& tape, Storages& storages, Lifetimes& lifetimes, Recorder& recorder, std::string_view what,
               SourceLocation where)
      : tape_(tape), storages_(storages), lifetimes_(lifetimes), recorder_(recorder), what_(what), where_(where) {}

  // Only these leaves get gradients.
  void restrict_to(std::span<Handle* const> leaves);
  // As soon as the gradient of one of those leaves is whole and nothing of the pass reads the leaf any more, it is
  // handed over instead of becoming the leaf's own: what it was before counts, and dies with its last reader. The leaf
  // is said by its place in what restrict_to() was given.
  using Whole = std::function<void(std::size_t leaf, ValueId gradient)>;
  void hand_over(Whole whole) { whole_ = std::move(whole); }
  // What is to be done where another backward pass went through a graph first; ends a message.
  static const char* way_out(std::string_view what);
  // Throws Error where the losses reach what cannot go backward (any more).
  void check(std::span<const ValueId> losses);
  // From check() on, by node: the pass goes through it, or would without restrict_to().
  const std::vector<bool>& reached() const { return reached_; }
  // From check() on: one of the leaves that it is restricted to has a gradient then.
  bool leads_to_one() const;
  // `retain`: the nodes stay, for another pass.
  void record(std::span<const ValueId> losses, bool retain);
  // The leaves that get a gradient, or more of it.
  const std::vector<Handle*>& leaves() const { return leaves_; }

 private:
  // A leaf that the pass is restricted to.
  struct Target {
    Handle* leaf = nullptr;
    NodeId last = kNone;  // the lowest node of the pass that uses the leaf
    ValueId sum = kNone;  // its gradient by now, where that is handed over
  };
  Target* target_of(const Handle* leaf);
  // The nodes that lead to targets, and which of them uses each last.
  void narrow();
  // A value of the same meta, filled.
  ValueId fill(ValueId like, float number);
  void record_node(NodeId node);
  void record_part(NodeId node, const Part& part, int index);
  std::vector<ValueId> operands(const Node& origin, const Part& part);
  // Whether anything comes of a gradient of this value.
  bool takes_gradient(ValueId target);
  // Adds gradient `g` to what `target` has.
  void contribute(ValueId target, ValueId g);
  // Gives a leaf its gradient, or adds to the one it has. Gradients of some rows add up to one of some rows; where one
  // is of all rows, the sum is, too.
  void deliver(Handle* leaf, ValueId g);
  // From here on the leaf's gradient is this value. What it was goes when the pass is recorded.
  void become_gradient(Handle* leaf, ValueId sum);
  void accumulate(ValueId sum, ValueId g);
  // The sum of two gradients of some rows.
  ValueId sparse_sum(ValueId a, ValueId b);
  bool is_sparse(ValueId gradient) const;
  // What a leaf has by now; kNone: nothing.
  ValueId sum_of(Handle* leaf);
  // The same, of all rows from here on.
  ValueId dense_sum_of(Handle* leaf);

  Tape& tape_;
  Storages& storages_;
  Lifetimes& lifetimes_;
  Recorder& recorder_;
  std::string_view what_;
  SourceLocation where_;
  std::vector<bool> reached_;
  std::vector<bool> going_;      // of these, the nodes that are gone through
  std::vector<Target> targets_;  // in the order in which they were given; none: every leaf
  std::unordered_map<const Handle*, std::size_t> target_at_;
  bool loss_is_one_ = false;
  Whole whole_;
  std::vector<Handle*> leaves_;
  std::vector<Handle*> replaced_;               // gradients that others have taken the place of
  std::unordered_map<ValueId, ValueId> grads_;  // of forward values
  std::unordered_map<StorageId, int> shares_;   // how many targets share a gradient's bytes
};

}  // namespace tidemark::detail
