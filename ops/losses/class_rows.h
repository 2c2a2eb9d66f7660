// What the losses of class indices share: which class a row has, what it weighs, and what the mean divides by.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ops/kernels.h"
#include "tidemark/op.h"
#include "tidemark/ops/losses.h"

namespace tidemark::ops {

inline void require_reduction(const Prep& prep, LossReduction reduction) {
  prep.require(
      reduction == LossReduction::kMean || reduction == LossReduction::kSum || reduction == LossReduction::kNone,
      "the reduction must be mean, sum or none");
}

inline void require_smoothing(const Prep& prep, float smoothing) {
  prep.require(smoothing >= 0 && smoothing <= 1,
               "label_smoothing is " + std::to_string(smoothing) + "; it must be in [0, 1]");
}

// The last dimension of `scores`, once classes have its shape without it. `name` is what errors call the scores.
inline std::int64_t require_classes(const Prep& prep, std::string_view name, const Meta& scores, const Meta& classes) {
  const int rank = scores.shape.rank();
  const bool fits = classes.dtype == i32 && rank > 0 && scores.shape[-1] > 0 &&
                    classes.shape == Shape(scores.shape.dims().first(static_cast<std::size_t>(rank - 1)));
  prep.require(fits, ops::describe(name, scores) + ", " + ops::describe("classes", classes) +
                         "; classes must be i32 of the shape of " + std::string(name) +
                         " without its last dimension, which must not be empty");
  return scores.shape[-1];
}

inline void require_class_weight(const Prep& prep, std::string_view name, const Meta& scores, const Meta& weight,
                                 bool needs) {
  prep.require(weight.dtype == f32 && weight.shape == Shape{scores.shape[-1]},
               ops::describe(name, scores) + ", " + ops::describe("weight", weight) +
                   "; weight must be f32 with an element for each class");
  prep.require(!needs, "weight takes no gradient; give its detach()");
}

// The classes of a call, each checked: those out of range throw before anything is written.
class ClassRows {
 public:
  ClassRows(const Buf& classes, std::int64_t width, std::int64_t ignore_index, const float* weight)
      : classes_(classes.as<const std::int32_t>()),
        rows_(classes.numel()),
        width_(width),
        ignore_(ignore_index),
        weight_(weight) {}

  void require_range(std::string_view op, std::string_view name, const Shape& scores, const Shape& classes) const {
    for (std::int64_t row = 0; row < rows_; ++row) {
      if (ignored(row) || (classes_[row] >= 0 && classes_[row] < width_)) continue;
      throw ShapeError("[" + std::string(op) + "] class " + std::to_string(classes_[row]) + " at position " +
                       std::to_string(row) + " is outside [0, " + std::to_string(width_) + "): " + std::string(name) +
                       " are " + scores.to_string() + ", classes " + classes.to_string());
    }
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t of(std::int64_t row) const { return classes_[row]; }
  bool ignored(std::int64_t row) const { return classes_[row] == ignore_; }
  float weight(std::int64_t row) const { return weight_ != nullptr ? weight_[classes_[row]] : 1.0f; }
  // What a mean divides by: the weights of the rows that count.
  double total_weight() const {
    double total = 0;
    for (std::int64_t row = 0; row < rows_; ++row) {
      if (!ignored(row)) total += static_cast<double>(weight(row));
    }
    return total;
  }

 private:
  const std::int32_t* classes_;
  std::int64_t rows_;
  std::int64_t width_;
  std::int64_t ignore_;
  const float* weight_;
};

// The gradients of rows, from that of the loss.
class RowGradients {
 public:
  RowGradients(LossReduction reduction, const Buf& gy, double divisor)
      : gy_(gy.as<const float>()),
        each_(reduction == LossReduction::kNone),
        common_(each_                               ? 0
                : reduction == LossReduction::kMean ? *gy_ / static_cast<float>(divisor)
                                                    : *gy_) {}
  float operator()(std::int64_t row) const { return each_ ? gy_[row] : common_; }

 private:
  const float* gy_;
  bool each_;
  float common_;
};

// Adds rows' losses up, or writes them down.
class RowLosses {
 public:
  RowLosses(LossReduction reduction, const Buf& out) : reduction_(reduction), out_(out.as<float>()) {}
  void set(std::int64_t row, double loss) {
    if (reduction_ == LossReduction::kNone) {
      out_[row] = static_cast<float>(loss);
    } else {
      total_ += loss;
    }
  }
  void finish(double divisor) {
    if (reduction_ == LossReduction::kNone) return;
    *out_ = static_cast<float>(reduction_ == LossReduction::kMean ? total_ / divisor : total_);
  }

 private:
  LossReduction reduction_;
  float* out_;
  double total_ = 0;
};

}  // namespace tidemark::ops
