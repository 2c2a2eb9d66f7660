#include "tidemark/nn/sequential.h"

#include <algorithm>
#include <string>
#include <vector>

#include "nn/checks.h"
#include "tidemark/ops/shapes.h"

namespace tidemark::nn {

Tensor Sequential::operator()(const Tensor& x, SourceLocation where) const {
  if (size() == 0) {
    throw Error("[Sequential] it has no layer, or was moved from (at " + to_string(where) + ")");
  }
  Tensor y = x;
  for (const AnyModule& layer : *this) y = layer(y, where);
  return y;
}

Tensor Flatten::operator()(const Tensor& x, SourceLocation where) const { return flatten(x, 1, where); }

Unflatten::Unflatten(const UnflattenOptions& options, SourceLocation where) : dim_(options.dim) {
  const std::vector<std::int64_t>& sizes = options.sizes;
  require(!sizes.empty() && sizes.size() <= Shape::kMaxRank, "Unflatten",
          ".sizes must be 1 to " + std::to_string(Shape::kMaxRank) + " numbers, not " + std::to_string(sizes.size()),
          where);
  sizes_ = Shape(sizes);
  require(std::all_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size > 0 || size == -1; }) &&
              std::count(sizes.begin(), sizes.end(), -1) <= 1,
          "Unflatten", ".sizes must be at least 1, of which one may be -1 instead, but are " + sizes_.to_string(),
          where);
}

Tensor Unflatten::operator()(const Tensor& x, SourceLocation where) const {
  const Shape& shape = x.shape(where);
  const int rank = shape.rank();
  const int dim = dim_ < 0 ? dim_ + rank : dim_;
  require(dim >= 0 && dim < rank, "Unflatten",
          "x is " + shape.to_string() + ", which has no dimension " + std::to_string(dim_), where);
  require(rank - 1 + sizes_.rank() <= Shape::kMaxRank, "Unflatten",
          "x " + shape.to_string() + " and .sizes " + sizes_.to_string() + " make more than " +
              std::to_string(Shape::kMaxRank) + " dimensions",
          where);
  // Not left to reshape(), which cannot tell what -1 is where another dimension is empty.
  std::int64_t rest = shape[dim];
  bool fits = true;
  bool open = false;
  for (const std::int64_t size : sizes_.dims()) {
    if (size == -1) {
      open = true;
      continue;
    }
    fits = fits && rest % size == 0;
    rest /= size;
  }
  require(fits && (open || rest == 1), "Unflatten",
          "dimension " + std::to_string(dim_) + " of x " + shape.to_string() + " does not come apart into " +
              sizes_.to_string(),
          where);
  std::vector<std::int64_t> dims(shape.dims().begin(), shape.dims().begin() + dim);
  for (const std::int64_t size : sizes_.dims()) dims.push_back(size == -1 ? rest : size);
  dims.insert(dims.end(), shape.dims().begin() + dim + 1, shape.dims().end());
  return reshape(x, Shape(dims), where);
}

}  // namespace tidemark::nn
