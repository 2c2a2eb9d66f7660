// What a program takes from the heap while a test watches: linked by tests only (target tidemark_malloc_hook), it
// stands in for the allocation functions of the executable and of the libraries it loads, and passes every call on to
// the C library. It finds kernels that take memory which nobody announced.
#pragma once

#include <cstdint>

namespace tidemark::compute {

// While it lives, allocations of all threads are recorded. One at a time: a second throws std::logic_error. Under
// sanitizers, which bring an allocator of their own, nothing is recorded, and all figures are 0.
class MallocWatch {
 public:
  MallocWatch();
  ~MallocWatch();
  MallocWatch(const MallocWatch&) = delete;
  MallocWatch& operator=(const MallocWatch&) = delete;

  // Bytes allocated since construction and not yet freed: at most, and in the largest single allocation.
  std::int64_t peak_bytes() const;
  std::int64_t largest_bytes() const;
};

}  // namespace tidemark::compute
