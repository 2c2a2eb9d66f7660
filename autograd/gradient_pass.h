// One backward pass, as more nodes of the same tape. It records; nothing runs. Gradients are summed in an order that
// the tape alone decides.
#pragma once

#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "autograd/lifetimes.h"
#include "autograd/recorder.h"

namespace tidemark::detail {

class GradientPass {
 public:
  GradientPass(Tape& tape, Storages& storages, Lifetimes& lifetimes, Recorder& recorder, SourceLocation where)
      : tape_(tape), storages_(storages), lifetimes_(lifetimes), recorder_(recorder), where_(where) {}

  // Throws Error where the losses reach what cannot go backward (any more).
  void check(std::span<const ValueId> losses);
  // `retain`: the nodes stay, for another pass.
  void record(std::span<const ValueId> losses, bool retain);
  // The leaves that get a gradient, or more of it.
  const std::vector<Handle*>& leaves() const { return leaves_; }

 private:
  // A value of the same meta, filled.
  ValueId fill(ValueId like, float number);
  void record_node(NodeId node);
  void record_part(NodeId node, const Part& part, int index);
  std::vector<ValueId> operands(const Node& origin, const Part& part);
  // Adds gradient `g` to what `target` has.
  void contribute(ValueId target, ValueId g);
  // Gives a leaf its gradient, or adds to the one it has.
  void deliver(Handle* leaf, ValueId g);

  Tape& tape_;
  Storages& storages_;
  Lifetimes& lifetimes_;
  Recorder& recorder_;
  SourceLocation where_;
  std::vector<bool> reached_;
  std::vector<Handle*> leaves_;
  std::unordered_map<ValueId, ValueId> grads_;  // of forward values
  std::unordered_map<StorageId, int> shares_;   // how many targets share a gradient's bytes
};

}  // namespace tidemark::detail
