// max_pool2d. Backward reads only the kernel's workspace, a byte an output element, which says where each maximum was.
#include <algorithm>
#include <array>

#include "ops/kernels.h"
#include "ops/onednn.h"
#include "ops/table.h"
#include "tidemark/ops.h"

namespace tidemark {
namespace ops {
namespace {

using Forward = dnnl::pooling_forward;
using Backward = dnnl::pooling_backward;
using Desc = dnnl::memory::desc;

struct PoolState {
  KernelMaker forward, backward;
  Desc src, dst, workspace;  // of forward
  Desc gx, gy;
};

}  // namespace

struct MaxPool2d {
  static constexpr std::string_view name = "max_pool2d";
  MaxPool2dOptions options;

  void describe(Attributes& a) const {
    a("kernel_h", options.kernel[0]);
    a("kernel_w", options.kernel[1]);
    a("stride_h", options.stride[0]);
    a("stride_w", options.stride[1]);
    a("padding_h", options.padding[0]);
    a("padding_w", options.padding[1]);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    require_f32(prep, "input", in[0]);
    prep.require(x.rank() == 4 && x.numel() > 0, "input " + x.to_string() + " must be [N, C, H, W] and not empty");
    dnnl::memory::dims kernel, stride, padding;
    std::array<std::int64_t, 2> size{};
    for (std::size_t d = 0; d < 2; ++d) {
      const std::int64_t k = options.kernel[d];
      const std::int64_t s = options.stride[d] == 0 ? k : options.stride[d];
      const std::int64_t p = options.padding[d];
      const std::int64_t extent = x[static_cast<int>(d) + 2];
      prep.require(k >= 1 && s >= 1 && p >= 0 && 2 * p <= k,
                   "kernel and stride must be at least 1, padding between 0 and half of the kernel");
      prep.require(extent + 2 * p >= k, "window [" + std::to_string(options.kernel[0]) + ", " +
                                            std::to_string(options.kernel[1]) + "] is larger than input " +
                                            x.to_string() + " with its padding");
      size[d] = (extent + 2 * p - k) / s + 1;
      kernel.push_back(k);
      stride.push_back(s);
      padding.push_back(p);
    }
    const Shape y({x[0], x[1], size[0], size[1]});
    compute::Machine& machine = prep.machine();
    const auto attributes = compute::default_attributes();
    const auto forward_of = [&](const Desc& src) {
      const Forward::desc desc(dnnl::prop_kind::forward_training, dnnl::algorithm::pooling_max, src,
                               any_layout(dims_of(y)), stride, kernel, padding, padding);
      return Forward::primitive_desc(desc, attributes, machine.engine(), true);
    };
    const auto forward = best_of<Forward::primitive_desc>({
        [&] { return forward_of(machine.desc(in[0])); },
        [&] { return forward_of(blocked_image(dims_of(x))); },
    });
    if (!forward) prep.fail("no kernel for input " + x.to_string());

    Attributes text;
    describe(text);
    const std::string key = "max_pool2d " + text.text() + ' ' + text_of(in);
    auto state = std::make_shared<PoolState>();
    state->forward = kernel_maker<Forward>(key + "forward", forward);
    state->src = forward.src_desc();
    state->dst = forward.dst_desc();
    state->workspace = forward.workspace_desc();

    Prepared out;
    out.outputs = {machine.meta(y, state->dst), machine.meta(y, state->workspace)};
    out.visible = 1;
    out.input_layouts = {machine.meta(x, state->src).layout};
    out.scratch = state->forward.scratch;
    const double work = as_double(y.numel() * kernel[0] * kernel[1]);
    out.work = {work, as_double(in[0].bytes + out.outputs[0].bytes + out.outputs[1].bytes)};
    if (needs[0]) {
      const auto backward_of = [&](const Desc& gx, const Desc& gy) {
        const Backward::desc desc(dnnl::algorithm::pooling_max, gx, gy, stride, kernel, padding, padding);
        return Backward::primitive_desc(desc, attributes, machine.engine(), forward, true);
      };
      const auto backward = best_of<Backward::primitive_desc>({
          [&] { return backward_of(state->src, state->dst); },
          [&] { return backward_of(any_layout(dims_of(x)), state->dst); },
      });
      if (!backward) prep.fail("no kernel for the gradient of input " + x.to_string());
      state->backward = kernel_maker<Backward>(key + "backward", backward);
      state->gx = backward.diff_src_desc();
      state->gy = backward.diff_dst_desc();
      Part part;
      part.inputs = {0};
      part.gx = {machine.meta(x, state->gx)};
      part.saved = {Saved::output(1)};
      part.gy = {{0, machine.meta(y, state->gy).layout}};
      part.scratch = state->backward.scratch;
      part.work = {work, as_double(part.gx[0].bytes + out.outputs[0].bytes + out.outputs[1].bytes)};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<PoolState>();
    const compute::Machine& machine = ctx.machine();
    run(ctx, state.forward,
        {{DNNL_ARG_SRC, machine.memory(state.src, in[0].data)},
         {DNNL_ARG_DST, machine.memory(state.dst, out[0].data)},
         {DNNL_ARG_WORKSPACE, machine.memory(state.workspace, out[1].data)}});
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<PoolState>();
    const compute::Machine& machine = ctx.machine();
    run(ctx, state.backward,
        {{DNNL_ARG_DIFF_DST, machine.memory(state.gy, gy[0].data)},
         {DNNL_ARG_DIFF_SRC, machine.memory(state.gx, gx[0].data)},
         {DNNL_ARG_WORKSPACE, machine.memory(state.workspace, saved[0].data)}});
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const MaxPool2dOptions& options) {
      return Sample{std::move(label), {{x}}, any_op(MaxPool2d{options})};
    };
    return {
        sample("2x2", {2, 8, 6, 4}, {}),
        sample("odd size", {1, 3, 7, 5}, {}),
        sample("overlapping", {1, 16, 7, 7}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}),
        sample("odd channels", {2, 5, 6, 6}, {.kernel = {3, 2}, .stride = {1, 2}}),
        sample("whole image", {2, 4, 3, 3}, {.kernel = {3, 3}}),
    };
  }
};

std::vector<Sample> max_pool2d_samples() { return MaxPool2d::samples(); }

}  // namespace ops

Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options, SourceLocation where) {
  return apply(ops::MaxPool2d{options}, {x}, where);
}

}  // namespace tidemark
