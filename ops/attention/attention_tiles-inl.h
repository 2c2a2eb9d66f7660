// Products of tiles and what brings matrices into them, compiled once per instruction set; see simd-inl.h.
#if defined(TIDEMARK_OPS_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TIDEMARK_OPS_ATTENTION_TILES_INL_H_
#undef TIDEMARK_OPS_ATTENTION_TILES_INL_H_
#else
#define TIDEMARK_OPS_ATTENTION_TILES_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "ops/attention/attention.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Rows of a product that are made together. Columns are two vectors.
inline constexpr std::int64_t kProductRows = 6;
// The widest panel of any instruction set: tiles are padded to it, so that the kernels have no edges.
inline constexpr std::int64_t kWidestPanel = 32;
static_assert(kAttentionTile % kProductRows == 0 && kAttentionTile % kWidestPanel == 0);

HWY_INLINE std::int64_t panel_width() { return 2 * static_cast<std::int64_t>(hn::Lanes(Wide())); }

// The right operand of a product, in panels of panel_width() columns.
struct Panels {
  const float* data;
  std::int64_t panel_step;  // from one panel to the next
  std::int64_t row_step;    // within one
};

// The left operand: element (i, k) at data[i * row_step + k * column_step].
struct Left {
  const float* data;
  std::int64_t row_step;
  std::int64_t column_step;
};

// Which steps of a product's depth the rows of a tile take: of the first `lead` steps, step t goes to rows up to t; the
// next `all` go to every row; of the last `tail`, step t goes to rows after t. What a row does not take is not looked
// at: zero times NaN would be NaN.
struct Steps {
  std::int64_t skipped = 0;  // that no row takes
  std::int64_t lead = 0;
  std::int64_t all = 0;
  std::int64_t tail = 0;
};

// Of `keys` keys, for the queries from `row` on. On the diagonal a query sees the keys up to its own place.
HWY_INLINE Steps seen_keys(bool diagonal, std::int64_t row, std::int64_t keys) {
  if (!diagonal) return {0, 0, keys, 0};
  const std::int64_t all = HWY_MIN(row + 1, keys);
  return {0, 0, all, HWY_MIN(kProductRows - 1, keys - all)};
}

// Of `queries` queries, for the keys from `row` on.
HWY_INLINE Steps seeing_queries(bool diagonal, std::int64_t row, std::int64_t queries) {
  if (!diagonal) return {0, 0, queries, 0};
  const std::int64_t skipped = HWY_MIN(row, queries);
  const std::int64_t lead = HWY_MIN(kProductRows - 1, queries - skipped);
  return {skipped, lead, queries - skipped - lead, 0};
}

// C = A B, or C += A B, where the product is summed up before it is added.
template <bool kAdd>
HWY_INLINE void product_tile(const Steps& steps, const float* a, std::int64_t row_step, std::int64_t column_step,
                             const float* b, std::int64_t b_step, float* c, std::int64_t c_step) {
  const Wide d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<Wide> low[kProductRows];
  hn::Vec<Wide> high[kProductRows];
  for (std::int64_t i = 0; i < kProductRows; ++i) {
    low[i] = hn::Zero(d);
    high[i] = hn::Zero(d);
  }
  a += steps.skipped * column_step;
  b += steps.skipped * b_step;
  const auto step = [&](std::int64_t first, std::int64_t end) HWY_ATTR {
    const auto b_low = hn::LoadU(d, b);
    const auto b_high = hn::LoadU(d, b + width);
#pragma GCC unroll 6
    for (std::int64_t i = 0; i < kProductRows; ++i) {
      if (i < first || i >= end) continue;
      const auto value = hn::Set(d, a[i * row_step]);
      low[i] = hn::MulAdd(value, b_low, low[i]);
      high[i] = hn::MulAdd(value, b_high, high[i]);
    }
    a += column_step;
    b += b_step;
  };
#pragma GCC unroll 5
  for (std::int64_t t = 0; t < kProductRows - 1; ++t) {
    if (t < steps.lead) step(0, t + 1);
  }
  for (std::int64_t k = 0; k < steps.all; ++k) step(0, kProductRows);
#pragma GCC unroll 5
  for (std::int64_t t = 0; t < kProductRows - 1; ++t) {
    if (t < steps.tail) step(t + 1, kProductRows);
  }
  for (std::int64_t i = 0; i < kProductRows; ++i, c += c_step) {
    hn::StoreU(kAdd ? hn::Add(hn::LoadU(d, c), low[i]) : low[i], d, c);
    hn::StoreU(kAdd ? hn::Add(hn::LoadU(d, c + width), high[i]) : high[i], d, c + width);
  }
}

