// An allocator that refuses one allocation of its choice: malloc and its kin, and mmap, of every thread. The executable
// that links it uses it for everything, so it goes into a test of its own; sanitizers bring their own allocator.
#pragma once

#include <cstdint>

namespace tidemark::test {

enum class Refuse { kNothing, kOne, kThisAndLater };

// Counts from here on, and refuses the allocation with this number, from 1.
void watch_allocations(Refuse refuse, std::int64_t number);
// Returns how many there were.
std::int64_t end_of_watch();

// Who asked for the first allocation that was refused: libdnnl, libgomp, or "" for the program itself. Functions of the
// C and C++ libraries count for who called them.
struct Refused {
  bool any = false;
  char library[64] = "";
};
// `where` has to outlive the process where another one is to read it.
void note_refusals_at(Refused* where);

}  // namespace tidemark::test
