// Comparisons, logic of masks, and what kind of number an element is: results are u8, 0 or 1, and have no gradient.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/comparisons.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                            // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/pointwise/walk.h"
#include "ops/table.h"

#ifndef TIDEMARK_OPS_COMPARISONS_SHARED_
#define TIDEMARK_OPS_COMPARISONS_SHARED_
namespace tidemark::ops {

enum class Flag : std::uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kAnd, kOr, kXor, kNot, kIsNan, kIsInf, kIsFinite };
inline constexpr std::size_t kFlags = 13;

// y[i] = a[i] against b[i], as floats, as integers, or integers against doubles. Masks are bytes whatever the types.
using FlagKernel = void (*)(std::int64_t n, const void* a, const void* b, std::uint8_t* y);
struct FlagKernels {
  FlagKernel floats;
  FlagKernel integers;
  FlagKernel integers_and_doubles;
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

template <Flag flag, class T>
HWY_INLINE bool holds(T a, T b) {
  if constexpr (flag == Flag::kEq) {
    return a == b;
  } else if constexpr (flag == Flag::kNe) {
    return a != b;
  } else if constexpr (flag == Flag::kLt) {
    return a < b;
  } else if constexpr (flag == Flag::kLe) {
    return a <= b;
  } else if constexpr (flag == Flag::kGt) {
    return a > b;
  } else if constexpr (flag == Flag::kGe) {
    return a >= b;
  } else if constexpr (flag == Flag::kAnd) {
    return (a != 0) & (b != 0);
  } else if constexpr (flag == Flag::kOr) {
    return (a != 0) | (b != 0);
  } else if constexpr (flag == Flag::kXor) {
    return (a != 0) != (b != 0);
  } else if constexpr (flag == Flag::kNot) {
    return a == 0;
  } else if constexpr (flag == Flag::kIsNan) {
    return a != a;
  } else if constexpr (flag == Flag::kIsInf) {
    return std::fabs(a) > std::numeric_limits<T>::max();
  } else {
    return std::fabs(a) <= std::numeric_limits<T>::max();
  }
}

// Compilers vectorize it.
template <Flag flag, class A, class B>
void flags_of(std::int64_t n, const void* a, const void* b, std::uint8_t* y) {
  const auto* left = static_cast<const A*>(a);
  const auto* right = static_cast<const B*>(b);
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] = holds<flag, B>(static_cast<B>(left[i]), right[i]) ? 1 : 0;
  }
}

template <std::size_t i>
constexpr FlagKernels kernels_of() {
  constexpr auto kFlag = static_cast<Flag>(i);
  if constexpr (kFlag <= Flag::kGe) {
    return {flags_of<kFlag, float, float>, flags_of<kFlag, std::int32_t, std::int32_t>,
            flags_of<kFlag, std::int32_t, double>};
  } else if constexpr (kFlag <= Flag::kNot) {
    return {flags_of<kFlag, std::uint8_t, std::uint8_t>, nullptr, nullptr};
  } else {
    return {flags_of<kFlag, float, float>, nullptr, nullptr};
  }
}

template <std::size_t... i>
const FlagKernels* all_kernels(std::index_sequence<i...>) {
  static constexpr FlagKernels kKernels[] = {kernels_of<i>()...};
  return kKernels;
}
const FlagKernels* flag_kernels() { return all_kernels(std::make_index_sequence<kFlags>()); }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(flag_kernels);

// Of one or two tensors; or of one and a number, which is the right operand.
template <Flag flag>
struct Flags {
  static constexpr std::string_view name = std::array<std::string_view, kFlags>{
      "eq",         "ne",          "lt",          "le",    "gt",    "ge",      "logical_and",
      "logical_or", "logical_xor", "logical_not", "isnan", "isinf", "isfinite"}[static_cast<std::size_t>(flag)];
  static constexpr bool kUnary = flag >= Flag::kNot;
  static constexpr bool kOfMasks = flag >= Flag::kAnd && flag <= Flag::kNot;
  std::optional<double> number;

