// Recorder: from calls to nodes of the tape and ops of its graph. It appends; it runs nothing.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "autograd/lifetimes.h"
#include "autograd/prepared_ops.h"
#include "autograd/storages.h"
#include "autograd/tape.h"
#include "compute/machine.h"
#include "tidemark/costs.h"

namespace tidemark::detail {

// Hands out the keys of random ops.
struct KeySequence {
  std::uint64_t seed = 1;
  std::int64_t step = 0;
  std::uint32_t ordinal = 0;
  RngKey next() { return {seed, static_cast<std::uint32_t>(step), ordinal++}; }
};

class Recorder {
 public:
  using Overwrites = std::span<const std::pair<ValueId, ValueId>>;  // {read, output}: may take the other's place

  Recorder(Tape& tape, Storages& storages, Lifetimes& lifetimes, PreparedOps& prepared, compute::Machine& machine,
           const Costs& costs, std::list<LeafSource>& sources)
      : tape_(tape),
        storages_(storages),
        lifetimes_(lifetimes),
        prepared_(prepared),
        machine_(machine),
        costs_(costs),
        sources_(sources) {}

  // Ops recorded from here on are of this phase, whatever records them.
  void set_phase(std::optional<scheduler::Phase> phase) { phase_ = phase; }

  // The value that the handle stands for, in the present tape. Throws Error where it can no longer be read.
  ValueId value_of(Handle* handle, std::string_view op, SourceLocation where);
  // An op that the program calls. `needs`: which inputs want a gradient.
  NodeId forward(const std::shared_ptr<const AnyOp>& op, std::span<const ValueId> inputs, Needs needs,
                 KeySequence& keys, SourceLocation where);
  // The value in that layout: itself, a copy that is there already, or a reorder.
  ValueId in_layout(ValueId value, std::optional<Layout> layout, SourceLocation where, scheduler::Phase phase);
  // The operand that forward node `node` declared as saved.
  ValueId saved_value(const Node& node, const Saved& saved) const;

  ValueId new_value(const Meta& meta, Category category, NodeId producer);
  ValueId new_view(ValueId of, const Meta& meta, std::int64_t offset, NodeId producer);
  // Appends the node, and its op to the graph. `attributes` tell apart what the rest of the node does not.
  NodeId append(Node node, scheduler::Phase phase, std::int64_t scratch, Work work, Overwrites overwrites,
                std::string_view attributes);
  // These have to be in memory at this point of the program. What for is a part of the signature: what is settled here
  // stays in memory, and what is only read here does not.
  enum class HoldFor : std::uint8_t { kRead, kLastUse, kSettling };
  void hold(std::span<const StorageId> storages, HoldFor purpose, SourceLocation where);
  // The storage's bytes begin here.
  void leaf(StorageId storage, const Meta& meta, SourceLocation where);
  BufferId buffer_of(StorageId storage);

 private:
  ValueId number(const Handle* handle, SourceLocation where);
  void begin_tape();
  StorageId new_file_storage(const LeafSource& source);
  ValueId file_node(LeafSource& source, StorageId storage, SourceLocation where);
  ValueId from_file(const Handle* handle, std::string_view op, SourceLocation where);
  void keep_sources(Node& node);

  Tape& tape_;
  Storages& storages_;
  Lifetimes& lifetimes_;
  PreparedOps& prepared_;
  compute::Machine& machine_;
  const Costs& costs_;
  std::list<LeafSource>& sources_;
  std::optional<scheduler::Phase> phase_;
};

}  // namespace tidemark::detail
