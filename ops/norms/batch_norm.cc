// batch_norm. In training the statistics of the batch are outputs, so a replay reads them and need not take them again;
// the running ones are changed by a second op, which is recorded once and never replayed.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/onednn.h"
#include "ops/table.h"
#include "tidemark/ops/norms.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

using compute::Desc;
using compute::plain_vector;
using Forward = compute::BatchNormForward;
using Backward = compute::BatchNormBackward;

// A plain image below this is not worth bringing into blocks.
constexpr std::int64_t kBlockFromBytes = std::int64_t{256} * 1024;

struct BatchNormState {
  KernelMaker forward, replay, backward;
  Desc data;
  std::int64_t channels = 0;
  int gx = -1;  // where among the part's gradients; -1: not asked for, and made in scratch
  int gamma = -1;
  int beta = -1;
  std::int64_t gx_offset = 0;  // into scratch
  std::int64_t gamma_offset = 0;
};

}  // namespace

struct BatchNorm {
  static constexpr std::string_view name = "batch_norm";
  bool training = true;
  float eps = 1e-5f;

  void describe(Attributes& a) const {
    a("training", training);
    a("eps", eps);
  }

  void check(const Prep& prep, std::span<const Meta> in) const {
    static constexpr std::array<std::string_view, 5> kNames = {"input", "gamma", "beta", "running_mean",
                                                               "running_variance"};
    require_eps(prep, eps);
    const Shape& x = in[0].shape;
    for (std::size_t i = 0; i < in.size(); ++i) require_f32(prep, kNames[i], in[i]);
    prep.require((x.rank() == 4 || x.rank() == 2) && x.numel() > 0,
                 "input " + x.to_string() + " must be [N, C, H, W] or [N, C] and not empty");
    for (std::size_t i = 1; i < in.size(); ++i) {
      prep.require(in[i].shape == Shape({x[1]}), std::string(kNames[i]) + " " + in[i].shape.to_string() +
                                                     " does not fit input " + x.to_string() + "; it must be [" +
                                                     std::to_string(x[1]) + "]");
    }
    require_countable(prep, "input", x);
    prep.require(!training || x.numel() > x[1],
                 "input " + x.to_string() + " has one value a channel; training needs more");
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    check(prep, in);
    compute::Machine& machine = prep.machine();
    const Shape& x = in[0].shape;
    const bool image = x.rank() == 4;
    const Shape as_image = image ? x : Shape({x[0], x[1], 1, 1});
    const auto forward_of = [&](const Desc& data, bool given_statistics) {
      return compute::batch_norm_forward(machine.engine(), data, eps, given_statistics);
    };
    // Features lie as images of one pixel do, channels last: with channels first oneDNN goes through them one by one.
    const Desc as_it_comes = !image                 ? compute::channels_last(dims_of(as_image))
                             : in[0].layout.plain() ? machine.desc(Meta::plain(as_image))
                                                    : machine.desc(in[0]);
    const Desc blocks = compute::blocked_image(dims_of(as_image));
    const bool small = in[0].bytes < kBlockFromBytes || !image;
    const auto forward = best_of<Forward>({
        [&] { return forward_of(as_it_comes, !training); },
        [&] { return small ? Forward() : forward_of(blocks, !training); },
    });
    if (!forward) prep.fail("no kernel for input " + x.to_string());

    Attributes text;
    describe(text);
    const std::string key = "batch_norm " + text.text() + ' ' + text_of(in);
    auto state = std::make_shared<BatchNormState>();
    state->data = forward.src_desc();
    state->channels = x[1];
    state->forward = kernel_maker(key + "forward", forward);
    std::int64_t scratch = state->forward.scratch;
    if (training) {
      const auto replay = forward_of(state->data, true);
      if (!replay) prep.fail("no kernel for input " + x.to_string());
      state->replay = kernel_maker(key + "replay", replay);
      scratch = std::max(scratch, state->replay.scratch);
    }

    Prepared out;
    const Meta y = machine.meta(x, image ? state->data : machine.desc(Meta::plain(x)));
    const Meta vector = Meta::plain(Shape({x[1]}));
    out.outputs = {y};
    if (training) out.outputs.insert(out.outputs.end(), {vector, vector});
    out.input_layouts = {y.layout};
    for (std::size_t i = 1; i < in.size(); ++i) out.input_layouts.push_back(kPlain);
    out.scratch = scratch;
    const double count = as_double(x.numel());
    out.work = {(training ? 8.0 : 4.0) * count, (training ? 4.0 : 2.0) * as_double(y.bytes)};
    if (needs[0] || needs[1] || needs[2]) {
      const Backward backward = compute::batch_norm_backward(machine.engine(), state->data, eps, !training, forward);
      if (!backward) prep.fail("no kernel for the gradient of input " + x.to_string());
      state->backward = kernel_maker(key + "backward", backward);
      Part part;
      part.scratch = state->backward.scratch;
      const auto want = [&](int input, int& place, const Meta& meta) {
        if (!needs[static_cast<std::size_t>(input)]) return;
        place = static_cast<int>(part.inputs.size());
        part.inputs.push_back(input);
        part.gx.push_back(meta);
      };
      want(0, state->gx, y);
      want(1, state->gamma, vector);
      want(2, state->beta, vector);
      state->gx_offset = part.scratch;
      if (state->gx < 0) part.scratch += round_up(y.bytes, 64);
      state->gamma_offset = part.scratch;
      if (state->gamma < 0 || state->beta < 0) part.scratch += 2 * round_up(vector.bytes, 64);
      part.saved = {Saved::input(0, y.layout), Saved::input(1, kPlain)};
      if (training) {
        part.saved.insert(part.saved.end(), {Saved::output(1), Saved::output(2)});
      } else {
        part.saved.insert(part.saved.end(), {Saved::input(3, kPlain), Saved::input(4, kPlain)});
      }
      part.gy = {{0, y.layout}};
      part.work = {12.0 * count, 5.0 * as_double(y.bytes)};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<BatchNormState>();
    const compute::Machine& machine = ctx.machine();
    const Desc vector = plain_vector(state.channels);
    const bool replay = training && out[1].valid && out[2].valid;
    run(ctx, replay ? state.replay : state.forward,
        {{DNNL_ARG_SRC, machine.memory(state.data, in[0].data)},
         {DNNL_ARG_SCALE, machine.memory(vector, in[1].data)},
         {DNNL_ARG_SHIFT, machine.memory(vector, in[2].data)},
         {DNNL_ARG_MEAN, machine.memory(vector, training ? out[1].data : in[3].data)},
         {DNNL_ARG_VARIANCE, machine.memory(vector, training ? out[2].data : in[4].data)},
         {DNNL_ARG_DST, machine.memory(state.data, out[0].data)}});
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<BatchNormState>();
    const compute::Machine& machine = ctx.machine();
    const Desc vector = plain_vector(state.channels);
    const auto target = [&](int place, std::int64_t offset) -> void* {
      return place < 0 ? ctx.scratch<std::byte>() + offset : gx[static_cast<std::size_t>(place)].data;
    };
    const std::int64_t each = round_up(state.channels * size_of(f32), 64);
    std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, machine.memory(state.data, saved[0].data)},
        {DNNL_ARG_SCALE, machine.memory(vector, saved[1].data)},
        {DNNL_ARG_MEAN, machine.memory(vector, saved[2].data)},
        {DNNL_ARG_VARIANCE, machine.memory(vector, saved[3].data)},
        {DNNL_ARG_DIFF_DST, machine.memory(state.data, gy[0].data)},
        {DNNL_ARG_DIFF_SRC, machine.memory(state.data, target(state.gx, state.gx_offset))},
        {DNNL_ARG_DIFF_SCALE, machine.memory(vector, target(state.gamma, state.gamma_offset))},
        {DNNL_ARG_DIFF_SHIFT, machine.memory(vector, target(state.beta, state.gamma_offset + each))}};
    if (compute::kBatchNormGradientTakesShift) {
      arguments.emplace(DNNL_ARG_SHIFT, machine.memory(vector, saved[1].data));
    }
    run(ctx, state.backward, std::move(arguments));
  }

  static std::vector<Sample> samples() {
    using Fill = SampleInput::Fill;
    const auto sample = [](std::string label, const Shape& x, bool training) {
      const Shape c({x[1]});
      Sample out{std::move(label), {{x}, {c}, {c}}, any_op(BatchNorm{training, 1e-5f})};
      if (!training) {
        out.inputs.push_back({c, f32, Fill::kNormal, 0, false});
        out.inputs.push_back({c, f32, Fill::kPositive, 0, false});
      }
      return out;
    };
    return {
        sample("image", {2, 8, 4, 3}, true),       sample("odd channels", {3, 5, 3, 3}, true),
        sample("features", {9, 7}, true),          sample("three channels", {2, 3, 5, 5}, true),
        sample("evaluation", {2, 8, 3, 3}, false), sample("evaluation of features", {4, 6}, false),
    };
  }
};

