// The layout of a gradient that a table [entries, width] has in some of its rows only: at most `bound` of them.
//
// Its bytes are the number of rows (i32, 64 bytes), their places in the table (i32, ascending, each once; 64 bytes a
// line) and the rows (f32). Behind the last row places are -1 and elements 0, so that all bytes follow from the value,
// and what goes over all elements of a gradient goes over `bound` rows.
#pragma once

#include <cstdint>

#include "tidemark/meta.h"

namespace tidemark::compute {

bool is_sparse_rows(Layout layout);
// Of a table's gradient. The bound is at most `entries`.
Meta sparse_rows(const Shape& table, std::int64_t bound);
std::int64_t row_bound(Layout layout);

struct SparseRows {
  std::int32_t* count;
  std::int32_t* places;
  float* rows;
  std::int64_t bound;
  std::int64_t width;
};
SparseRows sparse_rows_at(const Meta& meta, void* data);

// The elements that are stored, as floats: those of a gradient in any layout, padding included.
struct StoredFloats {
  float* data;
  std::int64_t count;
};
StoredFloats stored_floats(const Meta& meta, void* data);
std::int64_t stored_count(const Meta& meta);

// table += from, where there are rows.
void add_rows_to(const Meta& meta, const void* from, float* table, int threads);
// The sum of two, which has the rows of both. Its bound is large enough.
void add_sparse_rows(const Meta& a_meta, const void* a, const Meta& b_meta, const void* b, const Meta& sum_meta,
                     void* sum, int threads);

}  // namespace tidemark::compute
