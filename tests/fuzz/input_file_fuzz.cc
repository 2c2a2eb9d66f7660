// Files and pipes read whole: the bytes are those that were written, or there are more than the most that is allowed.
#include <unistd.h>

#include <algorithm>
#include <string>

#include "core/input_file.h"
#include "tests/fuzz/input.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;
using Bytes = std::span<const std::uint8_t>;

void check_file(const std::string& path, Bytes content, std::int64_t most, core::InputFile::Pipes pipes) {
  const auto size = static_cast<std::int64_t>(content.size());
  try {
    const core::Bytes read = core::read_file(path, most, pipes);
    require(size <= most && std::equal(read.begin(), read.end(), content.begin(), content.end()), "what was written");
  } catch (const FileError& error) {
    require(size > most && std::string(error.what()).starts_with(path), "what fits is read");
  }
}

void check_pipe(Bytes content, std::int64_t most) {
  int ends[2];
  require(::pipe(ends) == 0, "pipe");
  const ssize_t written = ::write(ends[1], content.data(), content.size());
  ::close(ends[1]);
  require(written == static_cast<ssize_t>(content.size()), "a pipe takes 64 KiB");
  check_file("/proc/self/fd/" + std::to_string(ends[0]), content, most, core::InputFile::Pipes::kRead);
  ::close(ends[0]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const std::int64_t most = input.number(0, 255) * input.number(0, 255);
  const auto expected = static_cast<std::int64_t>(input.word());
  const std::size_t part = static_cast<std::size_t>(input.number(1, 256));
  const Bytes content = input.take(60'000);
  const fuzz::MemoryFile file(content);
  check_file(file.path(), content, most, core::InputFile::Pipes::kRefused);
  check_pipe(content, most);

  Bytes left = content;
  const auto read = core::read_bounded(most, expected, [&](std::uint8_t* to, std::size_t count) {
    const Bytes now = left.first(std::min({left.size(), count, part}));
    std::copy(now.begin(), now.end(), to);
    left = left.subspan(now.size());
    return now.size();
  });
  require(read.has_value() == (static_cast<std::int64_t>(content.size()) <= most), "what fits is read");
  if (read) require(std::equal(read->begin(), read->end(), content.begin(), content.end()), "what was written");
  return 0;
}
