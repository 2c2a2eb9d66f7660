// Normalisation and dropout, with PyTorch's names.
#pragma once

#include <cstdint>
#include <vector>

#include "tidemark/nn/module.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

struct BatchNormOptions {
  std::int64_t features = 0;
  float momentum = 0.1f;
  float eps = 1e-5f;
  bool affine = true;
  bool track_running_stats = true;  // false: the statistics of the batch in evaluation too
};
// Of [N, C] and [N, C, L], and of images [N, C, H, W].
class BatchNorm : public Module {
 public:
  explicit BatchNorm(const BatchNormOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias;                    // [features] each, undefined where not affine
  Tensor running_mean, running_variance;  // [features] each, undefined where not tracked

 private:
  BatchNormOptions options_;
  bool training_ = true;
  mutable std::int64_t batches_ = 0;  // "num_batches_tracked": seen in training, also of steps that were refused
};
using BatchNorm1d = BatchNorm;
using BatchNorm2d = BatchNorm;
using BatchNorm1dOptions = BatchNormOptions;
using BatchNorm2dOptions = BatchNormOptions;

struct LayerNormOptions {
  std::int64_t features = 0;  // the last dimension
  float eps = 1e-5f;
  bool affine = true;
  bool bias = true;
  std::vector<std::int64_t> shape = {};  // several last dimensions, in place of `features`
};
class LayerNorm : public Module {
 public:
  explicit LayerNorm(const LayerNormOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias;  // of the normalised dimensions; undefined where there is none

 private:
  Shape normalized_;
  float eps_;
};

struct RMSNormOptions {
  std::int64_t features = 0;
  float eps = 1e-6f;
};
class RMSNorm : public Module {
 public:
  explicit RMSNorm(const RMSNormOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [features]

 private:
  float eps_;
};

struct GroupNormOptions {
  int groups = 1;
  std::int64_t channels = 0;
  float eps = 1e-5f;
  bool affine = true;
};
class GroupNorm : public Module {
 public:
  explicit GroupNorm(const GroupNormOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias;  // [channels] each, undefined where not affine

 private:
  GroupNormOptions options_;
};

struct InstanceNormOptions {
  std::int64_t features = 0;
  float eps = 1e-5f;
  bool affine = false;
};
// Of [N, C, L] and of images [N, C, H, W].
class InstanceNorm : public Module {
 public:
  explicit InstanceNorm(const InstanceNormOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias;  // [features] each, undefined where not affine

 private:
  InstanceNormOptions options_;
};
using InstanceNorm1d = InstanceNorm;
using InstanceNorm2d = InstanceNorm;

struct DropoutOptions {
  float p = 0.5f;
};
// What the three kinds of dropout have in common: which is dropped as a whole.
enum class Dropped { kElements, kChannels, kSamples };
template <Dropped what>
class DropoutOf : public Module {
 public:
  explicit DropoutOf(const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override { visitor.training(training_); }
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  float p_;
  bool training_ = true;
};
using Dropout = DropoutOf<Dropped::kElements>;
using Dropout2d = DropoutOf<Dropped::kChannels>;
using DropPath = DropoutOf<Dropped::kSamples>;

}  // namespace tidemark::nn
#pragma GCC visibility pop
