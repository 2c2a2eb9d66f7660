// multi_margin_loss: what other classes score above the row's own, less a margin.
#include <cmath>
#include <limits>

#include "ops/kernels.h"
#include "ops/losses/class_rows.h"
#include "ops/table.h"
#include "tidemark/ops/losses.h"

namespace tidemark {
namespace ops {
namespace {

// No class is ignored: none has this index.
constexpr std::int64_t kNoClass = std::numeric_limits<std::int64_t>::min();

struct MultiMarginLoss {
  static constexpr std::string_view name = "multi_margin_loss";
  int p = 1;
  float margin = 1;
  LossReduction reduction = LossReduction::kMean;

  void describe(Attributes& a) const {
    a("p", p);
    a("margin", margin);
    a("reduction", static_cast<int>(reduction));
  }

  // Inputs: x, classes and, where there are any, the classes' weights.
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_reduction(prep, reduction);
    prep.require(p == 1 || p == 2, "p is " + std::to_string(p) + "; it must be 1 or 2");
    prep.require(std::isfinite(margin), "margin is " + std::to_string(margin) + "; it must be finite");
    require_f32(prep, "x", in[0]);
    require_classes(prep, "x", in[0], in[1]);
    if (in.size() > 2) require_class_weight(prep, "x", in[0], in[2], needs[2]);
    const Meta plain = Meta::plain(in[0].shape);
    const double n = as_double(plain.shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(reduction == LossReduction::kNone ? in[1].shape : Shape{})};
    out.input_layouts.assign(in.size(), kPlain);
    out.scratch = in[1].shape.numel() * static_cast<std::int64_t>(sizeof(double));
    out.work = {4 * n, 4 * n};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::input(1, kPlain)};
      if (in.size() > 2) part.saved.push_back(Saved::input(2, kPlain));
      part.gy = {{0, kPlain}};
      part.work = {5 * n, 8 * n};
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[0].shape()[-1];
    const ClassRows classes(in[1], width, kNoClass, in.size() > 2 ? in[2].as<>() : nullptr);
    classes.require_range(name, "x", in[0].shape(), in[1].shape());
    auto* costs = ctx.scratch<double>();
    for_range(ctx, classes.rows(), 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* x = in[0].as<>() + row * width;
        const auto start = static_cast<double>(margin) - static_cast<double>(x[classes.of(row)]);
        double total = 0;
        for (std::int64_t i = 0; i < width; ++i) {
          const double over = start + static_cast<double>(x[i]);
          if (i == classes.of(row) || over <= 0) continue;
          total += p == 1 ? over : over * over;
        }
        costs[row] = total * static_cast<double>(classes.weight(row)) / as_double(width);
      }
    });
    RowLosses losses(reduction, out[0]);
    for (std::int64_t row = 0; row < classes.rows(); ++row) losses.set(row, costs[row]);
    losses.finish(as_double(classes.rows()));
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const std::int64_t width = gx[0].shape()[-1];
    const ClassRows classes(saved[1], width, kNoClass, saved.size() > 2 ? saved[2].as<>() : nullptr);
    const RowGradients gradients(reduction, gy[0], as_double(classes.rows()));
    for_range(ctx, classes.rows(), 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* x = saved[0].as<>() + row * width;
        float* to = gx[0].as<>() + row * width;
        const std::int64_t own = classes.of(row);
        const auto start = static_cast<double>(margin) - static_cast<double>(x[own]);
        const double scale =
            static_cast<double>(gradients(row)) * static_cast<double>(classes.weight(row)) / as_double(width);
        double total = 0;
        for (std::int64_t i = 0; i < width; ++i) {
          const double over = start + static_cast<double>(x[i]);
          const double slope = i == own || over <= 0 ? 0 : p == 1 ? scale : 2 * scale * over;
          to[i] = static_cast<float>(slope);
          total += slope;
        }
        to[own] = static_cast<float>(-total);
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const MultiMarginLoss& op, bool weight) {
      const Shape rows(x.dims().first(static_cast<std::size_t>(x.rank() - 1)));
      Sample out{std::move(label),
                 {{x}, {rows, i32, SampleInput::Fill::kIndices, x[-1], false}},
                 any_op(op),
                 {true, true},
                 op.reduction == LossReduction::kMean ? std::numeric_limits<float>::quiet_NaN() : 0};
      if (weight) {
        out.inputs.push_back({.shape = {x[-1]}, .fill = SampleInput::Fill::kPositive, .differentiable = false});
        out.batched.push_back(false);
      }
      return out;
    };
    return {sample("batch", {7, 10}, {}, false),
            sample("squares", {2, 3, 5}, {.p = 2, .margin = 0.5f, .reduction = LossReduction::kNone}, true),
            sample("sum", {4, 3}, {.reduction = LossReduction::kSum}, true)};
  }
};

}  // namespace

std::vector<Sample> multi_margin_loss_samples() { return MultiMarginLoss::samples(); }

}  // namespace ops

Tensor multi_margin_loss(const Tensor& x, const Tensor& classes, const MultiMarginLossOptions& options,
                         SourceLocation where) {
  std::vector<Tensor> inputs = {x, classes};
  if (options.weight.defined()) inputs.push_back(options.weight);
  return apply_one(any_op(ops::MultiMarginLoss{options.p, options.margin, options.reduction}), inputs, where);
}

}  // namespace tidemark
