// The tape: what a program recorded in the present step, as flat vectors with 32-bit ids.
//
// A Storage (storages.h) is bytes, the unit of eviction; a Value is a reading of a storage (views share one); a Node is
// an op call, or what is derived from one: a part of backward, a reorder, a sum of gradients. Nodes with a kernel are
// ops of the tape's scheduler::Graph, and storages are its buffers, so that what is planned is exactly what runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "autograd/leaf_source.h"
#include "autograd/storages.h"
#include "compute/machine.h"
#include "tidemark/op.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"

namespace tidemark::detail {

class Handle;

using ValueId = std::int32_t;
using NodeId = std::int32_t;

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
  enum class Kind : std::uint8_t {
    kForward,     // an op that the program called
    kPart,        // one kernel of its backward
    kReorder,     // a value in another layout
    kSum,         // of two gradients
    kAccumulate,  // a gradient added to the one that a leaf has
    kFill,        // a gradient of ones or zeros
    kHold,        // no kernel: what it reads has to be in memory here
    kLeaf,        // no kernel: the bytes of a leaf that was made in the middle of a step
    kNumber,      // the elements that a small value's handle holds
    kFile,        // a leaf that is read from a file
  };
  // What the program would like of the value: that it stays in memory, or that it is computed again.
  enum class Hint : std::uint8_t { kIndifferent, kKeep, kRecompute };
  Kind kind = Kind::kForward;
  Hint hint = Hint::kIndifferent;
  bool requires_grad = false;
  bool retired = false;  // a backward pass went through it
  bool alive = false;    // a handle or an alive consumer can reach it
  bool ran = false;
  bool accumulate = false;  // kPart: adds to what it updates
  bool settles = false;     // kHold: what it reads stays in memory, and is not computed again
  int part = 0;
  int uses = 0;  // handles on outputs, and alive consumers
  int replays = 0;
  float fill = 0;
  std::vector<std::byte> number;  // kNumber: the elements
  LeafSource* source = nullptr;   // kFile
  OpId op = kNone;                // in the graph; kNone for views
  double seconds = 0;             // that the op is taken to cost, without hints
  std::shared_ptr<const AnyOp> any_op;
  std::shared_ptr<const Prepared> prepared;
  std::shared_ptr<const compute::Kernel> kernel;  // kReorder
  absl::InlinedVector<ValueId, 4> inputs;         // kForward: as the program gave them
  absl::InlinedVector<ValueId, 4> reads;          // as the kernel takes them
  absl::InlinedVector<ValueId, 2> updates;        // changed in place
  absl::InlinedVector<ValueId, 2> outputs;
  absl::InlinedVector<StorageId, 4> saved;  // storages whose `reads` this node holds while it may go backward
  absl::InlinedVector<StorageId, 2>
      sources;  // what no op can produce again and a replay of it reads, while it is alive
  RngKey key;
  SourceLocation where;
};

struct Tape {
  std::vector<Value> values;
  std::vector<Node> nodes;
  scheduler::Graph graph;                 // what lies in the pinned zone has no bytes here: the graph is of the room
  std::vector<NodeId> op_nodes;           // by OpId
  std::vector<StorageId> buffer_storage;  // by BufferId
  std::vector<std::int32_t> wires;        // by BufferId: counted in the order of first use; kNone: no op uses it
  std::int32_t wire_count = 0;
  std::vector<std::uint64_t> signatures;        // by OpId: of the op, its attributes, wires, shapes and bytes
  std::vector<std::pair<OpId, BufferId>> ends;  // after this op nobody needed the buffer any more
  // What happened, in order: ops that ran, the first time or again, and buffers that were dropped.
  std::vector<std::pair<scheduler::Step::Kind, std::int32_t>> history;
  OpId executed = 0;        // ops before this one have had their first run
  std::uint64_t hints = 0;  // a hash of those given since the last op was recorded
  bool hinted = false;      // some were given
  bool begun = false;       // its first ops are recorded
  OpId sources = 0;         // how many: leaves that an earlier step has read from their files
  int alive_nodes = 0;
  int open_nodes = 0;          // alive ones through which a backward pass may still go
  bool under_no_grad = false;  // the last op was called under NoGrad

  bool empty() const { return graph.ops.empty(); }
};

}  // namespace tidemark::detail
