// Files read whole, plain or gzipped, with errors that name the file and the byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tidemark::data {

struct File {
  std::filesystem::path path;
  std::vector<std::uint8_t> bytes;  // after decompression; errors count in these
};

// Decompresses where the name ends in .gz. Throws FileError.
File read_file(const std::filesystem::path& path);

// "dir/name: byte 17: message".
[[noreturn]] void fail(const std::filesystem::path& path, std::int64_t byte, const std::string& message);
// "dir/name: message".
[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message);

// The directory's regular files, sorted by name. Throws FileError where it is none.
std::vector<std::filesystem::path> list_directory(const std::filesystem::path& dir);

}  // namespace tidemark::data
