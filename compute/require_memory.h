// Whether the system has the memory that code below this library is going to take without asking whether it got it.
#pragma once

#include <cstdint>

namespace tidemark::compute {

// Throws std::bad_alloc where the process cannot have so many bytes more (address space, overcommitment).
void require_memory(std::int64_t bytes);

}  // namespace tidemark::compute
