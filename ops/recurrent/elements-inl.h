// Elements of a step's matrices, compiled once per instruction set; see simd-inl.h.
#if defined(TIDEMARK_OPS_RECURRENT_ELEMENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_RECURRENT_ELEMENTS_INL_H_
#undef TIDEMARK_OPS_RECURRENT_ELEMENTS_INL_H_
#else
#define TIDEMARK_OPS_RECURRENT_ELEMENTS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "ops/math-inl.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Where a vector of some row begins, how many of its lanes are elements, and how they are read and written.
struct Lanes {
  std::int64_t at = 0;      // in [N, H]
  std::int64_t gates = 0;   // in [N, 4 H], the first gate's; the next ones are H further each
  std::int64_t hidden = 0;  // H
  std::int64_t count = 0;

  HWY_INLINE hn::Vec<Wide> read(const float* from) const {
    const Wide d;
    if (count < static_cast<std::int64_t>(hn::Lanes(d))) return load_part(d, from + at, count);
    return load(d, from + at);
  }
  HWY_INLINE void write(hn::Vec<Wide> v, float* to) const {
    const Wide d;
    if (count < static_cast<std::int64_t>(hn::Lanes(d))) return store_part(d, v, to + at, count);
    store(d, v, to + at);
  }
  HWY_INLINE hn::Vec<Wide> read_gate(int gate, const float* from) const { return of_gate(gate).read(from); }
  HWY_INLINE void write_gate(hn::Vec<Wide> v, int gate, float* to) const { of_gate(gate).write(v, to); }

 private:
  HWY_INLINE Lanes of_gate(int gate) const { return {gates + gate * hidden, 0, hidden, count}; }
};

// f(lanes) for all vectors of elements [begin, end) of [N, hidden].
template <class F>
HWY_INLINE void for_lanes(std::int64_t begin, std::int64_t end, std::int64_t hidden, F f) {
  const auto width = static_cast<std::int64_t>(hn::Lanes(Wide()));
  while (begin < end) {
    const std::int64_t row = begin / hidden;
    const std::int64_t stop = std::min(end, (row + 1) * hidden);
    const std::int64_t shift = row * 3 * hidden;  // between the two matrices
    for (; begin < stop; begin += width) {
      f(Lanes{begin, begin + shift, hidden, std::min(width, stop - begin)});
    }
    begin = stop;
  }
}

// A sigmoid, and its slope, which stays accurate where the value rounds to 1.
struct Sigmoid {
  hn::Vec<Wide> value;
  hn::Vec<Wide> slope;
};

HWY_INLINE Sigmoid sigmoid_and_slope(hn::Vec<Wide> x) {
  const Wide d;
  const auto one = hn::Set(d, 1.0f);
  const auto e = exp(d, hn::Neg(hn::Abs(x)));
  const auto scale = hn::Div(one, hn::Add(one, e));
  const auto other = hn::Mul(e, scale);  // of -|x|
  return {hn::IfThenElse(hn::Lt(x, hn::Zero(d)), other, scale), hn::Mul(scale, other)};
}

// The slope of tanh where its value is t.
HWY_INLINE hn::Vec<Wide> tanh_slope(hn::Vec<Wide> t) { return hn::NegMulAdd(t, t, hn::Set(Wide(), 1.0f)); }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
