// Who holds how many bytes: live bytes by category, and the categories at the moment the total was highest.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tidemark/units.h"

namespace tidemark::memory {

using ByCategory = std::array<std::int64_t, kCategories>;

class Ledger {
 public:
  // Bytes as the arena counts them, rounded up to 64. Removing more than is there is a broken invariant and throws
  // std::logic_error.
  void add(Category category, std::int64_t bytes);
  void remove(Category category, std::int64_t bytes);

  std::int64_t live(Category category) const { return live_[static_cast<std::size_t>(category)]; }
  const ByCategory& live() const { return live_; }
  std::int64_t most(Category category) const { return most_[static_cast<std::size_t>(category)]; }  // ever
  std::int64_t total() const { return total_; }

  // The highest total since construction, and since the last reset_step_peak(); of equal totals the first.
  std::int64_t peak() const { return peak_.total; }
  const ByCategory& peak_by_category() const { return peak_.by_category; }
  std::int64_t step_peak() const { return step_peak_.total; }
  const ByCategory& step_peak_by_category() const { return step_peak_.by_category; }

  // The course of the step: the highest total in each of as many equal stretches, counted in changes, as there are
  // numbers; fewer where there were fewer changes.
  std::vector<std::int64_t> step_curve() const;

  // The step's peak and its course start again from what is live now.
  void reset_step_peak();

 private:
  struct Peak {
    std::int64_t total = 0;
    ByCategory by_category{};
  };

  void note_course();

  ByCategory live_{};
  ByCategory most_{};
  std::int64_t total_ = 0;
  Peak peak_;
  Peak step_peak_;
  // Highest totals of stretches of `stride_` changes each; where all places are taken neighbours become one.
  static constexpr std::size_t kCurve = 64;
  std::array<std::int64_t, kCurve> curve_{};
  std::int64_t stride_ = 1;
  std::int64_t changes_ = 0;
};

}  // namespace tidemark::memory
