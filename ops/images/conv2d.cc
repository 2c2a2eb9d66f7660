// conv2d. Activations stay in the kernel's layout; weights are plain and brought into the kernel's by the engine. The
// data gradient and the weight gradient are two parts, each with its own operand.
#include <algorithm>
#include <optional>

#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/onednn.h"
#include "ops/table.h"
#include "tidemark/ops/images.h"

namespace tidemark {
namespace ops {
namespace {

using compute::any_layout;
using compute::Desc;
using compute::plain_vector;
using Forward = compute::ConvolutionForward;
using BackwardData = compute::ConvolutionData;
using BackwardWeights = compute::ConvolutionWeights;

enum class PartKind { kData, kWeight, kBias };

struct ConvState {
  KernelMaker forward, data, weights;
  Desc src, weight, dst;                     // of forward
  Desc data_gx, data_weight, data_gy;        // of the data gradient
  Desc weights_src, weights_gw, weights_gy;  // of the weight gradient
  std::optional<Reduction> bias;             // of the output's gradient, where the weight is frozen
  std::vector<PartKind> parts;
};

struct Geometry : compute::ConvolutionCall {
  Shape out;
  std::int64_t channels = 0;  // of one group
  std::int64_t taps = 0;
};

// Makes the descriptors of one call's kernels.
class Kernels {
 public:
  Kernels(compute::Machine& the_machine, std::span<const Meta> inputs, const Geometry& geometry, std::int64_t groups,
          std::string key_text)
      : machine(the_machine),
        in(inputs),
        g(geometry),
        key(std::move(key_text)),
        places(g.out[2] * g.out[3]),
        depth(g.channels * g.taps),
        outputs(g.out[1] / groups),
        flops(2.0 * as_double(g.out.numel()) * as_double(depth)),
        plain_src_(machine.desc(Meta::plain(in[0].shape))),
        plain_dst_(machine.desc(Meta::plain(g.out))),
        any_src_(any_layout(g.src)),
        any_dst_(any_layout(g.dst)) {}

  // A plain input of many channels is worth bringing into blocks; one that is blocked already is taken as it comes.
  Forward forward() const {
    return best_of<Forward>({
        [&] { return forward_of(in[0].layout.plain() ? any_src_ : machine.desc(in[0]), any_dst_); },
        [&] { return forward_of(any_src_, any_dst_); },
        [&] { return forward_of(plain_src_, plain_dst_); },
    });
  }

  BackwardWeights weights(const Forward& forward, bool with_bias) const {
    return best_of<BackwardWeights>({
        [&] { return weights_of(forward.src_desc(), forward.dst_desc(), forward, with_bias); },
        [&] { return weights_of(any_src_, any_dst_, forward, with_bias); },
        [&] { return weights_of(plain_src_, plain_dst_, forward, with_bias); },
    });
  }

  BackwardData data(const Forward& forward) const {
    return best_of<BackwardData>({
        [&] { return data_of(forward.src_desc(), forward.dst_desc(), forward); },
        [&] { return data_of(any_src_, forward.dst_desc(), forward); },
        [&] { return data_of(any_src_, any_dst_, forward); },
        [&] { return data_of(plain_src_, plain_dst_, forward); },
    });
  }

  bool has_bias() const { return in.size() > 2; }
  Meta x(const Desc& desc) const { return machine.meta(in[0].shape, desc); }
  Meta w(const Desc& desc) const { return machine.meta(in[1].shape, desc); }
  Meta y(const Desc& desc) const { return machine.meta(g.out, desc); }
  std::int64_t hidden(const char* implementation, std::int64_t m, std::int64_t n, std::int64_t k) const {
    return compute::hidden_bytes(implementation, m, n, k, machine.threads());
  }

  compute::Machine& machine;
  std::span<const Meta> in;
  const Geometry& g;
  std::string key;
  std::int64_t places;   // of an output image
  std::int64_t depth;    // of the sum that an output element is
  std::int64_t outputs;  // channels of one group
  double flops;

 private:
  Forward forward_of(const Desc& src, const Desc& dst) const {
    return compute::convolution_forward(machine.engine(), g, src, dst, has_bias());
  }
  BackwardWeights weights_of(const Desc& src, const Desc& dst, const Forward& forward, bool with_bias) const {
    return compute::convolution_weights(machine.engine(), g, src, dst, with_bias, forward);
  }
  BackwardData data_of(const Desc& src, const Desc& dst, const Forward& forward) const {
    return compute::convolution_data(machine.engine(), g, src, dst, forward);
  }

  Desc plain_src_, plain_dst_, any_src_, any_dst_;
};

}  // namespace

struct Conv2d {
  static constexpr std::string_view name = "conv2d";
  Conv2dOptions options;

