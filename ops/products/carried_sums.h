// Sums of products that are each added to one place: a few in float, and their sums in double, as ops/sums.h has it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/kernels.h"
#include "ops/sums.h"

namespace tidemark::ops {

class CarriedSums {
 public:
  CarriedSums(std::int64_t terms, std::int64_t elements) : terms_(terms), elements_(elements) {}

  // Bytes of `totals`.
  std::int64_t scratch() const { return terms_ > kSumRows ? elements_ * std::int64_t{sizeof(double)} : 0; }

  // target = or += the sum of all terms. add(i, accumulate) makes term i in `target`, or adds it to what is there.
  template <class F>
  void run(const Ctx& ctx, double* totals, float* target, bool accumulate, const F& add) const {
    if (terms_ == 0 && !accumulate) std::fill_n(target, elements_, 0.0f);
    if (terms_ <= kSumRows) {
      for (std::int64_t i = 0; i < terms_; ++i) add(i, accumulate || i > 0);
      return;
    }
    each(ctx, [&](std::int64_t i) { totals[i] = accumulate ? static_cast<double>(target[i]) : 0.0; });
    for (std::int64_t first = 0; first < terms_; first += kSumRows) {
      for (std::int64_t i = first; i < std::min(terms_, first + kSumRows); ++i) add(i, i > first);
      each(ctx, [&](std::int64_t i) { totals[i] += static_cast<double>(target[i]); });
    }
    each(ctx, [&](std::int64_t i) { target[i] = static_cast<float>(totals[i]); });
  }

 private:
  template <class F>
  void each(const Ctx& ctx, const F& f) const {
    for_elements(ctx, elements_, 12, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) f(i);
    });
  }

  std::int64_t terms_ = 0;
  std::int64_t elements_ = 0;
};

}  // namespace tidemark::ops
