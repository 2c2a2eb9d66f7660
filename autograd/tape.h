// The tape: what a program recorded since its last optimizer step, as flat vectors with 32-bit ids.
//
// Three kinds of things. A Storage is bytes, the unit of eviction; a Value is a reading of a storage (views share
// one); a Node is an op call, or what the engine derives from one: a part of backward, a reorder, a sum of gradients.
// Nodes with a kernel are ops of the tape's scheduler::Graph, and storages are its buffers, so that what is planned is
// exactly what runs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "compute/machine.h"
#include "tidemark/op.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"

namespace tidemark::detail {

class Handle;

using StorageId = std::int32_t;
using ValueId = std::int32_t;
using NodeId = std::int32_t;
using scheduler::BufferId;
using scheduler::OpId;
inline constexpr std::int32_t kNone = -1;

struct Storage {
  std::int64_t bytes = 0;
  std::int64_t offset = kNone;  // in the arena; kNone: discarded
  Category category = Category::kActivations;
  BufferId buffer = kNone;     // in the tape's graph
  int handles = 0;             // living handles on values of it
  int reads = 0;               // reads to come: saved for backward, or by recorded ops that have not run
  bool persistent = false;     // cannot be computed again: leaves, settled values
  bool pinned = false;         // never moved or let go: parameters, optimizer state, batches
  bool fixed_address = false;  // a thread may be writing there: not even moved
  bool hashed = false;
  std::uint64_t hash = 0;     // of its first content, under verify_replay
  std::int64_t sequence = 0;  // order of creation
  std::string name;           // of leaves
  SourceLocation where;
};

struct Value {
  Meta meta;
  StorageId storage = kNone;
  std::int64_t offset = 0;  // of a view, into the storage
  NodeId producer = kNone;
  bool requires_grad = false;
  Handle* handle = nullptr;                                            // the program's, where it holds one
  Handle* leaf = nullptr;                                              // a leaf that takes a gradient
  absl::InlinedVector<std::pair<std::uint32_t, ValueId>, 1> variants;  // the same value in other layouts
};

struct Node {
  enum class Kind : std::uint8_t { kForward, kPart, kReorder, kSum, kAccumulate, kFill, kHold, kLeaf };
  Kind kind = Kind::kForward;
  bool requires_grad = false;
  bool retired = false;  // a backward pass went through it
  bool alive = false;    // a handle or an alive consumer can reach it
  bool ran = false;
  bool accumulate = false;  // kPart: adds to what it updates
  int part = 0;
  int uses = 0;  // handles on outputs, and alive consumers
  int replays = 0;
  float fill = 0;
  OpId op = kNone;  // in the graph; kNone for views
  std::shared_ptr<const AnyOp> any_op;
  std::shared_ptr<const Prepared> prepared;
  std::shared_ptr<const compute::Kernel> kernel;  // kReorder
  absl::InlinedVector<ValueId, 4> inputs;         // kForward: as the program gave them
  absl::InlinedVector<ValueId, 4> reads;          // as the kernel takes them
  absl::InlinedVector<ValueId, 2> updates;        // changed in place
  absl::InlinedVector<ValueId, 2> outputs;
  absl::InlinedVector<StorageId, 4> saved;    // storages whose `reads` this node holds while it may go backward
  absl::InlinedVector<StorageId, 2> sources;  // persistent storages that a replay of it reads, while it is alive
  RngKey key;
  SourceLocation where;
};

struct Tape {
  std::vector<Value> values;
  std::vector<Node> nodes;
  scheduler::Graph graph;
  std::vector<NodeId> op_nodes;           // by OpId
  std::vector<StorageId> buffer_storage;  // by BufferId
  std::vector<std::uint64_t> signatures;  // by OpId
  OpId executed = 0;                      // ops before this one have had their first run
  int alive_nodes = 0;
  bool went_backward = false;
};

}  // namespace tidemark::detail