  void describe(Attributes& a) const {
    a("stride_h", options.stride[0]);
    a("stride_w", options.stride[1]);
    a("padding_h", options.padding[0]);
    a("padding_w", options.padding[1]);
    a("dilation_h", options.dilation[0]);
    a("dilation_w", options.dilation[1]);
    a("groups", options.groups);
    a("same", options.same_padding);
  }

  Geometry check(const Prep& prep, std::span<const Meta> in) const {
    const Shape& x = in[0].shape;
    const Shape& w = in[1].shape;
    for (std::size_t i = 0; i < in.size(); ++i) require_f32(prep, i == 0 ? "input" : i == 1 ? "weight" : "bias", in[i]);
    prep.require(x.rank() == 4 && w.rank() == 4, "input " + x.to_string() + " and weight " + w.to_string() +
                                                     " must be [N, C, H, W] and [O, C / groups, KH, KW]");
    const std::int64_t groups = options.groups;
    prep.require(groups >= 1, "groups is " + std::to_string(groups) + "; it must be at least 1");
    prep.require(w[1] * groups == x[1], "input " + x.to_string() + " has " + std::to_string(x[1]) +
                                            " channels, weight " + w.to_string() + " wants " +
                                            std::to_string(w[1] * groups));
    prep.require(w[0] % groups == 0, "weight " + w.to_string() + " has " + std::to_string(w[0]) +
                                         " output channels, which " + std::to_string(groups) +
                                         " groups do not divide (input " + x.to_string() + ")");
    if (in.size() > 2) {
      prep.require(in[2].shape == Shape({w[0]}), "bias " + in[2].shape.to_string() + " does not fit weight " +
                                                     w.to_string() + "; it must be [" + std::to_string(w[0]) + "]");
    }
    prep.require(x.with(0, 1).numel() > 0 && w.numel() > 0, "input " + x.to_string() + " and weight " + w.to_string() +
                                                                " must not be empty, but for the number of images");
    Geometry g;
    std::array<std::int64_t, 2> size{};
    for (std::size_t d = 0; d < 2; ++d) {
      const int dim = static_cast<int>(d) + 2;
      prep.require(options.stride[d] >= 1 && options.dilation[d] >= 1 && options.padding[d] >= 0,
                   "stride and dilation must be at least 1 and padding at least 0");
      const std::int64_t reach = (w[dim] - 1) * options.dilation[d] + 1;
      prep.require(!options.same_padding || (options.stride[d] == 1 && options.padding[d] == 0),
                   "same_padding needs a stride of 1 and no padding of its own");
      const std::int64_t zeros = options.same_padding ? reach - 1 : 2 * std::int64_t{options.padding[d]};
      const std::int64_t padded = x[dim] + zeros;
      prep.require(padded >= reach, "weight " + w.to_string() + " reaches over " + std::to_string(reach) +
                                        " elements, input " + x.to_string() + " has " + std::to_string(padded) +
                                        " with its padding");
      size[d] = (padded - reach) / options.stride[d] + 1;
      g.stride.push_back(options.stride[d]);
      g.dilation.push_back(options.dilation[d] - 1);
      g.padding_before.push_back(zeros / 2);
      g.padding_after.push_back(zeros - zeros / 2);
    }
    g.out = Shape({x[0], w[0], size[0], size[1]});
    require_countable(prep, "input", x);
    require_countable(prep, "weight", w);
    require_countable(prep, "output", g.out);
    g.src = dims_of(x);
    g.dst = dims_of(g.out);
    g.weight = dims_of(w);
    if (groups > 1) g.weight = {groups, w[0] / groups, w[1], w[2], w[3]};
    g.channels = w[1];
    g.taps = w[2] * w[3];
    return g;
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Geometry g = check(prep, in);
    if (g.out.numel() == 0) return prepare_empty(in, g, needs);
    Attributes text;
    describe(text);
    const Kernels kernels(prep.machine(), in, g, options.groups, "conv2d " + text.text() + ' ' + text_of(in));
    const Forward forward = kernels.forward();
    if (!forward) prep.fail(no_kernel(in));
    auto state = std::make_shared<ConvState>();
    Prepared out;
    add_forward(kernels, forward, out, *state);
    if (needs[1]) {
      const bool with_bias = in.size() > 2 && needs[2];
      const BackwardWeights weights = kernels.weights(forward, with_bias);
      if (!weights) prep.fail(no_kernel(in));
      add_weight_part(kernels, weights, with_bias, out, *state);
    }
    if (needs[0]) {
      const BackwardData data = kernels.data(forward);
      if (!data) prep.fail(no_kernel(in));
      add_data_part(kernels, data, out, *state);
    }
    if (needs[2] && !needs[1]) add_bias_part(kernels, out, *state);
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    if (out[0].numel() == 0) return;
    const auto& state = ctx.state<ConvState>();
    const compute::Machine& machine = ctx.machine();
    std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, machine.memory(state.src, in[0].data)},
        {DNNL_ARG_WEIGHTS, machine.memory(state.weight, in[1].data)},
        {DNNL_ARG_DST, machine.memory(state.dst, out[0].data)},
    };
    if (in.size() > 2) arguments.emplace(DNNL_ARG_BIAS, machine.memory(plain_vector(in[2].numel()), in[2].data));
    run(ctx, state.forward, std::move(arguments));
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    if (gy[0].numel() == 0) {
      for (const Buf& gradient : gx) std::fill_n(gradient.as<float>(), gradient.numel(), 0.0f);
      return;
    }
    const auto& state = ctx.state<ConvState>();
    const compute::Machine& machine = ctx.machine();
    switch (state.parts[static_cast<std::size_t>(part)]) {
      case PartKind::kWeight: {
        std::unordered_map<int, dnnl::memory> arguments = {
            {DNNL_ARG_SRC, machine.memory(state.weights_src, saved[0].data)},
            {DNNL_ARG_DIFF_DST, machine.memory(state.weights_gy, gy[0].data)},
            {DNNL_ARG_DIFF_WEIGHTS, machine.memory(state.weights_gw, gx[0].data)},
        };
        if (gx.size() > 1) {
          arguments.emplace(DNNL_ARG_DIFF_BIAS, machine.memory(plain_vector(gx[1].numel()), gx[1].data));
        }
        return run(ctx, state.weights, std::move(arguments));
      }
      case PartKind::kData:
        return run(ctx, state.data,
                   {{DNNL_ARG_WEIGHTS, machine.memory(state.data_weight, saved[0].data)},
                    {DNNL_ARG_DIFF_DST, machine.memory(state.data_gy, gy[0].data)},
                    {DNNL_ARG_DIFF_SRC, machine.memory(state.data_gx, gx[0].data)}});
      case PartKind::kBias:
        return state.bias->run(ctx, gy[0].as<const float>(), 1, gx[0].as<float>());
    }
  }

