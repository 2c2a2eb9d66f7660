// slice and concat: runs of one dimension. A slice that is one run of bytes is a view.
#include <cstdint>

#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

// A dimension as seen from outside and inside: [outer, size, inner].
struct Split {
  std::int64_t outer = 1;
  std::int64_t size = 0;
  std::int64_t inner = 1;

  Split(const Shape& shape, int dim) : size(shape[dim]) {
    for (int i = 0; i < dim; ++i) outer *= shape[i];
    for (int i = dim + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
  std::int64_t row() const { return size * inner; }
};

// Copies `width` elements from each row of one matrix to another. Elements are moved, never looked at.
void copy_columns(const Ctx& ctx, std::int64_t rows, std::int64_t width, const std::uint32_t* from,
                  std::int64_t from_row, std::uint32_t* to, std::int64_t to_row) {
  if (rows == 1) {
    for_elements(ctx, width, 8,
                 [&](std::int64_t begin, std::int64_t end) { std::copy(from + begin, from + end, to + begin); });
    return;
  }
  for_range(ctx, rows, 8 * width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) std::copy_n(from + row * from_row, width, to + row * to_row);
  });
}

int from_front(int dim, int rank) { return dim < 0 ? dim + rank : dim; }

struct Slice {
  static constexpr std::string_view name = "slice";
  int dim = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  void describe(Attributes& a) const {
    a("dim", dim);
    a("begin", begin);
    a("end", end);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    const int at = from_front(dim, x.shape.rank());
    const bool exists = at >= 0 && at < x.shape.rank() && size_of(x.dtype) == 4;
    const auto [first, last] = exists ? range(x.shape[at]) : std::pair<std::int64_t, std::int64_t>{0, -1};
    prep.require(exists && first >= 0 && first <= last && last <= x.shape[at],
                 ops::describe("x", x) + ", which has no range [" + std::to_string(begin) + ", " + std::to_string(end) +
                     ") in dimension " + std::to_string(dim));
    const Split split(x.shape, at);
    Prepared out;
    out.outputs = {Meta::plain(x.shape.with(at, last - first), x.dtype)};
    out.input_layouts = {kPlain};
    const double bytes = as_double(out.outputs[0].bytes);
    // The engine places values at multiples of 64 bytes; a view elsewhere would be slower for all who read it.
    const std::int64_t offset = first * split.inner * size_of(x.dtype);
    if (split.outer == 1 && offset % 64 == 0) {
      out.view_of = 0;
      out.view_offset = offset;
    } else {
      out.work = {0, 2 * bytes};
    }
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(x.shape, x.dtype)};
      part.gy = {{0, kPlain}};
      part.work = {0, bytes + as_double(part.gx[0].bytes)};
      part.accumulates = true;
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const int at = from_front(dim, in[0].shape().rank());
    const Split from(in[0].shape(), at);
    const Split to(out[0].shape(), at);
    copy_columns(ctx, from.outer, to.row(), in[0].as<std::uint32_t>() + range(from.size).first * from.inner, from.row(),
                 out[0].as<std::uint32_t>(), to.row());
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const int at = from_front(dim, gx[0].shape().rank());
    const Split from(gy[0].shape(), at);
    const Split to(gx[0].shape(), at);
    const std::int64_t before = range(to.size).first * to.inner;
    for_range(ctx, to.outer, 8 * to.row(), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        const float* source = gy[0].as<>() + row * from.row();
        float* target = gx[0].as<>() + row * to.row();
        if (ctx.accumulate()) {
          for (std::int64_t i = 0; i < from.row(); ++i) target[before + i] += source[i];
          continue;
        }
        std::fill_n(target, before, 0.0f);
        std::copy_n(source, from.row(), target + before);
        std::fill(target + before + from.row(), target + to.row(), 0.0f);
      }
    });
  }

  static std::vector<Sample> samples() {
    return {{"view", {{{20, 8}}}, any_op(Slice{0, 4, 9})},
            {"columns", {{{3, 7, 5}}}, any_op(Slice{1, 2, -1})},
            {"last", {{{6, 9}}}, any_op(Slice{-1, 0, 4})}};
  }

 private:
  std::pair<std::int64_t, std::int64_t> range(std::int64_t size) const {
    return {begin < 0 ? begin + size : begin, end < 0 ? end + size : end};
  }
};

