// softmax over the last dimension. Saves its output.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/softmax.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                         // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

void softmax_forward(std::int64_t rows, std::int64_t width, const float* x, float* y) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, y += width) {
    const auto most = hn::Set(Wide(), max_row(width, x));
    map(
        width, y, [&](auto v) HWY_ATTR { return exp(Wide(), hn::Sub(v, most)); }, x);
    const auto scale = hn::Set(Wide(), static_cast<float>(1.0 / sum_row(width, y)));
    map(
        width, y, [&](auto v) HWY_ATTR { return hn::Mul(v, scale); }, y);
  }
}

void softmax_backward(std::int64_t rows, std::int64_t width, const float* y, const float* gy, float* gx) {
  for (std::int64_t row = 0; row < rows; ++row, y += width, gy += width, gx += width) {
    const auto mean = hn::Set(Wide(), static_cast<float>(dot_row(width, y, gy)));
    map(
        width, gx, [&](auto v, auto g) HWY_ATTR { return hn::Mul(v, hn::Sub(g, mean)); }, y, gy);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(softmax_forward);
HWY_EXPORT(softmax_backward);

struct Softmax {
  static constexpr std::string_view name = "softmax";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    prep.require(in[0].shape.rank() > 0, describe("x", in[0]) + "; softmax needs a dimension");
    const Meta plain = Meta::plain(in[0].shape);
    const double n = as_double(plain.shape.numel());
    Prepared out;
    out.outputs = {plain};
    out.input_layouts = {kPlain};
    out.work = {20 * n, 8 * n};
    out.overwrites = {{0, 0}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::output(0, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {4 * n, 12 * n};
      part.overwrites = {{1, 0}, {0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[0].shape()[-1];
    for_range(ctx, rows_of(in[0]), 16 * width, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(softmax_forward)
      (end - begin, width, in[0].as<>() + begin * width, out[0].as<>() + begin * width);
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const std::int64_t width = gx[0].shape()[-1];
    for_range(ctx, rows_of(gx[0]), 16 * width, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(softmax_backward)
      (end - begin, width, saved[0].as<>() + begin * width, gy[0].as<>() + begin * width, gx[0].as<>() + begin * width);
    });
  }

  static std::vector<Sample> samples() {
    return {{"rows", {{{3, 4, 19}}}, any_op(Softmax{})}, {"wide", {{{2, 257}}}, any_op(Softmax{})}};
  }

 private:
  static std::int64_t rows_of(const Buf& x) { return x.numel() / std::max<std::int64_t>(1, x.shape()[-1]); }
};

}  // namespace

std::vector<Sample> softmax_samples() { return Softmax::samples(); }

}  // namespace ops

Tensor softmax(const Tensor& x, SourceLocation where) { return apply(ops::Softmax{}, {x}, where); }

}  // namespace tidemark
#endif  // HWY_ONCE
