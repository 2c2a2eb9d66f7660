// cumsum and cumprod: running sums and products along a dimension, kept in double precision.
#include "ops/kernels.h"
#include "ops/reductions/dims.h"
#include "ops/table.h"
#include "tidemark/ops/reductions.h"

namespace tidemark {
namespace ops {
namespace {

constexpr std::int64_t kColumns = 256;

// step(running, at) for each element of each line, in order or backwards. Lines that lie beside each other go together,
// as do a few that follow one another: their steps do not wait for each other.
template <class F>
void scan(const Ctx& ctx, const Lines& lines, bool backwards, double start, F&& step) {
  const auto [outer, size, inner] = lines;
  if (inner > 1) {
    const std::int64_t blocks = (inner + kColumns - 1) / kColumns;
    for_range(ctx, outer * blocks, 8 * size * std::min(inner, kColumns),
              [&, size = size, inner = inner](std::int64_t begin, std::int64_t end) {
                double running[kColumns];
                for (std::int64_t item = begin; item < end; ++item) {
                  const std::int64_t first = item % blocks * kColumns;
                  const std::int64_t count = std::min(kColumns, inner - first);
                  std::fill_n(running, count, start);
                  for (std::int64_t i = 0; i < size; ++i) {
                    const std::int64_t row = backwards ? size - 1 - i : i;
                    const std::int64_t at = (item / blocks * size + row) * inner + first;
                    for (std::int64_t j = 0; j < count; ++j) step(running[j], at + j, row);
                  }
                }
              });
    return;
  }
  constexpr std::int64_t kTogether = 4;
  for_range(
      ctx, outer, 8 * size,
      [&, size = size](std::int64_t begin, std::int64_t end) {
        for (; begin < end; begin += kTogether) {
          const std::int64_t count = std::min(kTogether, end - begin);
          double running[kTogether] = {start, start, start, start};
          for (std::int64_t i = 0; i < size; ++i) {
            const std::int64_t row = backwards ? size - 1 - i : i;
            for (std::int64_t j = 0; j < count; ++j) step(running[j], (begin + j) * size + row, row);
          }
        }
      },
      kTogether);
}

template <bool products>
struct Cumulative {
  static constexpr std::string_view name = products ? "cumprod" : "cumsum";
  int dim = 0;

  void describe(Attributes& a) const { a("dim", dim); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Meta plain = Meta::plain(in[0].shape);
    const double n = as_double(plain.shape.numel());
    auto lines = std::make_shared<Lines>(plain.shape, dim_of(prep, in[0], dim));
    Prepared out;
    out.outputs = {plain};
    out.input_layouts = {kPlain};
    out.work = {n, 8 * n};
    out.overwrites = {{0, 0}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      if (products) part.saved = {Saved::input(0, kPlain), Saved::output(0, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {n, 8 * n};
      part.overwrites = {{products ? 2 : 0, 0}};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(lines);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const float* x = in[0].as<>();
    float* y = out[0].as<>();
    scan(ctx, ctx.state<Lines>(), false, products ? 1 : 0, [=](double& running, std::int64_t at, std::int64_t) {
      if constexpr (products) {
        running *= static_cast<double>(x[at]);
      } else {
        running += static_cast<double>(x[at]);
      }
      y[at] = static_cast<float>(running);
    });
  }

  // Of products: the product before an element times what follows of it. The latter is g + x' times the same of the
  // next element x', so that nothing is divided by an element that may be zero.
  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Lines& lines = ctx.state<Lines>();
    const float* g = gy[0].as<>();
    float* to = gx[0].as<>();
    if constexpr (products) {
      const float* x = saved[0].as<>();
      const float* y = saved[1].as<>();
      scan(ctx, lines, true, 0, [=, inner = lines.inner](double& running, std::int64_t at, std::int64_t row) {
        running += static_cast<double>(g[at]);
        const double before = row == 0 ? 1 : static_cast<double>(y[at - inner]);
        to[at] = static_cast<float>(before * running);
        running *= static_cast<double>(x[at]);
      });
    } else {
      scan(ctx, lines, true, 0, [=](double& running, std::int64_t at, std::int64_t) {
        running += static_cast<double>(g[at]);
        to[at] = static_cast<float>(running);
      });
    }
  }

  static std::vector<Sample> samples() {
    return {{"last", {{{7, 11}}}, any_op(Cumulative{-1})},
            {"middle", {{{2, 5, 7}}}, any_op(Cumulative{1})},
            {"first", {{{5, 6}}}, any_op(Cumulative{0})},
            {"number", {{Shape{}}}, any_op(Cumulative{0}), {false}}};
  }
};

}  // namespace

std::vector<Sample> cumsum_samples() { return Cumulative<false>::samples(); }
std::vector<Sample> cumprod_samples() { return Cumulative<true>::samples(); }

}  // namespace ops

Tensor cumsum(const Tensor& x, int dim, SourceLocation where) { return apply(ops::Cumulative<false>{dim}, {x}, where); }
Tensor cumprod(const Tensor& x, int dim, SourceLocation where) { return apply(ops::Cumulative<true>{dim}, {x}, where); }

}  // namespace tidemark
