// Files read whole, plain or gzipped and up to a bound, with errors that name the file and the byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/input_file.h"

namespace tidemark::data {

struct File {
  std::filesystem::path path;
  core::Bytes bytes;  // after decompression; errors count in these
};

// The most that the files of one source hold; while they are read, they take twice as much at most.
inline constexpr std::int64_t kMostBytes = std::int64_t{1} << 30;

// Decompresses where the name ends in .gz. Throws FileError, also where the bytes are more than `most`. Regular files
// only: a pipe could be read once, and each split reads its files.
File read_file(const std::filesystem::path& path, std::int64_t most);

// "dir/name: byte 17: message".
[[noreturn]] void fail(const std::filesystem::path& path, std::int64_t byte, const std::string& message);
// "dir/name: message".
[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message);

// What is in the directory, but for other directories, sorted by name. Throws FileError where it is none.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& dir);

}  // namespace tidemark::data
