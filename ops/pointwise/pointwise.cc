// What pointwise ops of one operand declare and run, whatever their formula.
#include "ops/pointwise/pointwise.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ops/kernels.h"
#include "tidemark/map.h"

namespace tidemark {

Prepared detail::Pointwise::prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
  ops::require_f32(prep, "x", in[0]);
  const Meta meta = ops::has_padding(in[0]) && !keeps_zeros() ? Meta::plain(in[0].shape) : in[0];
  const double n = ops::as_double(ops::raw_floats(meta));
  Prepared out;
  out.outputs = {meta};
  out.input_layouts = {meta.layout};
  out.work = {traits_.flops * n, 8 * n};
  out.overwrites = {{0, 0}};
  if (!traits_.slope || !needs[0]) return out;
  Part part;
  part.inputs = {0};
  part.gx = {meta};
  if (traits_.reads_x) part.saved.push_back(Saved::input(0, meta.layout));
  if (traits_.reads_y) part.saved.push_back(Saved::output(0));
  part.gy = {{0, meta.layout}};
  const auto operands = static_cast<int>(part.saved.size()) + 1;
  part.work = {traits_.slope_flops * n, 4 * n * (operands + 1)};
  part.view = operands == 1 && meta.layout.plain() && slope_is_one();
  for (int operand = 0; operand < operands && !part.view; ++operand) part.overwrites.emplace_back(operand, 0);
  out.parts.push_back(std::move(part));
  return out;
}

void detail::Pointwise::forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
  const float* x = in[0].as<const float>();
  auto* y = out[0].as<float>();
  const auto cost = static_cast<std::int64_t>(std::max(8.0, traits_.flops));
  ops::for_elements(ctx, ops::raw_floats(*out[0].meta), cost,
                    [&](std::int64_t begin, std::int64_t end) { value(end - begin, x + begin, y + begin); });
}

void detail::Pointwise::backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy,
                                 std::span<const Buf> gx) const {
  const float* x = traits_.reads_x ? saved.front().as<const float>() : nullptr;
  const float* y = traits_.reads_y ? saved.back().as<const float>() : nullptr;
  const auto* g = gy[0].as<const float>();
  auto* to = gx[0].as<float>();
  const auto part_of = [](const float* from, std::int64_t begin) { return from == nullptr ? nullptr : from + begin; };
  const auto cost = static_cast<std::int64_t>(std::max(12.0, traits_.slope_flops));
  ops::for_elements(ctx, ops::raw_floats(*gx[0].meta), cost, [&](std::int64_t begin, std::int64_t end) {
    gradient(end - begin, part_of(x, begin), part_of(y, begin), g + begin, to + begin);
  });
}

namespace ops {
namespace {

class UnaryOp final : public detail::Pointwise {
 public:
  UnaryOp(const UnaryFormula& formula, UnaryTable table, std::size_t index, const FormulaAttributes& attributes)
      : Pointwise({.slope = true,
                   .reads_x = formula.slope_reads_x,
                   .reads_y = formula.slope_reads_y,
                   .flops = formula.flops,
                   .slope_flops = formula.slope_flops}),
        formula_(formula),
        table_(table),
        index_(index),
        attributes_(attributes) {}

  std::string_view name() const override { return formula_.name; }
  void describe(Attributes& a) const override {
    for (std::size_t i = 0; i < formula_.attributes.size(); ++i) a(formula_.attributes[i], attributes_[i]);
  }

 private:
  void value(std::int64_t n, const float* x, float* y) const override { table_()[index_].value(attributes_, n, x, y); }
  void gradient(std::int64_t n, const float* x, const float* y, const float* gy, float* gx) const override {
    table_()[index_].gradient(attributes_, n, x, y, gy, gx);
  }

  // The formula itself answers these.
  bool keeps_zeros() const override {
    const float zero = 0;
    float y = 0;
    float gx = 0;
    value(1, &zero, &y);
    gradient(1, &zero, &zero, &zero, &gx);
    return y == 0 && gx == 0;
  }
  bool slope_is_one() const override {
    const float one = 1;
    float gx = 0;
    gradient(1, nullptr, nullptr, &one, &gx);  // asked where the slope is constant
    return gx == 1;
  }

  const UnaryFormula& formula_;
  UnaryTable table_;
  std::size_t index_;
  FormulaAttributes attributes_;
};

}  // namespace

std::shared_ptr<const AnyOp> unary_op(const UnaryFormula& formula, UnaryTable table, std::size_t index,
                                      const FormulaAttributes& attributes) {
  return std::make_shared<UnaryOp>(formula, table, index, attributes);
}

std::vector<Sample> unary_samples(const UnaryFormula& formula, UnaryTable table, std::size_t index) {
  const auto op = [&](const FormulaAttributes& attributes) { return unary_op(formula, table, index, attributes); };
  const auto input = [&](const Shape& shape) {
    using Fill = SampleInput::Fill;
    return SampleInput{.shape = shape, .fill = formula.positive ? Fill::kPositive : Fill::kNormal};
  };
  const FormulaAttributes first = formula.variants.empty() ? FormulaAttributes{} : formula.variants.front();
  std::vector<Sample> out = {{"image", {input({2, 3, 5, 4})}, op(first)},
                             {"matrix", {input({7, 19})}, op(first)},
                             {"one", {input({1})}, op(first)}};
  for (std::size_t i = 1; i < formula.variants.size(); ++i) {
    out.push_back({"variant " + std::to_string(i), {input({2, 3, 5, 4})}, op(formula.variants[i])});
  }
  return out;
}

}  // namespace ops
}  // namespace tidemark
