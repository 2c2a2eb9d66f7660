#include "loop/rows.h"

#include <algorithm>
#include <cmath>

namespace tidemark::metrics {

void refuse(const char* metric, const std::string& why, SourceLocation where) {
  throw Error("[metrics] " + std::string(metric) + ": " + why + " (at " + to_string(where) + ")");
}

Rows::Rows(const char* metric, const Tensor& logits, const Tensor& labels, std::optional<std::int32_t> ignore_index,
           SourceLocation where)
    : ignore_index_(ignore_index) {
  const Shape& shape = logits.shape(where);
  const int rank = shape.rank();
  if (rank < 1 || shape[-1] < 1 ||
      labels.shape(where) != Shape(shape.dims().first(static_cast<std::size_t>(rank - 1)))) {
    throw ShapeError("[metrics] " + std::string(metric) + ": logits " + shape.to_string() + ", labels " +
                     labels.shape(where).to_string() +
                     "; labels must have the logits' shape without its last dimension, which must not be empty (at " +
                     to_string(where) + ")");
  }
  classes_ = static_cast<std::size_t>(shape[-1]);
  labels_ = labels.to_vector<std::int32_t>(where);
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    const std::int32_t label = labels_[i];
    if (ignore_index_ == label || (label >= 0 && static_cast<std::size_t>(label) < classes_)) continue;
    refuse(metric,
           "the label of row " + std::to_string(i) + " is " + std::to_string(label) + ", but must be from 0 to " +
               std::to_string(classes_ - 1) + (ignore_index_ ? ", or " + std::to_string(*ignore_index_) : ""),
           where);
  }
  logits_ = logits.to_vector(where);
}

bool has_nan(std::span<const float> row) {
  return std::any_of(row.begin(), row.end(), [](float x) { return std::isnan(x); });
}

void check_state(const char* metric, std::span<const double> state, std::size_t size, SourceLocation where) {
  if (state.size() == size) return;
  refuse(metric,
         "a state of " + std::to_string(state.size()) + " numbers, but it has " + std::to_string(size) +
             "; it must come from state() of a metric with the same options",
         where);
}

std::int64_t count_of(const char* metric, double number, SourceLocation where) {
  if (number >= 0 && number <= 0x1p53 && number == std::trunc(number)) return static_cast<std::int64_t>(number);
  refuse(metric, "the state holds " + std::to_string(number) + " where a count must be", where);
}

}  // namespace tidemark::metrics
