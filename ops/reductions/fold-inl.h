// The kernels of Fold (fold.h), compiled once per instruction set; see simd-inl.h. A policy:
//
//   struct Squares {
//     static constexpr int kSlots = 1;
//     static constexpr double kStart = 0;
//     // Folds one vector of x into the slots. d is of doubles, x and aux are floats of as many lanes.
//     template <class D>
//     static void add(D d, Narrow<D> x, Narrow<D> aux, double p, hn::Vec<D>* slots);
//     // Two values of one slot.
//     template <class D>
//     static hn::Vec<D> merge(D d, hn::Vec<D> a, hn::Vec<D> b);
//   };
#if defined(TIDEMARK_OPS_REDUCTIONS_FOLD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_REDUCTIONS_FOLD_INL_H_
#undef TIDEMARK_OPS_REDUCTIONS_FOLD_INL_H_
#else
#define TIDEMARK_OPS_REDUCTIONS_FOLD_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "ops/reductions/fold.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

using Doubles = hn::CappedTag<double, 4>;
using OneDouble = hn::CappedTag<double, 1>;

template <class D>
using NarrowTag = hn::Rebind<float, D>;
template <class D>
using Narrow = hn::Vec<NarrowTag<D>>;

// Elements as floats. Of integers it only matters whether they are zero.
template <class D>
HWY_INLINE hn::Vec<D> load_as_float(D d, const float* p) {
  return load(d, p);
}
template <class D>
HWY_INLINE hn::Vec<D> load_as_float(D d, const std::int32_t* p) {
  return hn::ConvertTo(d, hn::LoadU(hn::Rebind<std::int32_t, D>(), p));
}
template <class D>
HWY_INLINE hn::Vec<D> load_as_float(D d, const std::uint8_t* p) {
  const hn::Rebind<std::int32_t, D> integers;
  return hn::ConvertTo(d, hn::PromoteTo(integers, hn::LoadU(hn::Rebind<std::uint8_t, D>(), p)));
}

// The sums' way to merge.
struct Adding {
  static constexpr double kStart = 0;
  template <class D>
  static HWY_INLINE hn::Vec<D> merge(D, hn::Vec<D> a, hn::Vec<D> b) {
    return hn::Add(a, b);
  }
};

// The extremes': a NaN wins.
template <bool largest>
struct Extreme {
  static constexpr double kStart =
      largest ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  template <class D>
  static HWY_INLINE hn::Vec<D> merge(D, hn::Vec<D> a, hn::Vec<D> b) {
    const auto beyond = largest ? hn::Gt(b, a) : hn::Lt(b, a);
    return hn::IfThenElse(hn::Or(beyond, hn::IsNaN(b)), b, a);
  }
};

template <class P, class T>
HWY_FLATTEN void fold_row(std::int64_t n, const void* elements, const float* aux, double p, double* states) {
  constexpr int kSlots = P::kSlots;
  constexpr int kVectors = 4;
  const Doubles d;
  const OneDouble one;
  const auto* x = static_cast<const T*>(elements);
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const float other = aux == nullptr ? 0.0f : *aux;
  const auto others = hn::Set(NarrowTag<Doubles>(), other);
  hn::Vec<Doubles> acc[kVectors][kSlots];
  hn::Vec<OneDouble> rest[kSlots];
  for (int slot = 0; slot < kSlots; ++slot) {
    for (auto& vectors : acc) vectors[slot] = hn::Set(d, P::kStart);
    rest[slot] = hn::Set(one, P::kStart);
  }
  std::int64_t i = 0;
  for (; i + kVectors * width <= n; i += kVectors * width) {
    P::add(d, load_as_float(NarrowTag<Doubles>(), x + i), others, p, acc[0]);
    P::add(d, load_as_float(NarrowTag<Doubles>(), x + i + width), others, p, acc[1]);
    P::add(d, load_as_float(NarrowTag<Doubles>(), x + i + 2 * width), others, p, acc[2]);
    P::add(d, load_as_float(NarrowTag<Doubles>(), x + i + 3 * width), others, p, acc[3]);
  }
  for (; i + width <= n; i += width) P::add(d, load_as_float(NarrowTag<Doubles>(), x + i), others, p, acc[0]);
  for (; i < n; ++i) {
    P::add(one, load_as_float(NarrowTag<OneDouble>(), x + i), hn::Set(NarrowTag<OneDouble>(), other), p, rest);
  }
  for (int slot = 0; slot < kSlots; ++slot) {
    const auto both = P::merge(d, P::merge(d, acc[0][slot], acc[1][slot]), P::merge(d, acc[2][slot], acc[3][slot]));
    HWY_ALIGN double lanes[hn::MaxLanes(Doubles())];
    hn::Store(both, d, lanes);
    auto total = hn::Set(one, states[slot]);
    for (const double lane : lanes) total = P::merge(one, total, hn::Set(one, lane));
    states[slot] = hn::GetLane(P::merge(one, total, rest[slot]));
  }
}

// The columns of [begin, columns) that make up whole vectors; where they end. Four rows are folded before the slots are
// written again.
template <class P, class T, class D>
HWY_INLINE std::int64_t fold_vectors(D d, std::int64_t begin, std::int64_t rows, std::int64_t columns, const T* x,
                                     std::int64_t step, const float* aux, double p, double* states) {
  constexpr int kSlots = P::kSlots;
  const NarrowTag<D> narrow;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const std::int64_t last = begin + (columns - begin) / width * width;
  for (std::int64_t row = 0; row < rows;) {
    const std::int64_t together = rows - row >= 4 ? 4 : 1;
    for (std::int64_t j = begin; j < last; j += width) {
      const auto others = aux == nullptr ? hn::Zero(narrow) : load(narrow, aux + j);
      hn::Vec<D> acc[kSlots];
      for (int slot = 0; slot < kSlots; ++slot) acc[slot] = hn::LoadU(d, states + slot * columns + j);
      const T* at = x + row * step + j;
      P::add(d, load_as_float(narrow, at), others, p, acc);
      if (together == 4) {
        P::add(d, load_as_float(narrow, at + step), others, p, acc);
        P::add(d, load_as_float(narrow, at + 2 * step), others, p, acc);
        P::add(d, load_as_float(narrow, at + 3 * step), others, p, acc);
      }
      for (int slot = 0; slot < kSlots; ++slot) hn::StoreU(acc[slot], d, states + slot * columns + j);
    }
    row += together;
  }
  return last;
}

template <class P, class T>
HWY_FLATTEN void fold_columns(std::int64_t rows, std::int64_t columns, const void* elements, std::int64_t step,
                              const float* aux, double p, double* states) {
  const auto* x = static_cast<const T*>(elements);
  const std::int64_t wide = fold_vectors<P>(Doubles(), 0, rows, columns, x, step, aux, p, states);
  fold_vectors<P>(OneDouble(), wide, rows, columns, x, step, aux, p, states);
}

template <class P>
HWY_FLATTEN void fold_merge(std::int64_t n, const double* from, double* to) {
  const OneDouble d;
  for (std::int64_t i = 0; i < n; ++i) {
    to[i] = hn::GetLane(P::merge(d, hn::Set(d, to[i]), hn::Set(d, from[i])));
  }
}

template <class P, class T = float>
inline constexpr FoldKernels kFoldKernels{P::kSlots, P::kStart, fold_row<P, T>, fold_columns<P, T>, fold_merge<P>};

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
