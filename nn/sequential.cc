#include "tidemark/nn/sequential.h"

#include "tidemark/ops/shapes.h"

namespace tidemark::nn {

Tensor Sequential::operator()(const Tensor& x, SourceLocation where) const {
  if (size() == 0) {
    throw Error("[Sequential] it has no layer, or was moved from (at " + to_string(where) + ")");
  }
  Tensor y = x;
  for (const AnyModule& layer : *this) y = layer(y, where);
  return y;
}

Tensor Flatten::operator()(const Tensor& x, SourceLocation where) const { return flatten(x, 1, where); }

}  // namespace tidemark::nn
