// Types of numbers in the program's own memory, from which values are written and into which they are read.
//
// One rule for reading and writing: a number is converted to the other side's type. Between floating-point types it is
// rounded to the nearest. An integer type takes whole numbers in its range and nothing else: 0.5, -1 in an unsigned
// type and NaN are an Error that names the element, and nothing is written then.
#pragma once

#include <cstdint>
#include <type_traits>

#pragma GCC visibility push(default)
namespace tidemark {

enum class ElementType : std::uint8_t { kF16, kF32, kF64, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64 };

template <class T>
constexpr ElementType element_type() {
  static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && sizeof(T) <= 8,
                "elements are read and written as float, double, or an integer type of up to 64 bits");
  if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? ElementType::kF32 : ElementType::kF64;
  } else {
    constexpr int kSize = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    constexpr ElementType kSigned[] = {ElementType::kI8, ElementType::kI16, ElementType::kI32, ElementType::kI64};
    constexpr ElementType kUnsigned[] = {ElementType::kU8, ElementType::kU16, ElementType::kU32, ElementType::kU64};
    return std::is_signed_v<T> ? kSigned[kSize] : kUnsigned[kSize];
  }
}

}  // namespace tidemark
#pragma GCC visibility pop
