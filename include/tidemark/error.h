// What goes wrong, as exceptions with a text for people. The library prints nothing itself.
#pragma once

#include <stdexcept>
#include <string>

namespace tidemark {

// A place in the user's program. As a defaulted argument it is the line of the call.
struct SourceLocation {
  const char* file = "";
  int line = 0;
  static constexpr SourceLocation current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// "vgg.cc:41": the file's last path component and the line; "unknown place" where there is none.
std::string to_string(SourceLocation where);

// The base of all errors: wrong calls, damaged files, broken promises.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Shapes, dtypes or indices that do not fit an op. Names both shapes and the user's line.
class ShapeError : public Error {
 public:
  using Error::Error;
};

// The budget cannot hold what the step needs. `needed_bytes` is the smallest budget known to be
// required; `exact` tells whether that figure was planned (true) or is a lower limit ("at least").
class BudgetError : public Error {
 public:
  BudgetError(const std::string& what, long long needed_bytes, bool exact)
      : Error(what), needed_bytes_(needed_bytes), exact_(exact) {}
  long long needed_bytes() const { return needed_bytes_; }
  bool exact() const { return exact_; }

 private:
  long long needed_bytes_;
  bool exact_;
};

// A data, graph or model file that is missing or damaged. Names the file and the byte.
class FileError : public Error {
 public:
  using Error::Error;
};

}  // namespace tidemark
