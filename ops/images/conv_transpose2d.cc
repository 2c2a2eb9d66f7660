// conv_transpose2d: the data gradient of a convolution as an op of its own. What is the input here is the output of
// that convolution, and the other way round, so that each kernel here is one of its three.
#include <algorithm>
#include <array>

#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/onednn.h"
#include "ops/table.h"
#include "tidemark/ops/images.h"
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

using compute::any_layout;
using compute::Desc;

enum class PartKind { kData, kWeight };

struct TransposedState {
  KernelMaker forward, data, weights;
  // Descriptors of x, weight and y in each of them.
  std::array<Desc, 3> of_forward, of_data, of_weights;
  std::vector<PartKind> parts;
};

struct Transposed : compute::ConvolutionCall {
  Shape out;
  double flops = 0;
};

}  // namespace

struct ConvTranspose2d {
  static constexpr std::string_view name = "conv_transpose2d";
  ConvTranspose2dOptions options;

  void describe(Attributes& a) const {
    a("stride_h", options.stride[0]);
    a("stride_w", options.stride[1]);
    a("padding_h", options.padding[0]);
    a("padding_w", options.padding[1]);
    a("output_padding_h", options.output_padding[0]);
    a("output_padding_w", options.output_padding[1]);
    a("dilation_h", options.dilation[0]);
    a("dilation_w", options.dilation[1]);
    a("groups", options.groups);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Transposed g = check(prep, in);
    Prepared out;
    if (g.out.numel() == 0) return prepare_empty(in, g, needs);
    compute::Machine& machine = prep.machine();
    Attributes text;
    describe(text);
    const std::string key = "conv_transpose2d " + text.text() + ' ' + text_of(in);
    const dnnl::engine& engine = machine.engine();
    const Desc any_x = any_layout(g.dst);
    const Desc any_y = any_layout(g.src);
    const Desc plain_x = machine.desc(Meta::plain(in[0].shape));
    const Desc plain_y = machine.desc(Meta::plain(g.out));
    const Desc given_x = in[0].layout.plain() ? any_x : machine.desc(in[0]);
    // What the convolution would run: a hint for its gradients, and the data gradient here.
    const auto convolution = best_of<compute::ConvolutionForward>({
        [&] { return compute::convolution_forward(engine, g, any_y, any_x, false); },
        [&] { return compute::convolution_forward(engine, g, plain_y, plain_x, false); },
    });
    const auto refuse = [&] {
      prep.fail("no kernel for x " + in[0].shape.to_string() + " and weight " + in[1].shape.to_string());
    };
    if (!convolution) refuse();
    const auto forward = best_of<compute::ConvolutionData>({
        [&] { return compute::convolution_data(engine, g, any_y, given_x, convolution); },
        [&] { return compute::convolution_data(engine, g, any_y, any_x, convolution); },
        [&] { return compute::convolution_data(engine, g, plain_y, plain_x, convolution); },
    });
    if (!forward) refuse();
    const auto x_of = [&](const Desc& desc) { return machine.meta(in[0].shape, desc); };
    const auto w_of = [&](const Desc& desc) { return machine.meta(in[1].shape, desc); };
    const auto y_of = [&](const Desc& desc) { return machine.meta(g.out, desc); };
    const auto hidden = [&](const char* implementation) {
      const std::int64_t places = in[0].shape[2] * in[0].shape[3];
      const std::int64_t depth = in[1].shape[1] * in[1].shape[2] * in[1].shape[3];
      return compute::hidden_bytes(implementation, std::max(places, depth), in[0].shape[1] / options.groups,
                                   std::max(places, depth), machine.threads());
    };
    auto state = std::make_shared<TransposedState>();
    state->forward = kernel_maker(key + "forward", forward, hidden(forward.impl_info_str()));
    state->of_forward = {forward.diff_dst_desc(), forward.weights_desc(), forward.diff_src_desc()};
    const Meta y = y_of(state->of_forward[2]);
    out.outputs = {y};
    out.input_layouts = {x_of(state->of_forward[0]).layout, w_of(state->of_forward[1]).layout};
    out.scratch = state->forward.scratch;
    out.work = {g.flops, as_double(in[0].bytes + in[1].bytes + y.bytes)};
    if (needs[1]) {
      const auto weights = best_of<compute::ConvolutionWeights>({
          [&] { return compute::convolution_weights(engine, g, any_y, any_x, false, convolution); },
          [&] { return compute::convolution_weights(engine, g, plain_y, plain_x, false, convolution); },
      });
      if (!weights) refuse();
      state->weights = kernel_maker(key + "weights", weights, hidden(weights.impl_info_str()));
      state->of_weights = {weights.diff_dst_desc(), weights.diff_weights_desc(), weights.src_desc()};
      Part part;
      part.inputs = {1};
      part.gx = {w_of(state->of_weights[1])};
      part.saved = {Saved::input(0, x_of(state->of_weights[0]).layout)};
      part.gy = {{0, y_of(state->of_weights[2]).layout}};
      part.scratch = state->weights.scratch;
      part.work = out.work;
      out.parts.push_back(std::move(part));
      state->parts.push_back(PartKind::kWeight);
    }
    if (needs[0]) {
      state->data = kernel_maker(key + "data", convolution, hidden(convolution.impl_info_str()));
      state->of_data = {convolution.dst_desc(), convolution.weights_desc(), convolution.src_desc()};
      Part part;
      part.inputs = {0};
      part.gx = {x_of(state->of_data[0])};
      part.saved = {Saved::input(1, w_of(state->of_data[1]).layout)};
      part.gy = {{0, y_of(state->of_data[2]).layout}};
      part.scratch = state->data.scratch;
      part.work = out.work;
      out.parts.push_back(std::move(part));
      state->parts.push_back(PartKind::kData);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    if (out[0].numel() == 0) return;
    const auto& state = ctx.state<TransposedState>();
    const compute::Machine& machine = ctx.machine();
    run(ctx, state.forward,
        {{DNNL_ARG_DIFF_DST, machine.memory(state.of_forward[0], in[0].data)},
         {DNNL_ARG_WEIGHTS, machine.memory(state.of_forward[1], in[1].data)},
         {DNNL_ARG_DIFF_SRC, machine.memory(state.of_forward[2], out[0].data)}});
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    if (gy[0].numel() == 0) {
      std::fill_n(gx[0].as<>(), gx[0].numel(), 0.0f);
      return;
    }
    const auto& state = ctx.state<TransposedState>();
    const compute::Machine& machine = ctx.machine();
    if (state.parts[static_cast<std::size_t>(part)] == PartKind::kWeight) {
      return run(ctx, state.weights,
                 {{DNNL_ARG_DIFF_DST, machine.memory(state.of_weights[0], saved[0].data)},
                  {DNNL_ARG_DIFF_WEIGHTS, machine.memory(state.of_weights[1], gx[0].data)},
                  {DNNL_ARG_SRC, machine.memory(state.of_weights[2], gy[0].data)}});
    }
    run(ctx, state.data,
        {{DNNL_ARG_DST, machine.memory(state.of_data[0], gx[0].data)},
         {DNNL_ARG_WEIGHTS, machine.memory(state.of_data[1], saved[0].data)},
         {DNNL_ARG_SRC, machine.memory(state.of_data[2], gy[0].data)}});
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const Shape& w, const ConvTranspose2dOptions& options) {
      return Sample{std::move(label), {{x}, {w}}, any_op(ConvTranspose2d{options}), {true, false}};
    };
    return {
        sample("plain", {2, 5, 4, 3}, {5, 6, 3, 3}, {}),
        sample("stride", {1, 16, 5, 4}, {16, 8, 2, 2}, {.stride = {2, 2}}),
        sample("odd", {1, 3, 4, 5}, {3, 4, 3, 2}, {.stride = {2, 3}, .padding = {1, 0}, .output_padding = {1, 2}}),
        sample("dilation", {2, 4, 3, 3}, {4, 3, 3, 3}, {.padding = {1, 1}, .dilation = {2, 2}}),
        sample("more than stride", {1, 3, 3, 4}, {3, 2, 2, 3},
               {.padding = {1, 2}, .output_padding = {1, 2}, .dilation = {2, 4}}),
        sample("groups", {1, 6, 4, 4}, {6, 2, 3, 3}, {.stride = {2, 2}, .padding = {1, 1}, .groups = 3}),
    };
  }

