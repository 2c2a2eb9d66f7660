// cross_entropy of class indices: logsumexp(row) - row[class]. Keeps two numbers a row, its maximum m and the sum of
// e^(x - m): as one number, m + log(sum), they would lose digits where logits are large. Backward makes the softmax
// again from the logits.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/cross_entropy.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/losses/class_rows.h"
#include "ops/losses/softmax_rows.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

void max_and_sum(std::int64_t rows, std::int64_t width, const float* x, float* maxima, float* sums) {
  for (std::int64_t row = 0; row < rows; ++row, x += width) {
    const float most = max_row(width, x);
    const auto add_exp = [&](auto acc, auto v)
                             HWY_ATTR { return hn::Add(acc, exp(Eight(), hn::Sub(v, hn::Set(Eight(), most)))); };
    maxima[row] = most;
    sums[row] = static_cast<float>(sum_of(width, add_exp, x));
  }
}

double sum_below(std::int64_t width, float most, const float* x, const float* weight) {
  const auto m = hn::Set(Eight(), most);
  if (weight == nullptr) {
    return sum_of(
        width, [&](auto acc, auto v) HWY_ATTR { return hn::Add(acc, hn::Sub(m, v)); }, x);
  }
  return sum_of(
      width, [&](auto acc, auto v, auto w) HWY_ATTR { return hn::MulAdd(w, hn::Sub(m, v), acc); }, x, weight);
}

