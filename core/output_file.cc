#include "core/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tidemark/error.h"

namespace tidemark::core {
namespace {

using Status = struct stat;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw FileError(absl::StrCat(path, ": cannot be written: ", why));
}
[[noreturn]] void refuse(const std::string& path) { refuse(path, std::strerror(errno)); }

bool same(const Status& a, const Status& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// "a/b" -> "a/", "b" -> "./".
std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

std::optional<std::string> without_links(const std::string& path) {
  std::array<char, PATH_MAX> whole{};
  if (::realpath(path.c_str(), whole.data()) == nullptr) return std::nullopt;
  return whole.data();
}

// What a symbolic link says; nothing where it is none.
std::optional<std::string> link_at(const std::string& path) {
  std::array<char, PATH_MAX> text{};
  const ssize_t length = ::readlink(path.c_str(), text.data(), text.size() - 1);
  if (length <= 0) return std::nullopt;
  return text[0] == '/' ? text.data() : folder_of(path) + text.data();
}

struct Place {
  std::string target;             // to replace; empty: to write as it is
  std::optional<Status> present;  // what is there
  int own = -1;                   // the process's own stream that it is
};

Place find_place(const std::string& path) {
  Place place;
  Status status{};
  std::string target = path;
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) refuse(path, "it is a directory, not a file");
    place.present = status;
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
      Status own{};
      if (::fstat(stream, &own) == 0 && same(own, status)) place.own = stream;
    }
    const std::optional<std::string> whole = without_links(path);
    if (place.own >= 0 || !S_ISREG(status.st_mode) || !whole) return place;
    // The rename would not ask.
    if (::faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) refuse(path);
    target = *whole;
  } else if (errno != ENOENT) {
    refuse(path);
  } else if (const auto link = link_at(path)) {  // to a file that is yet to be made
    return find_place(*link);
  }
  const std::string folder = folder_of(target);
  if (target.empty() || target.back() == '/') refuse(path, "it names no file");
  if (::faccessat(AT_FDCWD, folder.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    refuse(path, absl::StrCat("folder ", folder, ": ", std::strerror(errno)));
  }
  place.target = target;
  return place;
}

// A pipe waits for whoever reads it, but not for ever.
int open_as_it_is(const std::string& path, int own) {
  if (own >= 0) {
    const int descriptor = ::fcntl(own, F_DUPFD_CLOEXEC, 0);
    if (descriptor < 0) refuse(path);
    return descriptor;
  }
  constexpr int kTries = 1000;
  constexpr useconds_t kPause = 10'000;  // microseconds
  int descriptor = -1;
  for (int i = 0; descriptor < 0; ++i) {
    descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor >= 0) break;
    if (errno != ENXIO) refuse(path);
    if (i == kTries) refuse(path, "nobody has read from this pipe for 10 seconds");
    ::usleep(kPause);
  }
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
  return descriptor;
}

// A name of its own, not one made of the target's, which may be as long as names can be. Another may be there from a
// process of the same number that was killed.
std::string temporary_name(const std::string& target, int i) {
  return absl::StrCat(folder_of(target), ".tidemark-", ::getpid(), "-", i);
}

std::string name_of(int descriptor) { return absl::StrCat("/proc/self/fd/", descriptor); }

// The last `count` bytes that were written through `descriptor`, where they can be taken back.
void take_back(int descriptor, off_t count) {
  Status status{};
  const off_t end = ::lseek(descriptor, 0, SEEK_CUR);
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size != end) return;
  if (::ftruncate(descriptor, end - count) == 0) ::lseek(descriptor, end - count, SEEK_SET);
}

}  // namespace

OutputFile::OutputFile(const std::string& path) : path_(path) {
  const Place place = find_place(path);
  target_ = place.target;
  if (target_.empty()) {
    descriptor_ = open_as_it_is(path, place.own);
    return;
  }
  // Without a name there is nothing left of it where the process is killed.
  const int nameless = ::open(folder_of(target_).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (nameless >= 0 && ::access(name_of(nameless).c_str(), F_OK) == 0) {
    descriptor_ = nameless;
    nameless_ = true;
  } else if (nameless >= 0) {  // no name could be given to it later
    ::close(nameless);
  }
  for (int i = 0; descriptor_ < 0; ++i) {
    temporary_ = temporary_name(target_, i);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) refuse(path, absl::StrCat(temporary_, ": ", std::strerror(errno)));
  }
  if (place.present) {
    // Who may not give a file to its old owner owns the new one.
    static_cast<void>(::fchown(descriptor_, place.present->st_uid, place.present->st_gid) != 0);
    static_cast<void>(::fchmod(descriptor_, place.present->st_mode & 07777) != 0);
  }
}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  ::close(descriptor_);
}

void OutputFile::check(const std::string& path) { static_cast<void>(find_place(path)); }

void OutputFile::append(std::string_view bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t got = ::write(descriptor_, bytes.data() + written, bytes.size() - written);
    if (got >= 0) {
      written += static_cast<std::size_t>(got);
    } else if (errno != EINTR) {
      const std::string why = std::strerror(errno);
      if (written > 0) take_back(descriptor_, static_cast<off_t>(written));
      refuse(path_, why);
    }
  }
}

void OutputFile::publish() {
  // EINVAL: a device or pipe that has nothing to wait for.
  if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != EROFS) refuse(path_);
  if (nameless_) {
    for (int i = 0;; ++i) {
      temporary_ = temporary_name(target_, i);
      if (::linkat(AT_FDCWD, name_of(descriptor_).c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) == 0) break;
      const int why = errno;
      temporary_.clear();
      if (why != EEXIST) refuse(path_, std::strerror(why));
    }
    nameless_ = false;
  }
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) refuse(path_);
  temporary_.clear();
  sync_folder(target_);
}

void OutputFile::sync_folder(const std::string& path) {
  const int folder = ::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  ::fsync(folder);
  ::close(folder);
}

bool same_file(const std::string& a, const std::string& b) {
  Status first{};
  Status second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && same(first, second) &&
         (S_ISREG(first.st_mode) || S_ISBLK(first.st_mode));
}

}  // namespace tidemark::core
