// Other orders, parts and repetitions of what a program has.
#include <algorithm>
#include <vector>

#include "tests/autograd/random_ops/random_ops.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

// Some rows' indices, each of [0, below).
Tensor indices(Draw& draw, const Shape& shape, int below) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(shape.numel()));
  for (std::int32_t& index : out) index = draw.pick(below);
  return tensor(out, shape);
}

Tensor permute_of(Draw& draw, const Tensor& x) {
  const Tensor image = draw.image_of(x);
  return permute(image, {0, 1, 3, 2});
}

Tensor parts_of(Draw& draw, const Tensor& x) {
  const std::vector<Tensor> parts = chunk(draw.matrix_of(x), 2 + draw.pick(2), 1);
  std::vector<Tensor> order(parts.rbegin(), parts.rend());
  return concat(order, 1);
}

Tensor rows_of(Draw& draw, const Tensor& x) {
  std::vector<Tensor> rows = unbind(draw.matrix_of(x));
  std::rotate(rows.begin(), rows.begin() + 3, rows.end());
  return stack(rows);
}

Tensor slice_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  return y.size(1) < 8 ? flip(y, {1}) : slice(y, 1, draw.pick(2), y.size(1), 2);
}

Tensor expand_of(Draw& draw, const Tensor& x) {
  const Tensor row = select(draw.matrix_of(x), 0, draw.pick(kRows));
  return affine(expand(row, {kRows, row.size(0)}), 0.5f, 0);
}

Tensor pad_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const PadMode modes[] = {PadMode::kConstant, PadMode::kReplicate, PadMode::kCircular};
  return pad(y, {{1, 3}}, {.mode = modes[draw.pick(3)]});
}

Tensor gather_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.narrow(draw.matrix_of(x));
  const auto columns = static_cast<int>(y.size(1));
  return gather(y, 1, indices(draw, {kRows, 1 + draw.pick(columns)}, columns));
}

Tensor scatter_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  const Tensor index = indices(draw, y.shape(), kRows);
  const Tensor src = affine(draw.like(y), 0.3f, 0);
  return draw.pick(2) == 0 ? scatter(y, 0, index, src) : scatter_add(y, 0, index, src);
}

Tensor index_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  const Tensor rows = index_select(y, 0, indices(draw, {5}, kRows));
  return index_add(y, 0, indices(draw, {5}, kRows), affine(rows, 0.3f, 0));
}

Tensor triangle_of(Draw& draw, const Tensor& x) {
  const Tensor y = draw.matrix_of(x);
  return draw.pick(2) == 0 ? tril(y, draw.pick(9)) : triu(y, -draw.pick(4));
}

Tensor unfold_of(Draw& draw, const Tensor& x) {
  const Tensor image = draw.image_of(x);
  const UnfoldOptions options{.kernel = {2, 2}, .padding = {1, 1}};
  return affine(fold(unfold(image, options), {image.size(2), image.size(3)}, options), 0.25f, 0);
}

}  // namespace

std::vector<RandomOp> shapes_random_ops() {
  return {{"permute", permute_of},
          {"chunk", parts_of},
          {"stack", rows_of},
          {"slice", slice_of},
          {"roll", [](Draw& draw, const Tensor& x) { return roll(x, {1 + draw.pick(3)}, {-1}); }},
          {"expand", expand_of},
          {"pad", pad_of},
          {"gather", gather_of},
          {"scatter", scatter_of},
          {"index_select", index_of},
          {"tril", triangle_of},
          {"unfold", unfold_of}};
}

}  // namespace tidemark::test
