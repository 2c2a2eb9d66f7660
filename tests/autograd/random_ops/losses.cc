// Losses: of elements they are values like others; of rows they move a value a little.
#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

constexpr LossReduction kEach = LossReduction::kNone;

Tensor classes() { return tensor({0, 3, 1, -100, 2, 2, 5, 1}, {kRows}); }

// A number or a row for each of x's rows, added to x.
Tensor moved(const Tensor& x, const Tensor& loss) {
  return add(x, affine(loss.shape().rank() == 0 ? loss : mean(loss), 0.05f, 0));
}

Tensor cross_entropy_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  return moved(y,
               cross_entropy(y, classes(),
                             {.label_smoothing = 0.1f, .reduction = draw.pick(2) == 0 ? kEach : LossReduction::kMean}));
}

Tensor probabilities_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  return moved(y, cross_entropy(y, softmax(draw.like(y))));
}

Tensor linear_cross_entropy_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const Tensor weight = draw.weight({40, y.size(1)}, 0.1f);
  return moved(y, linear_cross_entropy(y, weight, draw.weight({40}, 0.1f), classes()));
}

Tensor nll_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  return moved(y, nll_loss(affine(y, 0.1f, 0), classes()));
}

Tensor multi_margin_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  return moved(y, multi_margin_loss(y, tensor({0, 3, 1, 6, 2, 2, 5, 1}, {kRows}), {.reduction = kEach}));
}

Tensor ctc_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const Tensor p = affine(reshape(y, {kRows, 2, -1}), 0.1f, -1);
  return moved(y, ctc_loss(p, tensor({1, 2, 3, 3}, {2, 2}), tensor({8, 6}, {2}), tensor({2, 2}, {2})));
}

Tensor bce_of(Draw& draw, const Tensor& x) {
  const Tensor target = sigmoid(draw.like(x));
  const Tensor one = binary_cross_entropy(affine(sigmoid(x), 0.9f, 0.05f), target, {.reduction = kEach});
  return draw.pick(2) == 0 ? one : binary_cross_entropy_with_logits(x, target, {.reduction = kEach});
}

Tensor kl_of(Draw& draw, const Tensor& x) {
  return kl_div(affine(x, 0.1f, 0), affine(sigmoid(draw.like(x)), 0.9f, 0.05f), {.reduction = kEach});
}

Tensor ranking_of(Draw& draw, const Tensor& x) {
  return margin_ranking_loss(x, affine(draw.like(x), 0.5f, 0), full(x.shape(), 1),
                             {.margin = 0.3f, .reduction = kEach});
}

Tensor similarity_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  return moved(y, cosine_similarity(y, draw.like(y), {.dim = draw.pick(2)}));
}

Tensor triplet_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  return moved(y, triplet_margin_loss(y, affine(draw.like(y), 0.5f, 0.1f), draw.like(y), {.swap = draw.pick(2) == 0}));
}

}  // namespace

std::vector<RandomOp> losses_random_ops() {
  return {
      {"cross_entropy", cross_entropy_of},
      {"cross_entropy_of_probabilities", probabilities_of},
      {"linear_cross_entropy", linear_cross_entropy_of},
      {"nll_loss", nll_of},
      {"multi_margin_loss", multi_margin_of},
      {"ctc_loss", ctc_of},
      {"mse_loss", [](Draw& draw, const Tensor& x) { return moved(x, mse_loss(x, draw.like(x))); }},
      {"smooth_l1_loss",
       [](Draw& draw, const Tensor& x) { return smooth_l1_loss(x, draw.like(x), {.beta = 0.5f, .reduction = kEach}); }},
      {"huber_loss",
       [](Draw& draw, const Tensor& x) { return huber_loss(x, draw.like(x), {.delta = 0.5f, .reduction = kEach}); }},
      {"binary_cross_entropy", bce_of},
      {"kl_div", kl_of},
      {"soft_margin_loss", [](Draw&, const Tensor& x) { return soft_margin_loss(x, full(x.shape(), 1), {kEach}); }},
      {"margin_ranking_loss", ranking_of},
      {"cosine_similarity", similarity_of},
      {"triplet_margin_loss", triplet_of}};
}

}  // namespace tidemark::test
