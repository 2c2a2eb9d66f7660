// add, sub, mul with broadcasting; affine; the operators. add and sub save nothing, mul each factor for the other's
// gradient only.
#include <cstring>
#include <optional>

#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops.h"

namespace tidemark {
namespace ops {
namespace {

// Operands of one shape meet in one layout, whichever that is: the kernel takes the bytes as they lie, and zero
// padding stays zero under all three operations. Otherwise both are plain.
template <Binary kind>
struct BinaryOp {
  static constexpr std::string_view name = kind == Binary::kAdd ? "add" : kind == Binary::kSub ? "sub" : "mul";

  // What each part of backward is about.
  struct Gradient {
    std::size_t input;
    bool summed;  // the input was broadcast
    Reduction reduction;
    Shape other;  // the other operand's shape
  };
  using State = std::vector<Gradient>;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "a", in[0]);
    require_f32(prep, "b", in[1]);
    const std::optional<Shape> shape = broadcast(in[0].shape, in[1].shape);
    prep.require(shape.has_value(),
                 "a is " + in[0].shape.to_string() + ", b is " + in[1].shape.to_string() + ", which do not broadcast");
    const bool same = in[0].shape == in[1].shape;
    const Meta meta = !same ? Meta::plain(*shape) : in[0].layout.plain() ? in[1] : in[0];
    const double n = as_double(raw_floats(meta));
    Prepared out;
    out.outputs = {meta};
    out.input_layouts = {meta.layout, meta.layout};
    out.work = {n, 4 * n + 4 * as_double(in[0].shape.numel() + in[1].shape.numel())};
    auto state = std::make_shared<State>();
    for (std::size_t i = 0; i < 2; ++i) {
      const bool whole = in[i].shape == meta.shape;
      if (whole) out.overwrites.push_back({static_cast<int>(i), 0});
      if (needs[i]) out.parts.push_back(gradient(i, meta, in, *state));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    if (in[0].shape() == in[1].shape()) {
      elementwise(ctx, kind, raw_floats(*out[0].meta), in[0].as<>(), in[1].as<>(), out[0].as<>());
    } else {
      broadcast_elementwise(ctx, kind, out[0].shape(), in[0].as<>(), in[0].shape(), in[1].as<>(), in[1].shape(),
                            out[0].as<>());
    }
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const Gradient& gradient = ctx.state<State>()[static_cast<std::size_t>(part)];
    const float* g = gy[0].as<>();
    float* to = gx[0].as<>();
    const float sign = kind == Binary::kSub && gradient.input == 1 ? -1.0f : 1.0f;
    const float* factor = kind == Binary::kMul ? saved[0].as<>() : nullptr;
    if (gradient.summed) {
      gradient.reduction.run(ctx, g, factor, sign, to);
    } else if (kind != Binary::kMul) {
      affine_elements(ctx, raw_floats(*gx[0].meta), sign, 0.0f, g, to);
    } else if (gradient.other == gx[0].shape()) {
      elementwise(ctx, Binary::kMul, raw_floats(*gx[0].meta), g, factor, to);
    } else {
      broadcast_elementwise(ctx, Binary::kMul, gx[0].shape(), g, gx[0].shape(), factor, gradient.other, to);
    }
  }

  static std::vector<Sample> samples() {
    const auto op = any_op(BinaryOp{});
    return {{"equal", {{{3, 7}}, {{3, 7}}}, op},
            {"row", {{{4, 5, 9}}, {{9}}}, op},
            {"channel", {{{2, 3, 4, 5}}, {{3, 1, 1}}}, op},
            {"number", {{{6, 5}}, {Shape{}}}, op},
            {"both", {{{5, 1, 3}}, {{4, 1}}}, op},
            {"long", {{{200, 6}}, {{6}}}, op}};
  }

