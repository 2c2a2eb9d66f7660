// What the fuzz targets share: numbers drawn from the fuzzer's bytes, files that hold them, and checks that end the
// run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace tidemark::fuzz {

// Bytes that are used up from the front; zeros follow the last.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : left_(data, size) {}

  bool empty() const { return left_.empty(); }
  std::uint8_t byte();
  bool flag() { return byte() % 2 != 0; }
  std::uint64_t word();  // eight bytes
  // One byte decides, so at most 256 different ones.
  int number(int least, int most) { return least + byte() % (most - least + 1); }
  // Up to the next line's end, and up to the first zero in it: what an argument of a command can hold.
  std::string line();
  std::span<const std::uint8_t> take(std::size_t count);
  std::span<const std::uint8_t> rest() { return take(left_.size()); }

 private:
  std::span<const std::uint8_t> left_;
};

// A file in memory. Its path is good while it lives.
class MemoryFile {
 public:
  explicit MemoryFile(std::span<const std::uint8_t> content);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  std::string path() const;

 private:
  int descriptor_;
};

// A folder in memory where the system has such, of this process alone, gone when it ends.
const std::filesystem::path& folder();
void write_file(const std::filesystem::path& path, std::span<const std::uint8_t> content);
std::string read_whole(const std::filesystem::path& path);

// Ends the process where it does not hold, so that the fuzzer keeps the input.
void require(bool holds, std::string_view what);

}  // namespace tidemark::fuzz
