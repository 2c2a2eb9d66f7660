// bilinear: for each output a matrix between the features of two inputs. Rows go through in blocks, whose products with
// one matrix are all that is held beside inputs and outputs.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "compute/gemm.h"
#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/products/carried_sums.h"
#include "ops/table.h"
#include "tidemark/ops/products.h"

namespace tidemark {
namespace ops {
namespace {

constexpr std::int64_t kRows = 256;

struct Sizes {
  std::int64_t rows = 0;
  std::int64_t in1 = 0;
  std::int64_t in2 = 0;
  std::int64_t outputs = 0;
};

enum class PartKind { kInput1, kInput2, kWeight, kBias };

struct State {
  Sizes sizes;
  Reduction bias;
  std::vector<PartKind> parts;
};

// Bytes of a block of rows, in whole cache lines: the gemm's scratch follows it.
std::int64_t block_bytes(const Sizes& s) {
  return round_up(std::min(s.rows, kRows) * std::max(s.in1, s.in2) * size_of(f32), 64);
}

// f(first row, rows) for blocks of rows.
template <class F>
void for_blocks(std::int64_t rows, const F& f) {
  for (std::int64_t first = 0; first < rows; first += kRows) f(first, std::min(kRows, rows - first));
}

// to[row] = g[row] * x[row] for output `output`, of rows of `width`.
void scale_rows(const Ctx& ctx, const Sizes& sizes, std::int64_t first, std::int64_t rows, std::int64_t output,
                const float* g, const float* x, std::int64_t width, float* to) {
  for_range(ctx, rows, 8 * width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      mul_kernels().value(width, {x + (first + row) * width, false}, {g + (first + row) * sizes.outputs + output, true},
                          to + row * width);
    }
  });
}

}  // namespace

