// gelu: x Phi(x), or with the hyperbolic tangent in place of Phi where approximate.
#include "tidemark/ops.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/gelu.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct Tanh {
  hn::Vec<Wide> gate;   // (1 + tanh u) / 2
  hn::Vec<Wide> slope;  // 2 du/dx
};

// u = sqrt(2 / pi) (x + 0.044715 x^3), and (1 + tanh u) / 2 = 1 / (1 + e^(-2u)), which cancels nowhere.
HWY_INLINE Tanh tanh_gate(hn::Vec<Wide> x) {
  const Wide d;
  constexpr float kScale = 1.5957691216057308f;  // 2 sqrt(2 / pi)
  constexpr float kCubic = 0.044715f;
  const auto one = hn::Set(d, 1.0f);
  const auto square = hn::Mul(x, x);
  const auto twice_u = hn::Mul(hn::Mul(hn::Set(d, kScale), x), hn::MulAdd(hn::Set(d, kCubic), square, one));
  const auto gate = hn::Div(one, hn::Add(one, exp(d, hn::Neg(twice_u))));
  return {gate, hn::MulAdd(hn::Set(d, 3 * kCubic * kScale), square, hn::Set(d, kScale))};
}

void gelu_forward(std::int64_t n, bool approximate, const float* x, float* y) {
  if (approximate) {
    map(
        n, y, [](auto v) HWY_ATTR { return hn::Mul(v, tanh_gate(v).gate); }, x);
  } else {
    map(
        n, y, [](auto v) HWY_ATTR { return hn::Mul(v, normal(Wide(), v).cumulative); }, x);
  }
}

void gelu_backward(std::int64_t n, bool approximate, const float* x, const float* gy, float* gx) {
  if (approximate) {
    const auto slope = [](auto v, auto g) HWY_ATTR {
      const auto one = hn::Set(Wide(), 1.0f);
      const Tanh t = tanh_gate(v);
      const auto bend = hn::Mul(hn::Mul(v, t.slope), hn::Mul(t.gate, hn::Sub(one, t.gate)));
      return hn::Mul(g, hn::Add(t.gate, bend));
    };
    map(n, gx, slope, x, gy);
  } else {
    const auto slope = [](auto v, auto g) HWY_ATTR {
      const auto density = hn::Set(Wide(), 0.3989422804014327f);  // 1 / sqrt(2 pi)
      const auto phi = normal(Wide(), v);
      return hn::Mul(g, hn::MulAdd(hn::Mul(v, density), phi.bell, phi.cumulative));
    };
    map(n, gx, slope, x, gy);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(gelu_forward);
HWY_EXPORT(gelu_backward);

// gelu(0) = 0, so that padding stays zero and the kernel takes bytes as they lie.
struct Gelu {
  static constexpr std::string_view name = "gelu";
  GeluOptions options;

  void describe(Attributes& a) const { a("approximate", options.approximate); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const double n = as_double(raw_floats(in[0]));
    Prepared out;
    out.outputs = {in[0]};
    out.work = {35 * n, 8 * n};
    out.overwrites = {{0, 0}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {in[0]};
      part.saved = {Saved::input(0, in[0].layout)};
      part.gy = {{0, in[0].layout}};
      part.work = {40 * n, 12 * n};
      part.overwrites = {{1, 0}, {0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    for_elements(ctx, raw_floats(*in[0].meta), 32, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(gelu_forward)
      (end - begin, options.approximate, in[0].as<>() + begin, out[0].as<>() + begin);
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    for_elements(ctx, raw_floats(*gx[0].meta), 32, [&](std::int64_t begin, std::int64_t end) {
      HWY_DYNAMIC_DISPATCH(gelu_backward)
      (end - begin, options.approximate, saved[0].as<>() + begin, gy[0].as<>() + begin, gx[0].as<>() + begin);
    });
  }

  static std::vector<Sample> samples() {
    return {{"exact", {{{6, 37}}}, any_op(Gelu{})}, {"tanh", {{{6, 37}}}, any_op(Gelu{{.approximate = true}})}};
  }
};

}  // namespace

std::vector<Sample> gelu_samples() { return Gelu::samples(); }

}  // namespace ops

Tensor gelu(const Tensor& x, const GeluOptions& options, SourceLocation where) {
  return apply(ops::Gelu{options}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
