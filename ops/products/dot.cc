// dot and outer: products of vectors.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/products/dot.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                   // IWYU pragma: keep
// After foreach_target.h.
#include "hwy/highway.h"
#include "ops/broadcast.h"
#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"
#include "tidemark/ops/pointwise.h"
#include "tidemark/ops/products.h"
#include "tidemark/ops/shapes.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops::HWY_NAMESPACE {

double dot_product(std::int64_t n, const float* a, const float* b) { return dot_row(n, a, b); }

}  // namespace tidemark::ops::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(dot_product);

struct Dot {
  static constexpr std::string_view name = "dot";

  static constexpr std::int64_t kChunk = std::int64_t{32} * 1024;  // elements that are summed as one

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "a", in[0]);
    require_f32(prep, "b", in[1]);
    prep.require(
        in[0].shape.rank() == 1 && in[0].shape == in[1].shape,
        "a " + in[0].shape.to_string() + " and b " + in[1].shape.to_string() + " must be vectors of one length");
    const double n = as_double(in[0].shape[0]);
    Prepared out;
    out.outputs = {Meta::plain({})};
    out.input_layouts = {kPlain, kPlain};
    out.scratch = chunks(in[0].shape[0]) * std::int64_t{sizeof(double)};
    out.work = {2 * n, 8 * n};
    for (int input = 0; input < 2; ++input) {
      if (!needs[static_cast<std::size_t>(input)]) continue;
      Part part;
      part.inputs = {input};
      part.gx = {Meta::plain(in[0].shape)};
      part.saved = {Saved::input(1 - input, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {n, 8 * n};
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t n = in[0].numel();
    auto* const sums = ctx.scratch<double>();
    for_range(ctx, chunks(n), 8 * std::min(n, kChunk), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        sums[i] = HWY_DYNAMIC_DISPATCH(dot_product)(std::min(kChunk, n - i * kChunk), in[0].as<>() + i * kChunk,
                                                    in[1].as<>() + i * kChunk);
      }
    });
    double total = 0;
    for (std::int64_t i = 0; i < chunks(n); ++i) total += sums[i];
    out[0].as<>()[0] = static_cast<float>(total);
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const float g = gy[0].as<>()[0];
    for_elements(ctx, gx[0].numel(), 8, [&](std::int64_t begin, std::int64_t end) {
      mul_kernels().value(end - begin, {saved[0].as<>() + begin, false}, {&g, true}, gx[0].as<>() + begin);
    });
  }

  static std::vector<Sample> samples() {
    return {{"short", {{{19}}, {{19}}}, any_op(Dot{})}, {"long", {{{70000}}, {{70000}}}, any_op(Dot{})}};
  }

 private:
  static std::int64_t chunks(std::int64_t n) { return (n + kChunk - 1) / kChunk; }
};

}  // namespace

std::vector<Sample> dot_samples() { return Dot::samples(); }

}  // namespace ops

Tensor dot(const Tensor& a, const Tensor& b, SourceLocation where) { return apply(ops::Dot{}, {a, b}, where); }

Tensor outer(const Tensor& a, const Tensor& b, SourceLocation where) {
  ops::require_defined("outer", {&a, &b}, where);
  if (a.shape(where).rank() != 1 || b.shape(where).rank() != 1) {
    throw ShapeError("[outer] a " + a.shape(where).to_string() + " and b " + b.shape(where).to_string() +
                     " must be vectors (at " + to_string(where) + ")");
  }
  return mul(unsqueeze(a, 1, where), b, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