struct Bilinear {
  static constexpr std::string_view name = "bilinear";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    static constexpr const char* kNames[] = {"x1", "x2", "weight", "bias"};
    std::string all;
    for (std::size_t i = 0; i < in.size(); ++i) {
      require_f32(prep, kNames[i], in[i]);
      all += std::string(i == 0 ? "" : ", ") + kNames[i] + " " + in[i].shape.to_string();
    }
    const Shape& x1 = in[0].shape;
    const Shape& x2 = in[1].shape;
    const Shape& w = in[2].shape;
    const bool fits = x1.rank() >= 1 && x1.rank() == x2.rank() && w.rank() == 3 && x1.with(-1, 1) == x2.with(-1, 1) &&
                      x1[-1] == w[1] && x2[-1] == w[2] && (in.size() < 4 || in[3].shape == Shape({w[0]}));
    prep.require(fits, all + " must be [..., I1], [..., I2], [O, I1, I2]" + (in.size() < 4 ? "" : " and [O]"));
    const Sizes sizes{x1.with(-1, 1).numel(), w[1], w[2], w[0]};
    auto state = std::make_shared<State>(State{sizes, Reduction({sizes.rows, sizes.outputs}, {sizes.outputs}), {}});
    Prepared out;
    out.outputs = {Meta::plain(x1.with(-1, sizes.outputs))};
    out.input_layouts.assign(in.size(), kPlain);
    out.scratch = scratch(sizes, prep.threads());
    out.work = {2.0 * as_double(sizes.rows) * as_double(w.numel()),
                as_double(in[0].bytes + in[1].bytes + in[2].bytes + out.outputs[0].bytes)};
    const auto add_part = [&](PartKind kind, int input, std::vector<Saved> saved) {
      if (!needs[static_cast<std::size_t>(input)]) return;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[static_cast<std::size_t>(input)].shape)};
      part.saved = std::move(saved);
      part.gy = {{0, kPlain}};
      part.scratch = kind == PartKind::kBias ? state->bias.scratch()
                                             : scratch(sizes, prep.threads()) + sums(sizes, kind).scratch();
      part.work = kind == PartKind::kBias ? Work{as_double(sizes.rows * sizes.outputs), as_double(out.outputs[0].bytes)}
                                          : out.work;
      part.accumulates = kind != PartKind::kBias;
      out.parts.push_back(std::move(part));
      state->parts.push_back(kind);
    };
    add_part(PartKind::kWeight, 2, {Saved::input(0, kPlain), Saved::input(1, kPlain)});
    add_part(PartKind::kBias, 3, {});
    add_part(PartKind::kInput1, 0, {Saved::input(1, kPlain), Saved::input(2, kPlain)});
    add_part(PartKind::kInput2, 1, {Saved::input(0, kPlain), Saved::input(2, kPlain)});
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Sizes& s = ctx.state<State>().sizes;
    const float* bias = in.size() > 3 ? in[3].as<const float>() : nullptr;
    auto* const block = ctx.scratch<float>();
    for_blocks(s.rows, [&](std::int64_t first, std::int64_t rows) {
      for (std::int64_t o = 0; o < s.outputs; ++o) {
        product(ctx, compute::Gemm::dense(rows, s.in2, s.in1), in[0].as<const float>() + first * s.in1,
                in[2].as<const float>() + o * s.in1 * s.in2, block, s, false);
        for_range(ctx, rows, 8 * s.in2, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t row = begin; row < end; ++row) {
            const double sum = mul_kernels().slopes[0].sum(s.in2, block + row * s.in2, {nullptr, false},
                                                           {in[1].as<const float>() + (first + row) * s.in2, false});
            out[0].as<float>()[(first + row) * s.outputs + o] =
                static_cast<float>(sum + (bias == nullptr ? 0.0 : static_cast<double>(bias[o])));
          }
        });
      }
    });
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const PartKind kind = state.parts[static_cast<std::size_t>(part)];
    const auto* g = gy[0].as<const float>();
    auto* target = gx[0].as<float>();
    if (kind == PartKind::kBias) return state.bias.run(ctx, g, 1, target);
    const Sizes& s = state.sizes;
    auto* const block = ctx.scratch<float>();
    auto* const totals = reinterpret_cast<double*>(ctx.scratch<char>() + scratch(s, ctx.threads()));
    const auto* x = saved[0].as<const float>();
    const auto* other = saved[1].as<const float>();
    if (kind == PartKind::kWeight) {
      for (std::int64_t o = 0; o < s.outputs; ++o) {
        float* matrix = target + o * s.in1 * s.in2;
        sums(s, kind).run(ctx, totals, matrix, ctx.accumulate(), [&](std::int64_t i, bool add) {
          const std::int64_t first = i * kRows;
          const std::int64_t rows = std::min(kRows, s.rows - first);
          scale_rows(ctx, s, first, rows, o, g, x, s.in1, block);
          product(ctx, compute::Gemm::dense(s.in1, s.in2, rows, true, false), block, other + first * s.in2, matrix, s,
                  add);
        });
      }
      return;
    }
    const bool of_first = kind == PartKind::kInput1;
    const std::int64_t width = of_first ? s.in1 : s.in2;
    const std::int64_t other_width = of_first ? s.in2 : s.in1;
    for_blocks(s.rows, [&](std::int64_t first, std::int64_t rows) {
      const compute::Gemm gemm = compute::Gemm::dense(rows, width, other_width, false, of_first);
      float* place = target + first * width;
      const CarriedSums sums(s.outputs, rows * width);
      sums.run(ctx, totals, place, ctx.accumulate(), [&](std::int64_t o, bool add) {
        scale_rows(ctx, s, first, rows, o, g, x, other_width, block);
        product(ctx, gemm, block, other + o * s.in1 * s.in2, place, s, add);
      });
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x1, const Shape& x2, const Shape& w, bool bias) {
      Sample out{std::move(label), {{x1}, {x2}, {w}}, any_op(Bilinear{}), {x1.rank() > 1, x1.rank() > 1, false}};
      if (bias) {
        out.inputs.push_back({Shape({w[0]})});
        out.batched.push_back(false);
      }
      return out;
    };
    return {sample("batch", {5, 4}, {5, 6}, {3, 4, 6}, true), sample("no bias", {2, 3, 7}, {2, 3, 2}, {4, 7, 2}, false),
            sample("many rows", {300, 3}, {300, 2}, {2, 3, 2}, true), sample("vectors", {5}, {4}, {2, 5, 4}, true)};
  }

 private:
  // Room for a block and for the largest of the products.
  static std::int64_t scratch(const Sizes& s, int threads) {
    const std::int64_t rows = std::min(s.rows, kRows);
    std::int64_t most = 0;
    // The last block may have fewer rows, and another method.
    for (const std::int64_t count : {rows, s.rows % kRows}) {
      for (const compute::Gemm& gemm :
           {compute::Gemm::dense(count, s.in2, s.in1), compute::Gemm::dense(count, s.in1, s.in2, false, true),
            compute::Gemm::dense(s.in1, s.in2, count, true, false)}) {
        most = std::max(most, compute::gemm_scratch(gemm, threads));
      }
    }
    return block_bytes(s) + round_up(most, 64);
  }

  // Of the largest block, for the gradients of inputs; of a matrix, for that of the weight.
  static CarriedSums sums(const Sizes& s, PartKind kind) {
    if (kind == PartKind::kWeight) return {(s.rows + kRows - 1) / kRows, s.in1 * s.in2};
    return {s.outputs, std::min(s.rows, kRows) * (kind == PartKind::kInput1 ? s.in1 : s.in2)};
  }

  static void product(const Ctx& ctx, const compute::Gemm& gemm, const float* a, const float* b, float* c,
                      const Sizes& s, bool accumulate) {
    compute::gemm(gemm, a, b, nullptr, c, accumulate, ctx.scratch<char>() + block_bytes(s), ctx.threads());
  }
};

std::vector<Sample> bilinear_samples() { return Bilinear::samples(); }

}  // namespace ops

Tensor bilinear(const Tensor& x1, const Tensor& x2, const Tensor& weight, const Tensor& bias, SourceLocation where) {
  if (!bias.defined()) return apply(ops::Bilinear{}, {x1, x2, weight}, where);
  return apply(ops::Bilinear{}, {x1, x2, weight, bias}, where);
}

}  // namespace tidemark
