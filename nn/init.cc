#include "tidemark/nn/init.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "nn/checks.h"
#include "tidemark/op.h"

namespace tidemark::nn::init {
namespace {

// A parameter may be too large for a copy: random numbers are drawn for so many elements at a time.
constexpr std::int64_t kPiece = std::int64_t{1} << 18;

void check(const Tensor& tensor, const char* name, SourceLocation where) {
  require(tensor.defined(), name, "the tensor is undefined, as the bias of a layer without one", where);
  require(tensor.dtype(where) == f32, name,
          std::string("only f32 tensors are initialised, this one is ") + to_string(tensor.dtype(where)), where);
  require(tensor.is_leaf(where), name, "only leaves are initialised, this value was computed", where);
}

// All ops here change their first input in place, and are no part of what goes backward.
Prepared in_place(std::int64_t scratch = 0) {
  Prepared out;
  out.updates = {0};
  out.scratch = scratch;
  return out;
}

template <class Op>
void change(Op op, std::initializer_list<Tensor> inputs, SourceLocation where) {
  if (tidemark::detail::waits_for_elements(*inputs.begin())) return;
  const NoGrad no_grad;
  (void)apply_all(any_op(std::move(op)), {inputs.begin(), inputs.size()}, where);
}

struct Constant {
  static constexpr std::string_view name = "constant";
  float value;

  void describe(Attributes& a) const { a("value", value); }
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const { return in_place(); }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    ctx.parallel_for(in[0].numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
      std::fill(in[0].as<>() + begin, in[0].as<>() + end, value);
    });
  }
};

// Elements from `offset` on become those of the second input.
struct Put {
  static constexpr std::string_view name = "put";
  std::int64_t offset;

  void describe(Attributes& a) const { a("offset", offset); }
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const { return in_place(); }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const {
    std::memcpy(in[0].as<>() + offset, in[1].data, static_cast<std::size_t>(in[1].numel()) * sizeof(float));
  }
};

// The probability of a standard normal number below x.
double normal_below(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// The x of which normal_below() is p, in (0, 1): Acklam's rational approximation, to 1.2e-9 of x.
double normal_quantile(double p) {
  constexpr double kTail = 0.02425;
  if (p < kTail || p > 1 - kTail) {
    const double q = std::sqrt(-2 * std::log(std::min(p, 1 - p)));
    const double x =
        (((((-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838) * q - 2.549732539343734) * q +
          4.374664141464968) *
             q +
         2.938163982698783) /
        ((((7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996) * q + 3.754408661907416) * q +
         1);
    return p < kTail ? x : -x;
  }
  const double q = p - 0.5;
  const double r = q * q;
  return (((((-3.969683028665376e+01 * r + 2.209460984245205e+02) * r - 2.759285104469687e+02) * r +
            1.383577518672690e+02) *
               r -
           3.066479806614716e+01) *
              r +
          2.506628277459239) *
         q /
         (((((-5.447609879822406e+01 * r + 1.615858368580409e+02) * r - 1.556989798598866e+02) * r +
            6.680131188771972e+01) *
               r -
           1.328068155288572e+01) *
              r +
          1);
}

// As Put, of normal numbers that are made of the second input, uniform in [0, 1).
struct PutTruncNormal {
  static constexpr std::string_view name = "put_trunc_normal";
  std::int64_t offset;
  TruncNormalOptions options;

  void describe(Attributes& a) const {
    a("offset", offset), a("mean", options.mean), a("stddev", options.stddev);
    a("low", options.low), a("high", options.high);
  }
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const { return in_place(); }
  double below(float bound) const { return normal_below((static_cast<double>(bound) - options.mean) / options.stddev); }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    const double low = below(options.low);
    const double width = below(options.high) - low;
    float* const out = in[0].as<>() + offset;
    ctx.parallel_for(in[1].numel(), 1024, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        // A uniform number is a multiple of 2^-24: half of that more is neither 0 nor 1.
        const double x = normal_quantile(low + width * (in[1].as<>()[i] + 0x1p-25));
        out[i] = std::clamp(static_cast<float>(options.mean + options.stddev * x), options.low, options.high);
      }
    });
  }
};

// [out, in, kernel ...] with a one where output i of a group sees its input i, in the middle of the kernel.
struct Dirac {
  static constexpr std::string_view name = "dirac";
  int groups;

