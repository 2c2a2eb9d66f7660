// What metrics share: rows of logits with their labels, read and checked, and states that are read back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tidemark/tensor.h"

namespace tidemark::metrics {

// Throws Error: "[metrics] accuracy: ... (at train.cc:41)".
[[noreturn]] void refuse(const char* metric, const std::string& why, SourceLocation where);

class Rows {
 public:
  // Reads all values, and throws before anything can have been counted where one of the labels is none.
  Rows(const char* metric, const Tensor& logits, const Tensor& labels, std::optional<std::int32_t> ignore_index,
       SourceLocation where);

  std::int64_t classes() const { return static_cast<std::int64_t>(classes_); }
  // Calls use(logits, label) for each row that counts.
  template <class Use>
  void for_each(Use&& use) const {
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      if (ignore_index_ == labels_[i]) continue;
      use(std::span<const float>(logits_).subspan(i * classes_, classes_), static_cast<std::size_t>(labels_[i]));
    }
  }

 private:
  std::optional<std::int32_t> ignore_index_;
  std::size_t classes_ = 0;
  std::vector<float> logits_;
  std::vector<std::int32_t> labels_;
};

bool has_nan(std::span<const float> row);

// Throws Error where the state does not have this many numbers.
void check_state(const char* metric, std::span<const double> state, std::size_t size, SourceLocation where);
// The number as a count; throws Error where it is none.
std::int64_t count_of(const char* metric, double number, SourceLocation where);

}  // namespace tidemark::metrics