  void describe(Attributes& a) const {
    if (number) a("number", *number);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    const bool one = in.size() == 1;
    const std::string text =
        one ? ops::describe("x", in[0]) : ops::describe("a", in[0]) + ", " + ops::describe("b", in[1]);
    if constexpr (kOfMasks) {
      for (const Meta& meta : in) prep.require(meta.dtype == u8, text + "; masks must be u8");
    } else if constexpr (kUnary) {
      prep.require(in[0].dtype == f32, text + "; it must be f32");
    } else {
      for (const Meta& meta : in) {
        prep.require(meta.dtype == in[0].dtype && (meta.dtype == f32 || meta.dtype == i32),
                     text + "; operands must be f32 or i32, and both of one dtype");
      }
    }
    const std::optional<Shape> shape = one ? in[0].shape : broadcast(in[0].shape, in[1].shape);
    prep.require(shape.has_value(), text + ", which do not broadcast");
    Prepared out;
    out.outputs = {Meta::plain(*shape, u8)};
    out.input_layouts.assign(in.size(), kPlain);
    out.work = {as_double(shape->numel()), as_double(out.outputs[0].bytes)};
    for (std::size_t i = 0; i < in.size(); ++i) {
      out.work.bytes += as_double(in[i].shape.numel() * size_of(in[i].dtype));
      if (kOfMasks && in[i].shape == *shape) out.overwrites.emplace_back(static_cast<int>(i), 0);
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const FlagKernels& kernels = HWY_DYNAMIC_DISPATCH(flag_kernels)()[static_cast<std::size_t>(flag)];
    if constexpr (kOfMasks) {
      run<std::uint8_t, std::uint8_t>(ctx, kernels.floats, in, out[0], 0);
    } else if (in[0].meta->dtype == f32) {
      run<float, float>(ctx, kernels.floats, in, out[0], static_cast<float>(number.value_or(0)));
    } else if (number) {
      run<std::int32_t, double>(ctx, kernels.integers_and_doubles, in, out[0], *number);
    } else {
      run<std::int32_t, std::int32_t>(ctx, kernels.integers, in, out[0], 0);
    }
  }

  static std::vector<Sample> samples() {
    const auto input = [](const Shape& shape, DType dtype) {
      SampleInput out{.shape = shape, .dtype = dtype, .differentiable = false};
      if (dtype != f32) out.fill = SampleInput::Fill::kIndices, out.below = dtype == u8 ? 2 : 4;
      return out;
    };
    const DType dtype = kOfMasks ? u8 : f32;
    std::vector<Sample> out = {{"image", {input({2, 3, 5, 4}, dtype)}, any_op(Flags{})},
                               {"matrix", {input({7, 19}, dtype)}, any_op(Flags{})}};
    if constexpr (kUnary) return out;
    for (Sample& sample : out) sample.inputs.push_back(sample.inputs[0]);
    const auto add = [&](std::string label, std::vector<SampleInput> inputs, Flags op) {
      out.push_back({std::move(label), std::move(inputs), any_op(op)});
    };
    add("row", {input({4, 5, 9}, dtype), input({9}, dtype)}, {});
    add("both", {input({5, 1, 3}, dtype), input({4, 1}, dtype)}, {});
    if constexpr (!kOfMasks) {
      add("integers", {input({5, 7}, i32), input({5, 1}, i32)}, {});
      add("number", {input({5, 7}, f32)}, {0.25});
      add("integers and a number", {input({5, 7}, i32)}, {1.5});
    }
    return out;
  }

 private:
  template <class A, class B>
  static void run(const Ctx& ctx, FlagKernel kernel, std::span<const Buf> in, const Buf& out, B number) {
    auto* y = out.as<std::uint8_t>();
    const auto* a = in[0].as<const A>();
    const auto* b = in.size() == 1 ? &number : in[1].as<const B>();
    const Shape scalar;
    const Walk<2> walk(out.shape(), {in[0].shape(), in.size() == 1 ? scalar : in[1].shape()});
    walk.run(ctx, 12, [&](std::int64_t at, std::int64_t count, const std::array<Run, 2>& runs) {
      if (!runs[0].repeated && !runs[1].repeated) {
        return kernel(count, a + runs[0].offset, b + runs[1].offset, y + at);
      }
      const RunOf<A> left(a, runs[0], count);
      const RunOf<B> right(b, runs[1], count);
      for (std::int64_t i = 0; i < count; i += kPiece) {
        kernel(std::min(kPiece, count - i), left.at(i), right.at(i), y + at + i);
      }
    });
  }
};

template <std::size_t... i>
std::vector<OpEntry> entries(std::index_sequence<i...>) {
  return {{Flags<static_cast<Flag>(i)>::name, Flags<static_cast<Flag>(i)>::samples}...};
}

// `mirrored` is the comparison with its operands exchanged.
template <Flag flag, Flag mirrored>
Tensor compare(const Operand& a, const Operand& b, SourceLocation where) {
  if (b.is_number()) return tidemark::apply(Flags<flag>{b.exact()}, {a.tensor()}, where);
  if (a.is_number()) return tidemark::apply(Flags<mirrored>{a.exact()}, {b.tensor()}, where);
  return tidemark::apply(Flags<flag>{}, {a.tensor(), b.tensor()}, where);
}

// The operand of an operator of masks.
const Tensor& mask_of(const Operand& operand, const char* operation) {
  if (operand.is_number()) {
    throw Error(std::string("[") + operation + "] an operand is the number " + std::to_string(operand.exact()) +
                "; masks are u8 tensors (at " + to_string(operand.where()) + ")");
  }
  return operand.tensor();
}

}  // namespace

