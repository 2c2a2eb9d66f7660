// Other shapes of the same elements, parts of them, several brought together, and elements picked by an index.
//
// Results are row-major and complete: there are no strides, so what is not called a view below is a copy. A view shares
// the bytes of x. Dimensions count from the end where they are negative. A number counts as [1], but for what cuts or
// repeats it along a dimension. Where elements are only moved, every dtype is taken; gradients are those of f32.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

// Views: the same elements under another shape.
//
// One dimension may be -1: what is left.
Tensor reshape(const Tensor& x, const Shape& shape, SourceLocation where = SourceLocation::current());
// Dimensions from `first` on become one.
Tensor flatten(const Tensor& x, int first = 1, SourceLocation where = SourceLocation::current());
// Without all dimensions of size 1, or without this one if its size is 1.
Tensor squeeze(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor squeeze(const Tensor& x, int dim, SourceLocation where = SourceLocation::current());
// With a new dimension of size 1, which is `dim` of the result.
Tensor unsqueeze(const Tensor& x, int dim, SourceLocation where = SourceLocation::current());

// Elements in another order.
//
// Two dimensions change places; x itself where they are one.
Tensor transpose(const Tensor& x, int a, int b, SourceLocation where = SourceLocation::current());
// Dimension i of the result is dimension dims[i] of x; each is named once.
Tensor permute(const Tensor& x, std::span<const int> dims, SourceLocation where = SourceLocation::current());
inline Tensor permute(const Tensor& x, std::initializer_list<int> dims,
                      SourceLocation where = SourceLocation::current()) {
  return permute(x, std::span<const int>(dims.begin(), dims.size()), where);
}
// From the last index to the first, in these dimensions.
Tensor flip(const Tensor& x, std::span<const int> dims, SourceLocation where = SourceLocation::current());
inline Tensor flip(const Tensor& x, std::initializer_list<int> dims, SourceLocation where = SourceLocation::current()) {
  return flip(x, std::span<const int>(dims.begin(), dims.size()), where);
}
// What is at index i of dims[k] comes to i + shifts[k], and from the end to the front.
Tensor roll(const Tensor& x, std::span<const std::int64_t> shifts, std::span<const int> dims,
            SourceLocation where = SourceLocation::current());
inline Tensor roll(const Tensor& x, std::initializer_list<std::int64_t> shifts, std::initializer_list<int> dims,
                   SourceLocation where = SourceLocation::current()) {
  return roll(x, std::span<const std::int64_t>(shifts.begin(), shifts.size()),
              std::span<const int>(dims.begin(), dims.size()), where);
}

// Parts. They are views where they are one run of bytes that begins at a multiple of 64: a part of the first dimension,
// or of a later one where those before have size 1. Else they are copies.
//
// [begin, end) of one dimension; negative ends count from the end of it. Ends beyond it are refused, where PyTorch
// takes what there is.
Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end,
             SourceLocation where = SourceLocation::current());
// Every step-th of [begin, end), the first of it included; step is at least 1.
Tensor slice(const Tensor& x, int dim, std::int64_t begin, std::int64_t end, std::int64_t step,
             SourceLocation where = SourceLocation::current());
// `length` indices from `begin` on.
Tensor narrow(const Tensor& x, int dim, std::int64_t begin, std::int64_t length,
              SourceLocation where = SourceLocation::current());
// One index of a dimension, which vanishes.
Tensor select(const Tensor& x, int dim, std::int64_t index, SourceLocation where = SourceLocation::current());
// All of them, one after the other.
std::vector<Tensor> unbind(const Tensor& x, int dim = 0, SourceLocation where = SourceLocation::current());
// Parts of these sizes, which add up to the dimension's, or all of one size, the last of what is left.
std::vector<Tensor> split(const Tensor& x, std::span<const std::int64_t> sizes, int dim = 0,
                          SourceLocation where = SourceLocation::current());