  void describe(Attributes& a) const { a("groups", groups); }
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const { return in_place(); }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const {
    const Shape& shape = in[0].shape();
    std::fill_n(in[0].as<>(), shape.numel(), 0.0f);
    std::int64_t places = 1;
    std::int64_t middle = 0;
    for (int dim = 2; dim < shape.rank(); ++dim) {
      places *= shape[dim];
      middle = middle * shape[dim] + shape[dim] / 2;
    }
    if (places == 0) return;
    const std::int64_t outputs = shape[0] / groups;
    for (std::int64_t group = 0; group < groups; ++group) {
      for (std::int64_t i = 0; i < std::min(outputs, shape[1]); ++i) {
        in[0].as<>()[((group * outputs + i) * shape[1] + i) * places + middle] = 1;
      }
    }
  }
};

template <class A>
double dot(const A* a, const double* b, std::int64_t count) {
  constexpr std::int64_t kLanes = 8;  // sums that do not wait for each other
  double sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t k = 0; k < kLanes; ++k) sums[k] += static_cast<double>(a[i + k]) * b[i + k];
  }
  double sum = 0;
  for (; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  for (const double part : sums) sum += part;
  return sum;
}

// Orthonormal rows or columns of a matrix, by Gram and Schmidt: what remains of each vector beside those before it. Of
// normal numbers that is the Q of the QR decomposition whose R has a positive diagonal, as PyTorch's. Blocks of vectors
// are reduced by all those before them at a time, in double precision.
struct Orthogonalize {
  static constexpr std::string_view name = "orthogonalize";
  double gain;

  void describe(Attributes& a) const { a("gain", gain); }
  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    const auto [count, size] = vectors(in[0].shape);
    const bool columns = count < in[0].shape[0];
    return in_place(kBlock * (size + count) * std::int64_t{sizeof(double)} +
                    (columns ? count * size * std::int64_t{sizeof(float)} : 0));
  }
  // How many vectors, and of which size.
  static std::pair<std::int64_t, std::int64_t> vectors(const Shape& shape) {
    const std::int64_t rows = shape[0];
    const std::int64_t columns = rows == 0 ? 0 : shape.numel() / rows;
    return {std::min(rows, columns), std::max(rows, columns)};
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    const auto [count, size] = vectors(in[0].shape());
    float* const matrix = in[0].as<>();
    auto* const block = ctx.scratch<double>();
    if (count == in[0].shape()[0]) {
      run(ctx, matrix, count, size, block);
      return;
    }
    auto* const transposed = reinterpret_cast<float*>(block + kBlock * (size + count));
    for (std::int64_t i = 0; i < size; ++i) {
      for (std::int64_t k = 0; k < count; ++k) transposed[k * size + i] = matrix[i * count + k];
    }
    run(ctx, transposed, count, size, block);
    for (std::int64_t i = 0; i < size; ++i) {
      for (std::int64_t k = 0; k < count; ++k) matrix[i * count + k] = transposed[k * size + i];
    }
  }

 private:
  static constexpr std::int64_t kBlock = 16;   // vectors
  static constexpr std::int64_t kStrip = 128;  // elements of them

  void run(Ctx& ctx, float* vectors, std::int64_t count, std::int64_t size, double* block) const {
    double* const products = block + kBlock * size;
    for (std::int64_t first = 0; first < count; first += kBlock) {
      const std::int64_t width = std::min(kBlock, count - first);
      std::copy_n(vectors + first * size, width * size, block);
      // Twice, as the vectors before are rounded: what that leaves of them in a small remainder goes the second time.
      for (int pass = 0; pass < 2; ++pass) reduce(ctx, vectors, first, size, block, width, products);
      for (std::int64_t k = 0; k < width; ++k) {
        double* const vector = block + k * size;
        for (std::int64_t j = 0; j < k; ++j) {
          const double product = dot(block + j * size, vector, size);
          for (std::int64_t i = 0; i < size; ++i) vector[i] -= product * block[j * size + i];
        }
        const double norm = std::sqrt(dot(vector, vector, size));
        if (norm == 0) continue;  // a matrix of one element may be
        for (std::int64_t i = 0; i < size; ++i) vector[i] /= norm;
      }
      for (std::int64_t i = 0; i < width * size; ++i) vectors[first * size + i] = static_cast<float>(block[i]);
    }
    if (gain == 1) return;
    for (std::int64_t i = 0; i < count * size; ++i) vectors[i] = static_cast<float>(gain * vectors[i]);
  }

  // Takes the first `count` vectors out of those of the block. Threads share products, and then strips: each is
  // computed the same way whoever does it.
  static void reduce(Ctx& ctx, const float* vectors, std::int64_t count, std::int64_t size, double* block,
                     std::int64_t width, double* products) {
    ctx.parallel_for(count, 4, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t k = begin; k < end; ++k) {
        for (std::int64_t r = 0; r < width; ++r) {
          products[k * kBlock + r] = dot(vectors + k * size, block + r * size, size);
        }
      }
    });
    ctx.parallel_for(size, kStrip, [&](std::int64_t begin, std::int64_t end) {
      for (; begin < end; begin += kStrip) {
        const std::int64_t strip = std::min(kStrip, end - begin);
        for (std::int64_t k = 0; k < count; ++k) {
          const float* const vector = vectors + k * size + begin;
          for (std::int64_t r = 0; r < width; ++r) {
            double* const rest = block + r * size + begin;
            const double product = products[k * kBlock + r];
            for (std::int64_t i = 0; i < strip; ++i) rest[i] -= product * vector[i];
          }
        }
      }
    });
  }
};

