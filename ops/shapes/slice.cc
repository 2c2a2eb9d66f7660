// slice and concat: runs of one dimension. A slice that is one run of bytes is a view.
#include <algorithm>
#include <array>
#include <cstdint>

#include "ops/shapes/moves.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

// Copies `width` bytes from each row of one matrix to another.
void copy_columns(const Ctx& ctx, std::int64_t rows, std::int64_t width, const char* from, std::int64_t from_row,
                  char* to, std::int64_t to_row) {
  if (rows == 1) {
    const auto copy = [&](std::int64_t begin, std::int64_t end) { std::copy(from + begin, from + end, to + begin); };
    return for_range(ctx, width, 2, copy, 64);
  }
  for_range(ctx, rows, 2 * width, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) std::copy_n(from + row * from_row, width, to + row * to_row);
  });
}

struct Slice {
  static constexpr std::string_view name = "slice";
  int dim = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t step = 1;

  void describe(Attributes& a) const {
    a("dim", dim);
    a("begin", begin);
    a("end", end);
    a("step", step);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    const bool exists = x.shape.rank() > 0 && has_dim(dim, x.shape.rank());
    const int at = exists ? from_front(dim, x.shape.rank()) : 0;
    const auto [first, last] = exists ? range(x.shape[at]) : std::pair<std::int64_t, std::int64_t>{0, -1};
    prep.require(exists && first >= 0 && first <= last && last <= x.shape[at],
                 ops::describe("x", x) + ", which has no range [" + std::to_string(begin) + ", " + std::to_string(end) +
                     ") in dimension " + std::to_string(dim));
    prep.require(step > 0, "step is " + std::to_string(step) + "; it must be at least 1");
    const Split split(x.shape, at);
    const std::int64_t count = last == first ? 0 : (last - first - 1) / step + 1;
    Prepared out = prepare_move(x, x.shape.with(at, count), needs);
    // The engine places values at multiples of 64 bytes; a view elsewhere would be slower for all who read it.
    const std::int64_t offset = first * split.inner * size_of(x.dtype);
    const bool run = split.outer == 1 || count == split.size;
    if (run && (step == 1 || count == split.size) && offset % 64 == 0) {
      out.view_of = 0;
      out.view_offset = offset;
      out.work = {};
    }
    for (Part& part : out.parts) part.accumulates = true;
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const int at = from_front(dim, in[0].shape().rank());
    const Split from(in[0].shape(), at);
    const Split to(out[0].shape(), at);
    const std::int64_t bytes = size_of(in[0].meta->dtype);
    const char* source = in[0].as<const char>() + range(from.size).first * from.inner * bytes;
    if (step == 1) {
      return copy_columns(ctx, from.outer, to.row() * bytes, source, from.row() * bytes, out[0].as<char>(),
                          to.row() * bytes);
    }
    move_elements(ctx, steps(from, to), bytes, source, out[0].data);
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const int at = from_front(dim, gx[0].shape().rank());
    const Split from(gx[0].shape(), at);
    const Split to(gy[0].shape(), at);
    const std::int64_t before = range(from.size).first * from.inner;
    if (step != 1 || ctx.accumulate()) {
      if (!ctx.accumulate()) clear_bytes(ctx, gx[0].data, gx[0].meta->bytes);
      std::array<MoveDim, 3> back = steps(from, to);
      for (MoveDim& move : back) std::swap(move.from, move.to);
      return add_elements(ctx, back, gy[0].as<>(), gx[0].as<>() + before);
    }
    for_range(ctx, from.outer, 8 * from.row(), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) {
        float* target = gx[0].as<>() + row * from.row();
        std::fill_n(target, before, 0.0f);
        std::copy_n(gy[0].as<>() + row * to.row(), to.row(), target + before);
        std::fill(target + before + to.row(), target + from.row(), 0.0f);
      }
    });
  }

  static std::vector<Sample> samples() {
    return {{"view", {{{20, 8}}}, any_op(Slice{0, 4, 9})},
            {"columns", {{{3, 7, 5}}}, any_op(Slice{1, 2, 6})},
            {"last", {{{6, 9}}}, any_op(Slice{1, 0, 4})},
            {"third columns", {{{4, 11}}}, any_op(Slice{1, 1, 11, 3})},
            {"odd rows", {{{6, 3, 4}}}, any_op(Slice{-3, 1, -1, 2}), {false}}};
  }

 private:
  std::pair<std::int64_t, std::int64_t> range(std::int64_t size) const {
    return {begin < 0 ? begin + size : begin, end < 0 ? end + size : end};
  }
  std::array<MoveDim, 3> steps(const Split& from, const Split& to) const {
    return {{{to.outer, from.row(), to.row()}, {to.size, step * from.inner, to.inner}, {to.inner, 1, 1}}};
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
    prep.require(first.rank() > 0 && has_dim(dim, first.rank()),
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
    const std::int64_t bytes = size_of(out[0].meta->dtype);
    char* target = out[0].as<char>();
    for (const Buf& part : in) {
      const Split from(part.shape(), at);
      const std::int64_t width = from.row() * bytes;
      copy_columns(ctx, from.outer, width, part.as<const char>(), width, target, to.row() * bytes);
      target += width;
    }
  }

  void backward(Ctx& ctx, int part, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const int at = from_front(dim, gx[0].shape().rank());
    const Split from(gy[0].shape(), at);
    const Split to(gx[0].shape(), at);
    const std::int64_t before = ctx.state<State>()[static_cast<std::size_t>(part)] * from.inner;
    const std::int64_t bytes = size_of(f32);
    copy_columns(ctx, from.outer, to.row() * bytes, gy[0].as<const char>() + before * bytes, from.row() * bytes,
                 gx[0].as<char>(), to.row() * bytes);
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
  return slice(x, dim, begin, end, 1, where);
}

Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end, std::int64_t step, SourceLocation where) {
  return apply(ops::Slice{dim, begin, end, step}, {x}, where);
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
