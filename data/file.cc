#include "data/file.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>

#include "tidemark/error.h"

namespace tidemark::data {
namespace {

constexpr unsigned kChunk = 1u << 20;

// All that `read` gives: it fills a chunk, and the last one less than whole.
template <class Read>
std::vector<std::uint8_t> read_all(const Read& read) {
  std::vector<std::uint8_t> bytes;
  std::size_t used = 0;
  while (true) {
    bytes.resize(used + kChunk);
    const std::size_t got = read(bytes.data() + used);
    used += got;
    if (got < kChunk) break;
  }
  bytes.resize(used);
  bytes.shrink_to_fit();
  return bytes;
}

std::vector<std::uint8_t> read_plain(const std::filesystem::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) fail(path, std::string("cannot be opened: ") + std::strerror(errno));
  std::vector<std::uint8_t> bytes = read_all([&](std::uint8_t* to) { return std::fread(to, 1, kChunk, file.get()); });
  if (std::ferror(file.get()) != 0) fail(path, std::ssize(bytes), "cannot be read");
  return bytes;
}

// Errors name the byte of the packed file that zlib has read up to.
std::vector<std::uint8_t> read_gzip(const std::filesystem::path& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), &gzclose);
  if (!file) fail(path, std::string("cannot be opened: ") + std::strerror(errno));
  gzbuffer(file.get(), kChunk);
  if (gzdirect(file.get()) != 0) {  // no gzip header: zlib would pass on what is there
    fail(path, 0, gzgetc(file.get()) < 0 ? "the gzip data ends too early" : "damaged gzip data (no gzip header)");
  }
  std::vector<std::uint8_t> bytes =
      read_all([&](std::uint8_t* to) { return static_cast<std::size_t>(std::max(0, gzread(file.get(), to, kChunk))); });
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

File read_file(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) fail(path, "is a directory, not a file");
  return {path, path.extension() == ".gz" ? read_gzip(path) : read_plain(path)};
}

std::vector<std::filesystem::path> list_directory(const std::filesystem::path& dir) {
  std::error_code error;
  std::filesystem::directory_iterator entries(dir, error);
  if (error) fail(dir, "cannot be read as a directory: " + error.message());
  std::vector<std::filesystem::path> files;
  for (const auto& entry : entries) {
    if (entry.is_regular_file(error)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace tidemark::data