// running = (1 - momentum) running + momentum batch, the variance made unbiased. Recorded after batch_norm.
struct BatchNormUpdate {
  static constexpr std::string_view name = "batch_norm_update";
  float momentum = 0.1f;
  std::int64_t count = 2;  // values a channel

  void describe(Attributes& a) const {
    a("momentum", momentum);
    a("count", count);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    for (const Meta& meta : in) {
      require_f32(prep, "a statistic", meta);
      prep.require(meta.shape == in[0].shape, "the batch's statistics are " + in[0].shape.to_string() +
                                                  ", the running ones " + meta.shape.to_string());
    }
    Prepared out;
    out.input_layouts.assign(4, kPlain);
    out.updates = {2, 3};
    out.work = {6.0 * as_double(in[0].shape.numel()), 6.0 * as_double(in[0].bytes)};
    return out;
  }

  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const {
    const auto* mean = in[0].as<const float>();
    const auto* variance = in[1].as<const float>();
    auto* running_mean = in[2].as<float>();
    auto* running_variance = in[3].as<float>();
    const float unbiased = static_cast<float>(as_double(count) / as_double(count - 1));
    for (std::int64_t c = 0; c < in[0].numel(); ++c) {
      running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c];
      running_variance[c] = (1 - momentum) * running_variance[c] + momentum * (variance[c] * unbiased);
    }
  }

  static std::vector<Sample> samples() {
    using Fill = SampleInput::Fill;
    const SampleInput any{Shape({6}), f32, Fill::kNormal, 0, false};
    const SampleInput positive{Shape({6}), f32, Fill::kPositive, 0, false};
    return {{"six channels", {any, positive, any, positive}, any_op(BatchNormUpdate{0.1f, 12})}};
  }
};

