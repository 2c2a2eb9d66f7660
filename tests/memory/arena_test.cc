#include "memory/arena.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tidemark/error.h"

namespace tidemark::memory {
namespace {

constexpr auto kActivations = Category::kActivations;

// The bytes of the mapping that starts at `base`, and the kernel's flags for it, as the kernel tells them.
struct Region {
  std::int64_t bytes = 0;
  std::int64_t resident = 0;
  std::string flags;
};

Region region_at(const std::byte* base) {
  std::ifstream maps("/proc/self/smaps");
  Region region;
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long long first = 0;
    unsigned long long last = 0;
    if (std::sscanf(line.c_str(), "%llx-%llx ", &first, &last) == 2) {
      inside = first == reinterpret_cast<std::uintptr_t>(base);
      if (inside) region.bytes = static_cast<std::int64_t>(last - first);
    }
    if (!inside) continue;
    long long kib = 0;
    if (std::sscanf(line.c_str(), "Rss: %lld kB", &kib) == 1) region.resident = kib * 1024;
    if (line.rfind("VmFlags:", 0) == 0) region.flags = line;
  }
  return region;
}

TEST(Arena, MappingIsExactlyTheBudgetAndAligned) {
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  for (const std::int64_t budget : {1_MiB, 5_MiB, 8_MiB + 3 * page}) {
    Arena arena(budget);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.at(0)) % static_cast<std::uintptr_t>(2_MiB), 0u);
    arena.place(0, budget, 1, kActivations);
    std::memset(arena.at(0), 1, static_cast<std::size_t>(budget));
    const Region region = region_at(arena.at(0));
    EXPECT_EQ(region.bytes, budget);
    EXPECT_EQ(region.resident, budget);
    EXPECT_THAT(region.flags, testing::HasSubstr(" hg"));
    EXPECT_THROW(arena.at(budget), std::logic_error);
  }
}

TEST(Arena, UsesWhatTheBudgetHoldsAndNoByteMore) {
  Arena arena(1000);  // 15 units of 64 and a rest
  EXPECT_EQ(arena.budget(), 1000);
  EXPECT_EQ(arena.extents().limit(), 960);
  arena.place(0, 960, 1, kActivations);
  EXPECT_THROW(arena.place(960, 1, 2, kActivations), std::logic_error);
  Arena none(0);
  EXPECT_THROW(none.place(0, 1, 1, kActivations), std::logic_error);
}

TEST(Arena, WithoutABudgetItGrowsAsItIsTouched) {
  Arena arena(std::nullopt);
  EXPECT_FALSE(arena.budget().has_value());
  const std::int64_t far = 192_MiB;
  arena.place(far, 64, 1, kActivations);
  std::memset(arena.at(far), 1, 64);
  EXPECT_EQ(arena.reserved_peak(), far + 64);
  EXPECT_GE(arena.extents().limit(), 256_MiB);
  EXPECT_LE(region_at(arena.at(0)).resident, 4_MiB);
  EXPECT_EQ(region_at(arena.at(0)).bytes, arena.extents().limit());
}

TEST(Arena, RefusesOverlapAndChangesNothing) {
  Arena arena(4096);
  arena.place(64, 100, 1, kActivations);
  EXPECT_THROW(arena.place(0, 65, 2, kActivations), std::logic_error);
  EXPECT_THROW(arena.place(128, 64, 2, kActivations), std::logic_error);
  EXPECT_THROW(arena.place(32, 8, 2, kActivations), std::logic_error);
  EXPECT_THROW(arena.place(4032, 65, 2, kActivations), std::logic_error);
  EXPECT_THROW(arena.release(128), std::logic_error);
  EXPECT_THROW(arena.move(128, 0), std::logic_error);
  EXPECT_EQ(arena.extents().taken_bytes(), 128);
  EXPECT_EQ(arena.ledger().total(), 128);
}

