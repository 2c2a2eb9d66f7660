// Functions that reshape, slice and concatenate: they are views where those are.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ops/shapes/moves.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace {

using ops::cut_dim_of;
using ops::dim_of;
using ops::refuse;

std::vector<std::int64_t> dims_of(const Shape& shape) { return {shape.dims().begin(), shape.dims().end()}; }

std::string x_is(const Tensor& x, SourceLocation where) { return "x is " + x.shape(where).to_string(); }

// x without dimension `at`, which has one index.
Tensor without(const Tensor& x, int at, SourceLocation where) {
  std::vector<std::int64_t> dims = dims_of(x.shape(where));
  dims.erase(dims.begin() + at);
  return reshape(x, Shape(dims), where);
}

}  // namespace

Tensor squeeze(const Tensor& x, SourceLocation where) {
  std::vector<std::int64_t> dims = dims_of(x.shape(where));
  std::erase(dims, 1);
  return reshape(x, Shape(dims), where);
}

Tensor squeeze(const Tensor& x, int dim, SourceLocation where) {
  const int at = dim_of("squeeze", x, dim, where);
  return x.shape(where).rank() > 0 && x.size(at, where) == 1 ? without(x, at, where) : x;
}

Tensor unsqueeze(const Tensor& x, int dim, SourceLocation where) {
  std::vector<std::int64_t> dims = dims_of(x.shape(where));
  const auto rank = static_cast<int>(dims.size());
  if (!ops::has_dim(dim, rank + 1) || rank == Shape::kMaxRank) {
    refuse("unsqueeze", x_is(x, where) + ", which cannot get a dimension " + std::to_string(dim), where);
  }
  dims.insert(dims.begin() + ops::from_front(dim, rank + 1), 1);
  return reshape(x, Shape(dims), where);
}

Tensor narrow(const Tensor& x, int dim, std::int64_t begin, std::int64_t length, SourceLocation where) {
  const int at = cut_dim_of("narrow", x, dim, where);
  const std::int64_t size = x.size(at, where);
  const std::int64_t first = begin < 0 ? begin + size : begin;
  if (first < 0 || first > size || length < 0 || length > size - first) {
    refuse("narrow",
           x_is(x, where) + ", which has no " + std::to_string(length) + " elements from " + std::to_string(begin) +
               " on in dimension " + std::to_string(dim),
           where);
  }
  return slice(x, at, first, first + length, where);
}

Tensor select(const Tensor& x, int dim, std::int64_t index, SourceLocation where) {
  const int at = cut_dim_of("select", x, dim, where);
  const std::int64_t size = x.size(at, where);
  if (index < -size || index >= size) {
    refuse("select",
           x_is(x, where) + ", which has no index " + std::to_string(index) + " in dimension " + std::to_string(dim),
           where);
  }
  const std::int64_t first = index < 0 ? index + size : index;
  return without(slice(x, at, first, first + 1, where), at, where);
}

std::vector<Tensor> unbind(const Tensor& x, int dim, SourceLocation where) {
  const int at = cut_dim_of("unbind", x, dim, where);
  std::vector<Tensor> out;
  for (std::int64_t i = 0; i < x.size(at, where); ++i) out.push_back(select(x, at, i, where));
  return out;
}

std::vector<Tensor> split(const Tensor& x, std::span<const std::int64_t> sizes, int dim, SourceLocation where) {
  const int at = cut_dim_of("split", x, dim, where);
  const std::int64_t size = x.size(at, where);
  std::int64_t left = size;
  bool fits = true;
  for (const std::int64_t part : sizes) {
    fits = fits && part >= 0 && part <= left;
    left -= fits ? part : 0;
  }
  if (!fits || left != 0) {
    std::string text;
    for (const std::int64_t part : sizes) text += (text.empty() ? "" : ", ") + std::to_string(part);
    refuse("split",
           x_is(x, where) + "; sizes {" + text + "} must add up to the " + std::to_string(size) + " of dimension " +
               std::to_string(dim),
           where);
  }
  std::vector<Tensor> out;
  std::int64_t begin = 0;
  for (const std::int64_t part : sizes) {
    out.push_back(slice(x, at, begin, begin + part, where));
    begin += part;
  }
  return out;
}

std::vector<Tensor> split(const Tensor& x, std::int64_t size, int dim, SourceLocation where) {
  const int at = cut_dim_of("split", x, dim, where);
  if (size < 1) {
    refuse("split", x_is(x, where) + "; the size of a part is " + std::to_string(size) + " and must be at least 1",
           where);
  }
  std::vector<std::int64_t> sizes;
  for (std::int64_t left = x.size(at, where); left > 0; left -= sizes.back()) sizes.push_back(std::min(size, left));
  if (sizes.empty()) sizes.push_back(0);
  return split(x, sizes, at, where);
}

std::vector<Tensor> chunk(const Tensor& x, std::int64_t chunks, int dim, SourceLocation where) {
  const int at = cut_dim_of("chunk", x, dim, where);
  if (chunks < 1) {
    refuse("chunk", x_is(x, where) + "; the number of chunks is " + std::to_string(chunks) + " and must be at least 1",
           where);
  }
  const std::int64_t size = x.size(at, where);
  if (size == 0) return split(x, std::vector<std::int64_t>(static_cast<std::size_t>(chunks), 0), at, where);
  return split(x, size / chunks + (size % chunks != 0 ? 1 : 0), at, where);
}

Tensor stack(std::span<const Tensor> parts, int dim, SourceLocation where) {
  if (parts.empty()) refuse("stack", "there is nothing to stack", where);
  const Shape& first = parts[0].shape(where);
  if (!ops::has_dim(dim, first.rank() + 1) || first.rank() == Shape::kMaxRank) {
    refuse("stack", "parts are " + first.to_string() + ", which cannot get a dimension " + std::to_string(dim), where);
  }
  std::vector<Tensor> slabs;
  for (const Tensor& part : parts) {
    if (part.shape(where) != first || part.dtype(where) != parts[0].dtype(where)) {
      refuse("stack",
             "part 0 is " + first.to_string() + " " + to_string(parts[0].dtype(where)) + ", part " +
                 std::to_string(slabs.size()) + " is " + part.shape(where).to_string() + " " +
                 to_string(part.dtype(where)) + "; they must be alike",
             where);
    }
    slabs.push_back(unsqueeze(part, dim, where));
  }
  return concat(slabs, ops::from_front(dim, first.rank() + 1), where);
}

}  // namespace tidemark
