#include "core/extents.h"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>
#include <vector>

namespace tidemark::core {
namespace {

TEST(Extents, NoRangeBeyondTheLargestNumberIsFree) {
  const Extents extents(Extents::kUnlimited);
  EXPECT_FALSE(extents.is_free(INT64_MAX - 63, 64));
  EXPECT_TRUE(extents.is_free(0, 64));
}

TEST(Extents, BestFitIsTheSmallestHoleAndTheLowestOfEquals) {
  Extents extents(64 * 100);
  extents.take(64 * 10, 64, 1);  // holes: 10 units at 0, 4 at 11, 4 at 16, 79 at 21
  extents.take(64 * 15, 64, 2);
  extents.take(64 * 20, 64, 3);
  EXPECT_EQ(extents.best_fit(64 * 3 + 1), 64 * 11);
  EXPECT_EQ(extents.best_fit(64 * 5), 0);
  EXPECT_EQ(extents.best_fit(64 * 79), 64 * 21);
  EXPECT_EQ(extents.best_fit(64 * 79 + 1), std::nullopt);
  EXPECT_EQ(extents.end(), 64 * 21);
}

TEST(Extents, RefusesWhatIsNotFree) {
  Extents extents(64 * 4);
  extents.take(64, 65, 1);
  EXPECT_THROW(extents.take(0, 65, 2), std::logic_error);
  EXPECT_THROW(extents.take(128, 1, 2), std::logic_error);
  EXPECT_THROW(extents.take(192, 65, 2), std::logic_error);
  EXPECT_THROW(extents.take(8, 8, 2), std::logic_error);
  EXPECT_THROW(extents.take(-64, 64, 2), std::logic_error);
  EXPECT_THROW(extents.take(0, 0, 2), std::logic_error);
  EXPECT_THROW(extents.give(128), std::logic_error);
  EXPECT_EQ(extents.taken_bytes(), 128);
}

// Random takes and gives against a plain array of units: the same ranges are free, holes are maximal, sums agree.
TEST(Extents, AgreesWithAPlainArray) {
  constexpr int kUnits = 61;
  Extents extents(64 * kUnits);
  std::vector<int> owner(kUnits, 0);
  std::mt19937 random(1);
  for (int round = 1; round <= 20000; ++round) {
    const int unit = static_cast<int>(random() % kUnits);
    if (random() % 2 == 0 && extents.blocks().contains(unit * 64)) {
      const int units = static_cast<int>(extents.blocks().at(unit * 64).bytes / 64);
      extents.give(unit * 64);
      std::fill_n(owner.begin() + unit, units, 0);
    } else {
      const int units = 1 + static_cast<int>(random() % 8);
      bool free = unit + units <= kUnits;
      for (int i = unit; free && i < unit + units; ++i) free = owner[static_cast<std::size_t>(i)] == 0;
      ASSERT_EQ(extents.is_free(unit * 64, units * 64), free);
      if (free) {
        extents.take(unit * 64, units * 64, round);
        std::fill_n(owner.begin() + unit, units, round);
      }
    }
    std::int64_t taken = 0;
    std::int64_t run = 0;
    std::int64_t largest = 0;
    int holes = 0;
    for (int o : owner) {
      if (o != 0) {
        taken += 64;
        run = 0;
      } else {
        if (run == 0) ++holes;
        run += 64;
        largest = std::max(largest, run);
      }
    }
    ASSERT_EQ(extents.taken_bytes(), taken);
    ASSERT_EQ(extents.free_bytes(), 64 * kUnits - taken);
    ASSERT_EQ(extents.largest_hole(), largest);
    ASSERT_EQ(static_cast<int>(extents.holes().size()), holes);
  }
}

}  // namespace
}  // namespace tidemark::core
