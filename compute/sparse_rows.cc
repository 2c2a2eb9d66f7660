#include "compute/sparse_rows.h"

#include <algorithm>
#include <cstddef>

#include "compute/threads.h"
#include "core/round_up.h"

namespace tidemark::compute {
namespace {

constexpr std::uint32_t kSparse = std::uint32_t{1} << 31;  // in a layout's id, above the bound
constexpr std::int64_t kLine = 64;
constexpr std::int64_t kGrain = 16;  // rows: fewer are not worth a thread

std::int64_t bytes_before_rows(std::int64_t bound) {
  return kLine + core::round_up(bound * std::int64_t{sizeof(std::int32_t)}, kLine);
}

// Reading does not change what is pointed to.
SparseRows read_at(const Meta& meta, const void* data) { return sparse_rows_at(meta, const_cast<void*>(data)); }

// The row at this place of the table; none: zeros.
const float* find(const SparseRows& rows, std::int32_t place) {
  const std::int32_t* const begin = rows.places;
  const std::int32_t* const end = begin + *rows.count;
  const std::int32_t* const at = std::lower_bound(begin, end, place);
  return at == end || *at != place ? nullptr : rows.rows + (at - begin) * rows.width;
}

}  // namespace

bool is_sparse_rows(Layout layout) { return (layout.id & kSparse) != 0; }
std::int64_t row_bound(Layout layout) { return layout.id & ~kSparse; }

Meta sparse_rows(const Shape& table, std::int64_t bound) {
  Meta meta = Meta::plain(table);
  meta.layout.id = kSparse | static_cast<std::uint32_t>(bound);
  meta.bytes = bytes_before_rows(bound) + bound * table[1] * std::int64_t{sizeof(float)};
  return meta;
}

SparseRows sparse_rows_at(const Meta& meta, void* data) {
  auto* const bytes = static_cast<std::byte*>(data);
  const std::int64_t bound = row_bound(meta.layout);
  return {reinterpret_cast<std::int32_t*>(bytes), reinterpret_cast<std::int32_t*>(bytes + kLine),
          reinterpret_cast<float*>(bytes + bytes_before_rows(bound)), bound, meta.shape[1]};
}

std::int64_t stored_count(const Meta& meta) {
  if (is_sparse_rows(meta.layout)) return row_bound(meta.layout) * meta.shape[1];
  return meta.bytes / std::int64_t{sizeof(float)};
}

StoredFloats stored_floats(const Meta& meta, void* data) {
  const bool sparse = is_sparse_rows(meta.layout);
  return {sparse ? sparse_rows_at(meta, data).rows : static_cast<float*>(data), stored_count(meta)};
}

void add_rows_to(const Meta& meta, const void* from, float* table, int threads) {
  const SparseRows rows = read_at(meta, from);
  parallel_for(*rows.count, kGrain, threads, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const float* row = rows.rows + i * rows.width;
      float* to = table + rows.places[i] * rows.width;
      for (std::int64_t k = 0; k < rows.width; ++k) to[k] += row[k];
    }
  });
}

void add_sparse_rows(const Meta& a_meta, const void* a_data, const Meta& b_meta, const void* b_data,
                     const Meta& sum_meta, void* sum_data, int threads) {
  const SparseRows a = read_at(a_meta, a_data);
  const SparseRows b = read_at(b_meta, b_data);
  const SparseRows sum = sparse_rows_at(sum_meta, sum_data);
  std::fill_n(static_cast<std::byte*>(sum_data),
              reinterpret_cast<std::byte*>(sum.rows) - static_cast<std::byte*>(sum_data), std::byte{0});
  std::int32_t* const end = std::set_union(a.places, a.places + *a.count, b.places, b.places + *b.count, sum.places);
  *sum.count = static_cast<std::int32_t>(end - sum.places);
  std::fill(end, sum.places + sum.bound, -1);
  parallel_for(sum.bound, kGrain, threads, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      float* to = sum.rows + i * sum.width;
      const float* x = i < *sum.count ? find(a, sum.places[i]) : nullptr;
      const float* y = i < *sum.count ? find(b, sum.places[i]) : nullptr;
      if (x != nullptr && y != nullptr) {
        for (std::int64_t k = 0; k < sum.width; ++k) to[k] = x[k] + y[k];
      } else if (x != nullptr || y != nullptr) {
        std::copy_n(x != nullptr ? x : y, sum.width, to);
      } else {
        std::fill_n(to, sum.width, 0.0f);
      }
    }
  });
}

}  // namespace tidemark::compute
