#include "compute/malloc_hook.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

namespace tidemark::compute {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

class MallocHook : public testing::Test {
 protected:
  // The compiler may not know that the block is unused.
  static void touch(void* pointer) { *static_cast<volatile char*>(pointer) = 1; }
};

TEST_F(MallocHook, RecordsPeakAndLargest) {
  const MallocWatch watch;
  for (int i = 0; i < 3; ++i) {
    void* block = std::malloc(2 * kMiB);
    touch(block);
    std::free(block);
  }
  EXPECT_EQ(watch.largest_bytes(), 2 * kMiB);
  EXPECT_GE(watch.peak_bytes(), 2 * kMiB);
  EXPECT_LT(watch.peak_bytes(), 3 * kMiB);
  void* a = std::malloc(kMiB);
  void* b = std::malloc(2 * kMiB);
  touch(a);
  touch(b);
  EXPECT_GE(watch.peak_bytes(), 3 * kMiB);
  std::free(a);
  std::free(b);
}

TEST_F(MallocHook, FreeingOlderBlocksHidesNothing) {
  void* older = std::malloc(8 * kMiB);
  touch(older);
  const MallocWatch watch;
  std::free(older);
  void* block = std::malloc(kMiB);
  touch(block);
  EXPECT_GE(watch.peak_bytes(), kMiB);
  std::free(block);
}

TEST_F(MallocHook, SeesEveryWayToAllocate) {
  const auto seen = [](auto&& allocate) {
    const MallocWatch watch;
    void* block = allocate();
    touch(block);
    const std::int64_t largest = watch.largest_bytes();
    std::free(block);
    return largest;
  };
  EXPECT_EQ(seen([] { return std::calloc(3, kMiB); }), 3 * kMiB);
  EXPECT_EQ(seen([] { return std::realloc(std::malloc(16), 3 * kMiB); }), 3 * kMiB);
  EXPECT_EQ(seen([] { return std::aligned_alloc(4096, 3 * kMiB); }), 3 * kMiB);
  EXPECT_EQ(seen([] { return memalign(64, 3 * kMiB); }), 3 * kMiB);
  EXPECT_EQ(seen([] { return valloc(3 * kMiB); }), 3 * kMiB);
  EXPECT_EQ(seen([] {
              void* out = nullptr;
              EXPECT_EQ(posix_memalign(&out, 4096, 3 * kMiB), 0);
              EXPECT_EQ(reinterpret_cast<std::uintptr_t>(out) % 4096, 0u);
              return out;
            }),
            3 * kMiB);
  const MallocWatch watch;
  auto array = std::make_unique<char[]>(5 * kMiB);
  touch(array.get());
  EXPECT_EQ(watch.largest_bytes(), 5 * kMiB);
}

TEST_F(MallocHook, SeesWorkerThreads) {
  const MallocWatch watch;
#pragma omp parallel num_threads(3)
  {
    void* block = std::malloc(4 * kMiB);
    touch(block);
#pragma omp barrier
    std::free(block);
  }
  EXPECT_EQ(watch.largest_bytes(), 4 * kMiB);
  EXPECT_GE(watch.peak_bytes(), 12 * kMiB);
}

TEST_F(MallocHook, CountsToZeroOverManyBlocks) {
  const MallocWatch watch;
  std::vector<void*> blocks;
  blocks.reserve(10000);
  const std::int64_t start = watch.peak_bytes();
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 10000; ++i) {
      blocks.push_back(std::malloc(100));
      touch(blocks.back());
    }
    // In another order than they came.
    for (std::size_t i = 0; i < blocks.size(); i += 2) std::free(blocks[i]);
    for (std::size_t i = 1; i < blocks.size(); i += 2) std::free(blocks[i]);
    blocks.clear();
  }
  EXPECT_EQ(watch.peak_bytes(), start + 10000 * 100);
}

TEST_F(MallocHook, KeepsTheContracts) {
  void* out = nullptr;
  EXPECT_EQ(posix_memalign(&out, 24, 100), EINVAL);
  EXPECT_EQ(posix_memalign(&out, 4, 100), EINVAL);
  EXPECT_EQ(out, nullptr);
  char* text = static_cast<char*>(std::malloc(8));
  std::memcpy(text, "tidemar", 8);
  text = static_cast<char*>(std::realloc(text, kMiB));
  EXPECT_STREQ(text, "tidemar");
  std::free(text);
  std::free(nullptr);
  const MallocWatch watch;
  EXPECT_THROW(MallocWatch(), std::logic_error);
}

}  // namespace
}  // namespace tidemark::compute
