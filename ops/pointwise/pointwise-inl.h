// Pointwise ops from formulas, compiled once per instruction set; see simd-inl.h. A formula of one operand:
//
//   struct LeakyRelu {
//     static constexpr std::string_view name = "leaky_relu";
//     static constexpr std::string_view attributes[] = {"slope"};  // the fields, all of them floats
//     static constexpr FormulaAttributes variants[] = {{0.01f}};   // those of the samples
//     float slope;
//     V value(V x) const { return hn::IfThenElse(hn::Gt(x, set(0)), x, hn::Mul(x, set(slope))); }
//     V slope_of_y(V y) const { return hn::IfThenElse(hn::Gt(y, set(0)), set(1), set(slope)); }
//   };
//
// Its slope is one of slope_of_x(x), slope_of_y(y), slope_of_xy(x, y), or slope() where it is constant; what backward
// saves and what may be overwritten follow from which. A slope is a vector that the gradient is multiplied with, a mask
// outside of which the gradient is zero whatever it was, Within{mask, v}: both, or Over{v}: the gradient is divided by
// v. Optional: `flops` and `slope_flops` (operations of one element, 1 where absent) and `positive = true` (samples are
// drawn above zero).
//
// A formula of two operands has value(a, b) and two slopes, slope_a and slope_b: a constant float, or a function of the
// other operand, or one of (a, b). Its functions are templates, since sums run on vectors of another width.
//
// Every value must be right for NaN, infinities and zeros too. f(0) = 0 need not hold: the padding of a layout is
// processed where it does, and the layout is left where it does not.
#if defined(TIDEMARK_OPS_POINTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_POINTWISE_INL_H_
#undef TIDEMARK_OPS_POINTWISE_INL_H_
#else
#define TIDEMARK_OPS_POINTWISE_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "hwy/highway.h"
#include "ops/math-inl.h"
#include "ops/pointwise/pointwise.h"
#include "ops/simd-inl.h"
#include "ops/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

using V = hn::Vec<Wide>;
using M = hn::Mask<Wide>;

HWY_INLINE V set(float value) { return hn::Set(Wide(), value); }

template <class Vector>
struct Over {
  Vector divisor;
};

template <class Vector>
struct Within {
  hn::Mask<hn::DFromV<Vector>> inside;
  Vector slope;
};

// The gradient times a slope.
template <class Vector>
HWY_INLINE Vector times(Vector g, Vector slope) {
  return hn::Mul(g, slope);
}
template <class Vector>
HWY_INLINE Vector times(Vector g, hn::Mask<hn::DFromV<Vector>> slope) {
  return hn::IfThenElseZero(slope, g);
}
template <class Vector>
HWY_INLINE Vector times(Vector g, Over<Vector> slope) {
  return hn::Div(g, slope.divisor);
}
template <class Vector>
HWY_INLINE Vector times(Vector g, Within<Vector> slope) {
  return hn::IfThenElseZero(slope.inside, hn::Mul(g, slope.slope));
}

// sum + the gradient times a slope.
template <class Vector>
HWY_INLINE Vector add_times(Vector g, Vector slope, Vector sum) {
  return hn::MulAdd(g, slope, sum);
}
template <class Vector, class Slope>
HWY_INLINE Vector add_times(Vector g, Slope slope, Vector sum) {
  return hn::Add(times(g, slope), sum);
}

template <class F>
inline constexpr bool kConstantSlope = requires(const F f) {
  f.slope();
};
template <class F>
inline constexpr bool kSlopeOfX = requires(const F f, V v) {
  f.slope_of_x(v);
};
template <class F>
inline constexpr bool kSlopeOfY = requires(const F f, V v) {
  f.slope_of_y(v);
};
template <class F>
inline constexpr bool kSlopeOfXY = requires(const F f, V v) {
  f.slope_of_xy(v, v);
};

template <class F>
inline constexpr bool kPositive = requires(bool positive) {
  positive = F::positive;
};

template <class F>
HWY_INLINE F formula_of(const FormulaAttributes& attributes) {
  F f{};
  if constexpr (!std::is_empty_v<F>) std::memcpy(&f, attributes.data(), sizeof f);
  return f;
}

template <class F>
HWY_FLATTEN void unary_value(const FormulaAttributes& attributes, std::int64_t n, const float* x, float* y) {
  const F f = formula_of<F>(attributes);
  map(
      n, y, [f](V v) HWY_ATTR { return f.value(v); }, x);
}

