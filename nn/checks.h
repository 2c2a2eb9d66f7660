// What layers check of their options, and how the usual parameters start.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "tidemark/error.h"
#include "tidemark/session.h"
#include "tidemark/shape.h"
#include "tidemark/tensor.h"

namespace tidemark::nn {

inline void require(bool holds, const char* layer, const std::string& message, SourceLocation where) {
  if (!holds) throw ShapeError(std::string("[nn::") + layer + "] " + message + " (at " + to_string(where) + ")");
}

inline void require_positive(std::int64_t value, const char* layer, const char* option, SourceLocation where) {
  require(value > 0, layer, std::string(option) + " must be at least 1, but is " + std::to_string(value), where);
}

// PyTorch's kaiming_uniform with a = sqrt(5), and its bias: both are uniform within 1 / sqrt(fan_in).
inline Tensor uniform_parameter(const Shape& shape, double fan_in, const char* name, SourceLocation where) {
  const float bound = 1.0f / std::sqrt(static_cast<float>(fan_in));
  return parameter(uniform(shape, -bound, bound, where), name);
}

}  // namespace tidemark::nn