 private:
  static Part gradient(std::size_t input, const Meta& meta, std::span<const Meta> in, State& state) {
    const Shape& own = in[input].shape;
    const Shape& other = in[1 - input].shape;
    const bool summed = own != meta.shape;
    const std::optional<Shape> factor = kind == Binary::kMul ? std::optional(other) : std::nullopt;
    state.push_back(
        {input, summed, Reduction(summed ? meta.shape : Shape{}, own, summed ? factor : std::nullopt), other});
    const double n = as_double(raw_floats(meta));
    Part part;
    part.inputs = {static_cast<int>(input)};
    part.gx = {summed ? Meta::plain(own) : meta};
    part.gy = {{0, meta.layout}};
    part.work = {n, 4 * n + as_double(part.gx[0].bytes)};
    if (kind == Binary::kMul) {
      part.saved = {Saved::input(static_cast<int>(1 - input), meta.layout)};
      part.work.bytes += 4 * as_double(other.numel());
    }
    if (summed) {
      part.scratch = state.back().reduction.scratch();
    } else if (kind == Binary::kAdd || (kind == Binary::kSub && input == 0)) {
      part.view = meta.layout.plain();
      if (!part.view) part.overwrites = {{0, 0}};
    } else {
      part.overwrites = {{static_cast<int>(part.saved.size()), 0}};
      if (kind == Binary::kMul && other == meta.shape) part.overwrites.push_back({0, 0});
    }
    return part;
  }
};

using Add = BinaryOp<Binary::kAdd>;
using Sub = BinaryOp<Binary::kSub>;
using Mul = BinaryOp<Binary::kMul>;

struct Affine {
  static constexpr std::string_view name = "affine";
  float scale = 1;
  float shift = 0;

  void describe(Attributes& a) const {
    a("scale", scale);
    a("shift", shift);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Meta meta = shift != 0 && has_padding(in[0]) ? Meta::plain(in[0].shape) : in[0];
    const double n = as_double(raw_floats(meta));
    Prepared out;
    out.outputs = {meta};
    out.input_layouts = {meta.layout};
    out.work = {2 * n, 8 * n};
    out.overwrites = {{0, 0}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {meta};
      part.gy = {{0, meta.layout}};
      part.work = {n, 8 * n};
      part.overwrites = {{0, 0}};
      part.view = scale == 1 && meta.layout.plain();
      if (part.view) part.overwrites.clear();
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    affine_elements(ctx, raw_floats(*out[0].meta), scale, shift, in[0].as<>(), out[0].as<>());
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    affine_elements(ctx, raw_floats(*gx[0].meta), scale, 0.0f, gy[0].as<>(), gx[0].as<>());
  }

  static std::vector<Sample> samples() {
    return {{"both", {{{4, 9}}}, any_op(Affine{2.5f, -0.75f})}, {"shift", {{{35}}}, any_op(Affine{1, 3})}};
  }
};

Tensor affine_of(const Operand& x, float scale, float shift, SourceLocation where) {
  if (!x.tensor().defined()) {
    throw Error("[affine] the operand is a number or an undefined tensor (at " + to_string(where) + ")");
  }
  return apply(Affine{scale, shift}, {x.tensor()}, where);
}

}  // namespace

std::vector<Sample> add_samples() { return Add::samples(); }
std::vector<Sample> sub_samples() { return Sub::samples(); }
std::vector<Sample> mul_samples() { return Mul::samples(); }
std::vector<Sample> affine_samples() { return Affine::samples(); }

}  // namespace ops

Tensor add(const Tensor& a, const Tensor& b, SourceLocation where) { return apply(ops::Add{}, {a, b}, where); }
Tensor sub(const Tensor& a, const Tensor& b, SourceLocation where) { return apply(ops::Sub{}, {a, b}, where); }
Tensor mul(const Tensor& a, const Tensor& b, SourceLocation where) { return apply(ops::Mul{}, {a, b}, where); }

Tensor affine(const Tensor& x, float scale, float shift, SourceLocation where) {
  return apply(ops::Affine{scale, shift}, {x}, where);
}

Tensor operator+(const Operand& a, const Operand& b) {
  if (!b.tensor().defined()) return ops::affine_of(a, 1, b.number(), a.where());
  if (!a.tensor().defined()) return ops::affine_of(b, 1, a.number(), b.where());
  return add(a.tensor(), b.tensor(), a.where());
}

Tensor operator-(const Operand& a, const Operand& b) {
  if (!b.tensor().defined()) return ops::affine_of(a, 1, -b.number(), a.where());
  if (!a.tensor().defined()) return ops::affine_of(b, -1, a.number(), b.where());
  return sub(a.tensor(), b.tensor(), a.where());
}

Tensor operator*(const Operand& a, const Operand& b) {
  if (!b.tensor().defined()) return ops::affine_of(a, b.number(), 0, a.where());
  if (!a.tensor().defined()) return ops::affine_of(b, a.number(), 0, b.where());
  return mul(a.tensor(), b.tensor(), a.where());
}

Tensor operator-(const Operand& a) { return ops::affine_of(a, -1, 0, a.where()); }

}  // namespace tidemark