TEST(Arena, MoveKeepsContentWhereRangesOverlap) {
  Arena arena(4096);
  for (const std::int64_t to : {0, 64, 192, 1024, 128}) {
    arena.place(128, 300, 7, Category::kGradients);
    std::vector<unsigned char> content(300);
    for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<unsigned char>(i * 7 + 1);
    std::memcpy(arena.at(128), content.data(), content.size());
    arena.move(128, to);
    EXPECT_EQ(std::memcmp(arena.at(to), content.data(), content.size()), 0) << to;
    EXPECT_EQ(arena.extents().blocks().at(to).owner, 7);
    EXPECT_EQ(arena.extents().taken_bytes(), 320);
    EXPECT_EQ(arena.ledger().live(Category::kGradients), 320);
    arena.release(to);
  }
  EXPECT_EQ(arena.reserved_peak(), 1024 + 320);
  EXPECT_EQ(arena.ledger().peak(), 320);
}

TEST(Arena, MoveOntoAnotherBlockIsRefusedAndChangesNothing) {
  Arena arena(4096);
  arena.place(0, 128, 1, kActivations);
  arena.place(256, 64, 2, kActivations);
  std::memset(arena.at(0), 5, 128);
  std::memset(arena.at(256), 6, 64);
  EXPECT_THROW(arena.move(0, 192), std::logic_error);
  EXPECT_THROW(arena.move(0, 4032), std::logic_error);
  EXPECT_THROW(arena.move(0, 8), std::logic_error);
  EXPECT_EQ(arena.extents().blocks().at(0).owner, 1);
  EXPECT_EQ(arena.at(0)[127], std::byte{5});
  EXPECT_EQ(arena.at(256)[0], std::byte{6});
  arena.release(0);
  arena.release(256);
  EXPECT_EQ(arena.extents().taken_bytes(), 0);
}

TEST(Arena, LedgerIsTheTakenBytesAtEveryMoment) {
  Arena arena(64 * 200);
  std::mt19937 random(2);
  std::int64_t peak = 0;
  std::int64_t end = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto& blocks = arena.extents().blocks();
    const std::int64_t offset = static_cast<std::int64_t>(random() % 200) * 64;
    const std::int64_t bytes = 1 + static_cast<std::int64_t>(random() % 900);
    const auto category = static_cast<Category>(random() % kCategories);
    if (blocks.contains(offset)) {
      const std::int64_t to = static_cast<std::int64_t>(random() % 200) * 64;
      if (random() % 2 == 0) {
        arena.release(offset);
      } else if (arena.extents().is_free(to, blocks.at(offset).bytes)) {
        end = std::max(end, to + blocks.at(offset).bytes);
        arena.move(offset, to);
      }
    } else if (arena.extents().is_free(offset, bytes)) {
      arena.place(offset, bytes, i, category);
      end = std::max(end, offset + Extents::round_up(bytes));
    }
    std::int64_t sum = 0;
    for (const std::int64_t live : arena.ledger().live()) sum += live;
    ASSERT_EQ(sum, arena.extents().taken_bytes());
    ASSERT_EQ(arena.ledger().total(), sum);
    peak = std::max(peak, sum);
    ASSERT_EQ(arena.ledger().peak(), peak);
    ASSERT_EQ(arena.reserved_peak(), end);
  }
  EXPECT_GT(peak, 64 * 100);
}

TEST(Arena, WithoutMemoryItOnlyAccounts) {
  Arena arena = Arena::without_memory(std::nullopt);
  const std::int64_t bytes = std::int64_t{1} << 50;
  arena.place(0, bytes, 1, Category::kParameters);
  arena.place(bytes, 100, 2, Category::kScratch);
  arena.move(bytes, bytes + 64);
  EXPECT_EQ(arena.ledger().total(), bytes + 128);
  EXPECT_THROW(arena.at(0), std::logic_error);
  arena.release(0);
  EXPECT_EQ(arena.ledger().total(), 128);
  EXPECT_THROW(Arena::without_memory(4096).place(4096, 64, 1, Category::kScratch), std::logic_error);
}

