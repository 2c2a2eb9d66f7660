#include "data/file.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <system_error>

#include "tidemark/error.h"

namespace tidemark::data {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;

std::vector<std::uint8_t> read_raw(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) fail(path, "is a directory, not a file");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) fail(path, std::string("cannot be opened: ") + std::strerror(errno));
  std::vector<std::uint8_t> bytes;
  std::size_t used = 0;
  while (true) {
    bytes.resize(used + kChunk);
    const std::size_t got = std::fread(bytes.data() + used, 1, kChunk, file.get());
    used += got;
    if (got < kChunk) break;
  }
  if (std::ferror(file.get()) != 0) fail(path, static_cast<std::int64_t>(used), "cannot be read");
  bytes.resize(used);
  bytes.shrink_to_fit();
  return bytes;
}

// Owns a zlib stream for gzip members.
struct Inflater {
  Inflater() {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream, kGzipOnly) != Z_OK) throw Error("zlib cannot be initialised");
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};
};

std::vector<std::uint8_t> gunzip(const std::filesystem::path& path, const std::vector<std::uint8_t>& in) {
  std::vector<std::uint8_t> out;
  std::size_t used = 0;
  std::size_t position = 0;
  Inflater inflater;
  z_stream& stream = inflater.stream;
  bool ended = true;  // of a member; a file may hold several
  do {
    if (ended && position > 0) inflateReset(&stream);
    out.resize(used + std::max(kChunk, in.size()));
    constexpr std::size_t kMost = std::numeric_limits<uInt>::max();
    const std::size_t give = std::min(in.size() - position, kMost);
    const std::size_t room = std::min(out.size() - used, kMost);
    stream.next_in = const_cast<Bytef*>(in.data() + position);  // zlib does not write to its input
    stream.avail_in = static_cast<uInt>(give);
    stream.next_out = out.data() + used;
    stream.avail_out = static_cast<uInt>(room);
    const int status = inflate(&stream, Z_NO_FLUSH);
    position += give - stream.avail_in;
    used += room - stream.avail_out;
    ended = status == Z_STREAM_END;
    const auto at = static_cast<std::int64_t>(position);
    if (status == Z_BUF_ERROR || (status == Z_OK && position == in.size() && stream.avail_out > 0)) {
      fail(path, at, "the gzip data ends too early");
    }
    if (status != Z_OK && !ended) {
      fail(path, at, std::string("damaged gzip data (") + (stream.msg ? stream.msg : "unknown reason") + ")");
    }
  } while (!ended || position < in.size());
  out.resize(used);
  out.shrink_to_fit();
  return out;
}

}  // namespace

void fail(const std::filesystem::path& path, std::int64_t byte, const std::string& message) {
  throw FileError(path.string() + ": byte " + std::to_string(byte) + ": " + message);
}

void fail(const std::filesystem::path& path, const std::string& message) {
  throw FileError(path.string() + ": " + message);
}

File read_file(const std::filesystem::path& path) {
  File file{path, read_raw(path)};
  if (path.extension() == ".gz") file.bytes = gunzip(path, file.bytes);
  return file;
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