// `put(offset)` of each piece that is drawn.
template <class Draw, class MakePut>
void put_pieces(const Tensor& tensor, SourceLocation where, const Draw& draw, const MakePut& put) {
  const std::int64_t count = tensor.numel(where);
  for (std::int64_t offset = 0; offset < count; offset += kPiece) {
    change(put(offset), {tensor, draw(Shape{std::min(kPiece, count - offset)})}, where);
  }
}

void put_uniform(const Tensor& tensor, float low, float high, SourceLocation where) {
  put_pieces(
      tensor, where, [&](const Shape& shape) { return tidemark::uniform(shape, low, high, where); },
      [](std::int64_t offset) { return Put{offset}; });
}

void put_normal(const Tensor& tensor, float mean, float stddev, SourceLocation where) {
  put_pieces(
      tensor, where, [&](const Shape& shape) { return tidemark::normal(shape, mean, stddev, where); },
      [](std::int64_t offset) { return Put{offset}; });
}

void put_uniform_of(const Tensor& tensor, double stddev, SourceLocation where) {
  const auto bound = static_cast<float>(std::sqrt(3.0) * stddev);
  put_uniform(tensor, -bound, bound, where);
}

Fans fans_of(const Tensor& tensor, const char* name, SourceLocation where) {
  check(tensor, name, where);
  const Shape& shape = tensor.shape(where);
  require(shape.rank() >= 2, name,
          "fan in and fan out are those of two dimensions or more, but the tensor is " + shape.to_string(), where);
  return calculate_fans(shape, where);
}

double xavier_stddev(const Tensor& tensor, double gain, const char* name, SourceLocation where) {
  const Fans fans = fans_of(tensor, name, where);
  return gain * std::sqrt(2 / (fans.in + fans.out));
}

double kaiming_stddev(const Tensor& tensor, const KaimingOptions& options, const char* name, SourceLocation where) {
  const Fans fans = fans_of(tensor, name, where);
  return calculate_gain(options.nonlinearity, options.slope) /
         std::sqrt(options.mode == FanMode::kFanIn ? fans.in : fans.out);
}

}  // namespace

double calculate_gain(Nonlinearity nonlinearity, double slope) {
  switch (nonlinearity) {
    case Nonlinearity::kTanh:
      return 5.0 / 3;
    case Nonlinearity::kRelu:
      return std::sqrt(2.0);
    case Nonlinearity::kLeakyRelu:
      return std::sqrt(2 / (1 + slope * slope));
    case Nonlinearity::kSelu:
      return 0.75;
    case Nonlinearity::kLinear:
    case Nonlinearity::kSigmoid:
      break;
  }
  return 1;
}

Fans calculate_fans(const Shape& shape, SourceLocation where) {
  require(shape.rank() >= 2, "init::calculate_fans",
          "the shape must have two dimensions or more, but is " + shape.to_string(), where);
  double places = 1;
  for (int dim = 2; dim < shape.rank(); ++dim) places *= static_cast<double>(shape[dim]);
  return {.in = static_cast<double>(shape[1]) * places, .out = static_cast<double>(shape[0]) * places};
}

