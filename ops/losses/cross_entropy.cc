// cross_entropy of class indices: the mean of logsumexp(row) - row[class]. Keeps two numbers a row, its maximum m and
// the sum of e^(x - m): as one number, m + log(sum), they would lose digits where logits are large. Backward makes the
// softmax again from the logits.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/cross_entropy.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
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

void scaled_exp(std::int64_t width, const float* x, float most, float scale, float* out) {
  const auto m = hn::Set(Wide(), most);
  const auto s = hn::Set(Wide(), scale);
  map(
      width, out, [&](auto v) HWY_ATTR { return hn::Mul(s, exp(Wide(), hn::Sub(v, m))); }, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(max_and_sum);
HWY_EXPORT(scaled_exp);

struct CrossEntropy {
  static constexpr std::string_view name = "cross_entropy";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& logits = in[0];
    const Meta& classes = in[1];
    require_f32(prep, "logits", logits);
    const int rank = logits.shape.rank();
    const bool fits = classes.dtype == i32 && rank > 0 && logits.shape[-1] > 0 &&
                      classes.shape == Shape(logits.shape.dims().first(static_cast<std::size_t>(rank - 1)));
    prep.require(fits,
                 ops::describe("logits", logits) + ", " + ops::describe("classes", classes) +
                     "; classes must be i32 of the logits' shape without its last dimension, which must not be empty");
    const Meta plain = Meta::plain(logits.shape);
    const double n = as_double(plain.shape.numel());
    Prepared out;
    out.outputs = {Meta::plain({}), Meta::plain({2, classes.shape.numel()})};
    out.visible = 1;
    out.input_layouts = {kPlain, kPlain};
    out.work = {20 * n, 4 * n};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::input(1, kPlain), Saved::output(1)};
      part.gy = {{0, kPlain}};
      part.work = {20 * n, 8 * n};
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[0].shape()[-1];
    const std::int64_t rows = in[1].numel();
    const std::int32_t* classes = in[1].as<std::int32_t>();
    for (std::int64_t row = 0; row < rows; ++row) {
      if (classes[row] >= 0 && classes[row] < width) continue;
      throw ShapeError("[cross_entropy] class " + std::to_string(classes[row]) + " at position " + std::to_string(row) +
                       " is outside [0, " + std::to_string(width) + "): logits are " + in[0].shape().to_string() +
                       ", classes " + in[1].shape().to_string());
    }
    float* maxima = out[1].as<>();
    float* sums = maxima + rows;
    for_range(ctx, rows, 16 * width, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(max_and_sum)
      (end - begin, width, in[0].as<>() + begin * width, maxima + begin, sums + begin);
    });
    double total = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      const float own = in[0].as<>()[row * width + classes[row]];
      total += static_cast<double>(maxima[row]) - static_cast<double>(own) + std::log(static_cast<double>(sums[row]));
    }
    *out[0].as<>() = static_cast<float>(total / as_double(rows));
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const std::int64_t width = saved[0].shape()[-1];
    const std::int64_t rows = saved[1].numel();
    const std::int32_t* classes = saved[1].as<std::int32_t>();
    const float* maxima = saved[2].as<>();
    const float* sums = maxima + rows;
    const float scale = *gy[0].as<>() / static_cast<float>(rows);
    for_range(ctx, rows, 16 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        float* to = gx[0].as<>() + row * width;
        HWY_DYNAMIC_DISPATCH(scaled_exp)(width, saved[0].as<>() + row * width, maxima[row], scale / sums[row], to);
        to[classes[row]] -= scale;
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto classes = [](Shape shape, std::int64_t below) {
      return SampleInput{shape, i32, SampleInput::Fill::kIndices, below, false};
    };
    return {{"batch", {{{7, 10}}, classes({7}, 10)}, any_op(CrossEntropy{})},
            {"sequence", {{{2, 3, 37}}, classes({2, 3}, 37)}, any_op(CrossEntropy{})}};
  }
};

}  // namespace

std::vector<Sample> cross_entropy_samples() { return CrossEntropy::samples(); }

}  // namespace ops

Tensor cross_entropy(const Tensor& logits, const Tensor& classes, SourceLocation where) {
  return apply(ops::CrossEntropy{}, {logits, classes}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
