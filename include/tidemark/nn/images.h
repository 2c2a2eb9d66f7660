// Convolution and pooling.
#pragma once

#include <array>
#include <cstdint>

#include "tidemark/nn/module.h"
#include "tidemark/ops/images.h"

namespace tidemark::nn {

// What all convolutions are made of.
class Convolution : public Module {
 public:
  void visit(Visitor& visitor) override;

  Tensor weight;
  Tensor bias;  // [out], or undefined

 protected:
  Convolution() = default;
};

struct Conv2dOptions {
  std::int64_t in = 0;
  std::int64_t out = 0;
  int kernel = 3;
  int stride = 1;
  int padding = 0;
  int dilation = 1;
  int groups = 1;
  bool bias = true;
  bool same_padding = false;  // the output has the size of the input
};
// Its weight is [out, in / groups, kernel, kernel].
class Conv2d : public Convolution {
 public:
  explicit Conv2d(const Conv2dOptions& options, SourceLocation where = SourceLocation::current());
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  tidemark::Conv2dOptions options_;
};

using Conv1dOptions = Conv2dOptions;
// Its weight is [out, in / groups, kernel].
class Conv1d : public Convolution {
 public:
  explicit Conv1d(const Conv1dOptions& options, SourceLocation where = SourceLocation::current());
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  tidemark::Conv1dOptions options_;
};

struct ConvTranspose2dOptions {
  std::int64_t in = 0;
  std::int64_t out = 0;
  int kernel = 2;
  int stride = 1;
  int padding = 0;
  int output_padding = 0;
  int dilation = 1;
  int groups = 1;
  bool bias = true;
};
// Its weight is [in, out / groups, kernel, kernel].
class ConvTranspose2d : public Convolution {
 public:
  explicit ConvTranspose2d(const ConvTranspose2dOptions& options, SourceLocation where = SourceLocation::current());
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  tidemark::ConvTranspose2dOptions options_;
};

using ConvTranspose1dOptions = ConvTranspose2dOptions;
// Its weight is [in, out / groups, kernel].
class ConvTranspose1d : public Convolution {
 public:
  explicit ConvTranspose1d(const ConvTranspose1dOptions& options, SourceLocation where = SourceLocation::current());
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  tidemark::ConvTranspose1dOptions options_;
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

// Layers of no parameters, whose options are those of the op of the same name.
template <class Options>
class PoolLayer : public Module {
 public:
  void visit(Visitor&) override {}

 protected:
  explicit PoolLayer(const Options& options) : options_(options) {}

  Options options_;
};

class AvgPool2d : public PoolLayer<tidemark::AvgPool2dOptions> {
 public:
  explicit AvgPool2d(const tidemark::AvgPool2dOptions& options = {}) : PoolLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class AvgPool1d : public PoolLayer<tidemark::AvgPool1dOptions> {
 public:
  explicit AvgPool1d(const tidemark::AvgPool1dOptions& options = {}) : PoolLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class MaxPool1d : public PoolLayer<tidemark::MaxPool1dOptions> {
 public:
  explicit MaxPool1d(const tidemark::MaxPool1dOptions& options = {}) : PoolLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class Upsample : public PoolLayer<tidemark::UpsampleOptions> {
 public:
  explicit Upsample(const tidemark::UpsampleOptions& options = {}) : PoolLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

// To images of this height and width; {1, 1} is the global average.
class AdaptiveAvgPool2d : public Module {
 public:
  explicit AdaptiveAvgPool2d(std::array<std::int64_t, 2> size) : size_(size) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  std::array<std::int64_t, 2> size_;
};

class AdaptiveMaxPool2d : public Module {
 public:
  explicit AdaptiveMaxPool2d(std::array<std::int64_t, 2> size) : size_(size) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  std::array<std::int64_t, 2> size_;
};

}  // namespace tidemark::nn
