// Elementwise arithmetic, functions and activations.
#pragma once

#include <optional>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

// A tensor or a number, with the line that it is written on: what the operators take.
class Operand {
 public:
  Operand(const Tensor& tensor, SourceLocation where = SourceLocation::current())  // NOLINT: converting by design
      : tensor_(tensor), where_(where) {}
  Operand(double number, SourceLocation where = SourceLocation::current())  // NOLINT: converting by design
      : number_(number), where_(where) {}
  bool is_number() const { return number_.has_value(); }
  const Tensor& tensor() const { return tensor_; }
  float number() const { return static_cast<float>(*number_); }
  double exact() const { return *number_; }  // for integers, of which float does not hold all
  SourceLocation where() const { return where_; }

 private:
  Tensor tensor_;
  std::optional<double> number_;
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
// x += y is x = x + y: x is a new value then, of the shape that both broadcast to. Nothing is changed in place: other
// handles on the old value, a parameter's in an optimizer among them, keep it. (PyTorch writes into x.)
Tensor& operator+=(Tensor& a, const Operand& b);
Tensor& operator-=(Tensor& a, const Operand& b);
Tensor& operator*=(Tensor& a, const Operand& b);
Tensor& operator/=(Tensor& a, const Operand& b);

// The larger and the smaller, elementwise with NumPy's broadcasting. A NaN in either gives a NaN; the gradient goes
// half to each where they are equal, and to both where one is a NaN.
Tensor maximum(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor minimum(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());

// Powers, with the special values of C's pow: anything to the power of 0 is 1, a negative number to a power that is not
// whole a NaN. Tensors broadcast. The gradient of x^0 is 0, that of an exponent of 0^y too, from y = 0 on.
Tensor pow(const Tensor& base, const Tensor& exponent, SourceLocation where = SourceLocation::current());
Tensor pow(const Tensor& x, float exponent, SourceLocation where = SourceLocation::current());
Tensor pow(float base, const Tensor& x, SourceLocation where = SourceLocation::current());

// Comparisons, elementwise with NumPy's broadcasting: u8, 1 where they hold and 0 elsewhere, without a gradient.
// Tensors are f32 or i32, and both the same; a number beside f32 is rounded to it, beside i32 it is compared as it is.
// A NaN equals nothing and has no order. == and != of tensors are eq() and ne().
Tensor eq(const Operand& a, const Operand& b, SourceLocation where = SourceLocation::current());
Tensor ne(const Operand& a, const Operand& b, SourceLocation where = SourceLocation::current());
Tensor lt(const Operand& a, const Operand& b, SourceLocation where = SourceLocation::current());
Tensor le(const Operand& a, const Operand& b, SourceLocation where = SourceLocation::current());
Tensor gt(const Operand& a, const Operand& b, SourceLocation where = SourceLocation::current());
Tensor ge(const Operand& a, const Operand& b, SourceLocation where = SourceLocation::current());
Tensor operator<(const Operand& a, const Operand& b);
Tensor operator<=(const Operand& a, const Operand& b);
Tensor operator>(const Operand& a, const Operand& b);
Tensor operator>=(const Operand& a, const Operand& b);

// Of f32, as u8.
Tensor isnan(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor isinf(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor isfinite(const Tensor& x, SourceLocation where = SourceLocation::current());

// Of masks: u8, of which everything but 0 counts as true. Results are 0 and 1. Operands broadcast.
Tensor logical_and(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor logical_or(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor logical_xor(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor logical_not(const Tensor& a, SourceLocation where = SourceLocation::current());
// The same as operators. They do not go bit by bit, and take no numbers.
Tensor operator&(const Operand& a, const Operand& b);
Tensor operator|(const Operand& a, const Operand& b);
Tensor operator!(const Operand& a);

// a where the mask is not 0, b elsewhere; all three broadcast, and a and b may be numbers. mask is u8, the tensors f32
// or i32, and of one dtype. What is not chosen gets a gradient of zero, whatever it is.
Tensor where(const Tensor& mask, const Operand& a, const Operand& b, SourceLocation where = SourceLocation::current());
// `number` where the mask is not 0, x elsewhere. The mask broadcasts to the shape of x, which is f32 or i32.
Tensor masked_fill(const Tensor& x, const Tensor& mask, float number, SourceLocation where = SourceLocation::current());
// a + weight (b - a), exact where the weight is 0 or 1; all three broadcast.
Tensor lerp(const Tensor& a, const Tensor& b, const Operand& weight, SourceLocation where = SourceLocation::current());

// The same elements as f32, i32 or u8; x itself where it has that dtype. Other conversions have no gradient. From f32
// the fraction is cut off, what is out of range becomes the nearest end of it, and a NaN 0, where PyTorch promises
// nothing; from i32 to u8 the low byte is kept.
Tensor to(const Tensor& x, DType dtype, SourceLocation where = SourceLocation::current());

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
// ln(sigmoid(x)), which is x far below zero.
Tensor log_sigmoid(const Tensor& x, SourceLocation where = SourceLocation::current());
// -1 and 1 at the ends; the slope there is 0. y' = 1 - y^2.
Tensor tanh(const Tensor& x, SourceLocation where = SourceLocation::current());
// x sigmoid(x); 0 at -infinity, with slopes 0 and 1 at the ends (as gelu has them, where PyTorch has a NaN).
Tensor silu(const Tensor& x, SourceLocation where = SourceLocation::current());
// x tanh(ln(1 + e^x)), with the ends of silu.
Tensor mish(const Tensor& x, SourceLocation where = SourceLocation::current());
// ln(1 + e^(beta x)) / beta, and x where beta x is above the threshold. beta is finite and not 0.
struct SoftplusOptions {
  float beta = 1;
  float threshold = 20;
};
Tensor softplus(const Tensor& x, const SoftplusOptions& options = {}, SourceLocation where = SourceLocation::current());
// x above zero and alpha (e^x - 1) elsewhere. The slope at a NaN is 1; so it is for selu, times its scale, and celu.
Tensor elu(const Tensor& x, float alpha = 1, SourceLocation where = SourceLocation::current());
// 1.0507 elu(x, 1.67326): the factors that keep mean and variance.
Tensor selu(const Tensor& x, SourceLocation where = SourceLocation::current());
// x above zero and alpha (e^(x / alpha) - 1) elsewhere. alpha is finite and not 0.
Tensor celu(const Tensor& x, float alpha = 1, SourceLocation where = SourceLocation::current());
// x above zero and slope * x elsewhere; the gradient at zero is `slope`, which is finite and not negative.
Tensor leaky_relu(const Tensor& x, float slope = 0.01f, SourceLocation where = SourceLocation::current());
// x above zero and weight * x elsewhere: one weight, or one for each channel of x [N, C, ...].
Tensor prelu(const Tensor& x, const Tensor& weight, SourceLocation where = SourceLocation::current());
// Within [0, 6]; the slope at both ends is 0.
Tensor relu6(const Tensor& x, SourceLocation where = SourceLocation::current());
// Within [min, max]; the slope at both ends is 0. min is below max.
struct HardtanhOptions {
  float min = -1;
  float max = 1;
};
Tensor hardtanh(const Tensor& x, const HardtanhOptions& options = {}, SourceLocation where = SourceLocation::current());
// Within [min, max], either of which may be absent; the slope at the ends is 1, and 0 at a NaN. max wins where min is
// above it.
struct ClampOptions {
  std::optional<float> min = {};
  std::optional<float> max = {};
};
Tensor clamp(const Tensor& x, const ClampOptions& options, SourceLocation where = SourceLocation::current());
// x relu6(x + 3) / 6; 0 at -infinity, where PyTorch has a NaN.
Tensor hardswish(const Tensor& x, SourceLocation where = SourceLocation::current());
// relu6(x + 3) / 6; the slope at the ends, and at a NaN, is 0.
Tensor hardsigmoid(const Tensor& x, SourceLocation where = SourceLocation::current());
// x / (1 + |x|); -1 and 1 at the infinities with slope 0, where PyTorch has NaNs.
Tensor softsign(const Tensor& x, SourceLocation where = SourceLocation::current());
// Dimension `dim`, which is even, in halves a and b: a sigmoid(b).
Tensor glu(const Tensor& x, int dim = -1, SourceLocation where = SourceLocation::current());
// The same with silu(a) b.
Tensor swiglu(const Tensor& x, int dim = -1, SourceLocation where = SourceLocation::current());

// Infinity from 88.73 on, 0 below -103.98.
Tensor exp(const Tensor& x, SourceLocation where = SourceLocation::current());
// e^x - 1, accurate near zero.
Tensor expm1(const Tensor& x, SourceLocation where = SourceLocation::current());
// -infinity at zeros and a NaN below them; y' = 1 / x everywhere. log2 is exact of powers of two.
Tensor log(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor log2(const Tensor& x, SourceLocation where = SourceLocation::current());
// ln(1 + x), accurate near zero.
Tensor log1p(const Tensor& x, SourceLocation where = SourceLocation::current());
// A NaN below zero; the slope at zero is infinity.
Tensor sqrt(const Tensor& x, SourceLocation where = SourceLocation::current());
// 1 / sqrt(x): infinity at zero, with its sign, and a NaN below it.
Tensor rsqrt(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor square(const Tensor& x, SourceLocation where = SourceLocation::current());
// Of angles of any size; a NaN at the infinities.
Tensor sin(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor cos(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor erf(const Tensor& x, SourceLocation where = SourceLocation::current());
// The slope at zero, and at a NaN, is 0.
Tensor abs(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor neg(const Tensor& x, SourceLocation where = SourceLocation::current());
// Infinity at zero, with its sign; y' = -y^2.
Tensor reciprocal(const Tensor& x, SourceLocation where = SourceLocation::current());
// -1, 0 or 1; 0 at a NaN.
Tensor sign(const Tensor& x, SourceLocation where = SourceLocation::current());
// To whole numbers: down, up, to the nearest (of two the even one), and towards zero. The gradient is zero everywhere,
// as that of sign.
Tensor floor(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor ceil(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor round(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor trunc(const Tensor& x, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
