// matmul with NumPy's broadcasting. Operands are used as they lie, transposed ones too.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "compute/gemm.h"
#include "ops/broadcast.h"
#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/products/carried_sums.h"
#include "ops/table.h"
#include "tidemark/ops/products.h"

namespace tidemark {
namespace ops {
namespace {

// A dimension of the batch, or several that are stepped through evenly; steps count matrices and are 0 where an operand
// is the same for all.
struct BatchDim {
  std::int64_t size = 1;
  std::int64_t a = 0;
  std::int64_t b = 0;
  std::int64_t c = 0;
};

// The operand's step, in matrices, from one index of each dimension of `batch` to the next.
std::vector<std::int64_t> steps_of(const Shape& operand, const Shape& batch) {
  std::vector<std::int64_t> steps(static_cast<std::size_t>(batch.rank()), 0);
  std::int64_t step = 1;
  for (int i = 1; i <= operand.rank(); ++i) {
    if (operand[-i] != 1) steps[static_cast<std::size_t>(batch.rank() - i)] = step;
    step *= operand[-i];
  }
  return steps;
}

// Products C = A B over a batch. Where C has no step in a dimension its products are added up there.
struct Products {
  compute::Gemm gemm;
  std::vector<BatchDim> summed;  // outermost: each adds to what the one before made
  std::vector<BatchDim> kept;

  void add(const BatchDim& dim) {
    if (dim.size == 1) return;
    std::vector<BatchDim>& dims = dim.c == 0 ? summed : kept;
    if (!dims.empty()) {
      BatchDim& last = dims.back();
      if (last.a == dim.a * dim.size && last.b == dim.b * dim.size && last.c == dim.c * dim.size) {
        last = {last.size * dim.size, dim.a, dim.b, dim.c};
        return;
      }
    }
    dims.push_back(dim);
  }

  void run(const Ctx& ctx, const float* a, const float* b, float* c, bool accumulate) const {
    // The innermost of the batch goes to the team as one.
    const BatchDim inner = kept.empty() ? BatchDim{} : kept.back();
    const std::size_t outer_dims = kept.empty() ? 0 : kept.size() - 1;
    const std::int64_t outer = count(kept, outer_dims);
    const std::int64_t a_size = gemm.m * gemm.k;
    const std::int64_t b_size = gemm.k * gemm.n;
    const std::int64_t c_size = gemm.m * gemm.n;
    auto* const totals = reinterpret_cast<double*>(ctx.scratch<char>() + gemm_bytes(ctx.threads()));
    sums().run(ctx, totals, c, accumulate, [&](std::int64_t sum, bool add) {
      const BatchDim from = at(summed, summed.size(), sum);
      for (std::int64_t i = 0; i < outer; ++i) {
        const BatchDim place = at(kept, outer_dims, i);
        compute::gemm_batch(gemm, inner.size, a + (from.a + place.a) * a_size, inner.a * a_size,
                            b + (from.b + place.b) * b_size, inner.b * b_size, c + place.c * c_size, inner.c * c_size,
                            add, ctx.scratch(), ctx.threads());
      }
    });
  }

  std::int64_t scratch(int threads) const { return gemm_bytes(threads) + sums().scratch(); }

 private:
  std::int64_t gemm_bytes(int threads) const { return round_up(compute::gemm_scratch(gemm, threads), 64); }
  CarriedSums sums() const { return {count(summed, summed.size()), count(kept, kept.size()) * gemm.m * gemm.n}; }

  static std::int64_t count(const std::vector<BatchDim>& dims, std::size_t rank) {
    std::int64_t product = 1;
    for (std::size_t i = 0; i < rank; ++i) product *= dims[i].size;
    return product;
  }
  static BatchDim at(const std::vector<BatchDim>& dims, std::size_t rank, std::int64_t index) {
    BatchDim out;
    for (std::size_t i = rank; i-- > 0;) {
      const std::int64_t here = index % dims[i].size;
      index /= dims[i].size;
      out.a += here * dims[i].a;
      out.b += here * dims[i].b;
      out.c += here * dims[i].c;
    }
    return out;
  }
};

struct MatmulState {
  Products forward, grad_a, grad_b;
  std::vector<int> parts;  // the input whose gradient it is
};

Shape leading(const Shape& shape, int last) {
  return Shape(shape.dims().first(static_cast<std::size_t>(shape.rank() - last)));
}

}  // namespace

struct Matmul {
  static constexpr std::string_view name = "matmul";
  MatmulOptions options;

