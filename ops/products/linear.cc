// linear: x W^T + b. Weights are used as they lie: a copy of them could be larger than all activations.
#include "compute/gemm.h"
#include "ops/kernels.h"
#include "ops/sums.h"
#include "ops/table.h"
#include "tidemark/ops/products.h"

namespace tidemark {
namespace ops {
namespace {

enum class PartKind { kWeight, kData, kBias };

struct LinearState {
  compute::Gemm forward, weight, data;
  std::vector<PartKind> parts;
};

}  // namespace

struct Linear {
  static constexpr std::string_view name = "linear";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    const Shape& w = in[1].shape;
    for (std::size_t i = 0; i < in.size(); ++i) require_f32(prep, i == 0 ? "input" : i == 1 ? "weight" : "bias", in[i]);
    prep.require(x.rank() >= 1 && w.rank() == 2,
                 "input " + x.to_string() + " and weight " + w.to_string() + " must be [..., I] and [O, I]");
    prep.require(x[-1] == w[1], "input " + x.to_string() + " has " + std::to_string(x[-1]) + " features, weight " +
                                    w.to_string() + " wants " + std::to_string(w[1]));
    if (in.size() > 2) {
      prep.require(in[2].shape == Shape({w[0]}), "bias " + in[2].shape.to_string() + " does not fit weight " +
                                                     w.to_string() + "; it must be [" + std::to_string(w[0]) + "]");
    }
    const std::int64_t inputs = w[1];
    const std::int64_t outputs = w[0];
    const Meta y = Meta::plain(x.with(-1, outputs));
    const std::int64_t rows = x.with(-1, 1).numel();
    auto state = std::make_shared<LinearState>();
    state->forward = compute::Gemm::dense(rows, outputs, inputs, false, true);
    state->weight = compute::Gemm::dense(outputs, inputs, rows, true, false);
    state->data = compute::Gemm::dense(rows, inputs, outputs);

    const Work work{2.0 * as_double(rows) * as_double(inputs) * as_double(outputs),
                    as_double((rows * inputs + inputs * outputs + rows * outputs) * size_of(f32))};
    Prepared out;
    out.outputs = {y};
    out.input_layouts.assign(in.size(), kPlain);
    out.scratch = compute::gemm_scratch(state->forward, prep.threads());
    out.work = work;
    const auto add_part = [&](PartKind kind, int input, std::vector<Saved> saved, std::int64_t scratch, Work cost) {
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[static_cast<std::size_t>(input)].shape)};
      part.saved = std::move(saved);
      part.gy = {{0, kPlain}};
      part.scratch = scratch;
      part.work = cost;
      part.accumulates = true;
      out.parts.push_back(std::move(part));
      state->parts.push_back(kind);
    };
    const int threads = prep.threads();
    if (needs[1]) {
      add_part(PartKind::kWeight, 1, {Saved::input(0, kPlain)}, compute::gemm_scratch(state->weight, threads), work);
    }
    if (needs[2]) {
      add_part(PartKind::kBias, 2, {}, 0, {as_double(rows * outputs), as_double(y.bytes)});
    }
    if (needs[0]) {
      add_part(PartKind::kData, 0, {Saved::input(1, kPlain)}, compute::gemm_scratch(state->data, threads), work);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const float* bias = in.size() > 2 ? in[2].as<const float>() : nullptr;
    compute::gemm(ctx.state<LinearState>().forward, in[0].as<const float>(), in[1].as<const float>(), bias,
                  out[0].as<float>(), false, ctx.scratch(), ctx.threads());
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const auto& state = ctx.state<LinearState>();
    const auto* g = gy[0].as<const float>();
    auto* target = gx[0].as<float>();
    switch (state.parts[static_cast<std::size_t>(part)]) {
      case PartKind::kWeight:
        return compute::gemm(state.weight, g, saved[0].as<const float>(), nullptr, target, ctx.accumulate(),
                             ctx.scratch(), ctx.threads());
      case PartKind::kData:
        return compute::gemm(state.data, g, saved[0].as<const float>(), nullptr, target, ctx.accumulate(),
                             ctx.scratch(), ctx.threads());
      case PartKind::kBias:
        return sum_columns(ctx, state.forward.m, state.forward.n, g, state.forward.n, ctx.accumulate(), target);
    }
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const Shape& w, bool bias) {
      Sample out{std::move(label), {{x}, {w}}, any_op(Linear{})};
      if (bias) out.inputs.push_back({Shape({w[0]})});
      return out;
    };
    return {
        sample("batch", {5, 13}, {7, 13}, true),      sample("no bias", {4, 16}, {24, 16}, false),
        sample("sequence", {2, 3, 8}, {9, 8}, true),  sample("vector", {17}, {3, 17}, true),
        sample("many rows", {50, 6}, {26, 6}, true),  sample("long", {3, 301}, {5, 301}, true),
        sample("one output", {6, 11}, {1, 11}, true),
    };
  }
};

std::vector<Sample> linear_samples() { return Linear::samples(); }

}  // namespace ops

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, SourceLocation where) {
  if (!bias.defined()) return apply(ops::Linear{}, {x, weight}, where);
  return apply(ops::Linear{}, {x, weight, bias}, where);
}

}  // namespace tidemark
