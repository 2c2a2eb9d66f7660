#include "compute/onednn.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace tidemark::compute {
namespace {

constexpr dnnl::algorithm kDirect = dnnl::algorithm::convolution_direct;
constexpr dnnl::memory::data_type kF32 = dnnl::memory::data_type::f32;

dnnl::normalization_flags flags_of(bool given_statistics) {
  using Flags = dnnl::normalization_flags;
  const Flags affine = Flags::use_scale | Flags::use_shift;
  return given_statistics ? affine | Flags::use_global_stats : affine;
}

Desc ordered_layout(const std::vector<int>& order, const Dims& dims, dnnl::memory::data_type type) {
  Dims strides(dims.size(), 1);
  std::int64_t stride = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    const auto dim = static_cast<std::size_t>(order[i]);
    strides[dim] = stride;
    stride *= std::max<std::int64_t>(1, dims[dim]);
  }
  return {dims, type, strides};
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

const bool kBatchNormGradientTakesShift = false;

Dims sizes_of(const Desc& desc) { return desc.get_dims(); }
dnnl::memory::data_type type_of(const Desc& desc) { return desc.get_data_type(); }

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

namespace {

// Version 3 makes a layout with blocks by its name only. Names are found by trying all of them on sizes at which each
// lies in a way of its own, once for each format.
FormatTag tag_of(const Format& format) {
  struct Known {
    Format format;
    FormatTag tag;
  };
  static std::mutex mutex;
  static std::vector<Known> known;
  const std::lock_guard lock(mutex);
  for (const Known& entry : known) {
    if (entry.format == format) return entry.tag;
  }
  Dims dims(format.order.size(), 2);
  for (const Places::Block& block : format.blocks) dims[static_cast<std::size_t>(block.dim)] *= block.size;
  FormatTag found = FormatTag::undef;
  for (int i = dnnl_format_tag_any + 1; i < dnnl_format_tag_last && found == FormatTag::undef; ++i) {
    const Desc candidate(dims, kF32, static_cast<FormatTag>(i), true);
    if (!candidate) continue;
    const Places places = places_of(candidate);
    if (!places.simple || places.blocks != format.blocks) continue;
    bool ordered = true;
    for (std::size_t k = 1; k < format.order.size(); ++k) {
      ordered = ordered && places.strides[static_cast<std::size_t>(format.order[k - 1])] >
                               places.strides[static_cast<std::size_t>(format.order[k])];
    }
    if (ordered) found = static_cast<FormatTag>(i);
  }
  known.push_back({format, found});
  return found;
}

}  // namespace

Desc layout_in(const Format& format, const Dims& dims, dnnl::memory::data_type type) {
  if (format.blocks.empty()) return ordered_layout(format.order, dims, type);
  const FormatTag tag = tag_of(format);
  return tag == FormatTag::undef ? Desc() : Desc(dims, type, tag, true);
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

const bool kBatchNormGradientTakesShift = true;

Dims sizes_of(const Desc& desc) { return desc.dims(); }
dnnl::memory::data_type type_of(const Desc& desc) { return desc.data_type(); }

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

Desc layout_in(const Format& format, const Dims& dims, dnnl::memory::data_type type) {
  if (format.blocks.empty()) return ordered_layout(format.order, dims, type);
  dnnl_memory_desc_t out;
  std::memset(&out, 0, sizeof out);
  out.ndims = static_cast<int>(dims.size());
  out.data_type = dnnl::memory::convert_to_c(type);
  out.format_kind = dnnl_blocked;
  dnnl_blocking_desc_t& blocking = out.format_desc.blocking;
  blocking.inner_nblks = static_cast<int>(format.blocks.size());
  Dims block(dims.size(), 1);
  std::int64_t stride = 1;
  for (std::size_t i = 0; i < format.blocks.size(); ++i) {
    blocking.inner_idxs[i] = format.blocks[i].dim;
    blocking.inner_blks[i] = format.blocks[i].size;
    block[static_cast<std::size_t>(format.blocks[i].dim)] *= format.blocks[i].size;
    stride *= format.blocks[i].size;
  }
  for (std::size_t i = format.order.size(); i-- > 0;) {
    const auto dim = static_cast<std::size_t>(format.order[i]);
    out.dims[dim] = dims[dim];
    out.padded_dims[dim] = (dims[dim] + block[dim] - 1) / block[dim] * block[dim];
    blocking.strides[dim] = stride;
    stride *= std::max<std::int64_t>(1, out.padded_dims[dim] / block[dim]);
  }
  return Desc(out);
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

Desc channels_last(const Dims& dims) { return {dims, kF32, FormatTag::nhwc}; }

Desc blocked_image(const Dims& dims) {
  const bool wide = dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core;
  return {dims, kF32, wide ? FormatTag::nChw16c : FormatTag::nChw8c};
}

}  // namespace tidemark::compute