std::vector<Sample> batch_norm_samples() { return BatchNorm::samples(); }
std::vector<Sample> batch_norm_update_samples() { return BatchNormUpdate::samples(); }

}  // namespace ops

Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_variance, const BatchNormOptions& options, SourceLocation where) {
  ops::require_defined("batch_norm", {&x}, where);
  const Shape& shape = x.shape(where);
  if (shape.rank() == 3) {
    const Tensor image = reshape(x, {shape[0], shape[1], 1, shape[2]}, where);
    return reshape(batch_norm(image, gamma, beta, running_mean, running_variance, options, where), shape, where);
  }
  if (running_mean.defined() != running_variance.defined()) {
    throw Error("[batch_norm] running_mean and running_variance are both given, or neither (at " + to_string(where) +
                ")");
  }
  const auto vector_of = [&](const Tensor& given, float otherwise) {
    return given.defined() ? given : full({shape.rank() > 1 ? shape[1] : 0}, otherwise, where);
  };
  const Tensor g = vector_of(gamma, 1);
  const Tensor b = vector_of(beta, 0);
  const bool of_batch = options.training || !running_mean.defined();
  const ops::BatchNorm op{of_batch, options.eps};
  if (!of_batch) return apply(op, {x, g, b, running_mean, running_variance}, where);
  if (!(options.momentum >= 0 && options.momentum <= 1)) {
    throw Error("[batch_norm] momentum is " + std::to_string(options.momentum) + "; it must lie in [0, 1] (at " +
                to_string(where) + ")");
  }
  const Tensor inputs[] = {x, g, b};
  const std::vector<Tensor> outputs = apply_all(any_op(op), inputs, where);
  if (running_mean.defined()) {
    const std::int64_t count = x.numel(where) / shape[1];
    const Tensor statistics[] = {outputs[1], outputs[2], running_mean, running_variance};
    apply_all(any_op(ops::BatchNormUpdate{options.momentum, count}), statistics, where);
  }
  return outputs[0];
}

}  // namespace tidemark
