// Which version of Tidemark this is.
#pragma once

// Of these headers. It is written here alone: CMake reads this line.
#define TIDEMARK_VERSION "0.1.0"

#pragma GCC visibility push(default)
namespace tidemark {

// Of the library. It is another one than TIDEMARK_VERSION where a program finds a shared library that it was not
// compiled for.
const char* version();

}  // namespace tidemark
#pragma GCC visibility pop
