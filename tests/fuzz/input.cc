#include "tests/fuzz/input.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace tidemark::fuzz {

std::uint8_t Input::byte() {
  const auto taken = take(1);
  return taken.empty() ? std::uint8_t{0} : taken[0];
}

std::uint64_t Input::word() {
  std::uint64_t bits = 0;
  for (int i = 0; i < 8; ++i) bits = bits << 8 | byte();
  return bits;
}

std::string Input::line() {
  const auto end = std::find(left_.begin(), left_.end(), std::uint8_t{'\n'});
  const auto taken = take(static_cast<std::size_t>(end - left_.begin()));
  take(1);
  return {taken.begin(), std::find(taken.begin(), taken.end(), std::uint8_t{0})};
}

std::span<const std::uint8_t> Input::take(std::size_t count) {
  const auto taken = left_.first(std::min(count, left_.size()));
  left_ = left_.subspan(taken.size());
  return taken;
}

MemoryFile::MemoryFile(std::span<const std::uint8_t> content) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  require(descriptor_ >= 0, "memfd_create");
  const ssize_t written = ::write(descriptor_, content.data(), content.size());
  require(written == static_cast<ssize_t>(content.size()), "a file in memory is not written whole");
}

MemoryFile::~MemoryFile() { ::close(descriptor_); }

std::string MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

const std::filesystem::path& folder() {
  struct Folder {
    Folder() {
      std::error_code none;
      const std::filesystem::path memory = "/dev/shm";
      const bool there = std::filesystem::is_directory(memory, none);
      path = (there ? memory : std::filesystem::temp_directory_path()) / ("tidemark-fuzz-" + std::to_string(getpid()));
      std::filesystem::create_directories(path);
    }
    ~Folder() {
      std::error_code none;
      std::filesystem::remove_all(path, none);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::filesystem::path path;
  };
  static const Folder kFolder;
  return kFolder.path;
}

void write_file(const std::filesystem::path& path, std::span<const std::uint8_t> content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  file.close();
  require(!file.fail(), "a file is not written whole");
}

std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void require(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

}  // namespace tidemark::fuzz
