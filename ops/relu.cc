// relu. Saves its output; both ways may write over what they read.
#include "tidemark/ops.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/relu.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Comparisons are false for a NaN, so that it passes through and is seen.
void relu_forward(std::int64_t n, const float* x, float* y) {
  const auto zero = hn::Zero(Wide());
  map(
      n, y, [&](auto v) { return hn::IfThenZeroElse(hn::Lt(v, zero), v); }, x);
}

void relu_backward(std::int64_t n, const float* y, const float* gy, float* gx) {
  const auto zero = hn::Zero(Wide());
  map(
      n, gx, [&](auto v, auto g) { return hn::IfThenZeroElse(hn::Le(v, zero), g); }, y, gy);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(relu_forward);
HWY_EXPORT(relu_backward);

}  // namespace

struct Relu {
  static constexpr std::string_view name = "relu";

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "input", in[0]);
    Prepared out;
    out.outputs = {in[0]};  // as it lies: zero stays zero in a layout's padding
    const double count = as_double(raw_floats(in[0]));
    out.work = {count, 2.0 * as_double(in[0].bytes)};
    out.overwrites = {{0, 0}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {in[0]};
      part.saved = {Saved::output(0)};
      part.gy = {{0, in[0].layout}};
      part.work = {count, 3.0 * as_double(in[0].bytes)};
      part.overwrites = {{0, 0}, {1, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto* x = in[0].as<const float>();
    auto* y = out[0].as<float>();
    for_elements(ctx, raw_floats(*in[0].meta), 2 * size_of(f32), [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(relu_forward)(end - begin, x + begin, y + begin);
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto* y = saved[0].as<const float>();
    const auto* g = gy[0].as<const float>();
    auto* out = gx[0].as<float>();
    for_elements(ctx, raw_floats(*gx[0].meta), 3 * size_of(f32), [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(relu_backward)(end - begin, y + begin, g + begin, out + begin);
    });
  }

  static std::vector<Sample> samples() {
    return {
        {"image", {{{2, 3, 5, 4}}}, any_op(Relu{})},
        {"matrix", {{{7, 19}}}, any_op(Relu{})},
        {"one", {{{1}}}, any_op(Relu{})},
    };
  }
};

std::vector<Sample> relu_samples() { return Relu::samples(); }

}  // namespace ops

Tensor relu(const Tensor& x, SourceLocation where) { return apply(ops::Relu{}, {x}, where); }

}  // namespace tidemark
#endif  // HWY_ONCE
