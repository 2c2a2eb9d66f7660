// mse_loss: the mean of (a - b)^2.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/mse_loss.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                      // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

double squared_distance(std::int64_t n, const float* a, const float* b) {
  const auto add_square = [](auto acc, auto v, auto w) HWY_ATTR {
    const auto off = hn::Sub(v, w);
    return hn::MulAdd(off, off, acc);
  };
  return sum_of(n, add_square, a, b);
}

void scaled_difference(std::int64_t n, float scale, const float* a, const float* b, float* out) {
  const auto s = hn::Set(Wide(), scale);
  map(
      n, out, [&](auto v, auto w) HWY_ATTR { return hn::Mul(s, hn::Sub(v, w)); }, a, b);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(squared_distance);
HWY_EXPORT(scaled_difference);

// Elements that are summed as one: partial sums do not depend on the team.
constexpr std::int64_t kChunk = std::int64_t{32} * 1024;

struct MseLoss {
  static constexpr std::string_view name = "mse_loss";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "a", in[0]);
    require_f32(prep, "b", in[1]);
    prep.require(in[0].shape == in[1].shape,
                 "a is " + in[0].shape.to_string() + ", b is " + in[1].shape.to_string() + "; they must be equal");
    const Meta plain = Meta::plain(in[0].shape);
    const double n = as_double(plain.shape.numel());
    Prepared out;
    out.outputs = {Meta::plain({})};
    out.input_layouts = {kPlain, kPlain};
    out.scratch = (plain.shape.numel() + kChunk - 1) / kChunk * size_of(f32);
    out.work = {3 * n, 8 * n};
    for (int i = 0; i < 2; ++i) {
      if (!needs[static_cast<std::size_t>(i)]) continue;
      // Each gradient is a scaled difference; the input that it is of comes first.
      Part part;
      part.inputs = {i};
      part.gx = {plain};
      part.saved = {Saved::input(i, kPlain), Saved::input(1 - i, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {2 * n, 12 * n};
      part.overwrites = {{0, 0}, {1, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t n = in[0].numel();
    const std::int64_t chunks = (n + kChunk - 1) / kChunk;
    float* sums = ctx.scratch<float>();
    for_range(ctx, chunks, 8 * kChunk, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        const std::int64_t first = chunk * kChunk;
        sums[chunk] = static_cast<float>(HWY_DYNAMIC_DISPATCH(squared_distance)(
            std::min(kChunk, n - first), in[0].as<>() + first, in[1].as<>() + first));
      }
    });
    double total = 0;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) total += static_cast<double>(sums[chunk]);
    *out[0].as<>() = static_cast<float>(total / as_double(n));
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto scale = static_cast<float>(2.0 / as_double(gx[0].numel()) * static_cast<double>(*gy[0].as<>()));
    for_elements(ctx, gx[0].numel(), 12, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(scaled_difference)
      (end - begin, scale, saved[0].as<>() + begin, saved[1].as<>() + begin, gx[0].as<>() + begin);
    });
  }

  static std::vector<Sample> samples() {
    return {{"matrix", {{{5, 13}}, {{5, 13}}}, any_op(MseLoss{})},
            {"long", {{{3, 22000}}, {{3, 22000}}}, any_op(MseLoss{})}};
  }
};

}  // namespace

std::vector<Sample> mse_loss_samples() { return MseLoss::samples(); }

}  // namespace ops

Tensor mse_loss(const Tensor& a, const Tensor& b, SourceLocation where) { return apply(ops::MseLoss{}, {a, b}, where); }

}  // namespace tidemark
#endif  // HWY_ONCE
