// Convolution, pooling, resampling and padding of images and sequences.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tidemark/nn/module.h"
#include "tidemark/ops/images.h"
#include "tidemark/ops/shapes.h"

#pragma GCC visibility push(default)
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
  int dilation = 1;
  bool ceil_mode = false;
};
class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(const MaxPool2dOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  tidemark::MaxPool2dOptions options_;
};

class AvgPool2d : public FunctionLayer<tidemark::AvgPool2dOptions> {
 public:
  explicit AvgPool2d(const tidemark::AvgPool2dOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class AvgPool1d : public FunctionLayer<tidemark::AvgPool1dOptions> {
 public:
  explicit AvgPool1d(const tidemark::AvgPool1dOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class MaxPool1d : public FunctionLayer<tidemark::MaxPool1dOptions> {
 public:
  explicit MaxPool1d(const tidemark::MaxPool1dOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class Upsample : public FunctionLayer<tidemark::UpsampleOptions> {
 public:
  explicit Upsample(const tidemark::UpsampleOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

// To images of this height and width; {1, 1} is the global average or maximum.
struct AdaptivePool2dOptions {
  std::array<std::int64_t, 2> output_size = {0, 0};
};
class AdaptiveAvgPool2d : public FunctionLayer<AdaptivePool2dOptions> {
 public:
  explicit AdaptiveAvgPool2d(const AdaptivePool2dOptions& options) : FunctionLayer(options) {}
  // Of an array. Braces, as in {1, 1}, make options.
  template <std::same_as<std::array<std::int64_t, 2>> Size>
  explicit AdaptiveAvgPool2d(const Size& size) : FunctionLayer({.output_size = size}) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class AdaptiveMaxPool2d : public FunctionLayer<AdaptivePool2dOptions> {
 public:
  explicit AdaptiveMaxPool2d(const AdaptivePool2dOptions& options) : FunctionLayer(options) {}
  template <std::same_as<std::array<std::int64_t, 2>> Size>
  explicit AdaptiveMaxPool2d(const Size& size) : FunctionLayer({.output_size = size}) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct AdaptivePool1dOptions {
  std::int64_t output_size = 0;
};
class AdaptiveAvgPool1d : public FunctionLayer<AdaptivePool1dOptions> {
 public:
  explicit AdaptiveAvgPool1d(const AdaptivePool1dOptions& options) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};
class AdaptiveMaxPool1d : public FunctionLayer<AdaptivePool1dOptions> {
 public:
  explicit AdaptiveMaxPool1d(const AdaptivePool1dOptions& options) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct PixelShuffleOptions {
  std::int64_t upscale_factor = 0;
};
class PixelShuffle : public FunctionLayer<PixelShuffleOptions> {
 public:
  explicit PixelShuffle(const PixelShuffleOptions& options) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct PixelUnshuffleOptions {
  std::int64_t downscale_factor = 0;
};
class PixelUnshuffle : public FunctionLayer<PixelUnshuffleOptions> {
 public:
  explicit PixelUnshuffle(const PixelUnshuffleOptions& options) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class Unfold : public FunctionLayer<UnfoldOptions> {
 public:
  explicit Unfold(const UnfoldOptions& options) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct FoldOptions {
  std::array<std::int64_t, 2> output_size = {0, 0};
  std::array<int, 2> kernel = {1, 1};
  std::array<int, 2> dilation = {1, 1};
  std::array<int, 2> padding = {0, 0};
  std::array<int, 2> stride = {1, 1};
};
class Fold : public FunctionLayer<FoldOptions> {
 public:
  explicit Fold(const FoldOptions& options) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

// How much is added on each side, in PyTorch's order: left, right and, of images, top and bottom. One number is for all
// sides.
template <std::size_t sides>
struct PadSides {
  template <std::integral... Numbers>
  requires(sizeof...(Numbers) == 1 || sizeof...(Numbers) == sides)
      PadSides(Numbers... numbers)  // NOLINT: converting by design
      : values{static_cast<std::int64_t>(numbers)...} {
    if constexpr (sizeof...(Numbers) == 1) values.fill(values[0]);
  }
  std::array<std::int64_t, sides> values;
};

// What the layers of padding have in common.
class PadLayer : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 protected:
  PadLayer(std::span<const std::int64_t> sides, const PadOptions& options);

 private:
  std::vector<std::array<std::int64_t, 2>> padding_;  // as pad() takes it: the last dimension is last
  PadOptions options_;
};

template <std::size_t sides>
struct ConstantPadOptions {
  PadSides<sides> padding = 0;  // negative numbers crop
  float value = 0;
};
template <std::size_t sides>
class ConstantPad : public PadLayer {
 public:
  explicit ConstantPad(const ConstantPadOptions<sides>& options)
      : PadLayer(options.padding.values, {.value = options.value}) {}
};
using ConstantPad1d = ConstantPad<2>;
using ConstantPad2d = ConstantPad<4>;

template <std::size_t sides>
struct EdgePadOptions {
  PadSides<sides> padding = 0;
};
// With elements of x itself.
template <PadMode mode, std::size_t sides>
class EdgePad : public PadLayer {
 public:
  explicit EdgePad(const EdgePadOptions<sides>& options) : PadLayer(options.padding.values, {.mode = mode}) {}
};
using ReflectionPad1d = EdgePad<PadMode::kReflect, 2>;
using ReflectionPad2d = EdgePad<PadMode::kReflect, 4>;
using ReplicationPad1d = EdgePad<PadMode::kReplicate, 2>;
using ReplicationPad2d = EdgePad<PadMode::kReplicate, 4>;

}  // namespace tidemark::nn
#pragma GCC visibility pop
