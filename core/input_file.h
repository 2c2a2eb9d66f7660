// Files as they are read: regular ones, and pipes where the caller can use them. Whatever a name leads to, what is held
// in memory is bounded, and what goes wrong is a FileError that names the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace tidemark::core {

using Bytes = std::vector<std::uint8_t>;

class InputFile {
 public:
  enum class Pipes { kRefused, kRead };

  // Never waits: a pipe that nobody has opened for writing is an empty file. Devices and directories are refused.
  explicit InputFile(std::string path, Pipes pipes = Pipes::kRefused);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  int descriptor() const { return descriptor_; }
  // When it was opened; 0 of a pipe.
  std::int64_t size() const { return size_; }
  // The next bytes, `most` or fewer; none at the end.
  std::size_t read(std::uint8_t* to, std::size_t most);

 private:
  std::string path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
  std::int64_t position_ = 0;
};

// All that `read` gives until it gives none; nothing where that is more than `most` bytes, of which twice as many are
// held at any time. `expected` is what it will probably be.
std::optional<Bytes> read_bounded(std::int64_t most, std::int64_t expected,
                                  const std::function<std::size_t(std::uint8_t* to, std::size_t most)>& read);

// The whole file. Throws FileError where it has more than `most` bytes, before it reads any where its size says so.
Bytes read_file(const std::string& path, std::int64_t most, InputFile::Pipes pipes);

}  // namespace tidemark::core
