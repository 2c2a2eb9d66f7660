#include "ops/embedding/rows.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/embedding/rows.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                     // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "compute/sparse_rows.h"
#include "ops/sums.h"

#ifndef TIDEMARK_OPS_EMBEDDING_ROWS_SHARED_
#define TIDEMARK_OPS_EMBEDDING_ROWS_SHARED_
namespace tidemark::ops {

// Columns [begin, end) of the sums. Samples are sorted by their row, and those of a row by their place: the row's
// number is in the upper half of each key, the place in the lower one.
struct RowSums {
  const RowSamples* samples;
  std::int64_t count;  // of keys
  const std::uint64_t* keys;
  std::int64_t width;
  std::int64_t begin;
  std::int64_t end;
  float* table;
  bool packed;     // the rows that samples name lie one behind the other
  double* totals;  // [width]
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Each kSumRows rows go to a sum in double, and the next ones begin anew.
void sum_rows(const RowSums& s) {
  const std::int64_t width = s.end - s.begin;
  double* const totals = s.totals + s.begin;
  std::int64_t rows = 0;
  for (std::int64_t i = 0; i < s.count; ++rows) {
    const auto row = static_cast<std::int32_t>(s.keys[i] >> 32);
    float* const to = s.table + (s.packed ? rows : row) * s.width + s.begin;
    std::int64_t added = 0;
    bool long_sum = false;
    std::int64_t bag = -1;
    for (; i < s.count && static_cast<std::int32_t>(s.keys[i] >> 32) == row; ++i) {
      const auto place = static_cast<std::int64_t>(s.keys[i] & 0xffffffffu);
      const std::int64_t before = std::exchange(bag, s.samples->bags == nullptr ? place : s.samples->bags[place]);
      if (s.samples->winners != nullptr && bag == before) continue;  // a bag has one largest value
      if (added == kSumRows) {
        if (!long_sum) std::fill_n(totals, width, 0.0);
        for (std::int64_t k = 0; k < width; ++k) totals[k] += static_cast<double>(to[k]);
        std::fill_n(to, width, 0.0f);
        long_sum = true;
        added = 0;
      }
      const float* from = s.samples->gy + bag * s.width + s.begin;
      if (s.samples->winners != nullptr) {
        const std::int32_t* winners = s.samples->winners + bag * s.width + s.begin;
        for (std::int64_t k = 0; k < width; ++k) to[k] += winners[k] == row ? from[k] : 0.0f;
      } else if (s.samples->scales != nullptr) {
        const float scale = s.samples->scales[place];
        for (std::int64_t k = 0; k < width; ++k) to[k] += scale * from[k];
      } else {
        for (std::int64_t k = 0; k < width; ++k) to[k] += from[k];
      }
      ++added;
    }
    if (!long_sum) continue;
    for (std::int64_t k = 0; k < width; ++k) to[k] = static_cast<float>(totals[k] + static_cast<double>(to[k]));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark::ops {
namespace {

HWY_EXPORT(sum_rows);

constexpr std::int64_t kLine = 16;  // floats of a cache line, which belong to one thread

struct Sorted {
  std::int64_t count;
  const std::uint64_t* keys;
};

// By counting, a byte of the row's number at a time. Each pass keeps the order of equals, so that places stay in order.
Sorted sort_samples(const RowSamples& samples, std::int64_t entries, std::uint64_t* keys, std::uint64_t* other) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < samples.count; ++i) {
    if (samples.indices[i] == samples.padding) continue;
    keys[count++] = static_cast<std::uint64_t>(samples.indices[i]) << 32 | static_cast<std::uint64_t>(i);
  }
  const auto bits =
      static_cast<int>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(entries, 1) - 1)));
  for (int shift = 32; shift < 32 + bits; shift += 8) {
    std::array<std::int64_t, 257> starts{};
    for (std::int64_t i = 0; i < count; ++i) ++starts[(keys[i] >> shift & 0xff) + 1];
    for (std::size_t digit = 1; digit < 256; ++digit) starts[digit] += starts[digit - 1];
    for (std::int64_t i = 0; i < count; ++i) other[starts[keys[i] >> shift & 0xff]++] = keys[i];
    std::swap(keys, other);
  }
  return {count, keys};
}

// What lies before the rows; all of its bytes.
void write_places(const Sorted& sorted, const Meta& meta, void* data) {
  const compute::SparseRows to = compute::sparse_rows_at(meta, data);
  std::memset(data, 0, static_cast<std::size_t>(reinterpret_cast<std::byte*>(to.rows) - static_cast<std::byte*>(data)));
  std::int32_t count = 0;
  for (std::int64_t i = 0; i < sorted.count; ++i) {
    const auto row = static_cast<std::int32_t>(sorted.keys[i] >> 32);
    if (count == 0 || to.places[count - 1] != row) to.places[count++] = row;
  }
  *to.count = count;
  std::fill(to.places + count, to.places + to.bound, -1);
}

}  // namespace

