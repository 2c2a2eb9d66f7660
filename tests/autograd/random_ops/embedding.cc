#include <vector>

#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

using Mode = EmbeddingBagOptions::Mode;

Tensor drawn_indices(Draw& draw, int below, std::int64_t count) {
  std::vector<std::int32_t> indices;
  for (std::int64_t i = 0; i < count; ++i) indices.push_back(draw.pick(below));
  return tensor(indices, {count});
}

Tensor embedding_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  const int entries = 3 + draw.pick(9);
  const Tensor table = draw.weight({entries, y.size(1)}, 0.5f);
  return y + embedding(drawn_indices(draw, entries, kRows), table, {.padding = draw.pick(entries)});
}

// Of half of them, the table is a value of the program.
Tensor embedding_bag_of(Draw& draw, const Tensor& x) {
  const Mode modes[] = {Mode::kSum, Mode::kMean, Mode::kMax};
  const Tensor y = draw.matrix_of(x);
  EmbeddingBagOptions options = {.mode = modes[draw.pick(3)]};
  const bool own = draw.pick(2) == 0;
  const Tensor table = own ? affine(y, 0.5f, 0) : draw.weight({kRows, y.size(1)}, 0.3f);
  options.sparse = own && draw.pick(2) == 0;  // programs read the gradients of weights whole
  const Tensor indices = drawn_indices(draw, kRows, 3 * kRows);
  if (draw.pick(2) == 0) return y + embedding_bag(reshape(indices, {kRows, 3}), table, {}, options);
  std::vector<std::int32_t> offsets(kRows);
  for (std::size_t i = 1; i < offsets.size(); ++i) offsets[i] = offsets[i - 1] + draw.pick(4);
  if (options.mode == Mode::kSum) options.per_sample_weights = draw.weight({3 * kRows}, 0.3f);
  return y + embedding_bag(indices, table, tensor(offsets, {kRows}), options);
}

}  // namespace

std::vector<RandomOp> embedding_random_ops() {
  return {{"embedding", embedding_of}, {"embedding_bag", embedding_bag_of}};
}

}  // namespace tidemark::test
