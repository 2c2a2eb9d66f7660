#include "memory/ledger.h"

#include <gtest/gtest.h>

#include <stdexcept>

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

TEST(Ledger, CannotGiveBackWhatIsNotHeld) {
  Ledger ledger;
  ledger.add(Category::kGradients, 64);
  EXPECT_THROW(ledger.remove(Category::kGradients, 128), std::logic_error);
  EXPECT_THROW(ledger.remove(Category::kParameters, 64), std::logic_error);
  EXPECT_EQ(ledger.total(), 64);
}

}  // namespace
}  // namespace tidemark::memory
