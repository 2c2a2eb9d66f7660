// What is known of a value without its bytes: shape, element type and the order of its elements in memory.
#pragma once

#include <cstdint>

#include "tidemark/shape.h"

#pragma GCC visibility push(default)
namespace tidemark {

// How elements lie in memory. Id 0 is plain row-major; others are kernel layouts that the machine hands out.
struct Layout {
  std::uint32_t id = 0;
  bool plain() const { return id == 0; }
  friend bool operator==(Layout, Layout) = default;
};

// Everything about a value but its bytes' content.
struct Meta {
  Shape shape;
  DType dtype = f32;
  Layout layout;
  std::int64_t bytes = 0;

  // Throws ShapeError where the bytes would pass kMaxBytes.
  static Meta plain(const Shape& shape, DType dtype = f32);
  friend bool operator==(const Meta&, const Meta&) = default;
};

}  // namespace tidemark
#pragma GCC visibility pop