Meta table_gradient_meta(const Meta& table, std::int64_t count, bool sparse) {
  if (!sparse) return Meta::plain(table.shape);
  return compute::sparse_rows(table.shape, std::min(count, table.shape[0]));
}

std::int64_t row_scratch(std::int64_t count, std::int64_t width) {
  return 2 * count * std::int64_t{sizeof(std::uint64_t)} + width * std::int64_t{sizeof(double)};
}

// Each thread has columns of its own, so that it does not matter how often an entry comes.
void table_gradient(const Ctx& ctx, const RowSamples& samples, void* scratch, const Buf& gx) {
  const std::int64_t entries = gx.shape()[0];
  const std::int64_t width = gx.shape()[1];
  const bool sparse = compute::is_sparse_rows(gx.meta->layout);
  const auto [rows, count] = compute::stored_floats(*gx.meta, gx.data);
  if (!ctx.accumulate()) {
    for_elements(ctx, count, 4,
                 [first = rows](std::int64_t begin, std::int64_t end) { std::fill(first + begin, first + end, 0.0f); });
  }
  auto* const totals = static_cast<double*>(scratch);
  auto* const keys = reinterpret_cast<std::uint64_t*>(totals + width);
  const Sorted sorted = sort_samples(samples, entries, keys, keys + samples.count);
  if (sparse) write_places(sorted, *gx.meta, gx.data);
  const bool small = 12 * sorted.count * width < kParallelBytes;
  const std::int64_t lines = (width + kLine - 1) / kLine;
  const RowSums sums = {&samples, sorted.count, sorted.keys, width, 0, 0, rows, sparse, totals};
  for_members(ctx, lines, small ? 1 : ctx.threads(), [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    RowSums own = sums;
    own.begin = begin * kLine;
    own.end = std::min(width, end * kLine);
    HWY_DYNAMIC_DISPATCH(sum_rows)(own);
  });
}

void check_indices(std::string_view op, const Buf& indices, const Buf& table) {
  const std::int64_t entries = table.shape()[0];
  for (std::int64_t i = 0; i < indices.numel(); ++i) {
    const std::int32_t index = indices.as<std::int32_t>()[i];
    if (index >= 0 && index < entries) continue;
    throw ShapeError("[" + std::string(op) + "] index " + std::to_string(index) + " at position " + std::to_string(i) +
                     " is outside [0, " + std::to_string(entries) + "): indices are " + indices.shape().to_string() +
                     ", the table " + table.shape().to_string());
  }
}

std::int64_t padding_row(std::optional<std::int64_t> padding, const Shape& table) {
  if (!padding) return -1;
  return *padding < 0 ? *padding + table[0] : *padding;
}

void require_padding(const Prep& prep, std::optional<std::int64_t> padding, const Meta& table) {
  const std::int64_t entries = table.shape[0];
  if (!padding || (*padding >= -entries && *padding < entries)) return;
  prep.fail("padding is " + std::to_string(*padding) + ", and " + describe("table", table) + "; it must be from -" +
            std::to_string(entries) + " to below " + std::to_string(entries));
}

}  // namespace tidemark::ops
#endif  // HWY_ONCE
