// What a Tensor points to: one object a value that the program holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>

#include "autograd/leaf_source.h"
#include "autograd/tape.h"

namespace tidemark::detail {

class Engine;

// Why a value can no longer be read, or go backward. Kept by the engine, each once, so that a list of values does not
// grow by them.
struct Reason {
  std::string text;
  bool spent = false;  // a backward pass went through its graph

  bool operator<(const Reason& other) const { return std::tie(text, spent) < std::tie(other.text, other.spent); }
};

// A handle reads its value in one of five ways: through the tape (computed in this step), from a storage (a leaf, or a
// value that was settled), from elements of its own (a small value of an earlier step), from a file, or not at all
// (lost).
class Handle {
 public:
  Engine* engine = nullptr;  // null once the session is gone
  int refs = 0;
  std::uint32_t generation = 0;  // of the tape that `value` belongs to
  std::uint32_t assignments = 0;
  ValueId value = kNone;
  StorageId storage = kNone;  // of leaves and settled values; else found through `value`
  bool requires_grad = false;
  bool leaf = false;
  bool parameter = false;
  bool keep = false;
  bool in_place = false;  // its bytes are changed by ops, so it never becomes a number
  bool sparse = false;    // of tables: an op that reads it has gradients for some rows only
  Meta meta;
  std::int64_t offset = 0;              // of a view, into the storage
  Handle* grad = nullptr;               // of leaves: the accumulated gradient
  std::unique_ptr<std::byte[]> number;  // the elements of a small value, plain
  LeafSource* source = nullptr;         // the engine's; of a leaf that is read from a file, or has no elements yet
  const Reason* lost = nullptr;         // why it can no longer be read
  const Reason* no_graph = nullptr;     // why it can no longer go backward
  SourceLocation where;
  // The list of handles that it is on (lifetimes.h).
  Handle* previous = nullptr;
  Handle* next = nullptr;

  // Whatever it was computed from changes or ends.
  bool stays_readable() const { return keep || meta.bytes <= kSmallBytes; }
  // Computed by the tape of this generation, and neither settled nor lost.
  bool computed(std::uint32_t now) const {
    return value != kNone && generation == now && storage == kNone && number == nullptr && source == nullptr &&
           lost == nullptr;
  }
};

// With the number's own allocation and the program's pointer a value in a list takes at most 256 bytes.
static_assert(sizeof(Handle) <= 208);

struct Access {
  static Tensor adopt(Handle* handle) {
    ++handle->refs;
    return Tensor(handle);
  }
  static Handle* handle(const Tensor& tensor) { return tensor.handle_; }
};

}  // namespace tidemark::detail
