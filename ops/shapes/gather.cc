// gather, scatter and scatter_add: elements that an index of their own points to, along one dimension.
#include <cstdint>
#include <vector>

#include "ops/broadcast.h"
#include "ops/defined.h"
#include "ops/shapes/lines.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

void check_index(Prep& prep, const Meta& x, int dim, const Meta& index) {
  const std::string both = ops::describe("x", x) + ", " + ops::describe("index", index);
  prep.require(has_dim(dim, x.shape.rank()), both + "; x has no dimension " + std::to_string(dim));
  const int at = from_front(dim, x.shape.rank());
  const Shape from = with_dim(x.shape);
  const Shape to = with_dim(index.shape);
  bool fits = index.dtype == i32 && to.rank() == from.rank();
  for (int i = 0; fits && i < from.rank(); ++i) fits = i == at || to[i] <= from[i];
  prep.require(fits, both + "; the index must be i32, of as many dimensions, and no larger but in dimension " +
                         std::to_string(dim));
}

template <class T>
void pick(const Ctx& ctx, const IndexLines& lines, const std::int32_t* index, const T* rows, T* values) {
  lines.run(ctx, [&](const IndexLine& line, std::int64_t) {
    line.each(index, [&](std::int64_t to, std::int64_t from) { values[to] = rows[from]; });
  });
}

// In the order of the entries: of several for one place the last stays.
template <class T, class Value>
void place(const Ctx& ctx, const IndexLines& lines, const std::int32_t* index, T* rows, const Value& value) {
  lines.run(ctx, [&](const IndexLine& line, std::int64_t) {
    line.each(index, [&](std::int64_t from, std::int64_t to) { rows[to] = value(from); });
  });
}

template <class F>
void with_size(std::int64_t element_bytes, F&& f) {
  switch (element_bytes) {
    case 1:
      return f(std::uint8_t{});
    case 2:
      return f(std::uint16_t{});
    default:
      return f(std::uint32_t{});
  }
}

struct Gather {
  static constexpr std::string_view name = "gather";
  int dim = 0;

  void describe(Attributes& a) const { a("dim", dim); }

  using State = IndexLines;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    check_index(prep, in[0], dim, in[1]);
    const int at = from_front(dim, in[0].shape.rank());
    auto state = std::make_shared<State>(with_dim(in[0].shape), at, with_dim(in[1].shape));
    Prepared out;
    out.outputs = {Meta::plain(in[1].shape, in[0].dtype)};
    out.input_layouts = {kPlain, kPlain};
    out.work = {0, 2 * as_double(out.outputs[0].bytes) + as_double(in[1].bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(in[0].shape)};
      part.saved = {Saved::input(1, kPlain)};
      part.gy = {{0, kPlain}};
      part.scratch = state->add_scratch(prep.threads());
      part.work = {as_double(in[1].shape.numel()), 4 * as_double(in[1].bytes) + as_double(part.gx[0].bytes)};
      part.accumulates = true;
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const State& lines = ctx.state<State>();
    check_entries(ctx, name, in[1], lines.size(), "x", in[0].shape());
    with_size(size_of(in[0].meta->dtype), [&](auto element) {
      using T = decltype(element);
      pick(ctx, lines, in[1].as<const std::int32_t>(), in[0].as<const T>(), out[0].as<T>());
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    if (!ctx.accumulate()) clear_bytes(ctx, gx[0].data, gx[0].meta->bytes);
    ctx.state<State>().add(ctx, saved[0].as<const std::int32_t>(), gy[0].as<const float>(), gx[0].as<float>());
  }

  static std::vector<Sample> samples() {
    const auto index = [](Shape shape, std::int64_t below) {
      return SampleInput{shape, i32, SampleInput::Fill::kIndices, below, false};
    };
    return {{"last", {{{4, 7}}, index({4, 5}, 7)}, any_op(Gather{1})},
            {"rows", {{{3, 4, 21}}, index({3, 6, 20}, 4)}, any_op(Gather{-2})},
            {"smaller", {{{5, 4, 6}}, index({9, 3, 2}, 5)}, any_op(Gather{0}), {false, false}},
            {"many", {{{2, 3}}, index({2, 700}, 3)}, any_op(Gather{1})}};
  }
};

// scatter where `adds` is false: each place keeps what came last.
template <bool adds>
struct Scatter {
  static constexpr std::string_view name = adds ? "scatter_add" : "scatter";
  int dim = 0;

  void describe(Attributes& a) const { a("dim", dim); }

  struct State {
    IndexLines lines;
    std::vector<int> parts;  // the input whose gradient it is
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    check_index(prep, x, dim, in[1]);
    prep.require(in[2].shape == in[1].shape && in[2].dtype == x.dtype,
                 ops::describe("x", x) + ", " + ops::describe("index", in[1]) + ", " + ops::describe("src", in[2]) +
                     "; src must have the index's shape and x's dtype");
    if (adds) require_f32(prep, "x", x);
    auto state =
        std::make_shared<State>(State{{with_dim(x.shape), from_front(dim, x.shape.rank()), with_dim(in[1].shape)}, {}});
    const double moved = as_double(in[1].bytes) + 2 * as_double(in[2].bytes);
    Prepared out;
    out.outputs = {Meta::plain(x.shape, x.dtype)};
    out.input_layouts = {kPlain, kPlain, kPlain};
    out.scratch = adds ? state->lines.add_scratch(prep.threads()) : 0;
    out.work = {adds ? as_double(in[1].shape.numel()) : 0, 2 * as_double(out.outputs[0].bytes) + moved};
    out.overwrites = {{0, 0}};
    for (const int input : {0, 2}) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[static_cast<std::size_t>(input)].shape)};
      part.gy = {{0, kPlain}};
      part.work = {0, 2 * as_double(part.gx[0].bytes) + moved};
      if (adds && input == 0) {
        part.view = true;
      } else {
        part.saved = {Saved::input(1, kPlain)};
      }
      if (!adds && input == 0) part.overwrites = {{1, 0}};
      if (!adds && input == 2) part.scratch = prep.threads() * state->lines.places() * size_of(i32);
      out.parts.push_back(std::move(part));
      state->parts.push_back(input);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const IndexLines& lines = ctx.state<State>().lines;
    const auto* index = in[1].as<const std::int32_t>();
    check_entries(ctx, name, in[1], lines.size(), "x", in[0].shape());
    copy(ctx, in[0], out[0]);
    if constexpr (adds) {
      lines.add(ctx, index, in[2].as<const float>(), out[0].as<float>());
    } else {
      with_size(size_of(in[0].meta->dtype), [&](auto element) {
        using T = decltype(element);
        const T* src = in[2].as<const T>();
        place(ctx, lines, index, out[0].as<T>(), [&](std::int64_t at) { return src[at]; });
      });
    }
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const auto* index = saved[0].as<const std::int32_t>();
    const auto* g = gy[0].as<const float>();
    if (state.parts[static_cast<std::size_t>(part)] == 0) {
      copy(ctx, gy[0], gx[0]);
      return place(ctx, state.lines, index, gx[0].as<float>(), [](std::int64_t) { return 0.0f; });
    }
    if constexpr (adds) {
      pick(ctx, state.lines, index, g, gx[0].as<float>());
    } else {
      // The element that stayed at a place is the one whose number is left there.
      state.lines.run(ctx, [&](const IndexLine& line, std::int64_t member) {
        auto* const left = ctx.scratch<std::uint32_t>() + member * state.lines.places();
        const IndexLine packed = line.packed();
        packed.each(index, [&](std::int64_t at, std::int64_t place) { left[place] = static_cast<std::uint32_t>(at); });
        line.each(index, [&](std::int64_t at, std::int64_t row) { gx[0].as<float>()[at] = g[row]; });
        packed.each(index, [&](std::int64_t at, std::int64_t place) {
          float& slope = gx[0].as<float>()[at];
          slope = left[place] == static_cast<std::uint32_t>(at) ? slope : 0.0f;
        });
      });
    }
  }

