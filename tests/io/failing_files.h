// A file system that fails: calls of the system that change files, in this program, of which one fails on demand.
#pragma once

#include <string>

namespace tidemark::io {

// From now on the call of this number (from 0) fails, and all after it where `all`; -1: none.
void fail_file_call(int number, bool all);
// Calls since then.
int file_calls();
// What the call that failed was: "fsync".
std::string failed_file_call();

}  // namespace tidemark::io
