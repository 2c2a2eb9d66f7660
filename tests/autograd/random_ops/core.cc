// The ops that programs are mostly made of.
#include <algorithm>

#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

Tensor linear_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const std::int64_t out = 32 * (1 + draw.pick(4));
  const Tensor weight = draw.weight({out, y.size(1)}, 0.1f);
  return linear(y, weight, draw.weight({out}, 0.1f));
}

Tensor add_of(Draw& draw, const Tensor& x) { return add(x, draw.like(x)); }
Tensor sub_of(Draw& draw, const Tensor& x) { return sub(affine(x, 0.5f, 0.1f), draw.like(x)); }
Tensor mul_of(Draw& draw, const Tensor& x) { return mul(affine(x, 0.3f, 0), draw.like(x)); }

Tensor dropout_of(Draw& draw, const Tensor& x) {
  return dropout(x, {.p = 0.1f + 0.1f * static_cast<float>(draw.pick(5))});
}

Tensor layer_norm_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  const Tensor gamma = draw.weight({y.size(1)}, 1);
  return layer_norm(y, gamma, draw.weight({y.size(1)}, 0.1f));
}

Tensor batch_norm_of(Draw& draw, const Tensor& x) {
  const Shape channels{x.size(1)};
  const Tensor mean = draw.statistic(channels);
  const Tensor variance = draw.statistic(channels);
  const Tensor gamma = draw.weight(channels, 1);
  return batch_norm(x, gamma, draw.weight(channels, 0.1f), mean, variance);
}

Tensor conv2d_of(Draw& draw, const Tensor& x) {
  const Tensor image = draw.image_of(x);
  const std::int64_t out = 4 << draw.pick(3);
  const Tensor weight = draw.weight({out, image.size(1), 3, 3}, 0.1f);
  return conv2d(image, weight, draw.weight({out}, 0.1f), {.padding = {1, 1}});
}

Tensor max_pool2d_of(Draw& draw, const Tensor& x) {
  const Tensor image = draw.image_of(x);
  return image.size(2) < 4 ? affine(image, 0.9f, 0.01f) : max_pool2d(image);
}

Tensor products_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  return transpose(matmul(y, transpose(y, 0, 1)), 0, 1);
}

Tensor concat_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  const std::int64_t half = std::max<std::int64_t>(1, y.size(1) / 2);
  const Tensor left = slice(y, 1, 0, half);
  const Tensor right = slice(y, 1, y.size(1) - half, y.size(1));
  return concat({right, left}, 1);
}

Tensor reshape_of(Draw& draw, const Tensor& x) {
  return affine(reshape(affine(draw.matrix_of(x), 0.7f, 0), {kRows, -1}), 1, 0.1f);
}

Tensor no_grad_of(Draw&, const Tensor& x) {
  Tensor scale;
  {
    const NoGrad guard;
    scale = affine(mean(x), 0.5f, 1);
  }
  return mul(x, scale);
}

}  // namespace

std::vector<RandomOp> core_random_ops() {
  return {{"linear", linear_of},
          {"relu", [](Draw&, const Tensor& x) { return relu(x); }},
          {"gelu", [](Draw&, const Tensor& x) { return gelu(x); }},
          {"add", add_of},
          {"sub", sub_of},
          {"mul", mul_of},
          {"dropout", dropout_of},
          {"layer_norm", layer_norm_of},
          {"batch_norm", batch_norm_of},
          {"conv2d", conv2d_of},
          {"max_pool2d", max_pool2d_of},
          {"matmul", products_of},
          {"concat", concat_of},
          {"softmax", [](Draw&, const Tensor& x) { return softmax(x); }},
          {"reshape", reshape_of},
          {"sum", [](Draw&, const Tensor& x) { return add(x, sum(affine(x, 0.01f, 0))); }},
          {"no_grad", no_grad_of}};
}

}  // namespace tidemark::test
