#include "compute/require_memory.h"

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace tidemark::compute {

void require_memory(std::int64_t bytes) {
  const auto size = static_cast<std::size_t>(bytes);
  void* start = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) throw std::bad_alloc();
  munmap(start, size);
}

}  // namespace tidemark::compute
