// Sine and cosine, of arguments of any size.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/trigonometric.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                              // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Sines in double precision: beyond this the reduction by pi / 2 is left to the standard library, lane by lane.
constexpr float kFarAngle = 0x1p20f;

HWY_NOINLINE V far_sine(V x, int quarters) {
  HWY_ALIGN float lanes[hn::MaxLanes(Wide())];
  hn::Store(x, Wide(), lanes);
  for (std::size_t i = 0; i < hn::Lanes(Wide()); ++i) {
    const double angle = static_cast<double>(lanes[i]);
    const double y = quarters % 2 == 0 ? std::sin(angle) : std::cos(angle);
    lanes[i] = static_cast<float>(quarters < 2 ? y : -y);
  }
  return hn::Load(Wide(), lanes);
}

// sin(x + quarters pi / 2), to 1 ulp.
HWY_NOINLINE V sine(V x, int quarters) {
  const auto near = in_double(
      Wide(),
      [quarters](auto dd, auto angle) HWY_ATTR {
        // angle = n pi / 2 + r. Of pi / 2 the first part has 33 bits, so that its product is exact.
        const auto n = hn::Round(hn::Mul(angle, hn::Set(dd, 0.6366197723675814)));
        auto r = hn::MulAdd(n, hn::Set(dd, -0x1.921fb544p+0), angle);
        r = hn::MulAdd(n, hn::Set(dd, -0x1.0b4611a626331p-34), r);
        const auto turn = hn::Add(n, hn::Set(dd, static_cast<double>(quarters)));
        const auto quarter = hn::NegMulAdd(hn::Set(dd, 4.0), hn::Floor(hn::Mul(turn, hn::Set(dd, 0.25))), turn);
        // Taylor's series, to r^11 and r^12.
        const auto square = hn::Mul(r, r);
        auto s = hn::Set(dd, -1.0 / 39916800);
        auto c = hn::Set(dd, 1.0 / 479001600);
        c = hn::MulAdd(c, square, hn::Set(dd, -1.0 / 3628800));
        s = hn::MulAdd(s, square, hn::Set(dd, 1.0 / 362880));
        c = hn::MulAdd(c, square, hn::Set(dd, 1.0 / 40320));
        s = hn::MulAdd(s, square, hn::Set(dd, -1.0 / 5040));
        c = hn::MulAdd(c, square, hn::Set(dd, -1.0 / 720));
        s = hn::MulAdd(s, square, hn::Set(dd, 1.0 / 120));
        c = hn::MulAdd(c, square, hn::Set(dd, 1.0 / 24));
        s = hn::MulAdd(s, square, hn::Set(dd, -1.0 / 6));
        c = hn::MulAdd(c, square, hn::Set(dd, -0.5));
        s = hn::MulAdd(hn::Mul(s, square), r, r);
        c = hn::MulAdd(c, square, hn::Set(dd, 1.0));
        const auto two = hn::Set(dd, 2.0);
        const auto odd = hn::Or(hn::Eq(quarter, hn::Set(dd, 1.0)), hn::Eq(quarter, hn::Set(dd, 3.0)));
        const auto y = hn::IfThenElse(odd, c, s);
        return Pair<decltype(r)>{hn::IfThenElse(hn::Ge(quarter, two), hn::Neg(y), y), quarter};
      },
      x);
  const M is_near = hn::Lt(hn::Abs(x), set(kFarAngle));
  if (hn::AllTrue(Wide(), is_near)) return near.first;
  return hn::IfThenElse(is_near, near.first, far_sine(x, quarters));
}

struct Sin {
  static constexpr std::string_view name = "sin";
  static constexpr double flops = 60;
  static constexpr double slope_flops = 60;
  // Zeros are their own sine, with their sign.
  V value(V x) const { return hn::IfThenElse(hn::Eq(x, set(0)), x, sine(x, 0)); }
  V slope_of_x(V x) const { return sine(x, 1); }
};

struct Cos {
  static constexpr std::string_view name = "cos";
  static constexpr double flops = 60;
  static constexpr double slope_flops = 60;
  V value(V x) const { return sine(x, 1); }
  V slope_of_x(V x) const { return sine(x, 2); }
};

using Trigonometric = UnaryFormulas<Sin, Cos>;
const UnaryKernels* trigonometric_kernels() { return Trigonometric::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(trigonometric_kernels);
constexpr UnaryOps<HWY_NAMESPACE::Trigonometric> kTrigonometric([] {
  return HWY_DYNAMIC_DISPATCH(trigonometric_kernels)();
});

std::vector<OpEntry> trigonometric_ops() { return kTrigonometric.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kTrigonometric;

Tensor sin(const Tensor& x, SourceLocation where) { return kTrigonometric.apply(formulas::Sin(), x, where); }
Tensor cos(const Tensor& x, SourceLocation where) { return kTrigonometric.apply(formulas::Cos(), x, where); }

}  // namespace tidemark
#endif  // HWY_ONCE