template <class F>
HWY_FLATTEN void unary_gradient(const FormulaAttributes& attributes, std::int64_t n, const float* x, const float* y,
                                const float* gy, float* gx) {
  static_assert(kConstantSlope<F> + kSlopeOfX<F> + kSlopeOfY<F> + kSlopeOfXY<F> == 1, "a formula has one slope");
  const F f = formula_of<F>(attributes);
  if constexpr (kConstantSlope<F>) {
    map(
        n, gx, [f](V g) HWY_ATTR { return times(g, f.slope()); }, gy);
  } else if constexpr (kSlopeOfX<F>) {
    map(
        n, gx, [f](V g, V v) HWY_ATTR { return times(g, f.slope_of_x(v)); }, gy, x);
  } else if constexpr (kSlopeOfY<F>) {
    map(
        n, gx, [f](V g, V v) HWY_ATTR { return times(g, f.slope_of_y(v)); }, gy, y);
  } else {
    map(
        n, gx, [f](V g, V v, V w) HWY_ATTR { return times(g, f.slope_of_xy(v, w)); }, gy, x, y);
  }
}

template <class F>
constexpr UnaryFormula describe_unary() {
  UnaryFormula out{.name = F::name,
                   .attributes = {},
                   .slope_reads_x = kSlopeOfX<F> || kSlopeOfXY<F>,
                   .slope_reads_y = kSlopeOfY<F> || kSlopeOfXY<F>,
                   .flops = 1,
                   .slope_flops = 1,
                   .positive = kPositive<F>,
                   .variants = {}};
  if constexpr (requires { F::flops; }) out.flops = F::flops;
  if constexpr (requires { F::slope_flops; }) out.slope_flops = F::slope_flops;
  if constexpr (!std::is_empty_v<F>) {
    static_assert(sizeof(F) == std::size(F::attributes) * sizeof(float) && sizeof(F) <= sizeof(FormulaAttributes));
    out.attributes = F::attributes;
    out.variants = F::variants;
  }
  return out;
}

template <class F, class... Others>
constexpr std::size_t position() {
  std::size_t out = 0;
  static_cast<void>(((std::is_same_v<F, Others> || (++out, false)) || ...));
  static_assert((std::is_same_v<F, Others> || ...), "the formula is missing in its file's list");
  return out;
}

template <class... F>
struct UnaryFormulas {
  static constexpr UnaryFormula formulas[] = {describe_unary<F>()...};
  static constexpr UnaryKernels kernels[] = {{unary_value<F>, unary_gradient<F>}...};
  template <class G>
  static constexpr std::size_t kIndex = position<G, F...>();
};

// go(f', moving...): f with an operand that is one number put in. f takes a and b first. Of two numbers b moves, which
// is right for one element.
template <class F, class Go>
HWY_INLINE void with_rows(Row a, Row b, F f, Go go) {
  if (!a.repeated && !b.repeated) {
    go(f, a.at, b.at);
  } else if (!a.repeated) {
    const float value = *b.at;
    go([f, value](auto v, auto... rest) HWY_ATTR { return f(v, hn::Set(hn::DFromV<decltype(v)>(), value), rest...); },
       a.at);
  } else {
    const float value = *a.at;
    go([f, value](auto w, auto... rest) HWY_ATTR { return f(hn::Set(hn::DFromV<decltype(w)>(), value), w, rest...); },
       b.at);
  }
}

// The same for one operand, beside which something else moves.
template <class F, class Go>
HWY_INLINE void with_row(Row a, F f, Go go) {
  if (!a.repeated) {
    go(f, a.at);
  } else {
    const float value = *a.at;
    go([f, value](auto g, auto... rest) HWY_ATTR { return f(hn::Set(hn::DFromV<decltype(g)>(), value), g, rest...); });
  }
}

template <class F>
HWY_FLATTEN void binary_value(std::int64_t n, Row a, Row b, float* y) {
  const bool one = a.repeated && b.repeated;
  with_rows(
      a, b, [](auto v, auto w) HWY_ATTR { return F().value(v, w); },
      [&](auto f, auto... moving) HWY_ATTR { map(one ? 1 : n, y, f, moving...); });
  for (std::int64_t i = 1; one && i < n; ++i) y[i] = y[0];
}

template <class F>
inline constexpr bool kConstantSlopeA = requires(float slope) {
  slope = F::slope_a;
};
template <class F>
inline constexpr bool kConstantSlopeB = requires(float slope) {
  slope = F::slope_b;
};
template <class F>
inline constexpr bool kSlopeAOfB = requires(const F f, V v) {
  f.slope_a(v);
};
template <class F>
inline constexpr bool kSlopeBOfA = requires(const F f, V v) {
  f.slope_b(v);
};

// One of a formula's two slopes, and how it is called.
template <class F, int operand>
struct Slope {
  static constexpr bool kConstant = operand == 0 ? kConstantSlopeA<F> : kConstantSlopeB<F>;
  static constexpr bool kOfOther = operand == 0 ? kSlopeAOfB<F> : kSlopeBOfA<F>;
  static constexpr bool kReadsA = !kConstant && (!kOfOther || operand == 1);
  static constexpr bool kReadsB = !kConstant && (!kOfOther || operand == 0);