inline std::vector<Tensor> split(const Tensor& x, std::initializer_list<std::int64_t> sizes, int dim = 0,
                                 SourceLocation where = SourceLocation::current()) {
  return split(x, std::span<const std::int64_t>(sizes.begin(), sizes.size()), dim, where);
}
std::vector<Tensor> split(const Tensor& x, std::int64_t size, int dim = 0,
                          SourceLocation where = SourceLocation::current());
// At most `chunks` parts of one size, rounded up, the last of what is left; of an empty dimension `chunks` empty ones.
std::vector<Tensor> chunk(const Tensor& x, std::int64_t chunks, int dim = 0,
                          SourceLocation where = SourceLocation::current());
// What is on a diagonal of the matrices that dim1 and dim2 make, as the last dimension; those two vanish. Diagonals of
// positive offsets are above the main one.
Tensor diagonal(const Tensor& x, std::int64_t offset = 0, int dim1 = 0, int dim2 = 1,
                SourceLocation where = SourceLocation::current());
// x [..., M, N] with zeros above, or below, the diagonal of that offset.
Tensor tril(const Tensor& x, std::int64_t diagonal = 0, SourceLocation where = SourceLocation::current());
Tensor triu(const Tensor& x, std::int64_t diagonal = 0, SourceLocation where = SourceLocation::current());

// Several brought together, and more of the same.
Tensor concat(std::span<const Tensor> parts, int dim, SourceLocation where = SourceLocation::current());
inline Tensor concat(std::initializer_list<Tensor> parts, int dim, SourceLocation where = SourceLocation::current()) {
  return concat(std::span<const Tensor>(parts.begin(), parts.size()), dim, where);
}
// Along a new dimension, `dim` of the result; the parts are of one shape.
Tensor stack(std::span<const Tensor> parts, int dim = 0, SourceLocation where = SourceLocation::current());
inline Tensor stack(std::initializer_list<Tensor> parts, int dim = 0,
                    SourceLocation where = SourceLocation::current()) {
  return stack(std::span<const Tensor>(parts.begin(), parts.size()), dim, where);
}
// Dimensions of size 1 repeated to those of `shape`, which may have more in front; -1 leaves one as it is. A copy of
// all elements, and its gradient their sum: arithmetic broadcasts by itself and needs none.
Tensor expand(const Tensor& x, const Shape& shape, SourceLocation where = SourceLocation::current());
// x so many times, one behind the other, in each dimension; more numbers than dimensions make new ones in front. Each
// dimension that is repeated is a pass over the result.
Tensor repeat(const Tensor& x, std::span<const std::int64_t> repeats, SourceLocation where = SourceLocation::current());
inline Tensor repeat(const Tensor& x, std::initializer_list<std::int64_t> repeats,
                     SourceLocation where = SourceLocation::current()) {
  return repeat(x, std::span<const std::int64_t>(repeats.begin(), repeats.size()), where);
}
// Each index of a dimension so many times in a row.
Tensor repeat_interleave(const Tensor& x, std::int64_t repeats, int dim,
                         SourceLocation where = SourceLocation::current());

enum class PadMode : std::uint8_t {
  kConstant,   // PadOptions::value
  kReflect,    // mirrored at the edge, which is not repeated: less than the dimension's size
  kReplicate,  // the edge again and again
  kCircular,   // from the other end: at most the dimension's size
};
struct PadOptions {
  PadMode mode = PadMode::kConstant;
  float value = 0;  // one that x's dtype holds; 0 for f16
};
// {before, after} for each of the last dimensions, in their order: {{1, 1}, {2, 0}} pads a row on top and at the bottom
// of images and two columns on the left. (PyTorch's pad begins with the last dimension.) Negative numbers crop, in mode
// kConstant.
Tensor pad(const Tensor& x, std::span<const std::array<std::int64_t, 2>> padding, const PadOptions& options = {},
           SourceLocation where = SourceLocation::current());
