// What goes wrong, as exceptions with a text for people. The library prints nothing itself.
#pragma once

#include <stdexcept>
#include <string>

#pragma GCC visibility push(default)
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

// The budget cannot hold what the step needs. needed_bytes() is a budget that does where planned() holds, else only
// what it takes at least, as far as the step is known. exact(): no smaller budget is possible.
class BudgetError : public Error {
 public:
  enum class Needed { kAtLeast, kPlanned, kExactly };

  BudgetError(const std::string& what, long long needed_bytes, Needed needed)
      : Error(what), needed_bytes_(needed_bytes), needed_(needed) {}
  long long needed_bytes() const { return needed_bytes_; }
  bool planned() const { return needed_ != Needed::kAtLeast; }
  bool exact() const { return needed_ == Needed::kExactly; }

 private:
  long long needed_bytes_;
  Needed needed_;
};

// A data, graph or model file that is missing or damaged. Names the file and the byte.
class FileError : public Error {
 public:
  using Error::Error;
};

}  // namespace tidemark
#pragma GCC visibility pop