TEST(Arena, MappingFailureSaysHowMuchAndHowToMendIt) {
  const std::int64_t bytes = std::int64_t{1} << 60;
  try {
    Arena arena(bytes);
    FAIL() << "2^60 bytes were mapped";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(bytes)));
    EXPECT_THAT(error.what(), testing::HasSubstr("smaller budget"));
  }
  EXPECT_THROW(Arena(-1), Error);
}

#if defined(__SANITIZE_ADDRESS__)
TEST(ArenaDeathTest, StaleReadIsCaught) {
  Arena arena(4096);
  arena.place(0, 128, 1, kActivations);
  std::memset(arena.at(0), 1, 128);
  volatile std::byte* stale = arena.at(0);
  arena.move(0, 64);
  EXPECT_DEATH(static_cast<void>(stale[0]), "use-after-poison");
  arena.release(64);
  EXPECT_DEATH(static_cast<void>(stale[64]), "use-after-poison");
}
#endif

// Random blocks go to random places at once; each keeps its content, whatever stood in its way.
TEST(ArenaRelocate, EveryPermutationOfBlocksKeepsContents) {
  std::mt19937 random(7);
  int circles = 0;
  for (int round = 0; round < 300; ++round) {
    const int count = 1 + static_cast<int>(random() % 12);
    std::vector<std::int64_t> bytes;
    std::int64_t total = 0;
    for (int i = 0; i < count; ++i) {
      bytes.push_back(1 + static_cast<std::int64_t>(random() % 700));
      total += Extents::round_up(bytes.back());
    }
    const std::int64_t slack = static_cast<std::int64_t>(random() % 3) * 192;
    Arena arena(total + slack);
    const auto places = [&] {
      std::vector<int> order(static_cast<std::size_t>(count));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random);
      std::vector<std::int64_t> at(order.size());
      std::int64_t end = 0;
      std::int64_t room = slack;
      for (int block : order) {
        const std::int64_t gap = room == 0 ? 0 : static_cast<std::int64_t>(random()) % (room / 64 + 1) * 64;
        room -= gap;
        end += gap;
        at[static_cast<std::size_t>(block)] = end;
        end += Extents::round_up(bytes[static_cast<std::size_t>(block)]);
      }
      return at;
    };
    const auto from = places();
    const auto to = places();
    std::vector<Arena::Relocation> relocations;
    for (int i = 0; i < count; ++i) {
      const auto b = static_cast<std::size_t>(i);
      arena.place(from[b], bytes[b], i, Category::kActivations);
      for (std::int64_t k = 0; k < bytes[b]; ++k) arena.at(from[b])[k] = static_cast<std::byte>(i * 31 + k * 7);
      relocations.push_back({from[b], to[b]});
    }
    circles += count > 1 && slack == 0;
    arena.relocate(relocations);
    for (int i = 0; i < count; ++i) {
      const auto b = static_cast<std::size_t>(i);
      for (std::int64_t k = 0; k < bytes[b]; ++k) {
        ASSERT_EQ(arena.at(to[b])[k], static_cast<std::byte>(i * 31 + k * 7)) << round << ' ' << i << ' ' << k;
      }
      EXPECT_EQ(arena.extents().blocks().at(to[b]).owner, i);
    }
    EXPECT_EQ(arena.ledger().total(), total);
  }
  EXPECT_GT(circles, 50) << "with no free byte there is no other way than in circles";
}

TEST(ArenaRelocate, WhatDoesNotFitChangesNothing) {
  Arena arena(256);
  arena.place(0, 64, 0, Category::kActivations);
  arena.place(64, 64, 1, Category::kActivations);
  *arena.at(0) = std::byte{42};
  const std::vector<Arena::Relocation> onto_another = {{0, 64}};
  EXPECT_THROW(arena.relocate(onto_another), std::logic_error);
  const std::vector<Arena::Relocation> outside = {{64, 0}, {0, 256}};
  EXPECT_THROW(arena.relocate(outside), std::logic_error);
  EXPECT_EQ(arena.extents().blocks().at(0).owner, 0);
  EXPECT_EQ(arena.extents().blocks().at(64).owner, 1);
  EXPECT_EQ(*arena.at(0), std::byte{42});
}

}  // namespace
}  // namespace tidemark::memory
