// What a Tensor points to: one object a value that the program holds.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/tape.h"

namespace tidemark::detail {

class Engine;

class Handle {
 public:
  Engine* engine = nullptr;  // null once the session is gone
  int refs = 0;
  Meta meta;
  bool requires_grad = false;
  bool leaf = false;
  bool parameter = false;
  bool keep = false;
  std::uint64_t generation = 0;  // of the tape that `value` belongs to
  ValueId value = kNone;
  StorageId storage = kNone;  // of leaves and settled values; else found through `value`
  std::int64_t offset = 0;    // of a view, into the storage
  Handle* grad = nullptr;     // of leaves: the accumulated gradient
  std::string lost;           // why it can no longer be read
  std::string graph_lost;     // why it can no longer go backward
  SourceLocation where;
  // All handles of an engine, so that it can settle, expire and orphan them.
  Handle* previous = nullptr;
  Handle* next = nullptr;
};

struct Access {
  static Tensor adopt(Handle* handle) {
    ++handle->refs;
    return Tensor(handle);
  }
  static Handle* handle(const Tensor& tensor) { return tensor.handle_; }
};

}  // namespace tidemark::detail
