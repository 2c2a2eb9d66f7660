// Where a leaf's elements come from when they are not in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace tidemark::detail {

struct LeafSource {
  std::string name;  // the parameter's
  // Bytes [first, first + count) of the leaf. Empty: it was made under DeferredInit, and has no elements yet.
  std::function<void(std::int64_t first, std::int64_t count, std::byte* to)> read;
  double seconds = 0;  // that reading all of it takes
};

}  // namespace tidemark::detail
