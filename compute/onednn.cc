#include "compute/onednn.h"

#include <algorithm>
#include <array>

namespace tidemark::compute {
namespace {

constexpr dnnl::algorithm kDirect = dnnl::algorithm::convolution_direct;
constexpr dnnl::memory::data_type kF32 = dnnl::memory::data_type::f32;

dnnl::normalization_flags flags_of(bool given_statistics) {
  using Flags = dnnl::normalization_flags;
  const Flags affine = Flags::use_scale | Flags::use_shift;
  return given_statistics ? affine | Flags::use_global_stats : affine;
}

}  // namespace

dnnl::primitive_attr default_attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

#if DNNL_VERSION_MAJOR >= 3

ConvolutionForward convolution_forward(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                       const Desc& dst, bool with_bias) {
  const Desc bias = with_bias ? plain_vector(call.dst[1]) : Desc();
  return {engine,
          dnnl::prop_kind::forward_training,
          kDirect,
          src,
          any_layout(call.weight),
          bias,
          dst,
          call.stride,
          call.dilation,
          call.padding_before,
          call.padding_after,
          default_attributes(),
          true};
}

ConvolutionData convolution_data(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                 const Desc& dst, const ConvolutionForward& forward) {
  return {engine,
          kDirect,
          src,
          any_layout(call.weight),
          dst,
          call.stride,
          call.dilation,
          call.padding_before,
          call.padding_after,
          forward,
          default_attributes(),
          true};
}

ConvolutionWeights convolution_weights(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                       const Desc& dst, bool with_bias, const ConvolutionForward& forward) {
  const Desc bias = with_bias ? plain_vector(call.dst[1]) : Desc();
  return {engine,
          kDirect,
          src,
          any_layout(call.weight),
          bias,
          dst,
          call.stride,
          call.dilation,
          call.padding_before,
          call.padding_after,
          forward,
          default_attributes(),
          true};
}

BatchNormForward batch_norm_forward(const dnnl::engine& engine, const Desc& data, float eps, bool given_statistics) {
  const auto kind = dnnl::prop_kind::forward_training;
  return {engine, kind, data, data, eps, flags_of(given_statistics), default_attributes(), true};
}

BatchNormBackward batch_norm_backward(const dnnl::engine& engine, const Desc& data, float eps, bool given_statistics,
                                      const BatchNormForward& forward) {
  const auto kind = dnnl::prop_kind::backward;
  return {engine, kind, data, data, data, eps, flags_of(given_statistics), forward, default_attributes(), true};
}

Places places_of(const Desc& desc) {
  Places out;
  out.simple = desc.get_format_kind() == dnnl::memory::format_kind::blocked;
  out.dims = desc.get_dims();
  if (!out.simple) return out;
  out.padded_dims = desc.get_padded_dims();
  out.strides = desc.get_strides();
  const Dims offsets = desc.get_padded_offsets();
  out.simple = desc.get_submemory_offset() == 0 && std::ranges::all_of(offsets, [](auto at) { return at == 0; });
  const Dims sizes = desc.get_inner_blks();
  const Dims dims = desc.get_inner_idxs();
  for (std::size_t i = 0; i < sizes.size(); ++i) out.blocks.push_back({static_cast<int>(dims[i]), sizes[i]});
  return out;
}

#else

ConvolutionForward convolution_forward(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                       const Desc& dst, bool with_bias) {
  using Call = dnnl::convolution_forward::desc;
  const auto kind = dnnl::prop_kind::forward_training;
  const Desc weight = any_layout(call.weight);
  const Call desc = with_bias ? Call(kind, kDirect, src, weight, plain_vector(call.dst[1]), dst, call.stride,
                                     call.dilation, call.padding_before, call.padding_after)
                              : Call(kind, kDirect, src, weight, dst, call.stride, call.dilation, call.padding_before,
                                     call.padding_after);
  return {desc, default_attributes(), engine, true};
}

ConvolutionData convolution_data(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                 const Desc& dst, const ConvolutionForward& forward) {
  const dnnl::convolution_backward_data::desc desc(kDirect, src, any_layout(call.weight), dst, call.stride,
                                                   call.dilation, call.padding_before, call.padding_after);
  return {desc, default_attributes(), engine, forward, true};
}

ConvolutionWeights convolution_weights(const dnnl::engine& engine, const ConvolutionCall& call, const Desc& src,
                                       const Desc& dst, bool with_bias, const ConvolutionForward& forward) {
  using Call = dnnl::convolution_backward_weights::desc;
  const Desc weight = any_layout(call.weight);
  const Call desc =
      with_bias ? Call(kDirect, src, weight, plain_vector(call.dst[1]), dst, call.stride, call.dilation,
                       call.padding_before, call.padding_after)
                : Call(kDirect, src, weight, dst, call.stride, call.dilation, call.padding_before, call.padding_after);
  return {desc, default_attributes(), engine, forward, true};
}

BatchNormForward batch_norm_forward(const dnnl::engine& engine, const Desc& data, float eps, bool given_statistics) {
  const dnnl::batch_normalization_forward::desc desc(dnnl::prop_kind::forward_training, data, eps,
                                                     flags_of(given_statistics));
  return {desc, default_attributes(), engine, true};
}

BatchNormBackward batch_norm_backward(const dnnl::engine& engine, const Desc& data, float eps, bool given_statistics,
                                      const BatchNormForward& forward) {
  const dnnl::batch_normalization_backward::desc desc(dnnl::prop_kind::backward, data, data, eps,
                                                      flags_of(given_statistics));
  return {desc, default_attributes(), engine, forward, true};
}

Places places_of(const Desc& desc) {
  const dnnl_memory_desc_t& data = desc.data;
  const auto list = [&](const dnnl_dims_t& values) { return Dims(values, values + data.ndims); };
  Places out;
  out.simple = data.format_kind == dnnl_blocked;
  out.dims = list(data.dims);
  if (!out.simple) return out;
  const dnnl_blocking_desc_t& blocking = data.format_desc.blocking;
  out.padded_dims = list(data.padded_dims);
  out.strides = list(blocking.strides);
  out.simple = data.offset0 == 0 && data.extra.flags == 0 &&
               std::ranges::all_of(list(data.padded_offsets), [](auto at) { return at == 0; });
  for (int i = 0; i < blocking.inner_nblks; ++i) {
    out.blocks.push_back({static_cast<int>(blocking.inner_idxs[i]), blocking.inner_blks[i]});
  }
  return out;
}

#endif

dnnl::primitive make_primitive(const ConvolutionForward& descriptor) { return dnnl::convolution_forward(descriptor); }
dnnl::primitive make_primitive(const ConvolutionData& descriptor) {
  return dnnl::convolution_backward_data(descriptor);
}
dnnl::primitive make_primitive(const ConvolutionWeights& descriptor) {
  return dnnl::convolution_backward_weights(descriptor);
}
dnnl::primitive make_primitive(const BatchNormForward& descriptor) {
  return dnnl::batch_normalization_forward(descriptor);
}
dnnl::primitive make_primitive(const BatchNormBackward& descriptor) {
  return dnnl::batch_normalization_backward(descriptor);
}

bool same_places(const Places& a, const Places& b) {
  if (!a.simple || !b.simple || a.dims != b.dims || a.padded_dims != b.padded_dims || a.blocks != b.blocks) {
    return false;
  }
  Dims block(a.dims.size(), 1);
  for (const Places::Block& inner : a.blocks) block[static_cast<std::size_t>(inner.dim)] *= inner.size;
  for (std::size_t d = 0; d < a.dims.size(); ++d) {
    if (a.padded_dims[d] > block[d] && a.strides[d] != b.strides[d]) return false;
  }
  return true;
}

Desc any_layout(const Dims& dims) { return {dims, kF32, FormatTag::any}; }

Desc plain_vector(std::int64_t size) { return {{size}, kF32, FormatTag::a}; }

Desc plain_layout(const Dims& dims, dnnl::memory::data_type type) {
  Dims strides(dims.size(), 1);
  for (std::size_t i = dims.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * std::max<std::int64_t>(1, dims[i]);
  return {dims, type, strides};
}

Desc blocked_image(const Dims& dims) {
  const bool wide = dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core;
  return {dims, kF32, wide ? FormatTag::nChw16c : FormatTag::nChw8c};
}

Desc tagged_layout(const Dims& dims, dnnl::memory::data_type type, FormatTag tag) { return {dims, type, tag, true}; }

}  // namespace tidemark::compute
