// The ops. Shapes are named N (batch), C (channels), H, W, T (time), D (features). All are f32 unless said otherwise.
// Wrong shapes throw ShapeError naming both shapes and the caller's line.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

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

struct Conv2dOptions {
  std::array<int, 2> stride = {1, 1};
  std::array<int, 2> padding = {0, 0};
  std::array<int, 2> dilation = {1, 1};
  int groups = 1;
};
// x [N, C, H, W], weight [O, C / groups, KH, KW], bias [O] or undefined -> [N, O, OH, OW].
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const Conv2dOptions& options = {},
              SourceLocation where = SourceLocation::current());

// x [..., I], weight [O, I], bias [O] or undefined -> [..., O].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              SourceLocation where = SourceLocation::current());

// a [..., M, K], b [..., K, N] -> [..., M, N]; leading dimensions are equal, or absent in b.
Tensor matmul(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());

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

Tensor relu(const Tensor& x, SourceLocation where = SourceLocation::current());
// The exact form, x * Phi(x), as PyTorch's default; tanh form where approximate.
struct GeluOptions {
  bool approximate = false;
};
Tensor gelu(const Tensor& x, const GeluOptions& options = {}, SourceLocation where = SourceLocation::current());

struct MaxPool2dOptions {
  std::array<int, 2> kernel = {2, 2};
  std::array<int, 2> stride = {0, 0};  // 0: the kernel's size
  std::array<int, 2> padding = {0, 0};
};
Tensor max_pool2d(const Tensor& x, const MaxPool2dOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct BatchNormOptions {
  bool training = true;
  float momentum = 0.1f;  // running = (1 - momentum) * running + momentum * batch, variance unbiased, as PyTorch does
  float eps = 1e-5f;
};
// x [N, C, H, W] or [N, C]; gamma, beta, running_mean, running_variance [C]. In training the statistics of the batch
// are used and the running ones updated, once, when the op is recorded.
Tensor batch_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const Tensor& running_mean,
                  const Tensor& running_variance, const BatchNormOptions& options = {},
                  SourceLocation where = SourceLocation::current());

struct LayerNormOptions {
  float eps = 1e-5f;
};
// Over the last dimension; gamma and beta [D].
Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const LayerNormOptions& options = {},
                  SourceLocation where = SourceLocation::current());

// Zeroes elements with probability p, in [0, 1], and scales the others by 1 / (1 - p). The mask is never stored.
struct DropoutOptions {
  float p = 0.5f;
  bool training = true;
};
Tensor dropout(const Tensor& x, const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());

// indices (i32) [...], table [V, D] -> [..., D]. An index outside [0, V) throws ShapeError when the kernel meets it.
Tensor embedding(const Tensor& indices, const Tensor& table, SourceLocation where = SourceLocation::current());

// One dimension may be -1: what is left.
Tensor reshape(const Tensor& x, const Shape& shape, SourceLocation where = SourceLocation::current());
// Dimensions from `first` on become one.
Tensor flatten(const Tensor& x, int first = 1, SourceLocation where = SourceLocation::current());
// Two dimensions change places.
Tensor transpose(const Tensor& x, int a, int b, SourceLocation where = SourceLocation::current());
// [begin, end) of one dimension; negative ends count from the end of it.
Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end,
             SourceLocation where = SourceLocation::current());
Tensor concat(std::span<const Tensor> parts, int dim, SourceLocation where = SourceLocation::current());
inline Tensor concat(std::initializer_list<Tensor> parts, int dim, SourceLocation where = SourceLocation::current()) {
  return concat(std::span<const Tensor>(parts.begin(), parts.size()), dim, where);
}

// Over the last dimension.
Tensor softmax(const Tensor& x, SourceLocation where = SourceLocation::current());

// qkv [N, T, 3 * D]: queries, keys and values side by side, each of `heads` heads -> [N, T, D]. Causal, scaled by
// 1 / sqrt(D / heads). Never holds more than a few rows of scores a thread.
Tensor causal_self_attention(const Tensor& qkv, int heads, SourceLocation where = SourceLocation::current());

// Over all elements -> [] (one number), or over the given dimensions, which vanish. The mean of nothing is NaN.
Tensor sum(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor sum(const Tensor& x, std::span<const int> dims, SourceLocation where = SourceLocation::current());
inline Tensor sum(const Tensor& x, std::initializer_list<int> dims, SourceLocation where = SourceLocation::current()) {
  return sum(x, std::span<const int>(dims.begin(), dims.size()), where);
}
Tensor mean(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor mean(const Tensor& x, std::span<const int> dims, SourceLocation where = SourceLocation::current());
inline Tensor mean(const Tensor& x, std::initializer_list<int> dims, SourceLocation where = SourceLocation::current()) {
  return mean(x, std::span<const int>(dims.begin(), dims.size()), where);
}

// logits [..., C], classes (i32) [...] -> [] the mean of -log softmax(logits)[class].
Tensor cross_entropy(const Tensor& logits, const Tensor& classes, SourceLocation where = SourceLocation::current());
// The mean of (a - b)^2 -> [].
Tensor mse_loss(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());

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

// a / b elementwise, with NumPy's broadcasting. Division by zero gives infinities and NaNs, as floats do.
Tensor div(const Tensor& a, const Tensor& b, SourceLocation where = SourceLocation::current());
Tensor div(const Tensor& x, float divisor, SourceLocation where = SourceLocation::current());
Tensor div(float dividend, const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor operator/(const Operand& a, const Operand& b);

}  // namespace tidemark