// For rows and columns rounded up to whole tiles; `steps(row)` says what the tile at that row takes.
template <bool kAdd, class F>
HWY_INLINE void product(std::int64_t rows, std::int64_t columns, F steps, Left a, Panels b, float* c,
                        std::int64_t c_step) {
  for (std::int64_t column = 0; column < columns; column += panel_width(), b.data += b.panel_step) {
    for (std::int64_t row = 0; row < rows; row += kProductRows) {
      product_tile<kAdd>(steps(row), a.data + row * a.row_step, a.row_step, a.column_step, b.data, b.row_step,
                         c + row * c_step + column, c_step);
    }
  }
}

// Rows padded with zeros to whole panels and tiles; those that are hidden (where `hidden` is not null) are zeros.
HWY_INLINE void copy_rows(std::int64_t rows, std::int64_t columns, const float* from, std::int64_t from_step,
                          const std::uint8_t* hidden, float* to, std::int64_t to_step) {
  const std::int64_t padded = round_up(columns, kWidestPanel);
  for (std::int64_t row = 0; row < round_up(rows, kProductRows); ++row, from += from_step, to += to_step) {
    const bool copied = row < rows && (hidden == nullptr || hidden[row] == 0);
    std::fill(copied ? std::copy_n(from, columns, to) : to, to + padded, 0.0f);
  }
}

// to[column][row] = scale * from[row][column], with rows of kAttentionTile; padded with zeros to whole panels.
HWY_INLINE void copy_columns(std::int64_t rows, std::int64_t columns, float scale, const float* from,
                             std::int64_t row_step, std::int64_t column_step, float* to) {
  std::int64_t row = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d4;
  const auto factor = hn::Set(d4, scale);
  for (; column_step == 1 && row + 4 <= rows; row += 4) {
    const float* s = from + row * row_step;
    float* t = to + row;
    std::int64_t column = 0;
    for (; column + 4 <= columns; column += 4, t += 4 * kAttentionTile) {
      const auto x0 = hn::Mul(hn::LoadU(d4, s + column), factor);
      const auto x1 = hn::Mul(hn::LoadU(d4, s + row_step + column), factor);
      const auto x2 = hn::Mul(hn::LoadU(d4, s + 2 * row_step + column), factor);
      const auto x3 = hn::Mul(hn::LoadU(d4, s + 3 * row_step + column), factor);
      const auto low02 = hn::InterleaveLower(d4, x0, x2);
      const auto low13 = hn::InterleaveLower(d4, x1, x3);
      const auto high02 = hn::InterleaveUpper(d4, x0, x2);
      const auto high13 = hn::InterleaveUpper(d4, x1, x3);
      hn::StoreU(hn::InterleaveLower(d4, low02, low13), d4, t);
      hn::StoreU(hn::InterleaveUpper(d4, low02, low13), d4, t + kAttentionTile);
      hn::StoreU(hn::InterleaveLower(d4, high02, high13), d4, t + 2 * kAttentionTile);
      hn::StoreU(hn::InterleaveUpper(d4, high02, high13), d4, t + 3 * kAttentionTile);
    }
    for (; column < columns; ++column, t += kAttentionTile) {
      for (std::int64_t i = 0; i < 4; ++i) t[i] = scale * s[i * row_step + column];
    }
  }
#endif
  const std::int64_t padded = round_up(rows, kWidestPanel);
  for (std::int64_t column = 0; column < columns; ++column, to += kAttentionTile) {
    for (std::int64_t i = row; i < rows; ++i) to[i] = scale * from[i * row_step + column * column_step];
    std::fill(to + rows, to + padded, 0.0f);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#endif
