#include "compute/malloc_hook.h"

#include <cerrno>
#include <cstddef>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TIDEMARK_MALLOC_HOOK 0
#else
#define TIDEMARK_MALLOC_HOOK 1
#endif
// Clang says it this way.
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef TIDEMARK_MALLOC_HOOK
#define TIDEMARK_MALLOC_HOOK 0
#endif
#endif

#if TIDEMARK_MALLOC_HOOK

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

// NOLINTBEGIN(bugprone-reserved-identifier): the names are glibc's.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* pointer, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
void __libc_free(void* pointer);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace tidemark::compute {
namespace {

// The blocks allocated under the watch, so that freeing an older one counts for nothing. Nothing here may allocate.
// A hash table with linear probing; blocks beyond its capacity stay counted after they are freed.
class Record {
 public:
  bool watching() const { return watching_.load(std::memory_order_relaxed); }

  bool start() {
    const Lock lock(*this);
    if (watching()) return false;
    slots_.fill({});
    used_ = 0;
    live_ = peak_ = largest_ = 0;
    watching_.store(true, std::memory_order_relaxed);
    return true;
  }
  void stop() {
    const Lock lock(*this);
    watching_.store(false, std::memory_order_relaxed);
  }

  void allocated(void* pointer, std::size_t bytes) {
    if (pointer == nullptr) return;
    const Lock lock(*this);
    const auto size = static_cast<std::int64_t>(bytes);
    live_ += size;
    peak_ = std::max(peak_, live_);
    largest_ = std::max(largest_, size);
    if (used_ == kCapacity / 2) return;
    ++used_;
    std::size_t i = home(pointer);
    while (slots_[i].pointer != nullptr) i = next(i);
    slots_[i] = {pointer, size};
  }

  void freed(void* pointer) {
    if (pointer == nullptr) return;
    const Lock lock(*this);
    std::size_t i = home(pointer);
    while (slots_[i].pointer != pointer) {
      if (slots_[i].pointer == nullptr) return;
      i = next(i);
    }
    live_ -= slots_[i].bytes;
    --used_;
    // Close the gap: a later entry of the same run moves up unless its home lies past the gap.
    for (std::size_t j = next(i); slots_[j].pointer != nullptr; j = next(j)) {
      if (((j - home(slots_[j].pointer)) & kMask) >= ((j - i) & kMask)) {
        slots_[i] = slots_[j];
        i = j;
      }
    }
    slots_[i] = {};
  }

  std::int64_t peak() {
    const Lock lock(*this);
    return peak_;
  }
  std::int64_t largest() {
    const Lock lock(*this);
    return largest_;
  }

 private:
  static constexpr std::size_t kCapacity = std::size_t{1} << 16;
  static constexpr std::size_t kMask = kCapacity - 1;
  struct Slot {
    void* pointer = nullptr;
    std::int64_t bytes = 0;
  };
  struct Lock {
    explicit Lock(Record& record) : busy(record.busy_) {
      while (busy.test_and_set(std::memory_order_acquire)) {
      }
    }
    ~Lock() { busy.clear(std::memory_order_release); }
    std::atomic_flag& busy;
  };

  static std::size_t home(const void* pointer) {
    return (reinterpret_cast<std::uintptr_t>(pointer) * 0x9E3779B97F4A7C15u) >> 48;
  }
  static std::size_t next(std::size_t i) { return (i + 1) & kMask; }

  std::atomic<bool> watching_{false};
  std::atomic_flag busy_;
  std::array<Slot, kCapacity> slots_{};
  std::size_t used_ = 0;
  std::int64_t live_ = 0;
  std::int64_t peak_ = 0;
  std::int64_t largest_ = 0;
};

constinit Record record;

void* note(void* pointer, std::size_t bytes) {
  if (record.watching()) record.allocated(pointer, bytes);
  return pointer;
}

bool power_of_two(std::size_t n) { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace

MallocWatch::MallocWatch() {
  if (!record.start()) throw std::logic_error("one MallocWatch at a time");
}
MallocWatch::~MallocWatch() { record.stop(); }
std::int64_t MallocWatch::peak_bytes() const { return record.peak(); }
std::int64_t MallocWatch::largest_bytes() const { return record.largest(); }

}  // namespace tidemark::compute

// Also for the shared libraries that the process loads.
#pragma GCC visibility push(default)
extern "C" {

void* malloc(std::size_t bytes) { return tidemark::compute::note(__libc_malloc(bytes), bytes); }

void* calloc(std::size_t count, std::size_t bytes) {
  return tidemark::compute::note(__libc_calloc(count, bytes), count * bytes);
}

// Taken out of the record before the C library may give its address to another thread, as in free.
void* realloc(void* pointer, std::size_t bytes) {
  if (tidemark::compute::record.watching()) tidemark::compute::record.freed(pointer);
  return tidemark::compute::note(__libc_realloc(pointer, bytes), bytes);
}

void free(void* pointer) {
  if (tidemark::compute::record.watching()) tidemark::compute::record.freed(pointer);
  __libc_free(pointer);
}

void* memalign(std::size_t alignment, std::size_t bytes) {
  return tidemark::compute::note(__libc_memalign(alignment, bytes), bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void** out, std::size_t alignment, std::size_t bytes) {
  if (alignment % sizeof(void*) != 0 || !tidemark::compute::power_of_two(alignment)) return EINVAL;
  const int saved = errno;
  void* pointer = memalign(alignment, bytes);
  errno = saved;
  if (pointer == nullptr) return ENOMEM;
  *out = pointer;
  return 0;
}

void* valloc(std::size_t bytes) { return memalign(static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), bytes); }

}  // extern "C"
#pragma GCC visibility pop

#else

namespace tidemark::compute {

MallocWatch::MallocWatch() = default;
MallocWatch::~MallocWatch() = default;
std::int64_t MallocWatch::peak_bytes() const { return 0; }
std::int64_t MallocWatch::largest_bytes() const { return 0; }

}  // namespace tidemark::compute

#endif