void constant(const Tensor& tensor, float value, SourceLocation where) {
  check(tensor, "init::constant", where);
  change(Constant{value}, {tensor}, where);
}

void zeros(const Tensor& tensor, SourceLocation where) {
  check(tensor, "init::zeros", where);
  change(Constant{0}, {tensor}, where);
}

void ones(const Tensor& tensor, SourceLocation where) {
  check(tensor, "init::ones", where);
  change(Constant{1}, {tensor}, where);
}

void uniform(const Tensor& tensor, float low, float high, SourceLocation where) {
  check(tensor, "init::uniform", where);
  put_uniform(tensor, low, high, where);
}

void normal(const Tensor& tensor, float mean, float stddev, SourceLocation where) {
  check(tensor, "init::normal", where);
  put_normal(tensor, mean, stddev, where);
}

void trunc_normal(const Tensor& tensor, const TruncNormalOptions& options, SourceLocation where) {
  constexpr char kName[] = "init::trunc_normal";
  check(tensor, kName, where);
  require(std::isfinite(options.mean) && std::isfinite(options.stddev) && options.stddev > 0, kName,
          ".mean and .stddev must be finite, and the deviation above 0, but they are " + std::to_string(options.mean) +
              " and " + std::to_string(options.stddev),
          where);
  const PutTruncNormal op{.offset = 0, .options = options};
  require(op.below(options.high) - op.below(options.low) >= 1e-9, kName,
          "from .low = " + std::to_string(options.low) + " to .high = " + std::to_string(options.high) +
              " there is nothing of the distribution, or less than 1e-9 of it",
          where);
  put_pieces(
      tensor, where, [&](const Shape& shape) { return tidemark::uniform(shape, 0, 1, where); },
      [&](std::int64_t offset) { return PutTruncNormal{.offset = offset, .options = options}; });
}

void xavier_uniform(const Tensor& tensor, double gain, SourceLocation where) {
  put_uniform_of(tensor, xavier_stddev(tensor, gain, "init::xavier_uniform", where), where);
}

void xavier_normal(const Tensor& tensor, double gain, SourceLocation where) {
  put_normal(tensor, 0, static_cast<float>(xavier_stddev(tensor, gain, "init::xavier_normal", where)), where);
}

void kaiming_uniform(const Tensor& tensor, const KaimingOptions& options, SourceLocation where) {
  put_uniform_of(tensor, kaiming_stddev(tensor, options, "init::kaiming_uniform", where), where);
}

void kaiming_normal(const Tensor& tensor, const KaimingOptions& options, SourceLocation where) {
  put_normal(tensor, 0, static_cast<float>(kaiming_stddev(tensor, options, "init::kaiming_normal", where)), where);
}

void orthogonal(const Tensor& tensor, double gain, SourceLocation where) {
  constexpr char kName[] = "init::orthogonal";
  check(tensor, kName, where);
  const Shape& shape = tensor.shape(where);
  require(shape.rank() >= 2, kName, "the tensor must have two dimensions or more, but is " + shape.to_string(), where);
  require(std::isfinite(gain), kName, "the gain must be finite, but is " + std::to_string(gain), where);
  put_normal(tensor, 0, 1, where);
  change(Orthogonalize{gain}, {tensor}, where);
}

void eye(const Tensor& tensor, SourceLocation where) {
  constexpr char kName[] = "init::eye";
  check(tensor, kName, where);
  const Shape& shape = tensor.shape(where);
  require(shape.rank() == 2, kName, "the tensor must be a matrix, but is " + shape.to_string(), where);
  change(Dirac{1}, {tensor}, where);
}

void dirac(const Tensor& tensor, int groups, SourceLocation where) {
  constexpr char kName[] = "init::dirac";
  check(tensor, kName, where);
  const Shape& shape = tensor.shape(where);
  require(shape.rank() >= 3, kName, "the tensor must be [out, in, kernel ...], but is " + shape.to_string(), where);
  require_positive(groups, kName, "the number of groups", where);
  require(shape[0] % groups == 0, kName,
          std::to_string(groups) + " groups do not divide " + std::to_string(shape[0]) + " channels", where);
  change(Dirac{groups}, {tensor}, where);
}

}  // namespace tidemark::nn::init
