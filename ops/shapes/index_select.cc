// index_select, index_add and one_hot: an index of one dimension, or classes.
#include <cstdint>
#include <vector>

#include "ops/shapes/lines.h"
#include "ops/shapes/slabs.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

void check_index(Prep& prep, const Meta& x, int dim, const Meta& index) {
  const std::string both = ops::describe("x", x) + ", " + ops::describe("index", index);
  prep.require(has_dim(dim, x.shape.rank()), both + "; x has no dimension " + std::to_string(dim));
  prep.require(
      index.dtype == i32 && index.shape.rank() == 1 && index.shape[0] <= kMostEntries,
      both + "; the index must be i32 of one dimension, of at most " + std::to_string(kMostEntries) + " entries");
}

struct IndexSelect {
  static constexpr std::string_view name = "index_select";
  int dim = 0;

  void describe(Attributes& a) const { a("dim", dim); }

  using State = Slabs;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    check_index(prep, x, dim, in[1]);
    const int at = from_front(dim, x.shape.rank());
    const std::int64_t count = in[1].shape[0];
    const bool number = x.shape.rank() == 0;
    prep.require(!number || count == 1, ops::describe("x", x) + ", " + ops::describe("index", in[1]) +
                                            "; of a number the index must have one entry");
    auto state = std::make_shared<State>(with_dim(x.shape), at, count, prep.threads());
    Prepared out;
    out.outputs = {Meta::plain(number ? x.shape : x.shape.with(at, count), x.dtype)};
    out.input_layouts = {kPlain, kPlain};
    out.work = {0, 2 * as_double(out.outputs[0].bytes) + as_double(in[1].bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(x.shape)};
      part.saved = {Saved::input(1, kPlain)};
      part.gy = {{0, kPlain}};
      part.scratch = state->add_scratch();
      part.work = {as_double(out.outputs[0].shape.numel()),
                   3 * as_double(out.outputs[0].bytes) + as_double(part.gx[0].bytes)};
      part.accumulates = true;
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Slabs& slabs = ctx.state<State>();
    check_entries(ctx, name, in[1], slabs.size(), "x", in[0].shape());
    slabs.pick(ctx, in[1].as<const std::int32_t>(), size_of(in[0].meta->dtype), in[0].data, out[0].data);
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    auto* const to = gx[0].as<float>();
    ctx.state<State>().add(ctx, saved[0].as<const std::int32_t>(), gy[0].as<const float>(),
                           ctx.accumulate() ? to : nullptr, to);
  }

  static std::vector<Sample> samples() {
    const auto index = [](std::int64_t count, std::int64_t below) {
      return SampleInput{{count}, i32, SampleInput::Fill::kIndices, below, false};
    };
    return {{"rows", {{{5, 19}}, index(7, 5)}, any_op(IndexSelect{0}), {false, false}},
            {"middle", {{{2, 4, 3}}, index(6, 4)}, any_op(IndexSelect{1}), {true, false}},
            {"last", {{{3, 6}}, index(4, 6)}, any_op(IndexSelect{1}), {true, false}},
            {"many", {{{3, 2}}, index(400, 3)}, any_op(IndexSelect{-2}), {false, true}}};
  }
};

struct IndexAdd {
  static constexpr std::string_view name = "index_add";
  int dim = 0;

  void describe(Attributes& a) const { a("dim", dim); }

