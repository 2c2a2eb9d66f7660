#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

// x, moved by what was made of it.
Tensor near(const Tensor& x, const Tensor& of_x) { return add(x, affine(of_x, 0.1f, 0)); }

Tensor var_of(Draw& draw, const Tensor& x) { return near(x, var(x, {draw.pick(2)}, {.keepdim = true})); }
Tensor std_of(Draw&, const Tensor& x) { return near(x, std(x, {1}, {.correction = 0, .keepdim = true})); }
Tensor prod_of(Draw&, const Tensor& x) { return near(x, prod(softmax(x), {0}, {.keepdim = true})); }
Tensor amax_of(Draw&, const Tensor& x) { return near(x, amax(x, {-1, 0}, {.keepdim = true})); }
Tensor amin_of(Draw&, const Tensor& x) { return near(x, amin(x)); }
Tensor max_of(Draw& draw, const Tensor& x) { return near(x, max(x, draw.pick(2), {.keepdim = true}).first); }
Tensor min_of(Draw&, const Tensor& x) { return near(x, min(x, -1, {.keepdim = true}).first); }

Tensor norm_of(Draw& draw, const Tensor& x) {
  const double p[] = {1, 2, 3};
  return near(x, affine(norm(x, {-1}, {.p = p[draw.pick(3)], .keepdim = true}), 0.1f, 0));
}

Tensor logsumexp_of(Draw& draw, const Tensor& x) { return near(x, logsumexp(x, {draw.pick(2)}, {.keepdim = true})); }

Tensor topk_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  const std::int64_t columns = y.size(1);
  return near(y, sum(topk(y, 1 + columns / 3, 1, {.largest = draw.pick(2) == 0}).first, {1}, {.keepdim = true}) *
                     (1.0f / static_cast<float>(columns)));
}

Tensor cumsum_of(Draw& draw, const Tensor& x) {
  const int dim = draw.pick(2);
  return affine(cumsum(x, dim), 1.0f / static_cast<float>(x.size(dim)), 0);
}

}  // namespace

std::vector<RandomOp> reductions_random_ops() {
  return {{"var", var_of},
          {"std", std_of},
          {"norm", norm_of},
          {"prod", prod_of},
          {"amax", amax_of},
          {"amin", amin_of},
          {"max", max_of},
          {"min", min_of},
          {"logsumexp", logsumexp_of},
          {"softmax_rows", [](Draw&, const Tensor& x) { return softmax(x, 0); }},
          {"log_softmax", [](Draw& draw, const Tensor& x) { return affine(log_softmax(x, draw.pick(2)), 0.2f, 0); }},
          {"sort", [](Draw& draw, const Tensor& x) { return sort(x, draw.pick(2)).first; }},
          {"topk", topk_of},
          {"cumsum", cumsum_of},
          {"cumprod", [](Draw&, const Tensor& x) { return cumprod(softmax(x), 0); }}};
}

}  // namespace tidemark::test