std::vector<OpEntry> comparison_ops() { return entries(std::make_index_sequence<kFlags>()); }

}  // namespace ops

using ops::compare;
using ops::Flag;

Tensor eq(const Operand& a, const Operand& b, SourceLocation where) {
  return compare<Flag::kEq, Flag::kEq>(a, b, where);
}
Tensor ne(const Operand& a, const Operand& b, SourceLocation where) {
  return compare<Flag::kNe, Flag::kNe>(a, b, where);
}
Tensor lt(const Operand& a, const Operand& b, SourceLocation where) {
  return compare<Flag::kLt, Flag::kGt>(a, b, where);
}
Tensor le(const Operand& a, const Operand& b, SourceLocation where) {
  return compare<Flag::kLe, Flag::kGe>(a, b, where);
}
Tensor gt(const Operand& a, const Operand& b, SourceLocation where) {
  return compare<Flag::kGt, Flag::kLt>(a, b, where);
}
Tensor ge(const Operand& a, const Operand& b, SourceLocation where) {
  return compare<Flag::kGe, Flag::kLe>(a, b, where);
}
Tensor operator<(const Operand& a, const Operand& b) { return lt(a, b, a.where()); }
Tensor operator<=(const Operand& a, const Operand& b) { return le(a, b, a.where()); }
Tensor operator>(const Operand& a, const Operand& b) { return gt(a, b, a.where()); }
Tensor operator>=(const Operand& a, const Operand& b) { return ge(a, b, a.where()); }

Tensor logical_and(const Tensor& a, const Tensor& b, SourceLocation where) {
  return apply(ops::Flags<Flag::kAnd>{}, {a, b}, where);
}
Tensor logical_or(const Tensor& a, const Tensor& b, SourceLocation where) {
  return apply(ops::Flags<Flag::kOr>{}, {a, b}, where);
}
Tensor logical_xor(const Tensor& a, const Tensor& b, SourceLocation where) {
  return apply(ops::Flags<Flag::kXor>{}, {a, b}, where);
}
Tensor logical_not(const Tensor& a, SourceLocation where) { return apply(ops::Flags<Flag::kNot>{}, {a}, where); }
Tensor operator&(const Operand& a, const Operand& b) {
  return logical_and(ops::mask_of(a, "&"), ops::mask_of(b, "&"), a.where());
}
Tensor operator|(const Operand& a, const Operand& b) {
  return logical_or(ops::mask_of(a, "|"), ops::mask_of(b, "|"), a.where());
}
Tensor operator!(const Operand& a) { return logical_not(ops::mask_of(a, "!"), a.where()); }

Tensor isnan(const Tensor& x, SourceLocation where) { return apply(ops::Flags<Flag::kIsNan>{}, {x}, where); }
Tensor isinf(const Tensor& x, SourceLocation where) { return apply(ops::Flags<Flag::kIsInf>{}, {x}, where); }
Tensor isfinite(const Tensor& x, SourceLocation where) { return apply(ops::Flags<Flag::kIsFinite>{}, {x}, where); }

}  // namespace tidemark
#endif  // HWY_ONCE