  static std::vector<Sample> samples();

 private:
  std::string no_kernel(std::span<const Meta> in) const {
    return "no kernel for input " + in[0].shape.to_string() + " and weight " + in[1].shape.to_string();
  }

  // A batch of no images gives no outputs, and gradients of zero.
  static Prepared prepare_empty(std::span<const Meta> in, const Geometry& g, Needs needs) {
    Prepared out;
    out.outputs = {Meta::plain(g.out)};
    out.input_layouts.assign(in.size(), kPlain);
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (!needs[i]) continue;
      Part part;
      part.inputs = {static_cast<int>(i)};
      part.gx = {Meta::plain(in[i].shape)};
      part.gy = {{0, kPlain}};
      part.work = {0, as_double(part.gx[0].bytes)};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  static void add_forward(const Kernels& k, const Forward& forward, Prepared& out, ConvState& state) {
    state.forward =
        kernel_maker(k.key + "forward", forward, k.hidden(forward.impl_info_str(), k.places, k.outputs, k.depth));
    state.src = forward.src_desc();
    state.weight = forward.weights_desc();
    state.dst = forward.dst_desc();
    const Meta y = k.y(state.dst);
    out.outputs = {y};
    out.input_layouts = {k.x(state.src).layout, k.w(state.weight).layout};
    if (k.has_bias()) out.input_layouts.push_back(kPlain);
    out.scratch = state.forward.scratch;
    out.work = {k.flops, as_double(k.in[0].bytes + k.in[1].bytes + y.bytes)};
  }

  static void add_weight_part(const Kernels& k, const BackwardWeights& weights, bool with_bias, Prepared& out,
                              ConvState& state) {
    state.weights = kernel_maker(k.key + (with_bias ? "weights bias" : "weights"), weights,
                                 k.hidden(weights.impl_info_str(), k.depth, k.outputs, k.places));
    state.weights_src = weights.src_desc();
    state.weights_gw = weights.diff_weights_desc();
    state.weights_gy = weights.diff_dst_desc();
    Part part;
    part.inputs = {1};
    part.gx = {k.w(state.weights_gw)};
    if (with_bias) {
      part.inputs.push_back(2);
      part.gx.push_back(Meta::plain(k.in[2].shape));
    }
    part.saved = {Saved::input(0, k.x(state.weights_src).layout)};
    part.gy = {{0, k.y(state.weights_gy).layout}};
    part.scratch = state.weights.scratch;
    part.work = {k.flops, as_double(k.in[0].bytes + out.outputs[0].bytes + part.gx[0].bytes)};
    out.parts.push_back(std::move(part));
    state.parts.push_back(PartKind::kWeight);
  }

  static void add_data_part(const Kernels& k, const BackwardData& data, Prepared& out, ConvState& state) {
    state.data = kernel_maker(k.key + "data", data, k.hidden(data.impl_info_str(), k.places, k.depth, k.outputs));
    state.data_gx = data.diff_src_desc();
    state.data_weight = data.weights_desc();
    state.data_gy = data.diff_dst_desc();
    Part part;
    part.inputs = {0};
    part.gx = {k.x(state.data_gx)};
    part.saved = {Saved::input(1, k.w(state.data_weight).layout)};
    part.gy = {{0, k.y(state.data_gy).layout}};
    part.scratch = state.data.scratch;
    part.work = {k.flops, as_double(k.in[1].bytes + out.outputs[0].bytes + part.gx[0].bytes)};
    out.parts.push_back(std::move(part));
    state.parts.push_back(PartKind::kData);
  }

  // The bias gradient alone, where the weight is frozen.
  static void add_bias_part(const Kernels& k, Prepared& out, ConvState& state) {
    state.bias.emplace(k.g.out, Shape({k.g.out[1], 1, 1}));
    Part part;
    part.inputs = {2};
    part.gx = {Meta::plain(k.in[2].shape)};
    part.gy = {{0, kPlain}};
    part.scratch = state.bias->scratch();
    part.work = {as_double(k.g.out.numel()), as_double(out.outputs[0].bytes)};
    out.parts.push_back(std::move(part));
    state.parts.push_back(PartKind::kBias);
  }
};

std::vector<Sample> Conv2d::samples() {
  const auto sample = [](std::string label, const Shape& x, const Shape& w, bool bias, const Conv2dOptions& options) {
    Sample out{std::move(label), {{x}, {w}}, any_op(Conv2d{options})};
    if (bias) out.inputs.push_back({Shape({w[0]})});
    return out;
  };
  return {
      sample("3x3", {2, 8, 6, 5}, {16, 8, 3, 3}, true, {.padding = {1, 1}}),
      sample("no bias", {1, 16, 5, 5}, {8, 16, 3, 3}, false, {}),
      sample("image", {1, 3, 9, 9}, {8, 3, 3, 3}, true, {.padding = {1, 1}}),
      sample("grey", {2, 1, 8, 8}, {6, 1, 5, 5}, true, {.padding = {2, 2}}),
      sample("odd channels", {1, 5, 7, 6}, {7, 5, 3, 3}, true, {.padding = {1, 0}}),
      sample("1x1", {2, 24, 3, 4}, {16, 24, 1, 1}, true, {}),
      sample("1x1 stride", {1, 8, 5, 5}, {16, 8, 1, 1}, true, {.stride = {2, 2}}),
      sample("64 channels", {1, 64, 3, 3}, {8, 64, 1, 1}, true, {}),
      sample("stride", {1, 8, 9, 7}, {8, 8, 3, 3}, true, {.stride = {2, 3}, .padding = {1, 2}}),
      sample("dilation", {1, 8, 9, 9}, {8, 8, 3, 3}, true, {.padding = {2, 1}, .dilation = {2, 3}}),
      sample("groups", {1, 16, 5, 5}, {16, 8, 3, 3}, true, {.padding = {1, 1}, .groups = 2}),
      sample("odd groups", {2, 6, 5, 5}, {9, 2, 3, 3}, true, {.padding = {1, 1}, .groups = 3}),
      sample("depthwise", {1, 8, 6, 6}, {8, 1, 3, 3}, true, {.padding = {1, 1}, .groups = 8}),
      sample("depthwise multiplied", {1, 3, 6, 6}, {6, 1, 3, 3}, false, {.stride = {2, 1}, .groups = 3}),
      sample("wide padding", {1, 2, 3, 3}, {4, 2, 3, 3}, true, {.padding = {3, 3}}),
      sample("same", {2, 4, 5, 6}, {3, 4, 2, 3}, true, {.dilation = {1, 2}, .same_padding = true}),
      sample("one place", {2, 8, 4, 4}, {4, 8, 4, 4}, true, {}),
  };
}

std::vector<Sample> conv2d_samples() { return Conv2d::samples(); }

}  // namespace ops

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
              SourceLocation where) {
  if (!bias.defined()) return apply(ops::Conv2d{options}, {x, weight}, where);
  return apply(ops::Conv2d{options}, {x, weight, bias}, where);
}

}  // namespace tidemark