inline Tensor pad(const Tensor& x, std::initializer_list<std::array<std::int64_t, 2>> padding,
                  const PadOptions& options = {}, SourceLocation where = SourceLocation::current()) {
  return pad(x, std::span<const std::array<std::int64_t, 2>>(padding.begin(), padding.size()), options, where);
}

// Elements by index. Indices are i32; one outside of [0, size) throws ShapeError when the kernel meets it. Sums go in
// the order of the index, the same on every number of threads.
//
// y[i][j][k] = x[index[i][j][k]][j][k] for dim 0, and so on; y has the index's shape, which has x's rank and is no
// larger in the other dimensions.
Tensor gather(const Tensor& x, int dim, const Tensor& index, SourceLocation where = SourceLocation::current());
// The same, where index and x are broadcast to each other in the other dimensions; what is broadcast is copied.
Tensor take_along_dim(const Tensor& x, const Tensor& index, int dim, SourceLocation where = SourceLocation::current());
// x, but src[i][j][k] at [index[i][j][k]][j][k] for dim 0, and so on; src has the index's shape. Where several fall on
// one place the last stays, and has the gradient.
Tensor scatter(const Tensor& x, int dim, const Tensor& index, const Tensor& src,
               SourceLocation where = SourceLocation::current());
// x and all that falls on its places, added up.
Tensor scatter_add(const Tensor& x, int dim, const Tensor& index, const Tensor& src,
                   SourceLocation where = SourceLocation::current());
// The slabs of a dimension that an index of one dimension names.
Tensor index_select(const Tensor& x, int dim, const Tensor& index, SourceLocation where = SourceLocation::current());
// x and the slabs of src, added to those that the index names.
Tensor index_add(const Tensor& x, int dim, const Tensor& index, const Tensor& src,
                 SourceLocation where = SourceLocation::current());
// index [...] -> [..., classes] f32: 1 at the index and 0 elsewhere.
Tensor one_hot(const Tensor& index, std::int64_t classes, SourceLocation where = SourceLocation::current());

struct UnfoldOptions {
  std::array<int, 2> kernel = {1, 1};
  std::array<int, 2> dilation = {1, 1};
  std::array<int, 2> padding = {0, 0};
  std::array<int, 2> stride = {1, 1};
};
// x [N, C, H, W] -> [N, C * kernel places, windows]: what each window of the kernel sees. f32.
Tensor unfold(const Tensor& x, const UnfoldOptions& options, SourceLocation where = SourceLocation::current());
// The reverse, to images of `size` {H, W}: elements that several windows see are sums.
Tensor fold(const Tensor& x, std::array<std::int64_t, 2> size, const UnfoldOptions& options,
            SourceLocation where = SourceLocation::current());
// [..., C * factor * factor, H, W] -> [..., C, H * factor, W * factor], and back.
Tensor pixel_shuffle(const Tensor& x, std::int64_t factor, SourceLocation where = SourceLocation::current());
Tensor pixel_unshuffle(const Tensor& x, std::int64_t factor, SourceLocation where = SourceLocation::current());

// Leaves, in the current session.
//
// begin, begin + step, ... as far as end, which is not reached: i32 where all numbers are of integer types, else f32.
Tensor arange(detail::Number begin, detail::Number end, detail::Number step = 1,
              SourceLocation where = SourceLocation::current());
// `count` numbers at equal distances, both ends included. f32.
Tensor linspace(float begin, float end, std::int64_t count, SourceLocation where = SourceLocation::current());
// Ones on the main diagonal and zeros elsewhere. f32.
Tensor eye(std::int64_t rows, std::int64_t columns, SourceLocation where = SourceLocation::current());
inline Tensor eye(std::int64_t rows, SourceLocation where = SourceLocation::current()) {
  return eye(rows, rows, where);
}
// Of x's shape and dtype, without a gradient.
Tensor zeros_like(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor ones_like(const Tensor& x, SourceLocation where = SourceLocation::current());
Tensor full_like(const Tensor& x, float value, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
