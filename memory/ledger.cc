#include "memory/ledger.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace tidemark::memory {

void Ledger::add(Category category, std::int64_t bytes) {
  std::int64_t& live = live_[static_cast<std::size_t>(category)];
  live += bytes;
  std::int64_t& most = most_[static_cast<std::size_t>(category)];
  most = std::max(most, live);
  total_ += bytes;
  if (total_ > peak_.total) peak_ = {total_, live_};
  if (total_ > step_peak_.total) step_peak_ = {total_, live_};
  note_course();
}

void Ledger::remove(Category category, std::int64_t bytes) {
  std::int64_t& live = live_[static_cast<std::size_t>(category)];
  if (bytes > live) {
    throw std::logic_error("ledger: " + std::to_string(bytes) + " bytes of " + to_string(category) + " given back, " +
                           std::to_string(live) + " held");
  }
  live -= bytes;
  total_ -= bytes;
  note_course();
}

void Ledger::note_course() {
  if (changes_ == stride_ * static_cast<std::int64_t>(kCurve)) {
    for (std::size_t i = 0; i < kCurve / 2; ++i) curve_[i] = std::max(curve_[2 * i], curve_[2 * i + 1]);
    std::fill(curve_.begin() + kCurve / 2, curve_.end(), 0);
    stride_ *= 2;
  }
  std::int64_t& highest = curve_[static_cast<std::size_t>(changes_++ / stride_)];
  highest = std::max(highest, total_);
}

std::vector<std::int64_t> Ledger::step_curve() const {
  return {curve_.begin(), curve_.begin() + (changes_ + stride_ - 1) / stride_};
}

void Ledger::reset_step_peak() {
  step_peak_ = {total_, live_};
  curve_ = {};
  stride_ = 1;
  changes_ = 0;
}

}  // namespace tidemark::memory