struct Concat {
  static constexpr std::string_view name = "concat";
  int dim = 0;

  void describe(Attributes& a) const { a("dim", dim); }

  // Where each part of backward begins in the dimension.
  using State = std::vector<std::int64_t>;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    prep.require(!in.empty(), "there is nothing to concatenate");
    const Shape& first = in[0].shape;
    const int at = from_front(dim, first.rank());
    prep.require(at >= 0 && at < first.rank() && size_of(in[0].dtype) == 4,
                 ops::describe("part 0", in[0]) + ", which has no dimension " + std::to_string(dim));
    std::int64_t size = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const bool fits =
          in[i].dtype == in[0].dtype && in[i].shape.rank() == first.rank() && in[i].shape.with(at, first[at]) == first;
      prep.require(fits, ops::describe("part 0", in[0]) + ", " + ops::describe("part " + std::to_string(i), in[i]) +
                             "; they may differ in dimension " + std::to_string(dim) + " only");
      size += in[i].shape[at];
    }
    Prepared out;
    out.outputs = {Meta::plain(first.with(at, size), in[0].dtype)};
    out.input_layouts.assign(in.size(), kPlain);
    out.work = {0, 2 * as_double(out.outputs[0].bytes)};
    auto state = std::make_shared<State>();
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (!needs[i]) continue;
      Part part;
      part.inputs = {static_cast<int>(i)};
      part.gx = {Meta::plain(in[i].shape)};
      part.gy = {{0, kPlain}};
      part.work = {0, 2 * as_double(part.gx[0].bytes)};
      out.parts.push_back(std::move(part));
      std::int64_t before = 0;
      for (std::size_t k = 0; k < i; ++k) before += in[k].shape[at];
      state->push_back(before);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const int at = from_front(dim, out[0].shape().rank());
    const Split to(out[0].shape(), at);
    std::uint32_t* target = out[0].as<std::uint32_t>();
    for (const Buf& part : in) {
      const Split from(part.shape(), at);
      copy_columns(ctx, from.outer, from.row(), part.as<std::uint32_t>(), from.row(), target, to.row());
      target += from.row();
    }
  }

  void backward(Ctx& ctx, int part, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const int at = from_front(dim, gx[0].shape().rank());
    const Split from(gy[0].shape(), at);
    const Split to(gx[0].shape(), at);
    const std::int64_t before = ctx.state<State>()[static_cast<std::size_t>(part)] * from.inner;
    copy_columns(ctx, from.outer, to.row(), gy[0].as<std::uint32_t>() + before, from.row(), gx[0].as<std::uint32_t>(),
                 to.row());
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{2, 5}}, {{3, 5}}}, any_op(Concat{0})},
            {"channels", {{{2, 3, 4}}, {{2, 1, 4}}, {{2, 2, 4}}}, any_op(Concat{1})},
            {"last", {{{3, 2}}, {{3, 5}}}, any_op(Concat{-1})}};
  }
};

}  // namespace

std::vector<Sample> slice_samples() { return Slice::samples(); }
std::vector<Sample> concat_samples() { return Concat::samples(); }

}  // namespace ops

Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end, SourceLocation where) {
  return apply(ops::Slice{dim, begin, end}, {x}, where);
}

Tensor concat(std::span<const Tensor> parts, int dim, SourceLocation where) {
  // An op has at most 64 inputs: more are put together in groups.
  constexpr std::size_t kMost = 64;
  if (parts.size() > kMost) {
    std::vector<Tensor> groups;
    for (std::size_t i = 0; i < parts.size(); i += kMost) {
      groups.push_back(concat(parts.subspan(i, std::min(kMost, parts.size() - i)), dim, where));
    }
    return concat(groups, dim, where);
  }
  return std::move(apply_all(any_op(ops::Concat{dim}), parts, where).front());
}

}  // namespace tidemark
