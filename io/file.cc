#include "io/file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "tidemark/error.h"

namespace tidemark::io {

void File::read(std::int64_t at, std::int64_t count, void* to) const {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;  // the system reads no more than 2 GiB in a call
  auto* next = static_cast<std::uint8_t*>(to);
  while (count > 0) {
    const ssize_t got = ::pread(descriptor(), next, static_cast<std::size_t>(std::min(count, kMost)), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(at, absl::StrCat("cannot be read: ", std::strerror(errno)));
    if (got == 0) fail(at, absl::StrCat("the file ends here; it had ", size_, " bytes when it was opened"));
    next += got;
    at += got;
    count -= got;
  }
}

void File::fail(std::int64_t byte, const std::string& what) const {
  throw FileError(absl::StrCat(path_, ": byte ", byte, ": ", what));
}

}  // namespace tidemark::io
