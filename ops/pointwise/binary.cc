// Pointwise ops of two operands with broadcasting, whatever their formula.
#include <string>
#include <utility>

#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/pointwise/pointwise.h"

namespace tidemark::ops {
namespace {

// What each part of backward is about.
struct Gradient {
  std::size_t input;
  bool summed;  // the input was broadcast
  Reduction reduction;
};

// Operands of one shape meet in one layout, whichever that is, and are processed as they lie, where zero padding then
// stays zero. Otherwise both are plain.
class BinaryOp final : public AnyOp {
 public:
  BinaryOp(const BinaryFormula& formula, BinaryTable table, std::size_t index)
      : formula_(formula), table_(table), index_(index) {}

  std::string_view name() const override { return formula_.name; }
  void describe(Attributes&) const override {}

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const override {
    require_f32(prep, "a", in[0]);
    require_f32(prep, "b", in[1]);
    const std::optional<Shape> shape = broadcast(in[0].shape, in[1].shape);
    prep.require(shape.has_value(),
                 "a is " + in[0].shape.to_string() + ", b is " + in[1].shape.to_string() + ", which do not broadcast");
    Meta meta = in[0].shape != in[1].shape ? Meta::plain(*shape) : in[0].layout.plain() ? in[1] : in[0];
    if (has_padding(meta) && !keeps_zeros()) meta = Meta::plain(*shape);
    const double n = as_double(raw_floats(meta));
    Prepared out;
    out.outputs = {meta};
    out.input_layouts = {meta.layout, meta.layout};
    out.work = {n, 4 * n + 4 * as_double(in[0].shape.numel() + in[1].shape.numel())};
    auto state = std::make_shared<std::vector<Gradient>>();
    for (std::size_t i = 0; i < 2; ++i) {
      if (in[i].shape == meta.shape) out.overwrites.emplace_back(static_cast<int>(i), 0);
      if (needs[i]) out.parts.push_back(gradient_part(i, meta, in, *state));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const override {
    const auto value = kernels().value;
    auto* y = out[0].as<float>();
    rows(ctx, *out[0].meta, in[0].as<const float>(), in[0].shape(), in[1].as<const float>(), in[1].shape(),
         [&](std::int64_t at, std::int64_t count, Row a, Row b) { value(count, a, b, y + at); });
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const override {
    const Gradient& gradient = ctx.state<std::vector<Gradient>>()[static_cast<std::size_t>(part)];
    const SlopeKernels& slope = kernels().slopes[gradient.input];
    const float* g = gy[0].as<const float>();
    auto* to = gx[0].as<float>();
    const Buf* a = slope.reads_a ? &saved.front() : nullptr;
    const Buf* b = slope.reads_b ? &saved.back() : nullptr;
    const float* a_data = a == nullptr ? nullptr : a->as<const float>();
    const float* b_data = b == nullptr ? nullptr : b->as<const float>();
    if (gradient.summed) return gradient.reduction.run(ctx, slope, g, a_data, b_data, 1.0f, to);
    const Shape& whole = gx[0].shape();
    rows(ctx, *gx[0].meta, a_data, a == nullptr ? whole : a->shape(), b_data, b == nullptr ? whole : b->shape(),
         [&](std::int64_t at, std::int64_t count, Row ra, Row rb) { slope.gradient(count, g + at, ra, rb, to + at); });
  }

 private:
  const BinaryKernels& kernels() const { return table_()[index_]; }

  // The formula itself answers these.
  bool keeps_zeros() const {
    const float zero = 0;
    float out = 0;
    kernels().value(1, {&zero}, {&zero}, &out);
    bool keeps = out == 0;
    for (const SlopeKernels& slope : kernels().slopes) {
      slope.gradient(1, &zero, {&zero}, {&zero}, &out);
      keeps = keeps && out == 0;
    }
    return keeps;
  }
  static bool is_one(const SlopeKernels& slope) {
    if (slope.reads_a || slope.reads_b) return false;
    const float one = 1;
    float out = 0;
    slope.gradient(1, &one, {}, {}, &out);
    return out == 1;
  }

  // f(at, count, row of a, row of b) for all elements of `meta`. Values of its shape lie as it does, and are taken so.
  template <class F>
  static void rows(const Ctx& ctx, const Meta& meta, const float* a, const Shape& a_shape, const float* b,
                   const Shape& b_shape, F&& f) {
    if (a_shape != meta.shape || b_shape != meta.shape) {
      return RowWalk(meta.shape, a_shape, b_shape).run(ctx, a, b, f);
    }
    for_elements(ctx, raw_floats(meta), 12,
                 [&](std::int64_t begin, std::int64_t end) { f(begin, end - begin, Row{a + begin}, Row{b + begin}); });
  }

  Part gradient_part(std::size_t input, const Meta& meta, std::span<const Meta> in,
                     std::vector<Gradient>& state) const {
    const SlopeKernels& slope = kernels().slopes[input];
    const Shape& own = in[input].shape;
    const bool summed = own != meta.shape;
    const double n = as_double(raw_floats(meta));
    Part part;
    part.inputs = {static_cast<int>(input)};
    part.gx = {summed ? Meta::plain(own) : meta};
    part.gy = {{0, meta.layout}};
    part.work = {n, 4 * n + as_double(part.gx[0].bytes)};
    std::array<Shape, 2> read;  // where nothing is read: one number, which broadcasts to anything
    for (std::size_t i = 0; i < 2; ++i) {
      if (!(i == 0 ? slope.reads_a : slope.reads_b)) continue;
      read[i] = in[i].shape;
      part.saved.push_back(Saved::input(static_cast<int>(i), meta.layout));
      part.work.bytes += 4 * as_double(in[i].shape.numel());
    }
    state.push_back({input, summed, summed ? Reduction(meta.shape, own, read[0], read[1]) : Reduction({}, {})});
    const auto gy = static_cast<int>(part.saved.size());
    if (summed) {
      part.scratch = state.back().reduction.scratch();
    } else if (is_one(slope) && meta.layout.plain()) {
      part.view = true;
    } else {
      part.overwrites = {{gy, 0}};
      for (int i = 0; i < gy; ++i) {
        const Saved& saved = part.saved[static_cast<std::size_t>(i)];
        if (in[static_cast<std::size_t>(saved.index)].shape == meta.shape) part.overwrites.emplace_back(i, 0);
      }
    }
    return part;
  }

  const BinaryFormula& formula_;
  BinaryTable table_;
  std::size_t index_;
};

}  // namespace

std::shared_ptr<const AnyOp> binary_op(const BinaryFormula& formula, BinaryTable table, std::size_t index) {
  return std::make_shared<BinaryOp>(formula, table, index);
}

std::vector<Sample> binary_samples(const BinaryFormula& formula, BinaryTable table, std::size_t index) {
  const auto op = binary_op(formula, table, index);
  const auto sample = [&](std::string label, const Shape& a, const Shape& b) {
    using Fill = SampleInput::Fill;
    const Fill fill = formula.positive ? Fill::kPositive : Fill::kNormal;
    return Sample{std::move(label), {{.shape = a, .fill = fill}, {.shape = b, .fill = fill}}, op};
  };
  return {sample("equal", {3, 7}, {3, 7}),      sample("images", {2, 3, 4, 5}, {2, 3, 4, 5}),
          sample("row", {4, 5, 9}, {9}),        sample("channel", {2, 3, 4, 5}, {3, 1, 1}),
          sample("number", {6, 5}, Shape{}),    sample("number first", Shape{}, {6, 5}),
          sample("both", {5, 1, 3}, {4, 1}),    sample("long", {200, 6}, {6}),
          sample("columns", {200, 1}, {200, 6})};
}

}  // namespace tidemark::ops
