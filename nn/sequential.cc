#include "tidemark/nn/sequential.h"

#include <string>

#include "tidemark/ops/shapes.h"

namespace tidemark::nn {

Sequential::Sequential(const Sequential& other) : Module(other) {
  layers_.reserve(other.layers_.size());
  for (const auto& layer : other.layers_) layers_.push_back(layer->clone());
}

Sequential& Sequential::operator=(const Sequential& other) {
  if (this != &other) *this = Sequential(other);
  return *this;
}

void Sequential::visit(Visitor& visitor) {
  for (std::size_t i = 0; i < layers_.size(); ++i) visitor.child(std::to_string(i), *layers_[i]);
}

Tensor Sequential::operator()(const Tensor& x, SourceLocation where) const {
  if (layers_.empty()) {
    throw Error("[Sequential] it has no layer, or was moved from (at " + to_string(where) + ")");
  }
  Tensor y = x;
  for (const auto& layer : layers_) y = layer->call(y, where);
  return y;
}

Tensor Flatten::operator()(const Tensor& x, SourceLocation where) const { return flatten(x, 1, where); }

}  // namespace tidemark::nn
