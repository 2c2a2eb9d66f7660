// cross_entropy of probabilities: a row costs the sum of t (logsumexp(row) - x), with t the smoothed probability times
// the class's weight. Keeps three numbers a row: the maximum m, the sum of e^(x - m), and that of t.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/cross_entropy_of_probabilities.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                                            // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/losses/class_rows.h"
#include "ops/losses/softmax_rows.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// t = keep * probability + add, times the weight of its class where weights are not null.
template <class D>
HWY_INLINE hn::Vec<D> smoothed(D d, float keep, float add, hn::Vec<D> probability) {
  return hn::MulAdd(hn::Set(d, keep), probability, hn::Set(d, add));
}

// The sums of t, and of t (most - x).
void target_sums(std::int64_t width, float keep, float add, float most, const float* x, const float* probabilities,
                 const float* weight, double* mass, double* below) {
  const auto m = hn::Set(Eight(), most);
  const auto t = [=](auto p) HWY_ATTR { return smoothed(Eight(), keep, add, p); };
  if (weight == nullptr) {
    *mass = sum_of(
        width, [&](auto acc, auto p) HWY_ATTR { return hn::Add(acc, t(p)); }, probabilities);
    *below = sum_of(
        width, [&](auto acc, auto p, auto v) HWY_ATTR { return hn::MulAdd(t(p), hn::Sub(m, v), acc); }, probabilities,
        x);
  } else {
    *mass = sum_of(
        width, [&](auto acc, auto p, auto w) HWY_ATTR { return hn::MulAdd(t(p), w, acc); }, probabilities, weight);
    *below = sum_of(
        width,
        [&](auto acc, auto p, auto v, auto w) HWY_ATTR { return hn::MulAdd(hn::Mul(t(p), w), hn::Sub(m, v), acc); },
        probabilities, x, weight);
  }
}

// out = scale * e^(x - most) - g t.
void logits_gradient(std::int64_t width, float keep, float add, float g, float most, float scale, const float* x,
                     const float* probabilities, const float* weight, float* out) {
  const auto m = hn::Set(Wide(), most);
  const auto s = hn::Set(Wide(), scale);
  const auto t = [=](auto p) HWY_ATTR { return smoothed(Wide(), g * keep, g * add, p); };
  if (weight == nullptr) {
    map(
        width, out, [&](auto v, auto p) HWY_ATTR { return hn::MulSub(s, exp(Wide(), hn::Sub(v, m)), t(p)); }, x,
        probabilities);
  } else {
    map(
        width, out,
        [&](auto v, auto p, auto w) HWY_ATTR { return hn::NegMulAdd(t(p), w, hn::Mul(s, exp(Wide(), hn::Sub(v, m)))); },
        x, probabilities, weight);
  }
}