 private:
  Transposed check(const Prep& prep, std::span<const Meta> in) const {
    const Shape& x = in[0].shape;
    const Shape& w = in[1].shape;
    require_f32(prep, "x", in[0]);
    require_f32(prep, "weight", in[1]);
    prep.require(x.rank() == 4 && w.rank() == 4, "x " + x.to_string() + " and weight " + w.to_string() +
                                                     " must be [N, C, H, W] and [C, O / groups, KH, KW]");
    const std::int64_t groups = options.groups;
    prep.require(groups >= 1 && x[1] % groups == 0, "x " + x.to_string() + " has " + std::to_string(x[1]) +
                                                        " channels, which must be a multiple of the " +
                                                        std::to_string(groups) + " groups");
    prep.require(w[0] == x[1], "x " + x.to_string() + " has " + std::to_string(x[1]) + " channels, weight " +
                                   w.to_string() + " wants " + std::to_string(w[0]));
    prep.require(x.with(0, 1).numel() > 0 && w.numel() > 0, "x " + x.to_string() + " and weight " + w.to_string() +
                                                                " must not be empty, but for the number of images");
    Transposed g;
    std::array<std::int64_t, 2> size{};
    for (std::size_t d = 0; d < 2; ++d) {
      const int dim = static_cast<int>(d) + 2;
      const int stride = options.stride[d];
      const int dilation = options.dilation[d];
      const int padding = options.padding[d];
      const int more = options.output_padding[d];
      prep.require(stride >= 1 && dilation >= 1 && padding >= 0,
                   "stride and dilation must be at least 1 and padding at least 0");
      prep.require(more >= 0 && more < std::max(stride, dilation) && (more < stride || more - padding < stride),
                   "output_padding is " + std::to_string(more) + "; it must be smaller than stride or dilation");
      const std::int64_t reach = (w[dim] - 1) * dilation + 1;
      size[d] = (x[dim] - 1) * stride - 2 * std::int64_t{padding} + reach + more;
      prep.require(size[d] >= 1, "x " + x.to_string() + " and weight " + w.to_string() + " give an output of size " +
                                     std::to_string(size[d]) + "; it must be at least 1: padding is too large");
      g.stride.push_back(stride);
      g.dilation.push_back(dilation - 1);
      g.padding_before.push_back(padding);
      // The convolution that this transposes drops by itself what is less than a stride at the end. More than that
      // gives back rows that the padding would cut off.
      g.padding_after.push_back(more < stride ? padding : std::max(0, padding - more));
    }
    g.out = Shape({x[0], w[1] * groups, size[0], size[1]});
    require_countable(prep, "x", x);
    require_countable(prep, "weight", w);
    require_countable(prep, "output", g.out);
    g.src = dims_of(g.out);
    g.dst = dims_of(x);
    g.weight = dims_of(w);
    if (groups > 1) g.weight = {groups, w[0] / groups, w[1], w[2], w[3]};
    g.flops = 2.0 * as_double(x.numel()) * as_double(w[1] * w[2] * w[3]);
    return g;
  }

