// Normalisation and dropout.
#pragma once

#include <cstdint>

#include "tidemark/nn/module.h"

namespace tidemark::nn {

struct BatchNorm2dOptions {
  std::int64_t features = 0;
  float momentum = 0.1f;
  float eps = 1e-5f;
};
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(const BatchNorm2dOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias, running_mean, running_variance;  // [features] each

 private:
  BatchNorm2dOptions options_;
  bool training_ = true;
};

struct LayerNormOptions {
  std::int64_t features = 0;
  float eps = 1e-5f;
};
class LayerNorm : public Module {
 public:
  explicit LayerNorm(const LayerNormOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias;  // [features] each

 private:
  float eps_;
};

struct DropoutOptions {
  float p = 0.5f;
};
class Dropout : public Module {
 public:
  explicit Dropout(const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override { visitor.training(training_); }
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  float p_;
  bool training_ = true;
};

}  // namespace tidemark::nn
