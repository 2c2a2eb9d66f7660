// Functions of single elements, powers, choices between values and gates.
#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

// Within (-1, 1), where everything is of moderate size.
Tensor bounded(const Tensor& x) { return softsign(x); }
// Within (0.5, 1.5).
Tensor positive(const Tensor& x) { return affine(sigmoid(x), 1, 0.5f); }

Tensor prelu_of(Draw& draw, const Tensor& x) {
  return prelu(x, draw.weight({draw.pick(2) == 0 ? x.size(1) : 1}, 0.3f));
}

Tensor pow_of(Draw& draw, const Tensor& x) { return pow(positive(x), bounded(draw.like(x))); }

Tensor where_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.like(x);
  return where(logical_or(x > y, x < -1), x, 0.5f * y);
}

// Of broadcast operands.
Tensor where_row_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  return where(y > 0, y, draw.weight({y.size(1)}, 0.1f));
}

Tensor masked_fill_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  return masked_fill(y, slice(y, 1, 0, 1) > 0, 0.1f);
}

Tensor lerp_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  return lerp(y, draw.like(y), draw.weight({y.size(1)}, 0.5f));
}

Tensor glu_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  if (y.size(1) % 2 != 0) return glu(concat({y, y}, 1));
  return draw.pick(2) == 0 ? glu(y) : swiglu(bounded(y));
}

Tensor to_of(Draw&, const Tensor& x) { return mul(x, to(x > 0, f32)); }

}  // namespace

std::vector<RandomOp> pointwise_random_ops() {
  return {{"elu", [](Draw&, const Tensor& x) { return elu(x); }},
          {"selu", [](Draw&, const Tensor& x) { return selu(x); }},
          {"softplus", [](Draw&, const Tensor& x) { return softplus(x); }},
          {"mish", [](Draw&, const Tensor& x) { return mish(x); }},
          {"log_sigmoid", [](Draw&, const Tensor& x) { return log_sigmoid(x); }},
          {"hardswish", [](Draw&, const Tensor& x) { return hardswish(x); }},
          {"clamp", [](Draw&, const Tensor& x) { return clamp(x, {.min = -0.5f, .max = 1}); }},
          {"erf", [](Draw&, const Tensor& x) { return erf(x); }},
          {"sin", [](Draw&, const Tensor& x) { return sin(x); }},
          {"cos", [](Draw&, const Tensor& x) { return cos(x); }},
          {"expm1", [](Draw&, const Tensor& x) { return expm1(bounded(x)); }},
          {"log1p", [](Draw&, const Tensor& x) { return log1p(abs(x)); }},
          {"rsqrt", [](Draw&, const Tensor& x) { return rsqrt(positive(x)); }},
          {"round", [](Draw&, const Tensor& x) { return sub(x, round(x)); }},
          {"maximum", [](Draw& draw, const Tensor& x) { return maximum(x, draw.like(x)); }},
          {"minimum", [](Draw& draw, const Tensor& x) { return minimum(x, 0.5f * draw.like(x)); }},
          {"pow", pow_of},
          {"pow_of_number", [](Draw&, const Tensor& x) { return pow(1.5f, bounded(x)); }},
          {"pow_by_number", [](Draw&, const Tensor& x) { return pow(positive(x), 1.5f); }},
          {"prelu", prelu_of},
          {"where", where_of},
          {"where_row", where_row_of},
          {"masked_fill", masked_fill_of},
          {"lerp", lerp_of},
          {"glu", glu_of},
          {"to", to_of}};
}

}  // namespace tidemark::test
