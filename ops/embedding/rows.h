// What ops over rows of a table share: the checks of their indices, and the table's gradient.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "ops/kernels.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// What was taken of a table, and what came back for it. Sample i is the row that indices[i] names.
struct RowSamples {
  std::int64_t count = 0;
  const std::int32_t* indices = nullptr;
  std::int64_t padding = -1;              // samples of this row count for nothing; -1: there are none
  const float* gy = nullptr;              // [bags, width]
  const std::int32_t* bags = nullptr;     // by sample, the row of gy; none: sample i has row i
  const float* scales = nullptr;          // by sample, a factor of that row; none: 1
  const std::int32_t* winners = nullptr;  // [bags, width]: in that column only this row of the table counts
};

// Of all rows of the table, or of those that `count` samples can name.
Meta table_gradient_meta(const Meta& table, std::int64_t count, bool sparse);

// Writes the gradient of a table, or adds to it where ctx.accumulate() says so (of all rows only). The rows that come
// to an entry are added up in the order of the samples, so that bits do not depend on the team. `scratch` has
// row_scratch() bytes, from a multiple of 8 on.
void table_gradient(const Ctx& ctx, const RowSamples& samples, void* scratch, const Buf& gx);
std::int64_t row_scratch(std::int64_t count, std::int64_t width);

// Throws ShapeError for an index outside of the table.
void check_indices(std::string_view op, const Buf& indices, const Buf& table);
// The row, counted from 0; -1 where none is given. Fails where the table has no such row.
std::int64_t padding_row(std::optional<std::int64_t> padding, const Shape& table);
void require_padding(const Prep& prep, std::optional<std::int64_t> padding, const Meta& table);

}  // namespace tidemark::ops
