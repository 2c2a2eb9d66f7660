#include <limits>

#include "loop/rows.h"
#include "tidemark/metrics.h"

namespace tidemark::metrics {
namespace {

// Classes whose logits are larger than the label's, in the order in which the lower of two equal ones comes first.
std::int64_t classes_before(std::span<const float> row, std::size_t label) {
  std::int64_t before = 0;
  for (std::size_t i = 0; i < row.size(); ++i) before += i < label ? row[i] >= row[label] : row[i] > row[label];
  return before;
}

}  // namespace

Accuracy::Accuracy(const AccuracyOptions& options, SourceLocation where) : options_(options) {
  if (options.top_k >= 1) return;
  refuse("accuracy", ".top_k must be at least 1, but is " + std::to_string(options.top_k), where);
}

void Accuracy::update(const Tensor& logits, const Tensor& labels, SourceLocation where) {
  const Rows rows("accuracy", logits, labels, options_.ignore_index, where);
  rows.for_each([&](std::span<const float> row, std::size_t label) {
    right_ += !has_nan(row) && classes_before(row, label) < options_.top_k;
    ++count_;
  });
}

double Accuracy::value() const {
  if (count_ == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(right_) / static_cast<double>(count_);
}

void Accuracy::reset() {
  right_ = 0;
  count_ = 0;
}

std::vector<double> Accuracy::state() const { return {static_cast<double>(right_), static_cast<double>(count_)}; }

void Accuracy::set_state(std::span<const double> state, SourceLocation where) {
  check_state("accuracy", state, 2, where);
  const std::int64_t right = count_of("accuracy", state[0], where);
  const std::int64_t count = count_of("accuracy", state[1], where);
  if (right > count) refuse("accuracy", "the state has more right rows than rows", where);
  right_ = right;
  count_ = count;
}

}  // namespace tidemark::metrics
