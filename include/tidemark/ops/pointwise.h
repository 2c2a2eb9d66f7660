// Elementwise arithmetic, functions and activations.
#pragma once

#include <optional>

#include "tidemark/tensor.h"

namespace tidemark {

// A tensor or a number, with the line that it is written on: what the operators take.
class Operand {
 public:
  Operand(const Tensor& tensor, SourceLocation where = SourceLocation::current())  // NOLINT: converting by design
      : tensor_(tensor), where_(where) {}
  Operand(float number, SourceLocation where = SourceLocation::current())  // NOLINT: converting by design
      : number_(number), where_(where) {}
  bool is_number() const { return number_.has_value(); }
  const Tensor& tensor() const { return tensor_; }
  float number() const { return *number_; }
  SourceLocation where() const { return where_; }

 private:
  Tensor tensor_;
  std::optional<float> number_;
  SourceLocation where_;
};

// Elementwise with NumPy's broadcasting.
Tensor add(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor sub(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor mul(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
// scale * x + shift.
Tensor affine(const Tensor& x, float scale, float shift, SourceLocation where = SourceLocation::current());
Tensor operator+(const Operand& a, const Operand& b);
Tensor operator-(const Operand& a, const Operand& b);
Tensor operator*(const Operand& a, const Operand& b);
Tensor operator-(const Operand& a);

// a / b elementwise, with NumPy's broadcasting. Division by zero gives infinities and NaNs, as floats do.
Tensor div(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor div(const Tensor& x, float divisor, SourceLocation where = SourceLocation::current());
Tensor div(float dividend, const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor operator/(const Operand& a, const Operand& b);

Tensor relu(const Tensor& x, SourceLocation where = SourceLocation::current());
// The exact form, x * Phi(x), as PyTorch's default; tanh form where approximate.
struct GeluOptions {
  bool approximate = false;
};
Tensor gelu(const Tensor& x, const GeluOptions& options = {}, SourceLocation where = SourceLocation::current());

// Elementwise functions of one tensor. Gradients at special points are PyTorch's, and a NaN gives a NaN.
//
// 0 and 1 at the ends; the slope there is 0. y' = y (1 - y).
Tensor sigmoid(const Tensor& x, SourceLocation where = SourceLocation::current());
// -1 and 1 at the ends; the slope there is 0. y' = 1 - y^2.
Tensor tanh(const Tensor& x, SourceLocation where = SourceLocation::current());
// x sigmoid(x); 0 at -infinity, with slopes 0 and 1 at the ends (as gelu has them, where PyTorch has a NaN).
Tensor silu(const Tensor& x, SourceLocation where = SourceLocation::current());
// x above zero and slope * x elsewhere; the gradient at zero is `slope`, which is finite and not negative.
Tensor leaky_relu(const Tensor& x, float slope = 0.01f, SourceLocation where = SourceLocation::current());
// Infinity from 88.73 on, 0 below -103.98.
Tensor exp(const Tensor& x, SourceLocation where = SourceLocation::current());
// -infinity at zeros and a NaN below them; y' = 1 / x everywhere.
Tensor log(const Tensor& x, SourceLocation where = SourceLocation::current());
// A NaN below zero; the slope at zero is infinity.
Tensor sqrt(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor square(const Tensor& x, SourceLocation where = SourceLocation::current());
// The slope at zero, and at a NaN, is 0.
Tensor abs(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor neg(const Tensor& x, SourceLocation where = SourceLocation::current());
// Infinity at zero, with its sign; y' = -y^2.
Tensor reciprocal(const Tensor& x, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