  using State = Slabs;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    require_f32(prep, "x", x);
    check_index(prep, x, dim, in[1]);
    const int at = from_front(dim, x.shape.rank());
    const Shape slabs = with_dim(x.shape).with(at, in[1].shape[0]);
    prep.require(in[2].shape == slabs && in[2].dtype == f32,
                 ops::describe("x", x) + ", " + ops::describe("index", in[1]) + ", " + ops::describe("src", in[2]) +
                     "; src must be " + slabs.to_string() + " f32");
    auto state = std::make_shared<State>(with_dim(x.shape), at, in[1].shape[0], prep.threads());
    Prepared out;
    out.outputs = {Meta::plain(x.shape)};
    out.input_layouts = {kPlain, kPlain, kPlain};
    out.scratch = state->add_scratch();
    out.work = {as_double(in[2].shape.numel()), 2 * as_double(x.bytes) + 3 * as_double(in[2].bytes)};
    out.overwrites = {{0, 0}};
    for (const int input : {0, 2}) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[static_cast<std::size_t>(input)].shape)};
      part.gy = {{0, kPlain}};
      part.work = {0, 2 * as_double(part.gx[0].bytes)};
      if (input == 0) {
        part.view = true;
      } else {
        part.saved = {Saved::input(1, kPlain)};
      }
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Slabs& slabs = ctx.state<State>();
    check_entries(ctx, name, in[1], slabs.size(), "x", in[0].shape());
    slabs.add(ctx, in[1].as<const std::int32_t>(), in[2].as<const float>(), in[0].as<const float>(),
              out[0].as<float>());
  }

  // Of src alone: that of x is a view.
  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    ctx.state<State>().pick(ctx, saved[0].as<const std::int32_t>(), size_of(f32), gy[0].data, gx[0].data);
  }

  static std::vector<Sample> samples() {
    const auto index = [](std::int64_t count, std::int64_t below) {
      return SampleInput{{count}, i32, SampleInput::Fill::kIndices, below, false};
    };
    return {{"rows", {{{5, 19}}, index(7, 5), {{7, 19}}}, any_op(IndexAdd{0}), {false, false, false}},
            {"middle", {{{2, 4, 3}}, index(6, 4), {{2, 6, 3}}}, any_op(IndexAdd{-2}), {true, false, true}},
            {"last", {{{3, 2}}, index(400, 2), {{3, 400}}}, any_op(IndexAdd{1}), {true, false, true}}};
  }
};

struct OneHot {
  static constexpr std::string_view name = "one_hot";
  std::int64_t classes = 0;

  void describe(Attributes& a) const { a("classes", classes); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    const Shape& shape = in[0].shape;
    prep.require(in[0].dtype == i32 && shape.rank() < Shape::kMaxRank,
                 ops::describe("index", in[0]) + "; it must be i32, of at most " + std::to_string(Shape::kMaxRank - 1) +
                     " dimensions");
    prep.require(classes > 0, ops::describe("index", in[0]) + "; the number of classes is " + std::to_string(classes) +
                                  " and must be at least 1");
    std::vector<std::int64_t> dims(shape.dims().begin(), shape.dims().end());
    dims.push_back(classes);
    Prepared out;
    out.outputs = {Meta::plain(Shape(dims))};
    out.input_layouts = {kPlain};
    out.work = {0, as_double(out.outputs[0].bytes + in[0].bytes)};
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    check_entries(ctx, name, in[0], classes, "the result", out[0].shape());
    for_range(ctx, in[0].numel(), 4 * classes, [&](std::int64_t begin, std::int64_t end) {
      std::fill(out[0].as<>() + begin * classes, out[0].as<>() + end * classes, 0.0f);
      for (std::int64_t i = begin; i < end; ++i) out[0].as<>()[i * classes + in[0].as<std::int32_t>()[i]] = 1;
    });
  }

  static std::vector<Sample> samples() {
    return {{"classes", {{{3, 4}, i32, SampleInput::Fill::kIndices, 5, false}}, any_op(OneHot{5})}};
  }
};

}  // namespace

std::vector<Sample> index_select_samples() { return IndexSelect::samples(); }
std::vector<Sample> index_add_samples() { return IndexAdd::samples(); }
std::vector<Sample> one_hot_samples() { return OneHot::samples(); }

}  // namespace ops

Tensor index_select(const Tensor& x, int dim, const Tensor& index, SourceLocation where) {
  return apply(ops::IndexSelect{dim}, {x, index}, where);
}

Tensor index_add(const Tensor& x, int dim, const Tensor& index, const Tensor& src, SourceLocation where) {
  return apply(ops::IndexAdd{dim}, {x, index, src}, where);
}

Tensor one_hot(const Tensor& index, std::int64_t classes, SourceLocation where) {
  return apply(ops::OneHot{classes}, {index}, where);
}

}  // namespace tidemark
