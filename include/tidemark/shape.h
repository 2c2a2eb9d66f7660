// Element types and shapes.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tidemark/error.h"

#pragma GCC visibility push(default)
namespace tidemark {

enum class DType : std::uint8_t { f32, f16, i32, u8 };
inline constexpr DType f32 = DType::f32;
inline constexpr DType f16 = DType::f16;
inline constexpr DType i32 = DType::i32;
inline constexpr DType u8 = DType::u8;

std::int64_t size_of(DType dtype);
const char* to_string(DType dtype);

// No value has more bytes or elements than this: 4 PiB.
inline constexpr std::int64_t kMaxBytes = std::int64_t{1} << 52;

// Up to 8 dimensions, outermost first; elements are row-major.
class Shape {
 public:
  static constexpr int kMaxRank = 8;
  Shape() = default;
  // More dimensions than kMaxRank throw ShapeError.
  Shape(std::initializer_list<std::int64_t> dims, SourceLocation where = SourceLocation::current());
  explicit Shape(std::span<const std::int64_t> dims, SourceLocation where = SourceLocation::current());

  int rank() const { return rank_; }
  // Negative indices count from the end. Out of range throws ShapeError.
  std::int64_t operator[](int dim) const;
  // Throws ShapeError where a dimension is negative or the product of those above 0 passes kMaxBytes.
  std::int64_t numel() const;
  std::span<const std::int64_t> dims() const { return {dims_.data(), static_cast<std::size_t>(rank_)}; }
  Shape with(int dim, std::int64_t size) const;
  std::string to_string() const;  // "[8, 3, 224, 224]"
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  std::int8_t rank_ = 0;
};

}  // namespace tidemark
#pragma GCC visibility pop
