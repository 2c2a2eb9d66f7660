// What a model's answers are worth, batch by batch:
//
//   td::metrics::Accuracy accuracy;
//   for (const auto& [x, y] : validation) accuracy.update(net(x), y);
//   std::printf("%.2f %% of %lld\n", 100 * accuracy.value(), static_cast<long long>(accuracy.count()));
//
// Logits are [..., classes] and labels, whole numbers, are [...]: one of each row. Rows count, not batches, so a
// smaller last batch weighs what it has. Counts and sums are f64 and exact up to 2^53 rows. A value over nothing is
// NaN. A call that throws has counted nothing.
//
// Values are read on the host, outside of the budget, and no op is recorded: a step keeps its plan whether update() is
// called before backward() or after `optimizer.step()`. After it the rules of every value hold (tensor.h): logits of
// more than 64 KiB are gone then, unless they were detached, which takes their bytes; before backward() they cost
// nothing.
//
// state() is what a checkpoint holds: set_state() of a metric with the same options goes on from there.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark::metrics {

// The mean of numbers, each weighted by how many items it stands for.
class RunningMean {
 public:
  // `value` is itself the mean over `count` items: a batch's loss. Of no items, whatever the value is, nothing changes.
  void update(double value, std::int64_t count = 1, SourceLocation where = SourceLocation::current());
  double value() const;
  std::int64_t count() const { return count_; }
  void reset() { *this = {}; }
  std::vector<double> state() const;
  void set_state(std::span<const double> state, SourceLocation where = SourceLocation::current());

 private:
  double sum_ = 0;
  std::int64_t count_ = 0;
};

// A mean that forgets: an item weighs `decay` times what the one after it weighs. It does not lean towards zero at the
// start, since it divides by the weights that there are.
class ExponentialMean {
 public:
  // 0 <= decay < 1.
  explicit ExponentialMean(double decay = 0.98, SourceLocation where = SourceLocation::current());
  void update(double value, std::int64_t count = 1, SourceLocation where = SourceLocation::current());
  double value() const;
  std::int64_t count() const { return count_; }
  void reset();
  std::vector<double> state() const;
  void set_state(std::span<const double> state, SourceLocation where = SourceLocation::current());

 private:
  double decay_;
  double sum_ = 0;
  double weight_ = 0;
  std::int64_t count_ = 0;
};

struct AccuracyOptions {
  std::int64_t top_k = 1;                         // right: the label is among the k classes of the largest logits
  std::optional<std::int32_t> ignore_index = {};  // rows of this label do not count, whatever their logits are
};
// The part of the rows that are right. Of equal logits the one of the lower class is the larger. A row with a NaN is
// wrong; with k at least the number of classes every other row is right.
class Accuracy {
 public:
  explicit Accuracy(const AccuracyOptions& options = {}, SourceLocation where = SourceLocation::current());
  void update(const Tensor& logits, const Tensor& labels, SourceLocation where = SourceLocation::current());
  double value() const;
  std::int64_t count() const { return count_; }
  std::int64_t right() const { return right_; }
  void reset();
  std::vector<double> state() const;
  void set_state(std::span<const double> state, SourceLocation where = SourceLocation::current());

 private:
  AccuracyOptions options_;
  std::int64_t right_ = 0;
  std::int64_t count_ = 0;
};

struct PerplexityOptions {
  std::optional<std::int32_t> ignore_index = {};
};
// e to the mean cross-entropy of a token. NaN where a loss, or the logits of a token that counts, are NaN.
class Perplexity {
 public:
  explicit Perplexity(const PerplexityOptions& options = {}) : options_(options) {}
  // Of a loss that the program has anyway: cross_entropy(logits, y).item() over y.numel() tokens.
  void update(double mean_loss, std::int64_t tokens, SourceLocation where = SourceLocation::current());
  void update(const Tensor& logits, const Tensor& labels, SourceLocation where = SourceLocation::current());
  double value() const;
  std::int64_t count() const { return mean_.count(); }
  void reset() { mean_.reset(); }
  std::vector<double> state() const { return mean_.state(); }
  void set_state(std::span<const double> state, SourceLocation where = SourceLocation::current());

 private:
  PerplexityOptions options_;
  RunningMean mean_;
};

// The most classes of a matrix: it has a number for each pair of them.
inline constexpr std::int64_t kMostMatrixClasses = 4096;

struct ConfusionMatrixOptions {
  std::int64_t classes = 0;
  std::optional<std::int32_t> ignore_index = {};
};
// How often which class was taken for which. A row is predicted to be of the class with the largest logit, of equal
// ones the lowest; a row with a NaN is predicted to be of none.
//
// Precision is the part of what was predicted to be of a class that is, recall the part of a class's rows that was
// found, and F1 their harmonic mean. Over nothing they are 0, but NaN for a class that was neither there nor predicted;
// macro averages leave such classes out.
class ConfusionMatrix {
 public:
  explicit ConfusionMatrix(const ConfusionMatrixOptions& options, SourceLocation where = SourceLocation::current());
  void update(const Tensor& logits, const Tensor& labels, SourceLocation where = SourceLocation::current());
  // The accuracy.
  double value() const;
  std::int64_t count() const;
  void reset();
  // Row by row, `classes` numbers of the predicted classes and one of the rows that were predicted to be of none.
  std::vector<double> state() const;
  void set_state(std::span<const double> state, SourceLocation where = SourceLocation::current());

  std::int64_t classes() const { return options_.classes; }
  std::int64_t count(std::int64_t label, std::int64_t predicted,
                     SourceLocation where = SourceLocation::current()) const;
  std::int64_t unpredicted(std::int64_t label, SourceLocation where = SourceLocation::current()) const;
  double precision(std::int64_t label, SourceLocation where = SourceLocation::current()) const;
  double recall(std::int64_t label, SourceLocation where = SourceLocation::current()) const;
  double f1(std::int64_t label, SourceLocation where = SourceLocation::current()) const;
  double macro_precision() const;
  double macro_recall() const;
  double macro_f1() const;
  // For people: a line a class, with the counts of predicted classes where there are at most 16, precision, recall and
  // F1, then the averages. Classes without a name are called by their number.
  std::string table(const std::vector<std::string>& names = {}) const;

 private:
  // What a class's figures are made of.
  struct Sums {
    std::int64_t found = 0;
    std::int64_t predicted = 0;
    std::int64_t rows = 0;
    bool seen() const { return predicted + rows > 0; }
    double precision() const;
    double recall() const;
    double f1() const;
  };
  std::size_t place(std::int64_t label, std::int64_t column) const;
  std::int64_t checked(std::int64_t label, SourceLocation where) const;
  // One pass over the matrix for all classes.
  std::vector<Sums> sums() const;
  double macro(double (Sums::*figure)() const) const;

  ConfusionMatrixOptions options_;
  std::vector<std::int64_t> counts_;
};

}  // namespace tidemark::metrics
#pragma GCC visibility pop
