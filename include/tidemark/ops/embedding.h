// Rows of a table by index, and sums, means or largest values of bags of them.
#pragma once

#include <cstdint>
#include <optional>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct EmbeddingOptions {
  // The gradient of this row of the table is zero; a negative one counts from the end.
  std::optional<std::int64_t> padding = {};
  // The table's gradient has the rows that were read, and no others: see sparse_grad.h.
  bool sparse = false;
};
// indices (i32) [...], table [V, D] -> [..., D]. An index outside [0, V) throws ShapeError when the kernel meets it.
Tensor embedding(const Tensor& indices, const Tensor& table, const EmbeddingOptions& options = {},
                 SourceLocation where = SourceLocation::current());

struct EmbeddingBagOptions {
  enum class Mode : std::uint8_t { kSum, kMean, kMax };
  Mode mode = Mode::kMean;
  // Indices of this row are left out: of the bag's sum, of the number that its mean is divided by, of the largest.
  std::optional<std::int64_t> padding = {};
  // A factor for each row that is summed up, of the shape of the indices; Mode::kSum alone. It has a gradient.
  Tensor per_sample_weights = {};
  // The last offset is the number of indices, and begins no bag.
  bool include_last_offset = false;
  // As of embedding().
  bool sparse = false;
};
// indices (i32) [N, L], table [V, D] -> [N, D]: a bag for each row of the indices.
// indices (i32) [n], table [V, D], offsets (i32) [N] -> [N, D]: a bag goes from its offset to the next one; the first
// offset is 0, and none is below the one before it.
//
// An empty bag gives zeros. The gradient of a largest value goes to the first row that has it. A NaN is larger than
// any number, as in max() and unlike in PyTorch, where it depends on its place in the bag. An index outside [0, V), and
// offsets that make no bags, throw ShapeError when the kernel meets them.
Tensor embedding_bag(const Tensor& indices, const Tensor& table, const Tensor& offsets = {},
                     const EmbeddingBagOptions& options = {}, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
