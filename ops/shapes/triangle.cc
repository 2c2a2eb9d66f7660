// tril, triu and diagonal: parts of matrices, which are the last two dimensions or any two.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "ops/shapes/moves.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

template <bool lower>
struct Triangle {
  static constexpr std::string_view name = lower ? "tril" : "triu";
  std::int64_t diagonal = 0;

  void describe(Attributes& a) const { a("diagonal", diagonal); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    prep.require(in[0].shape.rank() >= 2, ops::describe("x", in[0]) + "; it must be [..., M, N]");
    Prepared out = prepare_move(in[0], in[0].shape, needs);
    out.overwrites = {{0, 0}};
    for (Part& part : out.parts) part.overwrites = {{0, 0}};
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { run(ctx, in[0], out[0]); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    run(ctx, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    return {{"square", {{{5, 5}}}, any_op(Triangle{})},
            {"above", {{{3, 6}}}, any_op(Triangle{2})},
            {"below", {{{7, 4}}}, any_op(Triangle{-2})}};
  }

 private:
  void run(const Ctx& ctx, const Buf& from, const Buf& to) const {
    const std::int64_t rows = from.shape()[-2];
    const std::int64_t columns = from.shape()[-1];
    const std::int64_t bytes = size_of(from.meta->dtype);
    if (from.numel() == 0) return;
    // Beyond these every element is on one side.
    const std::int64_t offset = std::clamp(diagonal, -rows, columns);
    for_range(ctx, from.numel() / columns, 2 * bytes * columns, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        const std::int64_t edge = row % rows + offset + (lower ? 1 : 0);
        const std::int64_t middle = std::clamp<std::int64_t>(edge, 0, columns) * bytes;
        const char* source = from.as<const char>() + row * columns * bytes;
        char* target = to.as<char>() + row * columns * bytes;
        const std::int64_t begin = lower ? 0 : middle;
        const std::int64_t end = lower ? middle : columns * bytes;
        if (source != target) std::copy(source + begin, source + end, target + begin);
        std::fill(target, target + begin, char{0});
        std::fill(target + end, target + columns * bytes, char{0});
      }
    });
  }
};

struct Diagonal {
  static constexpr std::string_view name = "diagonal";
  std::int64_t offset = 0;
  int dim1 = 0;
  int dim2 = 1;

  void describe(Attributes& a) const {
    a("offset", offset);
    a("dim1", dim1);
    a("dim2", dim2);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    prep.require(
        has_dim(dim1, x.rank()) && has_dim(dim2, x.rank()) && from_front(dim1, x.rank()) != from_front(dim2, x.rank()),
        ops::describe("x", in[0]) + ", of which dimensions " + std::to_string(dim1) + " and " + std::to_string(dim2) +
            " make no matrix");
    std::vector<std::int64_t> dims;
    for (int i = 0; i < x.rank(); ++i) {
      if (i != from_front(dim1, x.rank()) && i != from_front(dim2, x.rank())) dims.push_back(x[i]);
    }
    const std::int64_t rows = x[dim1] + std::min<std::int64_t>(0, std::max(offset, -x[dim1]));
    const std::int64_t columns = x[dim2] - std::max<std::int64_t>(0, std::min(offset, x[dim2]));
    dims.push_back(std::min(rows, columns));
    return prepare_move(in[0], Shape(dims), needs);
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Steps steps(*this, in[0].shape(), out[0].shape());
    const std::int64_t bytes = size_of(in[0].meta->dtype);
    if (out[0].numel() == 0) return;
    move_elements(ctx, steps.dims(), bytes, in[0].as<const char>() + steps.start * bytes, out[0].data);
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    Steps steps(*this, gx[0].shape(), gy[0].shape());
    for (MoveDim& dim : steps.all) std::swap(dim.from, dim.to);
    clear_bytes(ctx, gx[0].data, gx[0].meta->bytes);
    if (gy[0].numel() == 0) return;
    move_elements(ctx, steps.dims(), size_of(f32), gy[0].data, gx[0].as<float>() + steps.start);
  }

  static std::vector<Sample> samples() {
    return {{"matrix", {{{4, 6}}}, any_op(Diagonal{}), {false}},
            {"below", {{{5, 3, 4}}}, any_op(Diagonal{-1, 1, 2})},
            {"above", {{{3, 2, 7}}}, any_op(Diagonal{2, 0, 2}), {false}}};
  }

 private:
  struct Steps {
    std::array<MoveDim, Shape::kMaxRank> all;
    int rank = 0;
    std::int64_t start = 0;

    Steps(const Diagonal& op, const Shape& x, const Shape& y) : rank(y.rank()) {
      const int first = from_front(op.dim1, x.rank());
      const int second = from_front(op.dim2, x.rank());
      int at = 0;
      for (int i = 0; i < x.rank(); ++i) {
        if (i == first || i == second) continue;
        all[static_cast<std::size_t>(at)] = {x[i], stride_of(x, i), stride_of(y, at)};
        ++at;
      }
      all[static_cast<std::size_t>(at)] = {y[-1], stride_of(x, first) + stride_of(x, second), 1};
      start = op.offset < 0 ? -op.offset * stride_of(x, first) : op.offset * stride_of(x, second);
    }
    std::span<const MoveDim> dims() const { return {all.data(), static_cast<std::size_t>(rank)}; }
  };
};

}  // namespace

std::vector<Sample> tril_samples() { return Triangle<true>::samples(); }
std::vector<Sample> triu_samples() { return Triangle<false>::samples(); }
std::vector<Sample> diagonal_samples() { return Diagonal::samples(); }

}  // namespace ops

Tensor tril(const Tensor& x, std::int64_t diagonal, SourceLocation where) {
  return apply(ops::Triangle<true>{diagonal}, {x}, where);
}

Tensor triu(const Tensor& x, std::int64_t diagonal, SourceLocation where) {
  return apply(ops::Triangle<false>{diagonal}, {x}, where);
}

Tensor diagonal(const Tensor& x, std::int64_t offset, int dim1, int dim2, SourceLocation where) {
  return apply(ops::Diagonal{offset, dim1, dim2}, {x}, where);
}

}  // namespace tidemark
