#include "tests/autograd/failing_allocator.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <string_view>

// NOLINTBEGIN(bugprone-reserved-identifier): the names are glibc's.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* pointer, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace tidemark::test {
namespace {

std::atomic<bool> watching = false;
std::atomic<std::int64_t> count = 0;
std::atomic<std::int64_t> chosen = 0;
std::atomic<Refuse> kind = Refuse::kNothing;
Refused* noted = nullptr;
thread_local bool inside = false;  // what is called below may allocate

std::string_view file_name(const char* path) {
  const std::string_view text = path == nullptr ? "" : path;
  return text.substr(text.rfind('/') + 1);
}

// The first frame that is neither this allocator nor a library that only passes the wish on.
void note() {
  if (noted == nullptr || noted->any) return;
  noted->any = true;
  void* frames[24];
  const int depth = backtrace(frames, 24);
  for (int i = 0; i < depth; ++i) {
    Dl_info info;
    if (dladdr(frames[i], &info) == 0) continue;
    const std::string_view file = file_name(info.dli_fname);
    if (!file.starts_with("libdnnl") && !file.starts_with("libgomp")) continue;
    std::snprintf(noted->library, sizeof noted->library, "%.*s", 7, file.data());
    return;
  }
}

bool refused() {
  if (!watching.load(std::memory_order_relaxed) || inside) return false;
  const std::int64_t number = ++count;
  const Refuse now = kind;
  const bool hit = (now == Refuse::kOne && number == chosen) || (now == Refuse::kThisAndLater && number >= chosen);
  if (!hit) return false;
  inside = true;
  note();
  inside = false;
  errno = ENOMEM;
  return true;
}

}  // namespace

void watch_allocations(Refuse refuse, std::int64_t number) {
  void* frames[4];
  (void)backtrace(frames, 4);  // the first call loads a library
  count = 0;
  chosen = number;
  kind = refuse;
  watching = true;
}

std::int64_t end_of_watch() {
  watching = false;
  return count;
}

void note_refusals_at(Refused* where) { noted = where; }

}  // namespace tidemark::test

extern "C" {

void* malloc(std::size_t bytes) { return tidemark::test::refused() ? nullptr : __libc_malloc(bytes); }

void* calloc(std::size_t count, std::size_t bytes) {
  return tidemark::test::refused() ? nullptr : __libc_calloc(count, bytes);
}

void* realloc(void* pointer, std::size_t bytes) {
  return tidemark::test::refused() ? nullptr : __libc_realloc(pointer, bytes);
}

void* memalign(std::size_t alignment, std::size_t bytes) {
  return tidemark::test::refused() ? nullptr : __libc_memalign(alignment, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) {
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0) return EINVAL;
  void* pointer = memalign(alignment, bytes);
  if (pointer == nullptr) return ENOMEM;
  *out = pointer;
  return 0;
}

void* mmap(void* address, std::size_t bytes, int protection, int flags, int file, off_t offset) {
  if (tidemark::test::refused()) return MAP_FAILED;
  return reinterpret_cast<void*>(syscall(SYS_mmap, address, bytes, protection, flags, file, offset));
}

}  // extern "C"
