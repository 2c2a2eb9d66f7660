// Conversion to another element type.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/cast.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                     // IWYU pragma: keep
#include "hwy/highway.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "ops/kernels.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

using CastKernel = void (*)(std::int64_t n, const void* x, void* y);

// What the range of the target cannot hold becomes its nearest end, and a NaN zero. Bytes are the low ones of integers.
template <class To, class From>
HWY_INLINE To converted(From x) {
  if constexpr (std::is_same_v<From, float> && std::is_same_v<To, std::uint8_t>) {
    const float bounded = x > 0 ? (x < 255 ? x : 255) : 0;
    return static_cast<std::uint8_t>(bounded);
  } else if constexpr (std::is_same_v<From, float>) {
    constexpr float kBelow = -0x1p31f;
    constexpr float kLast = 0x1.fffffep30f;  // the largest float that i32 holds
    const float bounded = x > kBelow ? (x < kLast ? x : kLast) : kBelow;
    const auto y = static_cast<std::int32_t>(bounded);
    return x > kLast ? std::numeric_limits<std::int32_t>::max() : (x == x ? y : 0);
  } else {
    return static_cast<To>(x);
  }
}

// The compiler makes vectors of this loop.
template <class To, class From>
void convert(std::int64_t n, const void* from, void* to) {
  const auto* x = static_cast<const From*>(from);
  auto* y = static_cast<To*>(to);
  for (std::int64_t i = 0; i < n; ++i) y[i] = converted<To>(x[i]);
}

CastKernel cast_kernel(DType from, DType to) {
  switch (from) {
    case DType::f32:
      return to == i32 ? convert<std::int32_t, float> : convert<std::uint8_t, float>;
    case DType::i32:
      return to == f32 ? convert<float, std::int32_t> : convert<std::uint8_t, std::int32_t>;
    default:
      return to == f32 ? convert<float, std::uint8_t> : convert<std::int32_t, std::uint8_t>;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(cast_kernel);

struct Cast {
  static constexpr std::string_view name = "to";
  DType dtype = f32;

  void describe(Attributes& a) const { a("dtype", static_cast<int>(dtype)); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    for (const DType type : {in[0].dtype, dtype}) {
      prep.require(type == f32 || type == i32 || type == u8,
                   ops::describe("x", in[0]) + ", to become " + to_string(dtype) + "; both must be f32, i32 or u8");
    }
    Prepared out;
    out.outputs = {Meta::plain(in[0].shape, dtype)};
    out.input_layouts = {kPlain};
    const double n = as_double(in[0].shape.numel());
    out.work = {n, n * as_double(size_of(in[0].dtype) + size_of(dtype))};
    if (size_of(in[0].dtype) == size_of(dtype)) out.overwrites = {{0, 0}};
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const DType from = in[0].meta->dtype;
    const auto kernel = HWY_DYNAMIC_DISPATCH(cast_kernel)(from, dtype);
    for_elements(ctx, out[0].numel(), 8, [&](std::int64_t begin, std::int64_t end) {
      kernel(end - begin, in[0].as<const std::byte>() + begin * size_of(from),
             out[0].as<std::byte>() + begin * size_of(dtype));
    });
  }

  static std::vector<Sample> samples() {
    using Fill = SampleInput::Fill;
    const SampleInput floats{.shape = {7, 19}, .differentiable = false};
    const SampleInput integers{.shape = {7, 19}, .dtype = i32, .fill = Fill::kIndices, .below = 1000};
    const SampleInput bytes{.shape = {7, 19}, .dtype = u8, .fill = Fill::kIndices, .below = 256};
    return {{"f32 to i32", {floats}, any_op(Cast{i32})},   {"f32 to u8", {floats}, any_op(Cast{u8})},
            {"i32 to f32", {integers}, any_op(Cast{f32})}, {"i32 to u8", {integers}, any_op(Cast{u8})},
            {"u8 to f32", {bytes}, any_op(Cast{f32})},     {"u8 to i32", {bytes}, any_op(Cast{i32})}};
  }
};

}  // namespace

std::vector<Sample> to_samples() { return Cast::samples(); }

}  // namespace ops

Tensor to(const Tensor& x, DType dtype, SourceLocation where) {
  if (x.dtype(where) == dtype) return x;
  return apply(ops::Cast{dtype}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
