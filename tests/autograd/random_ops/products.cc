// Products beyond the usual ones of core.cc.
#include <vector>

#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

// Products of what is bounded do not grow from one to the next.
Tensor bounded(const Tensor& x) { return tanh(affine(x, 0.1f, 0)); }

Tensor broadcast_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const Tensor heads = draw.weight({3, 16, y.size(1)}, 0.1f);
  return reshape(permute(matmul(y, heads, {.transpose_b = true}), {1, 0, 2}), {kRows, 48});
}

Tensor transposed_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  return matmul(draw.weight({kRows, kRows}, 0.3f), y, {.transpose_a = true});
}

Tensor einsum_of(Draw& draw, const Tensor& x) {
  const Tensor y = bounded(draw.narrow(draw.matrix_of(x)));
  return einsum("bi,bj,ji->bi", {y, y, draw.weight({y.size(1), y.size(1)}, 0.1f)});
}

Tensor bilinear_of(Draw& draw, const Tensor& x) {
  const Tensor y = bounded(draw.narrow(draw.matrix_of(x)));
  const Tensor weight = draw.weight({12, y.size(1), y.size(1)}, 0.1f);
  return bilinear(y, y, weight, draw.weight({12}, 0.1f));
}

Tensor dot_of(Draw& draw, const Tensor& x) {
  const Tensor y = flatten(bounded(draw.narrow(draw.matrix_of(x))), 0);
  return mul(x, affine(dot(y, y), 0.001f, 1));
}

}  // namespace

std::vector<RandomOp> products_random_ops() {
  return {{"matmul of a batch", broadcast_of},
          {"matmul transposed", transposed_of},
          {"einsum", einsum_of},
          {"bilinear", bilinear_of},
          {"dot", dot_of}};
}

}  // namespace tidemark::test
