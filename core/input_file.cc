#include "core/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::core {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;

// Why a file of this kind is not read; null where it is.
const char* refusal(mode_t mode, InputFile::Pipes pipes) {
  if (S_ISREG(mode) || (S_ISFIFO(mode) && pipes == InputFile::Pipes::kRead)) return nullptr;
  if (S_ISDIR(mode)) return "is a directory, not a file";
  if (S_ISFIFO(mode)) return "is a pipe, not a file";
  return "is a device, not a file";
}

}  // namespace

InputFile::InputFile(std::string path, Pipes pipes) : path_(std::move(path)) {
  // Without O_NONBLOCK a pipe without a writer would hold the process until there is one.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor_ < 0) throw FileError(absl::StrCat(path_, ": cannot be opened: ", std::strerror(errno)));
  struct stat status {};
  const char* why = ::fstat(descriptor_, &status) == 0 ? refusal(status.st_mode, pipes) : std::strerror(errno);
  // Those who have a pipe open for writing may be slower than the reads, which therefore wait.
  if (why == nullptr && ::fcntl(descriptor_, F_SETFL, O_RDONLY) != 0) why = std::strerror(errno);
  if (why != nullptr) {
    const std::string text = absl::StrCat(path_, ": ", why);
    ::close(descriptor_);
    throw FileError(text);
  }
  if (S_ISREG(status.st_mode)) size_ = status.st_size;
}

InputFile::~InputFile() { ::close(descriptor_); }

std::size_t InputFile::read(std::uint8_t* to, std::size_t most) {
  while (true) {
    const ssize_t got = ::read(descriptor_, to, most);
    if (got >= 0) {
      position_ += got;
      return static_cast<std::size_t>(got);
    }
    if (errno != EINTR) {
      throw FileError(absl::StrCat(path_, ": byte ", position_, ": cannot be read: ", std::strerror(errno)));
    }
  }
}

std::optional<Bytes> read_bounded(std::int64_t most, std::int64_t expected,
                                  const std::function<std::size_t(std::uint8_t* to, std::size_t most)>& read) {
  const auto end = static_cast<std::size_t>(most) + 1;  // one more byte shows that it is too much
  Bytes bytes;
  bytes.reserve(static_cast<std::size_t>(std::clamp<std::int64_t>(expected, 0, most)) + 1);
  std::size_t used = 0;
  while (true) {
    if (used == bytes.size()) {
      const std::size_t size = std::min(used + kChunk, end);
      if (size > bytes.capacity()) bytes.reserve(std::min(std::max(2 * bytes.capacity(), size), end));
      bytes.resize(size);
    }
    const std::size_t got = read(bytes.data() + used, bytes.size() - used);
    if (got == 0) break;
    used += got;
    if (used == end) return std::nullopt;
  }
  bytes.resize(used);
  if (bytes.capacity() - used > kChunk) bytes.shrink_to_fit();
  return bytes;
}

Bytes read_file(const std::string& path, std::int64_t most, InputFile::Pipes pipes) {
  InputFile file(path, pipes);
  try {
    if (file.size() <= most) {
      std::optional<Bytes> bytes =
          read_bounded(most, file.size(), [&](std::uint8_t* to, std::size_t count) { return file.read(to, count); });
      if (bytes) return *std::move(bytes);
    }
  } catch (const std::bad_alloc&) {
    throw FileError(absl::StrCat(path, ": does not fit into the memory that is left"));
  }
  throw FileError(absl::StrCat(path, ": is longer than ", format_bytes(most), ", the most that is read"));
}

}  // namespace tidemark::core
