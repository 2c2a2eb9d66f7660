// Functions that step from one value to the next: their gradient is zero, whatever comes.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/rounding.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                         // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

M nowhere() { return hn::FirstN(Wide(), 0); }

struct Sign {
  static constexpr std::string_view name = "sign";
  V value(V x) const {
    return hn::IfThenElse(hn::Gt(x, set(0)), set(1), hn::IfThenElseZero(hn::Lt(x, set(0)), set(-1)));
  }
  M slope() const { return nowhere(); }
};

// Without vectors Highway's functions lose the sign of a zero.
struct Floor {
  static constexpr std::string_view name = "floor";
  V value(V x) const { return hn::CopySign(hn::Floor(x), x); }
  M slope() const { return nowhere(); }
};

struct Ceil {
  static constexpr std::string_view name = "ceil";
  V value(V x) const { return hn::CopySign(hn::Ceil(x), x); }
  M slope() const { return nowhere(); }
};

struct Round {
  static constexpr std::string_view name = "round";
  V value(V x) const { return hn::CopySign(hn::Round(x), x); }
  M slope() const { return nowhere(); }
};

struct Trunc {
  static constexpr std::string_view name = "trunc";
  V value(V x) const { return hn::CopySign(hn::Trunc(x), x); }
  M slope() const { return nowhere(); }
};

using Roundings = UnaryFormulas<Sign, Floor, Ceil, Round, Trunc>;
const UnaryKernels* rounding_kernels() { return Roundings::kernels; }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {

HWY_EXPORT(rounding_kernels);
constexpr UnaryOps<HWY_NAMESPACE::Roundings> kRoundings([] { return HWY_DYNAMIC_DISPATCH(rounding_kernels)(); });

std::vector<OpEntry> rounding_ops() { return kRoundings.entries(); }

}  // namespace ops

namespace formulas = ops::HWY_NAMESPACE;
using ops::kRoundings;

Tensor sign(const Tensor& x, SourceLocation where) { return kRoundings.apply(formulas::Sign(), x, where); }
Tensor floor(const Tensor& x, SourceLocation where) { return kRoundings.apply(formulas::Floor(), x, where); }
Tensor ceil(const Tensor& x, SourceLocation where) { return kRoundings.apply(formulas::Ceil(), x, where); }
Tensor round(const Tensor& x, SourceLocation where) { return kRoundings.apply(formulas::Round(), x, where); }
Tensor trunc(const Tensor& x, SourceLocation where) { return kRoundings.apply(formulas::Trunc(), x, where); }

}  // namespace tidemark
#endif  // HWY_ONCE