  void describe(Attributes& a) const {
    a("transpose_a", options.transpose_a);
    a("transpose_b", options.transpose_b);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& a = in[0].shape;
    const Shape& b = in[1].shape;
    require_f32(prep, "a", in[0]);
    require_f32(prep, "b", in[1]);
    const std::string both = "a " + a.to_string() + " and b " + b.to_string();
    prep.require(a.rank() >= 1 && b.rank() >= 1, both + " must have a dimension at least");
    const bool a_vector = a.rank() == 1;
    const bool b_vector = b.rank() == 1;
    prep.require(!(a_vector && options.transpose_a) && !(b_vector && options.transpose_b),
                 both + "; what is transposed must be a matrix");
    const bool ta = options.transpose_a;
    const bool tb = options.transpose_b;
    const std::int64_t m = a_vector ? 1 : a[ta ? -1 : -2];
    const std::int64_t k = a[ta ? -2 : -1];
    const std::int64_t n = b_vector ? 1 : b[tb ? -2 : -1];
    const std::int64_t b_rows = b_vector ? b[0] : b[tb ? -1 : -2];
    prep.require(k == b_rows, "a " + a.to_string() + " has " + std::to_string(k) + (ta ? " rows, b " : " columns, b ") +
                                  b.to_string() + " has " + std::to_string(b_rows) + (tb ? " columns" : " rows") +
                                  "; they must be equal");
    const Shape batch_a = leading(a, a_vector ? 1 : 2);
    const Shape batch_b = leading(b, b_vector ? 1 : 2);
    const std::optional<Shape> common = broadcast(batch_a, batch_b);
    prep.require(common.has_value(), both + " must have leading dimensions that are equal, 1 or absent");

    auto state = std::make_shared<MatmulState>();
    plan(*state, *common, batch_a, batch_b, m, n, k);
    std::vector<std::int64_t> dims(common->dims().begin(), common->dims().end());
    if (!a_vector) dims.push_back(m);
    if (!b_vector) dims.push_back(n);
    Prepared out;
    out.outputs = {Meta::plain(Shape(dims))};
    out.input_layouts = {kPlain, kPlain};
    out.scratch = state->forward.scratch(prep.threads());
    out.work = {2.0 * as_double(common->numel()) * as_double(m) * as_double(n) * as_double(k),
                as_double(in[0].bytes + in[1].bytes + out.outputs[0].bytes)};
    for (int input = 0; input < 2; ++input) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[static_cast<std::size_t>(input)].shape)};
      part.saved = {Saved::input(1 - input, kPlain)};
      part.gy = {{0, kPlain}};
      part.scratch = (input == 0 ? state->grad_a : state->grad_b).scratch(prep.threads());
      part.work = out.work;
      part.accumulates = true;
      out.parts.push_back(std::move(part));
      state->parts.push_back(input);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    ctx.state<MatmulState>().forward.run(ctx, in[0].as<const float>(), in[1].as<const float>(), out[0].as<float>(),
                                         false);
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const auto& state = ctx.state<MatmulState>();
    const auto* other = saved[0].as<const float>();
    const auto* g = gy[0].as<const float>();
    const bool of_a = state.parts[static_cast<std::size_t>(part)] == 0;
    // A transposed operand's gradient is the transposed product.
    const bool g_first = of_a ? !options.transpose_a : options.transpose_b;
    (of_a ? state.grad_a : state.grad_b)
        .run(ctx, g_first ? g : other, g_first ? other : g, gx[0].as<float>(), ctx.accumulate());
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& a, const Shape& b, MatmulOptions options = {},
                           std::vector<bool> batched = {}) {
      return Sample{std::move(label), {{a}, {b}}, any_op(Matmul{options}), std::move(batched)};
    };
    return {
        sample("square", {8, 8}, {8, 8}),
        sample("odd", {5, 7}, {7, 3}),
        sample("row", {1, 19}, {19, 11}),
        sample("long", {3, 270}, {270, 4}),
        sample("batch", {3, 4, 5}, {3, 5, 6}),
        sample("heads", {2, 3, 4, 6}, {2, 3, 6, 5}),
        sample("shared b", {2, 5, 6}, {6, 9}),
        sample("tall", {60, 4}, {4, 30}),
        sample("shared a", {4, 5}, {3, 5, 6}, {}, {false, true}),
        sample("both broadcast", {2, 1, 3, 4}, {3, 4, 5}, {}, {true, false}),
        sample("middle", {2, 1, 2, 4, 3}, {2, 3, 1, 3, 5}, {}, {true, true}),
        sample("ones", {1, 1, 4, 3}, {3, 2, 3, 5}, {}, {false, true}),
        sample("transposed a", {3, 6, 4}, {3, 6, 5}, {.transpose_a = true}),
        sample("transposed b", {3, 4, 6}, {3, 5, 6}, {.transpose_b = true}),
        sample("both transposed", {2, 6, 4}, {5, 6}, {.transpose_a = true, .transpose_b = true}, {true, false}),
        sample("transposed b for all", {3, 4, 6}, {5, 6}, {.transpose_b = true}, {true, false}),
        sample("transposed a for all", {6, 4}, {3, 6, 5}, {.transpose_a = true}, {false, true}),
        sample("vector b", {3, 4, 6}, {6}, {}, {true, false}),
        sample("vector a", {6}, {3, 6, 4}, {}, {false, true}),
    };
  }

 private:
  void plan(MatmulState& state, const Shape& batch, const Shape& batch_a, const Shape& batch_b, std::int64_t m,
            std::int64_t n, std::int64_t k) const {
    const std::vector<std::int64_t> a = steps_of(batch_a, batch);
    const std::vector<std::int64_t> b = steps_of(batch_b, batch);
    // Where b is the same for the innermost of the batch, and rows of a follow each other, they are rows of one
    // product.
    const bool ta = options.transpose_a;
    const bool tb = options.transpose_b;
    int rank = batch.rank();
    std::int64_t joined = 1;
    while (!ta && rank > 0) {
      const auto at = static_cast<std::size_t>(rank - 1);
      if (batch[rank - 1] != 1 && (b[at] != 0 || a[at] != joined)) break;
      joined *= batch[rank - 1];
      --rank;
    }
    m *= joined;
    state.forward.gemm = compute::Gemm::dense(m, n, k, ta, tb);
    state.grad_a.gemm = ta ? compute::Gemm::dense(k, m, n, tb, true) : compute::Gemm::dense(m, k, n, false, !tb);
    state.grad_b.gemm = tb ? compute::Gemm::dense(n, k, m, true, ta) : compute::Gemm::dense(k, n, m, !ta, false);
    std::int64_t step = 1;
    std::vector<BatchDim> dims;
    for (int i = rank - 1; i >= 0; --i) {
      const auto at = static_cast<std::size_t>(i);
      dims.insert(dims.begin(), BatchDim{batch[i], a[at] / joined, b[at], step});
      step *= batch[i];
    }
    for (const BatchDim& dim : dims) {
      state.forward.add(dim);
      state.grad_a.add(ta ? BatchDim{dim.size, dim.b, dim.c, dim.a} : BatchDim{dim.size, dim.c, dim.b, dim.a});
      state.grad_b.add(tb ? BatchDim{dim.size, dim.c, dim.a, dim.b} : BatchDim{dim.size, dim.a, dim.c, dim.b});
    }
  }
};

std::vector<Sample> matmul_samples() { return Matmul::samples(); }

}  // namespace ops

Tensor matmul(const Tensor& a, const Tensor& b, const MatmulOptions& options, SourceLocation where) {
  ops::require_defined("matmul", {&a, &b}, where);
  const bool vectors = a.shape(where).rank() == 1 && b.shape(where).rank() == 1;
  if (vectors && !options.transpose_a && !options.transpose_b) return dot(a, b, where);
  return apply(ops::Matmul{options}, {a, b}, where);
}

Tensor bmm(const Tensor& a, const Tensor& b, SourceLocation where) {
  ops::require_defined("bmm", {&a, &b}, where);
  const Shape& left = a.shape(where);
  const Shape& right = b.shape(where);
  if (left.rank() != 3 || right.rank() != 3 || left[0] != right[0] || left[2] != right[1]) {
    throw ShapeError("[bmm] a is " + left.to_string() + ", b is " + right.to_string() +
                     "; they must be [N, M, K] and [N, K, P] (at " + to_string(where) + ")");
  }
  return matmul(a, b, {}, where);
}

}  // namespace tidemark
