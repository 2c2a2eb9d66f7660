// reshape and flatten: the same bytes under another shape.
#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

struct Reshape {
  static constexpr std::string_view name = "reshape";
  Shape shape;  // one dimension may be -1

  void describe(Attributes& a) const { a("shape", shape); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    Meta plain = Meta::plain(resolve(prep, x), x.dtype);
    Prepared out;
    out.outputs = {plain};
    out.input_layouts = {kPlain};
    out.view_of = 0;
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(x.shape, x.dtype)};
      part.gy = {{0, kPlain}};
      part.view = true;
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  static std::vector<Sample> samples() {
    return {{"merge", {{{2, 3, 4}}}, any_op(Reshape{{6, 4}})}, {"rest", {{{2, 3, 4}}}, any_op(Reshape{{4, -1}})}};
  }

 private:
  Shape resolve(const Prep& prep, const Meta& x) const {
    const auto refuse = [&] {
      prep.fail(ops::describe("x", x) + ", which cannot be brought into shape " + shape.to_string());
    };
    int open = -1;
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] >= 0) continue;
      if (shape[i] != -1 || open >= 0) refuse();
      open = i;
    }
    const std::int64_t known = (open < 0 ? shape : shape.with(open, 1)).numel();
    const std::int64_t count = x.shape.numel();
    if (open < 0 ? known != count : known == 0 || count % known != 0) refuse();
    return open < 0 ? shape : shape.with(open, count / known);
  }
};

}  // namespace

std::vector<Sample> reshape_samples() { return Reshape::samples(); }

}  // namespace ops

Tensor reshape(const Tensor& x, const Shape& shape, SourceLocation where) {
  return apply(ops::Reshape{shape}, {x}, where);
}

Tensor flatten(const Tensor& x, int first, SourceLocation where) {
  const Shape& shape = x.shape(where);
  const int rank = shape.rank();
  const int begin = first < 0 ? first + rank : first;
  if (begin < 0 || begin > rank) {
    throw ShapeError("[flatten] x is " + shape.to_string() + ", which has no dimension " + std::to_string(first) +
                     " (at " + to_string(where) + ")");
  }
  std::vector<std::int64_t> dims(shape.dims().begin(), shape.dims().begin() + begin);
  dims.push_back(Shape(shape.dims().subspan(static_cast<std::size_t>(begin))).numel());
  return reshape(x, Shape(dims, where), where);
}

}  // namespace tidemark
