// Attention over a matrix's rows as one sequence, and rotary positions.
#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

constexpr std::int64_t kWidth = 8;

// [2, kRows / 2, kWidth] from x by a projection.
Tensor projected(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  return reshape(linear(y, draw.weight({kWidth, y.size(1)}, 0.1f)), {2, kRows / 2, kWidth});
}

Tensor attention_of(Draw& draw, const Tensor& x) {
  const Tensor q = projected(draw, x);
  const Tensor k = projected(draw, draw.any());
  // Keys are sometimes the queries, or the values the keys.
  const int kind = draw.pick(4);
  const Tensor keys = kind == 0 ? q : k;
  const Tensor values = kind < 2 ? keys : projected(draw, draw.any());
  const AttentionOptions options{.heads = 2, .causal = draw.pick(2) == 0, .dropout_p = draw.pick(3) == 0 ? 0.2f : 0.0f};
  return reshape(scaled_dot_product_attention(q, keys, values, options), {kRows, -1});
}

Tensor causal_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const Tensor qkv = linear(y, draw.weight({3 * kWidth, y.size(1)}, 0.1f));
  return reshape(causal_self_attention(reshape(qkv, {2, kRows / 2, -1}), 2), {kRows, -1});
}

Tensor rotary_of(Draw& draw, const Tensor& x) {
  return reshape(rotary_embedding(projected(draw, x), {.interleaved = draw.pick(2) == 0, .heads = 2}), {kRows, -1});
}

}  // namespace

std::vector<RandomOp> attention_random_ops() {
  return {{"attention", attention_of}, {"causal_attention", causal_of}, {"rotary", rotary_of}};
}

}  // namespace tidemark::test
