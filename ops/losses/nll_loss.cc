// nll_loss: minus the log probability of each row's class. Keeps nothing but the classes and their weights.
#include <algorithm>

#include "ops/kernels.h"
#include "ops/losses/class_rows.h"
#include "ops/table.h"
#include "tidemark/ops/losses.h"

namespace tidemark {
namespace ops {
namespace {

struct NllLoss {
  static constexpr std::string_view name = "nll_loss";
  int ignore_index = -100;
  LossReduction reduction = LossReduction::kMean;

  void describe(Attributes& a) const {
    a("ignore_index", ignore_index);
    a("reduction", static_cast<int>(reduction));
  }

  // Inputs: log probabilities, classes and, where there are any, the classes' weights.
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_reduction(prep, reduction);
    require_f32(prep, "log_probabilities", in[0]);
    require_classes(prep, "log_probabilities", in[0], in[1]);
    if (in.size() > 2) require_class_weight(prep, "log_probabilities", in[0], in[2], needs[2]);
    const Meta plain = Meta::plain(in[0].shape);
    const double rows = as_double(in[1].shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(reduction == LossReduction::kNone ? in[1].shape : Shape{})};
    out.input_layouts.assign(in.size(), kPlain);
    out.work = {2 * rows, 72 * rows};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(1, kPlain)};
      if (in.size() > 2) part.saved.push_back(Saved::input(2, kPlain));
      part.gy = {{0, kPlain}};
      part.work = {rows, as_double(plain.bytes)};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[0].shape()[-1];
    const ClassRows classes(in[1], width, ignore_index, in.size() > 2 ? in[2].as<>() : nullptr);
    classes.require_range(name, "log_probabilities", in[0].shape(), in[1].shape());
    RowLosses losses(reduction, out[0]);
    for (std::int64_t row = 0; row < classes.rows(); ++row) {
      if (classes.ignored(row)) {
        losses.set(row, 0);
      } else {
        const auto own = static_cast<double>(in[0].as<>()[row * width + classes.of(row)]);
        losses.set(row, -own * static_cast<double>(classes.weight(row)));
      }
    }
    losses.finish(classes.total_weight());
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const std::int64_t width = gx[0].shape()[-1];
    const ClassRows classes(saved[0], width, ignore_index, saved.size() > 1 ? saved[1].as<>() : nullptr);
    const RowGradients gradients(reduction, gy[0], classes.total_weight());
    for_range(ctx, classes.rows(), 4 * width, [&](std::int64_t begin, std::int64_t end) {
      std::fill(gx[0].as<>() + begin * width, gx[0].as<>() + end * width, 0.0f);
      for (std::int64_t row = begin; row < end; ++row) {
        if (classes.ignored(row)) continue;
        gx[0].as<>()[row * width + classes.of(row)] = -gradients(row) * classes.weight(row);
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& scores, const NllLoss& op, bool weight) {
      const Shape rows(scores.dims().first(static_cast<std::size_t>(scores.rank() - 1)));
      Sample out{std::move(label),
                 {{scores}, {rows, i32, SampleInput::Fill::kIndices, scores[-1], false}},
                 any_op(op),
                 {true, true},
                 op.reduction == LossReduction::kMean ? std::numeric_limits<float>::quiet_NaN() : 0};
      if (weight) {
        out.inputs.push_back({.shape = {scores[-1]}, .fill = SampleInput::Fill::kPositive, .differentiable = false});
        out.batched.push_back(false);
      }
      return out;
    };
    return {sample("batch", {7, 10}, {}, false), sample("weighted", {9, 5}, {.ignore_index = 2}, true),
            sample("sum", {2, 3, 4}, {.reduction = LossReduction::kSum}, false),
            sample("each", {2, 3, 4}, {.reduction = LossReduction::kNone}, true)};
  }
};

}  // namespace

std::vector<Sample> nll_loss_samples() { return NllLoss::samples(); }

}  // namespace ops

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& classes, const NllLossOptions& options,
                SourceLocation where) {
  std::vector<Tensor> inputs = {log_probabilities, classes};
  if (options.weight.defined()) inputs.push_back(options.weight);
  return apply_one(any_op(ops::NllLoss{options.ignore_index, options.reduction}), inputs, where);
}

}  // namespace tidemark
