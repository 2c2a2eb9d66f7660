// Element types, shapes and metas.
#include <algorithm>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tidemark/meta.h"
#include "tidemark/shape.h"

namespace tidemark {

std::int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
      return 2;
    case DType::u8:
      return 1;
  }
  throw Error("unknown dtype");
}

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
  }
  return "unknown dtype";
}

Shape::Shape(std::initializer_list<std::int64_t> dims, SourceLocation where)
    : Shape(std::span<const std::int64_t>(dims.begin(), dims.size()), where) {}

Shape::Shape(std::span<const std::int64_t> dims, SourceLocation where) {
  if (dims.size() > kMaxRank) {
    throw ShapeError(absl::StrCat("a shape has at most ", kMaxRank, " dimensions, this one has ", dims.size(), " (at ",
                                  tidemark::to_string(where), ")"));
  }
  rank_ = static_cast<std::int8_t>(dims.size());
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

std::int64_t Shape::operator[](int dim) const {
  const int index = dim < 0 ? dim + rank_ : dim;
  if (index < 0 || index >= rank_) {
    throw ShapeError(absl::StrCat("dimension ", dim, " of shape ", to_string(), " does not exist"));
  }
  return dims_[static_cast<std::size_t>(index)];
}

std::int64_t Shape::numel() const {
  const std::span<const std::int64_t> all = dims();
  if (std::any_of(all.begin(), all.end(), [](std::int64_t dim) { return dim < 0; })) {
    throw ShapeError(absl::StrCat("a shape cannot be ", to_string()));
  }
  // The other dimensions of an empty shape are bounded as well: kernels multiply those on one side of the empty one.
  const bool empty = std::find(all.begin(), all.end(), 0) != all.end();
  std::int64_t count = 1;
  for (std::int64_t dim : all) {
    if (__builtin_mul_overflow(count, std::max<std::int64_t>(dim, 1), &count) || count > kMaxBytes) {
      throw ShapeError(absl::StrCat("a value of shape ", to_string(), " would have more than ", kMaxBytes, " elements",
                                    empty ? " beside its empty dimensions" : ""));
    }
  }
  return empty ? 0 : count;
}

Shape Shape::with(int dim, std::int64_t size) const {
  static_cast<void>((*this)[dim]);
  Shape out = *this;
  out.dims_[static_cast<std::size_t>(dim < 0 ? dim + rank_ : dim)] = size;
  return out;
}

std::string Shape::to_string() const { return absl::StrCat("[", absl::StrJoin(dims(), ", "), "]"); }

Meta Meta::plain(const Shape& shape, DType dtype) {
  const std::int64_t bytes = shape.numel() * size_of(dtype);
  if (bytes > kMaxBytes) {
    throw ShapeError(absl::StrCat("a value of shape ", shape.to_string(), " and dtype ", tidemark::to_string(dtype),
                                  " would have more than ", kMaxBytes, " bytes"));
  }
  return {shape, dtype, Layout{}, bytes};
}

}  // namespace tidemark
