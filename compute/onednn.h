// The one door to oneDNN: descriptors, primitives and layouts, in the API of version 2 (from 2.6 on) and of version 3.
// What differs between the two is here and in onednn.cc; whoever includes this uses what they share.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

namespace tidemark::compute {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using FormatTag = dnnl::memory::format_tag;

// Attributes that every primitive of the library is made with: user-mode scratchpad.
dnnl::primitive_attr default_attributes();

// Sizes of a convolution; the weight has a leading dimension of groups where there are several. A dilation of 0 is
// none.
struct ConvolutionCall {
  Dims src, weight, dst, stride, dilation, padding_before, padding_after;
};

using ConvolutionForward = dnnl::convolution_forward::primitive_desc;
using ConvolutionData = dnnl::convolution_backward_data::primitive_desc;
using ConvolutionWeights = dnnl::convolution_backward_weights::primitive_desc;
using BatchNormForward = dnnl::batch_normalization_forward::primitive_desc;
using BatchNormBackward = dnnl::batch_normalization_backward::primitive_desc;

// What oneDNN would run for a call; empty (operator bool) where it has nothing. The weight's layout is its choice, the
// others are given, or `any`. `forward` is that of the same call.
ConvolutionForward convolution_forward(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                       const Desc& dst, bool with_bias);
ConvolutionData convolution_data(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                 const Desc& dst, const ConvolutionForward& forward);
ConvolutionWeights convolution_weights(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                       const Desc& dst, bool with_bias, const ConvolutionForward& forward);

// Over the channels of `data`, with scale and shift. `given_statistics`: mean and variance are read, not made.
BatchNormForward batch_norm_forward(const dnnl::engine& engine, const Desc& data, float eps, bool given_statistics);
BatchNormBackward batch_norm_backward(const dnnl::engine& engine, const Desc& data, float eps, bool given_statistics,
                                      const BatchNormForward& forward);
// What the gradient of batch norm is given: oneDNN 2 counts the shift, which it does not read, among its arguments, and
// oneDNN 3 refuses it.
extern const bool kBatchNormGradientTakesShift;

dnnl::primitive make_primitive(const ConvolutionForward& descriptor);
dnnl::primitive make_primitive(const ConvolutionData& descriptor);
dnnl::primitive make_primitive(const ConvolutionWeights& descriptor);
dnnl::primitive make_primitive(const BatchNormForward& descriptor);
dnnl::primitive make_primitive(const BatchNormBackward& descriptor);

Dims sizes_of(const Desc& desc);
dnnl::memory::data_type type_of(const Desc& desc);

// Where the elements of a descriptor lie: blocks, the outermost first, and the strides between them.
struct Places {
  struct Block {
    int dim;
    std::int64_t size;
    friend bool operator==(const Block&, const Block&) = default;
  };
  Dims dims, padded_dims, strides;
  std::vector<Block> blocks;
  // False where more is needed to say it: padding in front, or what a kernel packs in a way of its own.
  bool simple = true;

  int rank() const { return static_cast<int>(dims.size()); }
};
Places places_of(const Desc& desc);
// Equal in where every element lies: the stride of a dimension that is never stepped over does not count.
bool same_places(const Places& a, const Places& b);

// A layout without its sizes, so that one serves every shape: the order of the dimensions, outermost first, and the
// blocks inside of them.
struct Format {
  std::vector<int> order;
  std::vector<Places::Block> blocks;
  friend bool operator==(const Format&, const Format&) = default;
};
// Empty where oneDNN has no such layout.
Desc layout_in(const Format& format, const Dims& dims, dnnl::memory::data_type type);

Desc any_layout(const Dims& dims);
Desc plain_vector(std::int64_t size);
// Row-major.
Desc plain_layout(const Dims& dims, dnnl::memory::data_type type);
// Images, row-major but for the channels, which are last.
Desc channels_last(const Dims& dims);
// Images with channels in blocks of a vector's width: where batch norm and pooling are fast.
Desc blocked_image(const Dims& dims);

}  // namespace tidemark::compute
