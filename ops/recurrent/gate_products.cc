// gate_products: what a step's gates are made of, the products of input and hidden state in one place. A step keeps
// that one value: gates are made of it again in backward.
#include <algorithm>
#include <array>

#include "compute/gemm.h"
#include "ops/kernels.h"
#include "ops/sums.h"
#include "ops/table.h"
#include "tidemark/ops/recurrent.h"

namespace tidemark {
namespace ops {
namespace {

constexpr std::array<const char*, 6> kNames = {"x", "h", "weight_ih", "weight_hh", "bias_ih", "bias_hh"};
enum Input { kX, kH, kWeightX, kWeightH, kBiasX, kBiasH };

// Gates that one product goes to: rows of the weight, and columns of the products.
struct Run {
  std::int64_t from = 0;
  std::int64_t count = 0;
  std::int64_t to = 0;
};

struct GateState {
  std::int64_t rows = 0;
  std::int64_t width = 0;  // of the products
  std::array<std::int64_t, 2> features{};
  // Of x, and of h: one run, or two where those of the last gate stay apart.
  std::array<std::vector<Run>, 2> runs;
  std::vector<int> parts;  // the input whose gradient it is

  compute::Gemm forward(int side, const Run& run) const {
    auto gemm = compute::Gemm::dense(rows, run.count, features[static_cast<std::size_t>(side)], false, true);
    gemm.ldc = width;
    return gemm;
  }
  compute::Gemm data(int side, const Run& run) const {
    auto gemm = compute::Gemm::dense(rows, features[static_cast<std::size_t>(side)], run.count);
    gemm.lda = width;
    return gemm;
  }
  compute::Gemm weight(int side, const Run& run) const {
    auto gemm = compute::Gemm::dense(run.count, features[static_cast<std::size_t>(side)], rows, true, false);
    gemm.lda = width;
    return gemm;
  }
};

struct GateProducts {
  static constexpr std::string_view name = "gate_products";
  bool apart = false;  // of the last of three gates

