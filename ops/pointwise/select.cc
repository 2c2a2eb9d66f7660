// Choices between two values and mixtures of them, with broadcasting of all three operands.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/select.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                       // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/walk.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

#ifndef TIDEMARK_OPS_SELECT_SHARED_
#define TIDEMARK_OPS_SELECT_SHARED_
namespace tidemark::ops {

struct SelectKernels {
  // y = mask ? a : b. Elements of four bytes are moved, never looked at.
  void (*select)(std::int64_t n, const std::uint8_t* mask, const float* a, const float* b, float* y);
  void (*lerp)(std::int64_t n, const float* a, const float* b, const float* weight, float* y);
  void (*times)(std::int64_t n, const float* a, const float* b, float* y);
  void (*times_rest)(std::int64_t n, const float* g, const float* weight, float* y);                   // g (1 - weight)
  void (*times_difference)(std::int64_t n, const float* g, const float* a, const float* b, float* y);  // g (b - a)
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

HWY_FLATTEN void select(std::int64_t n, const std::uint8_t* mask, const float* a, const float* b, float* y) {
  const Wide d;
  const hn::Rebind<std::uint8_t, Wide> bytes;
  const hn::Rebind<std::uint32_t, Wide> words;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    const auto flags = hn::PromoteTo(words, hn::LoadU(bytes, mask + i));
    const auto chosen = hn::RebindMask(d, hn::Ne(flags, hn::Zero(words)));
    store(d, hn::IfThenElse(chosen, load(d, a + i), load(d, b + i)), y + i);
  }
  for (; i < n; ++i) std::memcpy(y + i, mask[i] != 0 ? a + i : b + i, sizeof(float));
}

// PyTorch's form: exact where the weight is 0 or 1.
HWY_FLATTEN void lerp(std::int64_t n, const float* a, const float* b, const float* weight, float* y) {
  map(
      n, y,
      [](auto v, auto w, auto t) HWY_ATTR {
        const Wide d;
        const auto difference = hn::Sub(w, v);
        const auto from_a = hn::MulAdd(t, difference, v);
        const auto from_b = hn::NegMulAdd(hn::Sub(hn::Set(d, 1.0f), t), difference, w);
        return hn::IfThenElse(hn::Lt(hn::Abs(t), hn::Set(d, 0.5f)), from_a, from_b);
      },
      a, b, weight);
}

HWY_FLATTEN void times(std::int64_t n, const float* a, const float* b, float* y) {
  map(
      n, y, [](auto v, auto w) HWY_ATTR { return hn::Mul(v, w); }, a, b);
}

HWY_FLATTEN void times_rest(std::int64_t n, const float* g, const float* weight, float* y) {
  map(
      n, y, [](auto v, auto t) HWY_ATTR { return hn::Mul(v, hn::Sub(hn::Set(Wide(), 1.0f), t)); }, g, weight);
}

HWY_FLATTEN void times_difference(std::int64_t n, const float* g, const float* a, const float* b, float* y) {
  map(
      n, y, [](auto v, auto from, auto to) HWY_ATTR { return hn::Mul(v, hn::Sub(to, from)); }, g, a, b);
}

const SelectKernels* select_kernels() {
  static constexpr SelectKernels kKernels = {select, lerp, times, times_rest, times_difference};
  return &kKernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(select_kernels);

const SelectKernels& kernels() { return *HWY_DYNAMIC_DISPATCH(select_kernels)(); }

// What is known of each part of backward: whose gradient it makes.
struct PartState {
  int operand;
  BroadcastGradient gradient;
};
using State = std::vector<PartState>;

// The part that makes the gradient of an operand, which is input `input`.
Part operand_part(int operand, int input, const Shape& whole, const Meta& own, std::vector<Saved> saved, State& state) {
  Part part;
  part.inputs = {input};
  part.gx = {Meta::plain(own.shape)};
  part.saved = std::move(saved);
  part.gy = {{0, kPlain}};
  state.push_back({operand, BroadcastGradient(whole, own.shape)});
  part.scratch = state.back().gradient.scratch();
  const double n = as_double(whole.numel());
  part.work = {n, n * as_double(8 + 4 * static_cast<std::int64_t>(part.saved.size()))};
  if (!state.back().gradient.summed()) part.overwrites = {{static_cast<int>(part.saved.size()), 0}};
  return part;
}

// y = mask ? a : b, of which a or b, or both, may be numbers: they are attributes then and no inputs. In masked_fill a
// is the number, and the mask does not widen b.
template <bool fill>
struct Select {
  static constexpr std::string_view name = fill ? "masked_fill" : "where";
  std::optional<float> a;
  std::optional<float> b;

  void describe(Attributes& attributes) const {
    if (a) attributes("a", *a);
    if (b) attributes("b", *b);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    std::string text;
    const char* names[] = {"mask", a ? "b" : "a", "b"};
    if (fill) names[1] = "x";
    std::optional<Shape> shape = Shape();
    for (std::size_t i = 0; i < in.size(); ++i) {
      text += (i == 0 ? "" : ", ") + ops::describe(names[i], in[i]);
      if (shape) shape = broadcast(*shape, in[i].shape);
    }
    prep.require(in[0].dtype == u8, text + "; mask must be u8");
    for (const Meta& meta : in.subspan(1)) {
      prep.require(meta.dtype == in[1].dtype && (meta.dtype == f32 || meta.dtype == i32),
                   text + "; values must be f32 or i32, and of one dtype");
    }
    const DType dtype = in.size() > 1 ? in[1].dtype : f32;
    for (const std::optional<float>& number : {a, b}) {
      prep.require(dtype == f32 || !number || held_by_i32(*number),
                   text + ", beside the number " + std::to_string(number.value_or(0)) + ", which i32 does not hold");
    }
    prep.require(shape && (!fill || *shape == in[1].shape),
                 text + (fill ? "; mask must broadcast to the shape of x" : ", which do not broadcast"));
    Prepared out;
    out.outputs = {Meta::plain(*shape, dtype)};
    out.input_layouts.assign(in.size(), kPlain);
    const double n = as_double(shape->numel());
    out.work = {n, 4 * n};
    auto state = std::make_shared<State>();
    for (std::size_t i = 0; i < in.size(); ++i) {
      out.work.bytes += as_double(in[i].shape.numel() * size_of(in[i].dtype));
      if (i == 0) continue;
      if (in[i].shape == *shape) out.overwrites.emplace_back(static_cast<int>(i), 0);
      if (!needs[i]) continue;
      const int operand = i == 1 && !a ? 0 : 1;
      out.parts.push_back(operand_part(operand, static_cast<int>(i), *shape, in[i], {Saved::input(0, kPlain)}, *state));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const bool integers = out[0].meta->dtype == i32;
    const float numbers[] = {as_element(a, integers), as_element(b, integers)};
    const Buf* left = a ? nullptr : &in[1];
    const Buf* right = b ? nullptr : &in[a ? 1 : 2];
    run(ctx, in[0], left == nullptr ? &numbers[0] : left->as<const float>(), left == nullptr ? Shape() : left->shape(),
        right == nullptr ? &numbers[1] : right->as<const float>(), right == nullptr ? Shape() : right->shape(),
        out[0].shape(), out[0].as<>());
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const auto& [operand, gradient] = ctx.state<State>()[static_cast<std::size_t>(part)];
    const float zero = 0;
    const float* g = gy[0].as<const float>();
    const Shape& whole = gy[0].shape();
    gradient.run(ctx, gx[0].as<>(), [&, first = operand == 0](float* to) {
      run(ctx, saved[0], first ? g : &zero, first ? whole : Shape(), first ? &zero : g, first ? Shape() : whole, whole,
          to);
    });
  }

  static std::vector<Sample> samples() {
    const auto mask = [](const Shape& shape) {
      return SampleInput{
          .shape = shape, .dtype = u8, .fill = SampleInput::Fill::kIndices, .below = 2, .differentiable = false};
    };
    if constexpr (fill) {
      return {{"equal", {mask({5, 9}), {{5, 9}}}, any_op(Select{-2.5f, {}})},
              {"row", {mask({19}), {{3, 4, 19}}}, any_op(Select{7, {}}), {false, true}},
              {"column", {mask({6, 1}), {{6, 5}}}, any_op(Select{0, {}})}};
    } else {
      return {{"equal", {mask({5, 9}), {{5, 9}}, {{5, 9}}}, any_op(Select{})},
              {"images", {mask({2, 1, 5, 4}), {{2, 3, 5, 4}}, {{3, 1, 1}}}, any_op(Select{})},
              {"all", {mask({4, 1, 1}), {{4, 3, 1}}, {{5}}}, any_op(Select{}), {true, true, false}},
              {"wide mask", {mask({70, 9}), {{9}}, {{70, 1}}}, any_op(Select{}), {true, false, true}},
              {"left number", {mask({5, 9}), {{5, 9}}}, any_op(Select{1.5f, {}})},
              {"right number", {mask({5, 1}), {{5, 9}}}, any_op(Select{{}, 1.5f})},
              {"numbers", {mask({5, 9})}, any_op(Select{2, -3})}};
    }
  }

 private:
  static bool held_by_i32(float number) {
    return number >= -0x1p31f && number < 0x1p31f && number == std::trunc(number);
  }
  // The bytes of the number as an element.
  static float as_element(const std::optional<float>& number, bool integer) {
    if (!number || !integer) return number.value_or(0);
    return std::bit_cast<float>(static_cast<std::int32_t>(*number));
  }

  static void run(const Ctx& ctx, const Buf& mask, const float* a, const Shape& a_shape, const float* b,
                  const Shape& b_shape, const Shape& shape, float* y) {
    const auto kernel = kernels().select;
    const auto* flags = mask.as<const std::uint8_t>();
    const Walk<3> walk(shape, {mask.shape(), a_shape, b_shape});
    walk.run(ctx, 13, [&](std::int64_t at, std::int64_t count, const std::array<Run, 3>& runs) {
      const RunOf<std::uint8_t> m(flags, runs[0], count);
      const RunOf<float> left(a, runs[1], count);
      const RunOf<float> right(b, runs[2], count);
      for (std::int64_t i = 0; i < count; i += kPiece) {
        kernel(std::min(kPiece, count - i), m.at(i), left.at(i), right.at(i), y + at + i);
      }
    });
  }
};

// a + weight (b - a). A weight that is a number is an attribute and no input.
struct Lerp {
  static constexpr std::string_view name = "lerp";
  std::optional<float> weight;

  void describe(Attributes& a) const {
    if (weight) a("weight", *weight);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    static constexpr const char* kNames[] = {"a", "b", "weight"};
    std::string text;
    std::optional<Shape> shape = Shape();
    for (std::size_t i = 0; i < in.size(); ++i) {
      require_f32(prep, kNames[i], in[i]);
      text += (i == 0 ? "" : ", ") + ops::describe(kNames[i], in[i]);
      if (shape) shape = broadcast(*shape, in[i].shape);
    }
    prep.require(shape.has_value(), text + ", which do not broadcast");
    Prepared out;
    out.outputs = {Meta::plain(*shape)};
    out.input_layouts.assign(in.size(), kPlain);
    const double n = as_double(shape->numel());
    out.work = {4 * n, 4 * n};
    auto state = std::make_shared<State>();
    for (std::size_t i = 0; i < in.size(); ++i) {
      const int operand = static_cast<int>(i);
      out.work.bytes += as_double(in[i].bytes);
      if (in[i].shape == *shape) out.overwrites.emplace_back(operand, 0);
      if (!needs[i]) continue;
      std::vector<Saved> saved;
      if (operand == 2) saved = {Saved::input(0, kPlain), Saved::input(1, kPlain)};
      if (operand < 2 && !weight) saved = {Saved::input(2, kPlain)};
      out.parts.push_back(operand_part(operand, operand, *shape, in[i], std::move(saved), *state));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const float number = weight.value_or(0);
    const auto kernel = kernels().lerp;
    float* y = out[0].as<>();
    const Walk<3> walk(out[0].shape(), {in[0].shape(), in[1].shape(), weight ? Shape() : in[2].shape()});
    const float* t = weight ? &number : in[2].as<const float>();
    walk.run(ctx, 16, [&](std::int64_t at, std::int64_t count, const std::array<Run, 3>& runs) {
      const RunOf<float> a(in[0].as<const float>(), runs[0], count);
      const RunOf<float> b(in[1].as<const float>(), runs[1], count);
      const RunOf<float> w(t, runs[2], count);
      for (std::int64_t i = 0; i < count; i += kPiece) {
        kernel(std::min(kPiece, count - i), a.at(i), b.at(i), w.at(i), y + at + i);
      }
    });
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const auto& [operand, gradient] = ctx.state<State>()[static_cast<std::size_t>(part)];
    const float* g = gy[0].as<const float>();
    const Shape& whole = gy[0].shape();
    gradient.run(ctx, gx[0].as<>(), [&, of = operand](float* to) {
      if (of == 2) return difference(ctx, g, saved, whole, to);
      const float number = weight.value_or(0);
      const auto kernel = of == 0 ? kernels().times_rest : kernels().times;
      const Walk<1> walk(whole, {weight ? Shape() : saved[0].shape()});
      const float* t = weight ? &number : saved[0].as<const float>();
      walk.run(ctx, 12, [&](std::int64_t at, std::int64_t count, const std::array<Run, 1>& runs) {
        const RunOf<float> w(t, runs[0], count);
        for (std::int64_t i = 0; i < count; i += kPiece) {
          kernel(std::min(kPiece, count - i), g + at + i, w.at(i), to + at + i);
        }
      });
    });
  }

  static std::vector<Sample> samples() {
    return {{"equal", {{{5, 9}}, {{5, 9}}, {{5, 9}}}, any_op(Lerp{})},
            {"number", {{{2, 3, 5, 4}}, {{2, 3, 5, 4}}}, any_op(Lerp{0.3f})},
            {"row and number", {{{19}}, {{6, 19}}}, any_op(Lerp{0.8f}), {false, true}},
            {"all", {{{4, 1, 1}}, {{4, 3, 1}}, {{5}}}, any_op(Lerp{}), {true, true, false}},
            {"weight of one", {{{5, 9}}, {{9}}, {Shape{}}}, any_op(Lerp{}), {true, false, false}}};
  }

 private:
  static void difference(const Ctx& ctx, const float* g, std::span<const Buf> saved, const Shape& whole, float* to) {
    const auto kernel = kernels().times_difference;
    const Walk<2> walk(whole, {saved[0].shape(), saved[1].shape()});
    walk.run(ctx, 16, [&](std::int64_t at, std::int64_t count, const std::array<Run, 2>& runs) {
      const RunOf<float> a(saved[0].as<const float>(), runs[0], count);
      const RunOf<float> b(saved[1].as<const float>(), runs[1], count);
      for (std::int64_t i = 0; i < count; i += kPiece) {
        kernel(std::min(kPiece, count - i), g + at + i, a.at(i), b.at(i), to + at + i);
      }
    });
  }
};

}  // namespace

std::vector<Sample> where_samples() { return Select<false>::samples(); }
std::vector<Sample> masked_fill_samples() { return Select<true>::samples(); }
std::vector<Sample> lerp_samples() { return Lerp::samples(); }

}  // namespace ops

Tensor where(const Tensor& mask, const Operand& a, const Operand& b, SourceLocation where) {
  ops::Select<false> op;
  std::vector<Tensor> inputs = {mask};
  if (a.is_number()) op.a = a.number();
  if (b.is_number()) op.b = b.number();
  if (!a.is_number()) inputs.push_back(a.tensor());
  if (!b.is_number()) inputs.push_back(b.tensor());
  return apply_one(any_op(op), inputs, where);
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, float number, SourceLocation where) {
  return apply(ops::Select<true>{number, {}}, {mask, x}, where);
}

Tensor lerp(const Tensor& a, const Tensor& b, const Operand& weight, SourceLocation where) {
  if (weight.is_number()) return apply(ops::Lerp{weight.number()}, {a, b}, where);
  return apply(ops::Lerp{}, {a, b, weight.tensor()}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
