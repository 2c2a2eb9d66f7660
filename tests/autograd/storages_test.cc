// The owner of the arena alone: zones, and moving between steps.
#include "autograd/storages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <vector>

namespace tidemark::detail {
namespace {

using ::testing::ElementsAre;

StorageId make(Storages& storages, Origin origin, std::int64_t bytes, int content) {
  const StorageId id = storages.create(bytes, Category::kBatch, origin);
  EXPECT_TRUE(storages.place_anywhere(id));
  std::memset(storages.data(id), content, static_cast<std::size_t>(bytes));
  return id;
}

int content(const Storages& storages, StorageId id) { return static_cast<int>(*storages.data(id)); }

TEST(StoragesTest, PinnedOnesComeTogetherAtTheLowEnd) {
  TimelineRecorder timeline;
  Storages storages(1024, false, 1, timeline);
  const StorageId carried = make(storages, Origin::kCarried, 100, 1);
  const StorageId pinned = make(storages, Origin::kPinned, 64, 2);
  const StorageId gone = make(storages, Origin::kCarried, 64, 3);
  const StorageId slot = make(storages, Origin::kFilled, 200, 4);
  int pauses = 0;
  storages.set_pause(slot, [&] { ++pauses; });
  storages.destroy(gone);
  EXPECT_EQ(storages.pack_pinned(), 1024 - 64 - 256);
  EXPECT_EQ(storages[pinned].offset, 0);
  EXPECT_EQ(storages[slot].offset, 64);
  EXPECT_EQ(storages.room_offset(carried), 0);
  EXPECT_EQ(pauses, 1) << "whoever writes there has to finish before it moves";
  EXPECT_EQ(content(storages, carried), 1);
  EXPECT_EQ(content(storages, pinned), 2);
  EXPECT_EQ(content(storages, slot), 4);
  EXPECT_EQ(storages.pack_pinned(), 1024 - 64 - 256);
  EXPECT_EQ(pauses, 1) << "nothing moves where all is in its place";
}

TEST(StoragesTest, CarriedOnesChangePlacesWithoutRoom) {
  TimelineRecorder timeline;
  Storages storages(192, false, 1, timeline);
  const StorageId a = make(storages, Origin::kCarried, 64, 1);
  const StorageId b = make(storages, Origin::kCarried, 128, 2);
  (void)storages.pack_pinned();
  EXPECT_THAT(storages.carried(), ElementsAre(a, b));
  const Storages::Target targets[] = {{a, 128}, {b, 0}};
  storages.arrange(targets);
  EXPECT_EQ(storages.room_offset(a), 128);
  EXPECT_EQ(content(storages, a), 1);
  EXPECT_EQ(content(storages, b), 2);
}

TEST(StoragesTest, HolesAreBroughtTogetherForANewOne) {
  TimelineRecorder timeline;
  Storages storages(64 * 4, false, 1, timeline);
  std::vector<StorageId> all;
  for (int i = 0; i < 4; ++i) all.push_back(make(storages, Origin::kCarried, 64, i));
  storages.destroy(all[0]);
  storages.destroy(all[2]);
  const StorageId wide = make(storages, Origin::kCarried, 128, 9);
  EXPECT_EQ(content(storages, all[1]), 1);
  EXPECT_EQ(content(storages, all[3]), 3);
  EXPECT_EQ(content(storages, wide), 9);
  const StorageId refused = storages.create(64, Category::kBatch, Origin::kCarried);
  EXPECT_FALSE(storages.place_anywhere(refused));
}

TEST(StoragesTest, ADryRunCountsAndHasNoBytes) {
  TimelineRecorder timeline;
  Storages storages(std::int64_t{1} << 50, true, 1, timeline);
  const StorageId id = storages.create(std::int64_t{1} << 49, Category::kBatch, Origin::kCarried);
  EXPECT_TRUE(storages.place_anywhere(id));
  EXPECT_FALSE(storages.has_bytes());
  EXPECT_EQ(storages.arena().ledger().total(), std::int64_t{1} << 49);
}

TEST(StoragesTest, PagesGoBackOnceWithoutABudget) {
  TimelineRecorder timeline;
  Storages storages(std::nullopt, false, 1, timeline);
  const StorageId large = make(storages, Origin::kCarried, 8 << 20, 7);
  storages.destroy(large);
  const StorageId small = make(storages, Origin::kCarried, 4096, 5);
  storages.end_step(false);
  storages.end_step(true);
  EXPECT_EQ(content(storages, small), 5);
  const StorageId again = storages.create(8 << 20, Category::kBatch, Origin::kCarried);
  ASSERT_TRUE(storages.place_anywhere(again));
  EXPECT_EQ(static_cast<int>(storages.data(again)[(8 << 20) - 1]), 0) << "the page came back empty";
}

}  // namespace
}  // namespace tidemark::detail