void softmax_gradient(std::int64_t width, const float* x, float most, float scale, float shift, const float* weight,
                      float* out) {
  const auto m = hn::Set(Wide(), most);
  const auto s = hn::Set(Wide(), scale);
  const auto t = hn::Set(Wide(), shift);
  if (weight == nullptr) {
    map(
        width, out, [&](auto v) HWY_ATTR { return hn::Sub(hn::Mul(s, exp(Wide(), hn::Sub(v, m))), t); }, x);
  } else {
    map(
        width, out,
        [&](auto v, auto w) HWY_ATTR { return hn::NegMulAdd(t, w, hn::Mul(s, exp(Wide(), hn::Sub(v, m)))); }, x,
        weight);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(max_and_sum);
HWY_EXPORT(sum_below);
HWY_EXPORT(softmax_gradient);

void max_and_sum(std::int64_t rows, std::int64_t width, const float* x, float* maxima, float* sums) {
  HWY_DYNAMIC_DISPATCH(max_and_sum)(rows, width, x, maxima, sums);
}

double sum_below(std::int64_t width, float most, const float* x, const float* weight) {
  return HWY_DYNAMIC_DISPATCH(sum_below)(width, most, x, weight);
}

void softmax_gradient(std::int64_t width, const float* x, float most, float scale, float shift, const float* weight,
                      float* out) {
  HWY_DYNAMIC_DISPATCH(softmax_gradient)(width, x, most, scale, shift, weight, out);
}

namespace {

struct CrossEntropy {
  static constexpr std::string_view name = "cross_entropy";
  int ignore_index = -100;
  float label_smoothing = 0;
  LossReduction reduction = LossReduction::kMean;

  void describe(Attributes& a) const {
    a("ignore_index", ignore_index);
    a("label_smoothing", label_smoothing);
    a("reduction", static_cast<int>(reduction));
  }

  // Inputs: logits, classes and, where there are any, the classes' weights.
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_reduction(prep, reduction);
    require_smoothing(prep, label_smoothing);
    const Meta& logits = in[0];
    require_f32(prep, "logits", logits);
    require_classes(prep, "logits", logits, in[1]);
    if (in.size() > 2) require_class_weight(prep, "logits", logits, in[2], needs[2]);
    const Meta plain = Meta::plain(logits.shape);
    const double n = as_double(plain.shape.numel());
    const std::int64_t rows = in[1].shape.numel();
    Prepared out;
    out.outputs = {Meta::plain(reduction == LossReduction::kNone ? in[1].shape : Shape{}), Meta::plain({2, rows})};
    out.visible = 1;
    out.input_layouts.assign(in.size(), kPlain);
    if (smooth()) out.scratch = rows * static_cast<std::int64_t>(sizeof(double));
    out.work = {20 * n, 4 * n};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::input(1, kPlain), Saved::output(1)};
      if (in.size() > 2) part.saved.push_back(Saved::input(2, kPlain));
      part.gy = {{0, kPlain}};
      part.work = {20 * n, 8 * n};
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[0].shape()[-1];
    const float* weight = in.size() > 2 ? in[2].as<>() : nullptr;
    const ClassRows classes(in[1], width, ignore_index, weight);
    classes.require_range(name, "logits", in[0].shape(), in[1].shape());
    const float* x = in[0].as<>();
    float* maxima = out[1].as<>();
    float* sums = maxima + classes.rows();
    auto* below = ctx.scratch<double>();
    for_range(ctx, classes.rows(), 16 * width, [&](std::int64_t begin, std::int64_t end) {
      max_and_sum(end - begin, width, x + begin * width, maxima + begin, sums + begin);
      for (std::int64_t row = begin; smooth() && row < end; ++row) {
        below[row] = sum_below(width, maxima[row], x + row * width, weight);
      }
    });
    const double all = smooth() ? total(weight, width) : 0;
    RowLosses losses(reduction, out[0]);
    for (std::int64_t row = 0; row < classes.rows(); ++row) {
      if (classes.ignored(row)) {
        losses.set(row, 0);
        continue;
      }
      const auto most = static_cast<double>(maxima[row]);
      const double log_sum = std::log(static_cast<double>(sums[row]));
      const auto own = static_cast<double>(x[row * width + classes.of(row)]);
      double loss = (most - own + log_sum) * static_cast<double>(classes.weight(row));
      if (smooth()) loss = own_share() * loss + uniform_share(width) * (below[row] + all * log_sum);
      losses.set(row, loss);
    }
    losses.finish(classes.total_weight());
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const std::int64_t width = saved[0].shape()[-1];
    const float* weight = saved.size() > 3 ? saved[3].as<>() : nullptr;
    const ClassRows classes(saved[1], width, ignore_index, weight);
    const float* maxima = saved[2].as<>();
    const float* sums = maxima + classes.rows();
    const RowGradients gradients(reduction, gy[0], classes.total_weight());
    const auto uniform = static_cast<float>(uniform_share(width));
    const auto spread = static_cast<float>(uniform_share(width) * (smooth() ? total(weight, width) : 0));
    for_range(ctx, classes.rows(), 16 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        float* to = gx[0].as<>() + row * width;
        if (classes.ignored(row)) {
          std::fill_n(to, width, 0.0f);
          continue;
        }
        const float g = gradients(row);
        const float own = g * static_cast<float>(own_share()) * classes.weight(row);
        softmax_gradient(width, saved[0].as<>() + row * width, maxima[row], (own + g * spread) / sums[row], g * uniform,
                         weight, to);
        to[classes.of(row)] -= own;
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& logits, const CrossEntropy& op, bool weight = false) {
      const Shape rows(logits.dims().first(static_cast<std::size_t>(logits.rank() - 1)));
      Sample out{std::move(label),
                 {{logits}, {rows, i32, SampleInput::Fill::kIndices, logits[-1], false}},
                 any_op(op),
                 {true, true},
                 op.reduction == LossReduction::kMean ? std::numeric_limits<float>::quiet_NaN() : 0};
      if (weight) {
        out.inputs.push_back({.shape = {logits[-1]}, .fill = SampleInput::Fill::kPositive, .differentiable = false});
        out.batched.push_back(false);
      }
      return out;
    };
    return {
        sample("batch", {7, 10}, {}), sample("sequence", {2, 3, 37}, {}),
        sample("weighted", {9, 5}, {.ignore_index = 2}, true),
        sample("smooth", {6, 19}, {.ignore_index = 3, .label_smoothing = 0.1f, .reduction = LossReduction::kSum}),
        sample("smooth and weighted", {2, 5, 33}, {.label_smoothing = 0.3f, .reduction = LossReduction::kNone}, true)};
  }

 private:
  bool smooth() const { return label_smoothing > 0; }
  double own_share() const { return 1 - static_cast<double>(label_smoothing); }
  double uniform_share(std::int64_t width) const { return static_cast<double>(label_smoothing) / as_double(width); }
  static double total(const float* weight, std::int64_t width) {
    if (weight == nullptr) return as_double(width);
    double sum = 0;
    for (std::int64_t i = 0; i < width; ++i) sum += static_cast<double>(weight[i]);
    return sum;
  }
};

}  // namespace

std::vector<Sample> cross_entropy_samples() { return CrossEntropy::samples(); }

}  // namespace ops

Tensor cross_entropy(const Tensor& logits, const Tensor& target, const CrossEntropyOptions& options,
                     SourceLocation where) {
  ops::require_defined("cross_entropy", {&logits, &target}, where);
  std::vector<Tensor> inputs = {logits, target};
  if (options.weight.defined()) inputs.push_back(options.weight);
  if (target.dtype(where) == f32) {
    return apply_one(ops::cross_entropy_of_probabilities(options.label_smoothing, options.reduction), inputs, where);
  }
  const ops::CrossEntropy op{options.ignore_index, options.label_smoothing, options.reduction};
  return apply_one(any_op(op), inputs, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