// out = scale * (log_sum + most - x), times the weight where weights are not null.
void probabilities_gradient(std::int64_t width, float most, float log_sum, float scale, const float* x,
                            const float* weight, float* out) {
  const auto m = hn::Set(Wide(), most);
  const auto l = hn::Set(Wide(), log_sum);
  const auto s = hn::Set(Wide(), scale);
  if (weight == nullptr) {
    map(
        width, out, [&](auto v) HWY_ATTR { return hn::Mul(s, hn::Add(hn::Sub(m, v), l)); }, x);
  } else {
    map(
        width, out, [&](auto v, auto w) HWY_ATTR { return hn::Mul(hn::Mul(s, w), hn::Add(hn::Sub(m, v), l)); }, x,
        weight);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(target_sums);
HWY_EXPORT(logits_gradient);
HWY_EXPORT(probabilities_gradient);

struct CrossEntropyOfProbabilities {
  static constexpr std::string_view name = "cross_entropy_of_probabilities";
  float label_smoothing = 0;
  LossReduction reduction = LossReduction::kMean;

  void describe(Attributes& a) const {
    a("label_smoothing", label_smoothing);
    a("reduction", static_cast<int>(reduction));
  }

  // Inputs: logits, probabilities and, where there are any, the classes' weights.
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_reduction(prep, reduction);
    require_smoothing(prep, label_smoothing);
    require_f32(prep, "logits", in[0]);
    const Shape& shape = in[0].shape;
    prep.require(shape.rank() > 0 && shape[-1] > 0 && in[1].shape == shape && in[1].dtype == f32,
                 ops::describe("logits", in[0]) + ", " + ops::describe("target", in[1]) +
                     "; the target must be i32 classes, of the logits' shape without its last dimension, or f32 "
                     "probabilities of all of it, which must not be empty");
    if (in.size() > 2) require_class_weight(prep, "logits", in[0], in[2], needs[2]);
    const Meta plain = Meta::plain(shape);
    const double n = as_double(shape.numel());
    const Shape rows(shape.dims().first(static_cast<std::size_t>(shape.rank() - 1)));
    Prepared out;
    out.outputs = {Meta::plain(reduction == LossReduction::kNone ? rows : Shape{}), Meta::plain({3, rows.numel()})};
    out.visible = 1;
    out.input_layouts.assign(in.size(), kPlain);
    out.scratch = rows.numel() * static_cast<std::int64_t>(sizeof(double));
    out.work = {24 * n, 8 * n};
    auto state = std::make_shared<State>();
    for (int i = 0; i < 2; ++i) {
      if (!needs[static_cast<std::size_t>(i)]) continue;
      Part part;
      part.inputs = {i};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::output(1)};
      part.overwrites = {{0, 0}};
      if (i == 0) {
        part.saved.push_back(Saved::input(1, kPlain));
        part.overwrites.emplace_back(2, 0);
      }
      if (in.size() > 2) part.saved.push_back(Saved::input(2, kPlain));
      part.gy = {{0, kPlain}};
      part.work = {i == 0 ? 24 * n : 4 * n, (i == 0 ? 12 : 8) * n};
      out.parts.push_back(std::move(part));
      state->parts.push_back(i);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[0].shape()[-1];
    const std::int64_t rows = in[0].numel() / width;
    const float* weight = in.size() > 2 ? in[2].as<>() : nullptr;
    float* maxima = out[1].as<>();
    float* sums = maxima + rows;
    float* masses = sums + rows;
    auto* costs = ctx.scratch<double>();
    for_range(ctx, rows, 24 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* x = in[0].as<>() + row * width;
        max_and_sum(1, width, x, maxima + row, sums + row);
        double mass = 0;
        double below = 0;
        HWY_DYNAMIC_DISPATCH(target_sums)
        (width, keep(), add(width), maxima[row], x, in[1].as<>() + row * width, weight, &mass, &below);
        masses[row] = static_cast<float>(mass);
        costs[row] = below + mass * std::log(static_cast<double>(sums[row]));
      }
    });
    RowLosses losses(reduction, out[0]);
    for (std::int64_t row = 0; row < rows; ++row) losses.set(row, costs[row]);
    losses.finish(as_double(rows));
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const std::int64_t width = gx[0].shape()[-1];
    const std::int64_t rows = gx[0].numel() / width;
    const float* maxima = saved[1].as<>();
    const float* sums = maxima + rows;
    const float* masses = sums + rows;
    const bool of_logits = ctx.state<State>().parts[static_cast<std::size_t>(part)] == 0;
    const std::size_t weight_at = of_logits ? 3 : 2;
    const float* weight = weight_at < saved.size() ? saved[weight_at].as<>() : nullptr;
    const RowGradients gradients(reduction, gy[0], as_double(rows));
    for_range(ctx, rows, 24 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* x = saved[0].as<>() + row * width;
        float* to = gx[0].as<>() + row * width;
        const float g = gradients(row);
        if (of_logits) {
          HWY_DYNAMIC_DISPATCH(logits_gradient)
          (width, keep(), add(width), g, maxima[row], g * masses[row] / sums[row], x, saved[2].as<>() + row * width,
           weight, to);
        } else {
          const auto log_sum = static_cast<float>(std::log(static_cast<double>(sums[row])));
          HWY_DYNAMIC_DISPATCH(probabilities_gradient)(width, maxima[row], log_sum, g * keep(), x, weight, to);
        }
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& shape, const CrossEntropyOfProbabilities& op,
                           bool weight = false) {
      Sample out{std::move(label),
                 {{shape}, {shape}},
                 any_op(op),
                 {true, true},
                 op.reduction == LossReduction::kMean ? std::numeric_limits<float>::quiet_NaN() : 0};
      if (weight) {
        out.inputs.push_back({.shape = {shape[-1]}, .fill = SampleInput::Fill::kPositive, .differentiable = false});
        out.batched.push_back(false);
      }
      return out;
    };
    return {sample("batch", {7, 10}, {}),
            sample("smooth", {2, 3, 19}, {.label_smoothing = 0.2f, .reduction = LossReduction::kSum}),
            sample("weighted", {4, 21}, {.label_smoothing = 0.1f, .reduction = LossReduction::kNone}, true)};
  }

 private:
  struct State {
    std::vector<int> parts;  // the input that each is the gradient of
  };
  float keep() const { return 1 - label_smoothing; }
  float add(std::int64_t width) const {
    return static_cast<float>(static_cast<double>(label_smoothing) / as_double(width));
  }
};

}  // namespace

std::shared_ptr<const AnyOp> cross_entropy_of_probabilities(float label_smoothing, LossReduction reduction) {
  return any_op(CrossEntropyOfProbabilities{label_smoothing, reduction});
}

std::vector<Sample> cross_entropy_of_probabilities_samples() { return CrossEntropyOfProbabilities::samples(); }

}  // namespace ops
}  // namespace tidemark
#endif  // HWY_ONCE