  void describe(Attributes& a) const { a("apart", apart); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    for (std::size_t i = 0; i < in.size(); ++i) require_f32(prep, kNames[i], in[i]);
    const Shape& x = in[kX].shape;
    const Shape& h = in[kH].shape;
    const Shape& wx = in[kWeightX].shape;
    const Shape& wh = in[kWeightH].shape;
    prep.require(x.rank() == 2 && h.rank() == 2 && x[0] == h[0] && h[1] > 0,
                 "x " + x.to_string() + " and h " + h.to_string() + " must be [N, I] and [N, H] with H at least 1");
    const std::string weights = "weight_ih " + wx.to_string() + " and weight_hh " + wh.to_string();
    prep.require(wx.rank() == 2 && wh.rank() == 2 && wx[0] == wh[0] && wx[1] == x[1] && wh[1] == h[1],
                 weights + " must be [G, " + std::to_string(x[1]) + "] and [G, " + std::to_string(h[1]) + "] for x " +
                     x.to_string() + " and h " + h.to_string());
    const std::int64_t gates = wx[0];
    const std::int64_t hidden = h[1];
    prep.require(!apart || gates == 3 * hidden,
                 weights + " must have three gates of " + std::to_string(hidden) + " rows for h " + h.to_string());
    for (std::size_t i = kBiasX; i < in.size(); ++i) {
      prep.require(in[i].shape == Shape({gates}), std::string(kNames[i]) + " " + in[i].shape.to_string() +
                                                      " must be [" + std::to_string(gates) + "] for weight_ih " +
                                                      wx.to_string());
    }
    auto state = std::make_shared<GateState>();
    state->rows = x[0];
    state->features = {x[1], hidden};
    state->width = apart ? gates + hidden : gates;
    state->runs[0] = {{0, gates, 0}};
    state->runs[1] = {{0, apart ? 2 * hidden : gates, 0}};
    if (apart) state->runs[1].push_back({2 * hidden, hidden, gates});

    Prepared out;
    out.outputs = {Meta::plain({x[0], state->width})};
    out.input_layouts.assign(in.size(), kPlain);
    const auto work = [&](int side) {
      const double m = as_double(x[0]);
      const double k = as_double(state->features[static_cast<std::size_t>(side)]);
      const double n = as_double(gates);
      return Work{2 * m * n * k, 4 * (m * k + n * k + m * n)};
    };
    out.work = {work(0).flops + work(1).flops, work(0).bytes + work(1).bytes};
    const int threads = prep.threads();
    for (const int side : {0, 1}) {
      for (const Run& run : state->runs[static_cast<std::size_t>(side)]) {
        out.scratch = std::max(out.scratch, compute::gemm_scratch(state->forward(side, run), threads));
      }
    }
    // Weights come first: then the data's gradient may be all that is left of a step.
    for (const int input : {kWeightX, kWeightH, kBiasX, kBiasH, kX, kH}) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      const int side = input % 2;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[static_cast<std::size_t>(input)].shape)};
      part.gy = {{0, kPlain}};
      part.accumulates = true;
      part.work = {as_double(x[0] * gates), 4 * as_double(x[0] * gates)};
      if (input < kBiasX) {
        part.saved = {Saved::input(input < kWeightX ? input + 2 : input - 2, kPlain)};
        part.work = work(side);
        for (const Run& run : state->runs[static_cast<std::size_t>(side)]) {
          const compute::Gemm gemm = input < kWeightX ? state->data(side, run) : state->weight(side, run);
          part.scratch = std::max(part.scratch, compute::gemm_scratch(gemm, threads));
        }
      }
      out.parts.push_back(std::move(part));
      state->parts.push_back(input);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<GateState>();
    std::int64_t written = 0;  // columns
    for (const int side : {0, 1}) {
      const auto at = static_cast<std::size_t>(side);
      const float* bias = in.size() > kBiasX ? in[kBiasX + at].as<const float>() : nullptr;
      const float* weight = in[kWeightX + at].as<const float>();
      for (const Run& run : state.runs[at]) {
        compute::gemm(state.forward(side, run), in[at].as<const float>(), weight + run.from * state.features[at],
                      bias == nullptr ? nullptr : bias + run.from, out[0].as<>() + run.to, run.to < written,
                      ctx.scratch(), ctx.threads());
        written = std::max(written, run.to + run.count);
      }
    }
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const auto& state = ctx.state<GateState>();
    const int input = state.parts[static_cast<std::size_t>(part)];
    const int side = input % 2;
    const auto at = static_cast<std::size_t>(side);
    bool add = ctx.accumulate();
    for (const Run& run : state.runs[at]) {
      const float* g = gy[0].as<const float>() + run.to;
      const std::int64_t offset = run.from * state.features[at];
      if (input >= kBiasX) {
        sum_columns(ctx, state.rows, run.count, g, state.width, add, gx[0].as<>() + run.from);
      } else if (input >= kWeightX) {
        compute::gemm(state.weight(side, run), g, saved[0].as<const float>(), nullptr, gx[0].as<>() + offset, add,
                      ctx.scratch(), ctx.threads());
      } else {
        compute::gemm(state.data(side, run), g, saved[0].as<const float>() + offset, nullptr, gx[0].as<>(), add,
                      ctx.scratch(), ctx.threads());
        add = true;
      }
    }
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, std::int64_t n, std::int64_t i, std::int64_t h, std::int64_t gates,
                           bool bias, bool apart) {
      Sample out{
          std::move(label), {{{n, i}}, {{n, h}}, {{gates * h, i}}, {{gates * h, h}}}, any_op(GateProducts{apart})};
      if (bias) out.inputs.insert(out.inputs.end(), 2, {{gates * h}});
      out.batched = {true, true, false, false};
      out.batched.resize(out.inputs.size(), false);
      return out;
    };
    return {sample("lstm", 3, 5, 4, 4, true, false), sample("no bias", 2, 9, 3, 1, false, false),
            sample("gru", 4, 3, 5, 3, true, true), sample("gru of many rows", 37, 6, 2, 3, false, true)};
  }
};

Tensor products(bool apart, const Tensor& x, const Tensor& h, const GateWeights& weights, SourceLocation where) {
  if (weights.bias_ih.defined() != weights.bias_hh.defined()) {
    throw Error("[gate_products] one of bias_ih and bias_hh is undefined; there must be both or none (at " +
                to_string(where) + ")");
  }
  const GateProducts op{apart};
  if (!weights.bias_ih.defined()) return apply(op, {x, h, weights.weight_ih, weights.weight_hh}, where);
  return apply(op, {x, h, weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh}, where);
}

}  // namespace

std::vector<Sample> gate_products_samples() { return GateProducts::samples(); }

}  // namespace ops

Tensor gate_products(const Tensor& x, const Tensor& h, const GateWeights& weights, SourceLocation where) {
  return ops::products(false, x, h, weights, where);
}

Tensor gru_products(const Tensor& x, const Tensor& h, const GateWeights& weights, SourceLocation where) {
  return ops::products(true, x, h, weights, where);
}

}  // namespace tidemark
