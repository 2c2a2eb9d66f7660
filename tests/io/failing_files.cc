#include "tests/io/failing_files.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdarg>
#include <cstddef>

namespace {

int number_to_fail = -1;
bool all_after = false;
int calls = 0;
const char* failed = "";

// Errors that each call has on a disk that is full or broken.
bool fails(const char* name, int error) {
  const int number = calls++;
  if (number_to_fail < 0 || (all_after ? number < number_to_fail : number != number_to_fail)) return false;
  failed = name;
  errno = error;
  return true;
}

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// The linker takes these in place of the C library's for all that this program's own code calls.
extern "C" {

ssize_t write(int descriptor, const void* bytes, std::size_t count) {
  static auto* const real = next<ssize_t(int, const void*, std::size_t)>("write");
  if (descriptor <= 2) return real(descriptor, bytes, count);
  if (!fails("write", ENOSPC)) return real(descriptor, bytes, count);
  // A disk takes what it still has room for.
  if (count > 1) (void)!real(descriptor, bytes, count / 2);
  errno = ENOSPC;
  return -1;
}

int fsync(int descriptor) {
  static auto* const real = next<int(int)>("fsync");
  return fails("fsync", EIO) ? -1 : real(descriptor);
}

int rename(const char* from, const char* to) {
  static auto* const real = next<int(const char*, const char*)>("rename");
  return fails("rename", EIO) ? -1 : real(from, to);
}

int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  static auto* const real = next<int(int, const char*, int, const char*, int)>("linkat");
  return fails("linkat", EIO) ? -1 : real(from_folder, from, to_folder, to, flags);
}

int link(const char* from, const char* to) {
  static auto* const real = next<int(const char*, const char*)>("link");
  return fails("link", EPERM) ? -1 : real(from, to);
}

}  // extern "C"

namespace tidemark::io {

void fail_file_call(int number, bool all) {
  number_to_fail = number;
  all_after = all;
  calls = 0;
  failed = "";
}
int file_calls() { return calls; }
std::string failed_file_call() { return failed; }

}  // namespace tidemark::io
