// A file whose parts are read by their places.
#pragma once

#include <cstdint>
#include <string>

#include "core/input_file.h"

namespace tidemark::io {

class File {
 public:
  explicit File(const std::string& path) : path_(path), file_(path), size_(file_.size()) {}

  const std::string& path() const { return path_; }
  std::int64_t size() const { return size_; }
  int descriptor() const { return file_.descriptor(); }

  // Throws FileError where the file has fewer bytes by now.
  void read(std::int64_t at, std::int64_t count, void* to) const;
  // "path: byte 17: what".
  [[noreturn]] void fail(std::int64_t byte, const std::string& what) const;

 private:
  std::string path_;
  core::InputFile file_;
  std::int64_t size_;
};

// Unsigned numbers of 2, 4 and 8 bytes, the lowest first.
template <class T>
T little_endian(const std::uint8_t* from) {
  T value = 0;
  for (unsigned i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | T{from[i]} << 8 * i);
  return value;
}
template <class T>
void append_little_endian(std::string& to, T value) {
  for (unsigned i = 0; i < sizeof(T); ++i) to += static_cast<char>(value >> 8 * i & 0xFF);
}

}  // namespace tidemark::io
