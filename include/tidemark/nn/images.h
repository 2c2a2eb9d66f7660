// Convolution and pooling.
#pragma once

#include <cstdint>

#include "tidemark/nn/module.h"
#include "tidemark/ops/images.h"

namespace tidemark::nn {

struct Conv2dOptions {
  std::int64_t in = 0;
  std::int64_t out = 0;
  int kernel = 3;
  int stride = 1;
  int padding = 0;
  int dilation = 1;
  int groups = 1;
  bool bias = true;
};
class Conv2d : public Module {
 public:
  explicit Conv2d(const Conv2dOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [out, in / groups, kernel, kernel]
  Tensor bias;    // [out], or undefined

 private:
  tidemark::Conv2dOptions options_;
};

struct MaxPool2dOptions {
  int kernel = 2;
  int stride = 0;  // 0: the kernel's size
  int padding = 0;
};
class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(const MaxPool2dOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  tidemark::MaxPool2dOptions options_;
};

}  // namespace tidemark::nn
