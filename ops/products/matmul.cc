// matmul, batched where b has leading dimensions; a shared b makes one product of all rows.
#include "compute/gemm.h"
#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/products.h"

namespace tidemark {
namespace ops {
namespace {

struct MatmulState {
  std::int64_t batch = 1;
  compute::Gemm forward, grad_a, grad_b;
  std::vector<int> parts;  // the input whose gradient it is
};

void run(const Ctx& ctx, const compute::Gemm& g, std::int64_t batch, const float* a, const float* b, float* c,
         bool accumulate) {
  compute::gemm_batch(g, batch, a, g.m * g.k, b, g.k * g.n, c, g.m * g.n, accumulate, ctx.scratch(), ctx.threads());
}

}  // namespace

struct Matmul {
  static constexpr std::string_view name = "matmul";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& a = in[0].shape;
    const Shape& b = in[1].shape;
    require_f32(prep, "a", in[0]);
    require_f32(prep, "b", in[1]);
    const std::string both = "a " + a.to_string() + " and b " + b.to_string();
    prep.require(a.rank() >= 2 && b.rank() >= 2, both + " must be [..., M, K] and [..., K, N]");
    prep.require(a[-1] == b[-2], "a " + a.to_string() + " has " + std::to_string(a[-1]) + " columns, b " +
                                     b.to_string() + " has " + std::to_string(b[-2]) + " rows");
    const bool shared = b.rank() == 2;
    if (!shared) {
      bool equal = a.rank() == b.rank();
      for (int d = 0; equal && d < a.rank() - 2; ++d) equal = a[d] == b[d];
      prep.require(equal, both + " must have equal leading dimensions, or b none");
    }
    const std::int64_t k = a[-1];
    const std::int64_t n = b[-1];
    std::int64_t rows = a[-2];
    std::int64_t batch = 1;
    for (int d = 0; d < a.rank() - 2; ++d) batch *= a[d];
    if (shared) {
      rows *= batch;
      batch = 1;
    }
    auto state = std::make_shared<MatmulState>();
    state->batch = batch;
    state->forward = compute::Gemm::dense(rows, n, k);
    state->grad_a = compute::Gemm::dense(rows, k, n, false, true);
    state->grad_b = compute::Gemm::dense(k, n, rows, true, false);

    Prepared out;
    out.outputs = {Meta::plain(a.with(-1, n))};
    out.input_layouts = {kPlain, kPlain};
    out.scratch = compute::gemm_scratch(state->forward, prep.threads());
    out.work = {2.0 * as_double(batch) * as_double(rows) * as_double(n) * as_double(k),
                as_double(in[0].bytes + in[1].bytes + out.outputs[0].bytes)};
    for (int input = 0; input < 2; ++input) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[static_cast<std::size_t>(input)].shape)};
      part.saved = {Saved::input(1 - input, kPlain)};
      part.gy = {{0, kPlain}};
      part.scratch = compute::gemm_scratch(input == 0 ? state->grad_a : state->grad_b, prep.threads());
      part.work = out.work;
      part.accumulates = true;
      out.parts.push_back(std::move(part));
      state->parts.push_back(input);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<MatmulState>();
    run(ctx, state.forward, state.batch, in[0].as<const float>(), in[1].as<const float>(), out[0].as<float>(), false);
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const auto& state = ctx.state<MatmulState>();
    const auto* other = saved[0].as<const float>();
    const auto* g = gy[0].as<const float>();
    auto* target = gx[0].as<float>();
    if (state.parts[static_cast<std::size_t>(part)] == 0) {
      run(ctx, state.grad_a, state.batch, g, other, target, ctx.accumulate());
    } else {
      run(ctx, state.grad_b, state.batch, other, g, target, ctx.accumulate());
    }
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& a, const Shape& b) {
      return Sample{std::move(label), {{a}, {b}}, any_op(Matmul{})};
    };
    return {
        sample("square", {8, 8}, {8, 8}),      sample("odd", {5, 7}, {7, 3}),
        sample("row", {1, 19}, {19, 11}),      sample("long", {3, 270}, {270, 4}),
        sample("batch", {3, 4, 5}, {3, 5, 6}), sample("heads", {2, 3, 4, 6}, {2, 3, 6, 5}),
        sample("shared b", {2, 5, 6}, {6, 9}), sample("tall", {60, 4}, {4, 30}),
    };
  }
};

std::vector<Sample> matmul_samples() { return Matmul::samples(); }

}  // namespace ops

Tensor matmul(const Tensor& a, const Tensor& b, SourceLocation where) { return apply(ops::Matmul{}, {a, b}, where); }

}  // namespace tidemark
