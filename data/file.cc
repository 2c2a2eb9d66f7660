#include "data/file.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::data {
namespace {

constexpr unsigned kChunk = 1u << 20;

// Errors name the byte of the packed file that zlib has read up to. Nothing where there are more than `most` bytes.
std::optional<core::Bytes> read_gzip(const std::filesystem::path& path, std::int64_t most) {
  const core::InputFile packed(path);
  const int descriptor = ::dup(packed.descriptor());  // gzclose() closes it
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzdopen(descriptor, "rb"), &gzclose);
  if (!file) {
    if (descriptor >= 0) ::close(descriptor);
    fail(path, "cannot be opened a second time");
  }
  gzbuffer(file.get(), kChunk);
  if (gzdirect(file.get()) != 0) {  // no gzip header: zlib would pass on what is there
    fail(path, 0, gzgetc(file.get()) < 0 ? "the gzip data ends too early" : "damaged gzip data (no gzip header)");
  }
  std::optional<core::Bytes> bytes =
      core::read_bounded(most, 2 * std::min(packed.size(), most), [&](std::uint8_t* to, std::size_t count) {
        const auto part = static_cast<unsigned>(std::min<std::size_t>(count, kChunk));
        return static_cast<std::size_t>(std::max(0, gzread(file.get(), to, part)));
      });
  if (!bytes) return bytes;
  int error = Z_OK;
  const std::string reason = gzerror(file.get(), &error);  // "path: reason"
  const std::int64_t at = gzoffset(file.get());
  if (error == Z_BUF_ERROR) fail(path, at, "the gzip data ends too early");
  if (error == Z_ERRNO) fail(path, at, "cannot be read");
  if (error != Z_OK) fail(path, at, "damaged gzip data (" + reason.substr(reason.rfind(": ") + 2) + ")");
  return bytes;
}

}  // namespace

void fail(const std::filesystem::path& path, std::int64_t byte, const std::string& message) {
  throw FileError(path.string() + ": byte " + std::to_string(byte) + ": " + message);
}

void fail(const std::filesystem::path& path, const std::string& message) {
  throw FileError(path.string() + ": " + message);
}

File read_file(const std::filesystem::path& path, std::int64_t most) {
  if (path.extension() != ".gz") return {path, core::read_file(path, most, core::InputFile::Pipes::kRefused)};
  try {
    if (std::optional<core::Bytes> bytes = read_gzip(path, most)) return {path, *std::move(bytes)};
  } catch (const std::bad_alloc&) {
    fail(path, "does not fit into the memory that is left");
  }
  fail(path, "holds more than " + format_bytes(most) + ", the most that is read");
}

std::vector<std::filesystem::path> list_directory(const std::filesystem::path& dir) {
  std::error_code error;
  std::filesystem::directory_iterator entries(dir, error);
  if (error) fail(dir, "cannot be read as a directory: " + error.message());
  std::vector<std::filesystem::path> files;
  std::error_code of_entry;  // of a link that leads nowhere, say: whoever reads that hears of it
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    if (!entries->is_directory(of_entry)) files.push_back(entries->path());
  }
  if (error) fail(dir, "cannot be read to its end: " + error.message());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace tidemark::data