  static constexpr float constant() {
    if constexpr (operand == 0) {
      return F::slope_a;
    } else {
      return F::slope_b;
    }
  }

  template <class... Vectors>
  static HWY_INLINE auto at(Vectors... operands) {
    if constexpr (operand == 0) {
      return F().slope_a(operands...);
    } else {
      return F().slope_b(operands...);
    }
  }

  // The slope at a place of rows: a_at and b_at give the operands' vectors.
  template <class D, class A, class B>
  static HWY_INLINE auto of(D d, std::int64_t row, std::int64_t column, const A& a_at, const B& b_at) {
    if constexpr (kConstant) {
      return hn::Set(d, constant());
    } else if constexpr (!kOfOther) {
      return at(a_at(d, row, column), b_at(d, row, column));
    } else if constexpr (operand == 0) {
      return at(b_at(d, row, column));
    } else {
      return at(a_at(d, row, column));
    }
  }

  // go(f', moving...), where f' calls combine(g, slope, rest...) for the moving operands, g and the rest.
  template <class Combine, class Go>
  static HWY_INLINE void run(Row a, Row b, Combine combine, Go go) {
    if constexpr (kConstant) {
      go([combine](auto g, auto... rest)
             HWY_ATTR { return combine(g, hn::Set(hn::DFromV<decltype(g)>(), constant()), rest...); });
    } else if constexpr (kOfOther) {
      with_row(
          operand == 0 ? b : a,
          [combine](auto other, auto g, auto... rest) HWY_ATTR { return combine(g, at(other), rest...); }, go);
    } else {
      with_rows(
          a, b, [combine](auto v, auto w, auto g, auto... rest) HWY_ATTR { return combine(g, at(v, w), rest...); }, go);
    }
  }
};

template <class F, int operand>
HWY_FLATTEN void binary_gradient(std::int64_t n, const float* g, Row a, Row b, float* gx) {
  Slope<F, operand>::run(
      a, b, [](auto v, auto slope) HWY_ATTR { return times(v, slope); },
      [&](auto f, auto... moving) HWY_ATTR { map(n, gx, f, moving..., g); });
}

template <class F, int operand>
HWY_FLATTEN double binary_sum(std::int64_t n, const float* g, Row a, Row b) {
  double sum = 0;
  Slope<F, operand>::run(
      a, b, [](auto v, auto slope, auto acc) HWY_ATTR { return add_times(v, slope, acc); },
      [&](auto f, auto... moving) HWY_ATTR {
        sum = sum_of(
            n, [f](auto acc, auto... in) HWY_ATTR { return f(in..., acc); }, moving..., g);
      });
  return sum;
}

// The vectors of rows.
template <bool repeated>
struct RowVectors {
  explicit RowVectors(const Rows& rows) : from(rows.first.at), step(rows.step) {}

  template <class D>
  HWY_INLINE hn::Vec<D> operator()(D d, std::int64_t row, std::int64_t column) const {
    if constexpr (repeated) {
      return hn::Set(d, from[row * step]);
    } else {
      return load(d, from + row * step + column);
    }
  }

  const float* from;
  std::int64_t step;
};

template <class F, int operand>
HWY_FLATTEN void binary_accumulate(std::int64_t count, std::int64_t columns, Rows g, Rows a, Rows b, float* sums) {
  using SlopeOf = Slope<F, operand>;
  using Each = RowVectors<false>;
  using Repeated = RowVectors<true>;
  const Each g_at(g);
  const auto add = [=](auto a_at, auto b_at) HWY_ATTR {
    add_terms(
        count, columns,
        [=](auto d, std::int64_t row, std::int64_t column)
            HWY_ATTR { return times(g_at(d, row, column), SlopeOf::of(d, row, column, a_at, b_at)); },
        sums);
  };
  if (SlopeOf::kConstant || (operand == 0 ? !b.first.repeated : !a.first.repeated)) {
    add(Each(a), Each(b));
  } else if constexpr (operand == 0) {
    add(Each(a), Repeated(b));
  } else {
    add(Repeated(a), Each(b));
  }
}

template <class F, int operand>
constexpr SlopeKernels slope_kernels() {
  return {Slope<F, operand>::kReadsA, Slope<F, operand>::kReadsB, binary_gradient<F, operand>, binary_sum<F, operand>,
          binary_accumulate<F, operand>};
}

template <class... F>
struct BinaryFormulas {
  static constexpr BinaryFormula formulas[] = {{F::name, kPositive<F>}...};
  static constexpr BinaryKernels kernels[] = {{binary_value<F>, {slope_kernels<F, 0>(), slope_kernels<F, 1>()}}...};
  template <class G>
  static constexpr std::size_t kIndex = position<G, F...>();
};

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
