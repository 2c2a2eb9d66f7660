// time_steps: a value cut into pieces of one dimension, all at once.
#include <algorithm>

#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/recurrent.h"

namespace tidemark {
namespace ops {
namespace {

struct TimeSteps {
  static constexpr std::string_view name = "time_steps";
  int dim = 0;
  std::int64_t size = 1;

  void describe(Attributes& a) const {
    a("dim", dim);
    a("size", size);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& x = in[0].shape;
    const int at = dim < 0 ? dim + x.rank() : dim;
    prep.require(at >= 0 && at < x.rank() && size >= 1 && x[at] >= 1,
                 "x " + x.to_string() + " cannot be cut into pieces of " + std::to_string(size) + " of dimension " +
                     std::to_string(dim) + "; it must have such a dimension that is not empty, and pieces at least 1");
    Prepared out;
    for (std::int64_t begin = 0; begin < x[at]; begin += size) {
      out.outputs.push_back(Meta::plain(x.with(at, std::min(size, x[at] - begin))));
    }
    out.input_layouts = {kPlain};
    out.work = {0, 2 * as_double(Meta::plain(x).bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(x)};
      for (std::size_t i = 0; i < out.outputs.size(); ++i) part.gy.push_back({static_cast<int>(i), kPlain});
      part.work = out.work;
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    move(ctx, in[0], out, [](float* whole, float* piece, std::int64_t count) { std::copy_n(whole, count, piece); });
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    move(ctx, gx[0], gy, [](float* whole, float* piece, std::int64_t count) { std::copy_n(piece, count, whole); });
  }

  static std::vector<Sample> samples() {
    return {{"one by one", {{{3, 2, 5}}}, any_op(TimeSteps{0, 1}), {false}},
            {"with a rest", {{{2, 7, 3}}}, any_op(TimeSteps{1, 3})},
            {"whole", {{{4, 6}}}, any_op(TimeSteps{-1, 9})}};
  }

 private:
  // copy(where it lies in the whole, where in its piece, elements) for all that lies together.
  template <class F>
  void move(const Ctx& ctx, const Buf& whole, std::span<const Buf> pieces, F copy) const {
    const Shape& shape = whole.shape();
    const int at = dim < 0 ? dim + shape.rank() : dim;
    std::int64_t inner = 1;
    for (int i = at + 1; i < shape.rank(); ++i) inner *= shape[i];
    const std::int64_t row = shape[at] * inner;
    const std::int64_t rows = row == 0 ? 0 : whole.numel() / row;
    const auto count = static_cast<std::int64_t>(pieces.size());
    for_range(ctx, rows * count, 8 * std::min(size, shape[at]) * inner, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const Buf& piece = pieces[static_cast<std::size_t>(i % count)];
        const std::int64_t width = piece.shape()[at] * inner;
        copy(whole.as<>() + i / count * row + i % count * size * inner, piece.as<>() + i / count * width, width);
      }
    });
  }
};

}  // namespace

std::vector<Sample> time_steps_samples() { return TimeSteps::samples(); }

}  // namespace ops

std::vector<Tensor> time_steps(const Tensor& x, int dim, std::int64_t size, SourceLocation where) {
  const Tensor inputs[] = {x};
  return apply_all(any_op(ops::TimeSteps{dim, size}), inputs, where);
}

}  // namespace tidemark
