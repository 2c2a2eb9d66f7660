// Where a leaf's elements come from when they are not in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "autograd/storages.h"
#include "tidemark/meta.h"

namespace tidemark::detail {

struct LeafSource {
  std::string name = {};  // the parameter's
  Meta meta = {};
  // Bytes [first, first + count) of the leaf. Empty: it was made under DeferredInit, and has no elements yet.
  std::function<void(std::int64_t first, std::int64_t count, std::byte* to)> read = {};
  double seconds = 0;     // that reading all of it takes
  bool in_parts = false;  // reading it in parts takes no more

  int handles = 0;         // living ones
  bool used = false;       // an op has read it
  bool resident = false;   // is to stay in memory from step to step
  StorageId kept = kNone;  // between steps: where its elements are
  // Its value on the tape of that generation.
  std::int32_t value = kNone;
  std::uint32_t generation = 0;
};

}  // namespace tidemark::detail
