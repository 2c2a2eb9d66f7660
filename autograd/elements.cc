#include "autograd/elements.h"

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compute/half.h"

namespace tidemark::detail {
namespace {

// An f16 in memory; its number is read and written as a float.
struct F16 {
  compute::half bits;
};

template <class T>
auto number(T value) {
  if constexpr (std::is_same_v<T, F16>) {
    return compute::half_to_float(value.bits);
  } else {
    return value;
  }
}

// Rounded once, to f16, where the way there leads over f32: what f32 cuts off is kept as its lowest bit.
template <class Number>
float to_float_for_half(Number value) {
  const auto wide = static_cast<double>(value);
  const auto near = static_cast<float>(wide);
  if (static_cast<double>(near) == wide || !std::isfinite(near)) return near;
  auto bits = std::bit_cast<std::uint32_t>(near);
  if (std::abs(static_cast<double>(near)) > std::abs(wide)) --bits;
  return std::bit_cast<float>(bits | 1u);
}

constexpr const char* kNames[] = {"f16",      "float",   "double",   "int8_t",  "uint8_t", "int16_t",
                                  "uint16_t", "int32_t", "uint32_t", "int64_t", "uint64_t"};

// Whether the integer type To has this number.
template <class To, class Number>
bool holds(Number value) {
  if constexpr (std::is_integral_v<Number>) {
    return std::in_range<To>(value);
  } else {
    // Both limits are powers of two, so that a double has them exactly.
    const auto wide = static_cast<double>(value);
    constexpr double kEnd = 2.0 * static_cast<double>(std::uint64_t{1} << (std::numeric_limits<To>::digits - 1));
    return wide >= static_cast<double>(std::numeric_limits<To>::min()) && wide < kEnd && wide == std::trunc(wide);
  }
}

template <class From, class To>
void convert(const From* from, To* to, std::int64_t count, std::string_view what, SourceLocation where) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto value = number(from[i]);
    if constexpr (std::is_same_v<To, F16>) {
      to[i] = {compute::float_to_half(to_float_for_half(value))};
    } else if constexpr (std::is_floating_point_v<To>) {
      to[i] = static_cast<To>(value);
    } else {
      if (!holds<To>(value)) {
        throw Error(absl::StrCat("[", std::string(what), "] element ", i, " is ", +value, ", which ",
                                 kNames[static_cast<int>(element_type<To>())],
                                 " does not hold; use a floating-point type (at ", to_string(where), ")"));
      }
      to[i] = static_cast<To>(value);  // NOLINT(bugprone-signed-char-misuse): a number, not a character
    }
  }
}

// f(a value of the C++ type)
template <class F>
void with_type(ElementType type, F&& f) {
  switch (type) {
    case ElementType::kF16:
      return f(F16{});
    case ElementType::kF32:
      return f(float{});
    case ElementType::kF64:
      return f(double{});
    case ElementType::kI8:
      return f(std::int8_t{});
    case ElementType::kU8:
      return f(std::uint8_t{});
    case ElementType::kI16:
      return f(std::int16_t{});
    case ElementType::kU16:
      return f(std::uint16_t{});
    case ElementType::kI32:
      return f(std::int32_t{});
    case ElementType::kU32:
      return f(std::uint32_t{});
    case ElementType::kI64:
      return f(std::int64_t{});
    case ElementType::kU64:
      return f(std::uint64_t{});
  }
}

}  // namespace

ElementType element_type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ElementType::kF32;
    case DType::f16:
      return ElementType::kF16;
    case DType::i32:
      return ElementType::kI32;
    case DType::u8:
      return ElementType::kU8;
  }
  throw Error("unknown dtype");
}

void convert_elements(const void* from, ElementType from_type, void* to, ElementType to_type, std::int64_t count,
                      std::string_view what, SourceLocation where) {
  with_type(from_type, [&](auto source) {
    with_type(to_type, [&](auto target) {
      convert(static_cast<const decltype(source)*>(from), static_cast<decltype(target)*>(to), count, what, where);
    });
  });
}

}  // namespace tidemark::detail
