#include "memory/ledger.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace tidemark::memory {
namespace {

TEST(Ledger, PeakKeepsTheCategoriesOfItsMoment) {
  Ledger ledger;
  ledger.add(Category::kParameters, 128);
  ledger.add(Category::kActivations, 640);
  ledger.remove(Category::kActivations, 640);
  ledger.add(Category::kScratch, 256);
  EXPECT_EQ(ledger.total(), 384);
  EXPECT_EQ(ledger.live(Category::kScratch), 256);
  EXPECT_EQ(ledger.peak(), 768);
  EXPECT_EQ(ledger.peak_by_category()[static_cast<std::size_t>(Category::kActivations)], 640);
  EXPECT_EQ(ledger.peak_by_category()[static_cast<std::size_t>(Category::kScratch)], 0);
}

TEST(Ledger, StepPeakStartsFromWhatIsLive) {
  Ledger ledger;
  ledger.add(Category::kActivations, 640);
  ledger.remove(Category::kActivations, 320);
  ledger.reset_step_peak();
  EXPECT_EQ(ledger.step_peak(), 320);
  ledger.add(Category::kBatch, 64);
  ledger.remove(Category::kBatch, 64);
  EXPECT_EQ(ledger.step_peak(), 384);
  EXPECT_EQ(ledger.step_peak_by_category()[static_cast<std::size_t>(Category::kBatch)], 64);
  EXPECT_EQ(ledger.peak(), 640);
}

TEST(Ledger, TheCourseOfAStepHasThePeaksOfItsStretches) {
  Ledger ledger;
  ledger.add(Category::kParameters, 64);
  ledger.reset_step_peak();
  EXPECT_TRUE(ledger.step_curve().empty());
  // Up by units, then down again; one change more than there are places doubles the stretches.
  for (int i = 0; i < 32; ++i) ledger.add(Category::kActivations, 64);
  for (int i = 0; i < 32; ++i) ledger.remove(Category::kActivations, 64);
  std::vector<std::int64_t> curve = ledger.step_curve();
  ASSERT_EQ(curve.size(), 64u);
  EXPECT_EQ(curve[0], 128);
  EXPECT_EQ(curve[31], 33 * 64);
  EXPECT_EQ(curve[63], 64);
  ledger.add(Category::kActivations, 6400);
  curve = ledger.step_curve();
  ASSERT_EQ(curve.size(), 33u);
  EXPECT_EQ(curve[0], 3 * 64);
  EXPECT_EQ(curve[15], 33 * 64);
  EXPECT_EQ(curve[16], 32 * 64);
  EXPECT_EQ(curve[32], 6464);
  EXPECT_EQ(*std::max_element(curve.begin(), curve.end()), ledger.step_peak());
  EXPECT_EQ(ledger.most(Category::kActivations), 6400);
  EXPECT_EQ(ledger.most(Category::kBatch), 0);
}

TEST(Ledger, CannotGiveBackWhatIsNotHeld) {
  Ledger ledger;
  ledger.add(Category::kGradients, 64);
  EXPECT_THROW(ledger.remove(Category::kGradients, 128), std::logic_error);
  EXPECT_THROW(ledger.remove(Category::kParameters, 64), std::logic_error);
  EXPECT_EQ(ledger.total(), 64);
}

}  // namespace
}  // namespace tidemark::memory