  static std::vector<Sample> samples() {
    const auto index = [](Shape shape, std::int64_t below) {
      return SampleInput{shape, i32, SampleInput::Fill::kIndices, below, false};
    };
    return {{"last", {{{4, 9}}, index({4, 5}, 9), {{4, 5}}}, any_op(Scatter{1})},
            {"rows", {{{3, 5, 21}}, index({2, 4, 20}, 5), {{2, 4, 20}}}, any_op(Scatter{-2}), {true, true, true}},
            {"first", {{{6, 3}}, index({11, 3}, 6), {{11, 3}}}, any_op(Scatter{0}), {false, false, false}},
            {"many", {{{2, 3}}, index({2, 700}, 3), {{2, 700}}}, any_op(Scatter{1})}};
  }

 private:
  static void copy(const Ctx& ctx, const Buf& from, const Buf& to) {
    if (from.data == to.data) return;
    const MoveDim all[] = {{from.numel(), 1, 1}};
    move_elements(ctx, all, size_of(from.meta->dtype), from.data, to.data);
  }
};

}  // namespace

std::vector<Sample> gather_samples() { return Gather::samples(); }
std::vector<Sample> scatter_samples() { return Scatter<false>::samples(); }
std::vector<Sample> scatter_add_samples() { return Scatter<true>::samples(); }

}  // namespace ops

Tensor gather(const Tensor& x, int dim, const Tensor& index, SourceLocation where) {
  return apply(ops::Gather{dim}, {x, index}, where);
}

Tensor scatter(const Tensor& x, int dim, const Tensor& index, const Tensor& src, SourceLocation where) {
  return apply(ops::Scatter<false>{dim}, {x, index, src}, where);
}

Tensor scatter_add(const Tensor& x, int dim, const Tensor& index, const Tensor& src, SourceLocation where) {
  return apply(ops::Scatter<true>{dim}, {x, index, src}, where);
}

Tensor take_along_dim(const Tensor& x, const Tensor& index, int dim, SourceLocation where) {
  ops::require_defined("take_along_dim", {&x, &index}, where);
  const int at = ops::cut_dim_of("take_along_dim", x, dim, where);
  const Shape& a = x.shape(where);
  const Shape& b = index.shape(where);
  const auto common = b.rank() == a.rank() ? ops::broadcast(a.with(at, 1), b.with(at, 1)) : std::nullopt;
  if (!common) {
    ops::refuse("take_along_dim",
                "x is " + a.to_string() + " and index " + b.to_string() +
                    "; they must have as many dimensions, which are equal or 1 but in dimension " + std::to_string(dim),
                where);
  }
  const auto expanded = [&](const Tensor& operand, const Shape& shape) {
    const Shape to = common->with(at, shape[at]);
    return to == shape ? operand : expand(operand, to, where);
  };
  return gather(expanded(x, a), at, expanded(index, b), where);
}

}  // namespace tidemark
