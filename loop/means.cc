// Means of numbers, and the perplexity, which is one of losses.
#include <algorithm>
#include <cmath>
#include <limits>

#include "loop/rows.h"
#include "tidemark/metrics.h"

namespace tidemark::metrics {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void check_count(const char* metric, std::int64_t count, SourceLocation where) {
  if (count < 0) refuse(metric, "the count must be at least 0, but is " + std::to_string(count), where);
}

}  // namespace

void RunningMean::update(double value, std::int64_t count, SourceLocation where) {
  check_count("running mean", count, where);
  if (count == 0) return;  // the mean of an empty batch is NaN
  sum_ += value * static_cast<double>(count);
  count_ += count;
}

double RunningMean::value() const { return count_ == 0 ? kNaN : sum_ / static_cast<double>(count_); }

std::vector<double> RunningMean::state() const { return {sum_, static_cast<double>(count_)}; }

void RunningMean::set_state(std::span<const double> state, SourceLocation where) {
  check_state("running mean", state, 2, where);
  count_ = count_of("running mean", state[1], where);
  sum_ = state[0];
}

ExponentialMean::ExponentialMean(double decay, SourceLocation where) : decay_(decay) {
  if (decay >= 0 && decay < 1) return;
  refuse("exponential mean", "the decay must be at least 0 and below 1, but is " + std::to_string(decay), where);
}

void ExponentialMean::update(double value, std::int64_t count, SourceLocation where) {
  check_count("exponential mean", count, where);
  if (count == 0) return;
  const double kept = std::pow(decay_, static_cast<double>(count));
  // What was weighs nothing any more where it underflows, and 0 times NaN would be NaN.
  sum_ = (kept == 0 ? 0 : kept * sum_) + (1 - kept) * value;
  weight_ = kept * weight_ + (1 - kept);
  count_ += count;
}

double ExponentialMean::value() const { return count_ == 0 ? kNaN : sum_ / weight_; }

void ExponentialMean::reset() {
  sum_ = 0;
  weight_ = 0;
  count_ = 0;
}

std::vector<double> ExponentialMean::state() const { return {sum_, weight_, static_cast<double>(count_)}; }

void ExponentialMean::set_state(std::span<const double> state, SourceLocation where) {
  check_state("exponential mean", state, 3, where);
  count_ = count_of("exponential mean", state[2], where);
  sum_ = state[0];
  weight_ = state[1];
}

void Perplexity::update(double mean_loss, std::int64_t tokens, SourceLocation where) {
  check_count("perplexity", tokens, where);
  mean_.update(mean_loss, tokens, where);
}

void Perplexity::update(const Tensor& logits, const Tensor& labels, SourceLocation where) {
  const Rows rows("perplexity", logits, labels, options_.ignore_index, where);
  rows.for_each([&](std::span<const float> row, std::size_t label) {
    // The largest is taken off first, so that no exponential overflows. max_element passes NaN over, the sum does not.
    const auto most = static_cast<double>(*std::max_element(row.begin(), row.end()));
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit) - most);
    mean_.update((most - static_cast<double>(row[label])) + std::log(sum), 1, where);
  });
}

double Perplexity::value() const { return std::exp(mean_.value()); }

void Perplexity::set_state(std::span<const double> state, SourceLocation where) { mean_.set_state(state, where); }

}  // namespace tidemark::metrics