  // A batch of no images gives no outputs, and gradients of zero.
  static Prepared prepare_empty(std::span<const Meta> in, const Transposed& g, Needs needs) {
    Prepared out;
    out.outputs = {Meta::plain(g.out)};
    out.input_layouts = {kPlain, kPlain};
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
};

std::vector<Sample> conv_transpose2d_samples() { return ConvTranspose2d::samples(); }

}  // namespace ops

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTranspose2dOptions& options, SourceLocation where) {
  ops::require_defined("conv_transpose2d", {&x, &weight}, where);
  // Beyond all that the image reaches there are zeros: less than a stride of them is the op's own, and the rest
  // follows.
  ops::ConvTranspose2d op{options};
  std::array<std::int64_t, 2> zeros{};
  for (std::size_t d = 0; d < 2; ++d) {
    const int more = options.output_padding[d];
    if (more < options.stride[d] || more >= options.dilation[d]) continue;
    zeros[d] = std::max(0, more - std::max(options.padding[d], 0) - (options.stride[d] - 1));
    op.options.output_padding[d] = more - static_cast<int>(zeros[d]);
  }
  Tensor y = apply(op, {x, weight}, where);
  if (zeros[0] + zeros[1] > 0) y = pad(y, {{0, zeros[0]}, {0, zeros[1]}}, {}, where);
  if (!bias.defined()) return y;
  const std::int64_t channels = y.size(1, where);
  if (bias.shape(where) != Shape({channels})) {
    throw ShapeError("[conv_transpose2d] bias is " + bias.shape(where).to_string() + "; for weight " +
                     weight.shape(where).to_string() + " it must be [" + std::to_string(channels) + "] (at " +
                     to_string(where) + ")");
  }
  return add(y, reshape(bias, {channels, 1, 1}, where), where);
}

Tensor conv_transpose1d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvTranspose1dOptions& options, SourceLocation where) {
  ops::require_defined("conv_transpose1d", {&x, &weight}, where);
  const Shape& shape = x.shape(where);
  const Shape& w = weight.shape(where);
  if (shape.rank() != 3 || w.rank() != 3) {
    throw ShapeError("[conv_transpose1d] x " + shape.to_string() + " and weight " + w.to_string() +
                     " must be [N, C, L] and [C, O / groups, K] (at " + to_string(where) + ")");
  }
  const Tensor y = conv_transpose2d(reshape(x, {shape[0], shape[1], 1, shape[2]}, where),
                                    reshape(weight, {w[0], w[1], 1, w[2]}, where), bias,
                                    {.stride = {1, options.stride},
                                     .padding = {0, options.padding},
                                     .output_padding = {0, options.output_padding},
                                     .dilation = {1, options.dilation},
                                     .groups = options.groups},
                                    where);
  return reshape(y, {y.size(0, where), y.size(1, where), y.size(3, where)}, where);
}

}  // namespace tidemark
