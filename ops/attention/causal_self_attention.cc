// causal_self_attention: queries, keys and values of one input, side by side. Saves it, its output and two numbers a
// row. Backward makes the scores again.
#include <cmath>

#include "ops/attention/attention.h"
#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/attention.h"

namespace tidemark {
namespace ops {
namespace {

struct CausalSelfAttention {
  static constexpr std::string_view name = "causal_self_attention";
  int heads = 1;

  void describe(Attributes& a) const { a("heads", heads); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& shape = in[0].shape;
    require_f32(prep, "qkv", in[0]);
    const bool fits = heads > 0 && shape.rank() == 3 && shape[2] > 0 && shape[2] % (std::int64_t{3} * heads) == 0;
    prep.require(fits,
                 ops::describe("qkv", in[0]) +
                     "; it must be [N, T, 3 * D] with D not empty and a multiple of heads = " + std::to_string(heads));
    const AttentionShape sizes = shape_of(shape);
    const Meta plain = Meta::plain(shape);
    Prepared out;
    out.outputs = {Meta::plain(shape.with(2, shape[2] / 3)), Meta::plain({2, shape[0], heads, shape[1]})};
    out.visible = 1;
    out.input_layouts = {kPlain};
    out.scratch = attention_forward_scratch(sizes, prep.threads());
    out.work = {sizes.pairs() * (4 * as_double(sizes.size) + 20), as_double(plain.bytes + out.outputs[0].bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::output(0, kPlain), Saved::output(1)};
      part.gy = {{0, kPlain}};
      part.scratch = attention_backward_scratch(sizes, kAll, prep.threads());
      part.work = {sizes.pairs() * (10 * as_double(sizes.size) + 24),
                   2 * as_double(plain.bytes) + 2 * as_double(out.outputs[0].bytes)};
      if (attention_looks_once(sizes, kAll, prep.threads())) part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Shape& shape = in[0].shape();
    attention_forward(ctx, shape_of(shape), inputs(shape, in[0].as<>()), output(shape, out[0].as<>()), out[1].as<>());
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Shape& shape = gx[0].shape();
    attention_backward(ctx, shape_of(shape), inputs(shape, saved[0].as<>()),
                       output<const float>(shape, saved[1].as<>()), saved[2].as<>(),
                       output<const float>(shape, gy[0].as<>()),
                       {part(shape, gx[0].as<>(), 0), part(shape, gx[0].as<>(), 1), part(shape, gx[0].as<>(), 2)});
  }

  static std::vector<Sample> samples() {
    return {{"two_heads", {{{2, 7, 24}}}, any_op(CausalSelfAttention{2})},
            {"one_row", {{{3, 1, 9}}}, any_op(CausalSelfAttention{1})},
            {"blocks", {{{1, 101, 30}}}, any_op(CausalSelfAttention{2})}};
  }

 private:
  static constexpr AttentionWants kAll{true, true, true};

  std::int64_t size(const Shape& qkv) const { return qkv[2] / 3 / heads; }

  AttentionShape shape_of(const Shape& qkv) const {
    const std::int64_t each = size(qkv);
    return {.batch = qkv[0],
            .heads = heads,
            .key_heads = heads,
            .queries = qkv[1],
            .keys = qkv[1],
            .size = each,
            .value_size = each,
            .scale = static_cast<float>(1.0 / std::sqrt(as_double(each))),
            .causal = true};
  }

  // Queries, keys or values.
  template <class T>
  Heads<T> part(const Shape& qkv, T* data, std::int64_t index) const {
    return {data + index * (qkv[2] / 3), qkv[1] * qkv[2], size(qkv), qkv[2]};
  }
  AttentionInputs inputs(const Shape& shape, const float* qkv) const {
    return {.q = part(shape, qkv, 0), .k = part(shape, qkv, 1), .v = part(shape, qkv, 2)};
  }
  template <class T = float>
  Heads<T> output(const Shape& qkv, T* data) const {
    const std::int64_t width = qkv[2] / 3;
    return {data, qkv[1] * width, size(qkv), width};
  }
};

}  // namespace

std::vector<Sample> causal_self_attention_samples() { return CausalSelfAttention::samples(); }

}  // namespace ops

Tensor causal_self_attention(const Tensor& qkv, int heads, SourceLocation where) {
  return apply(ops::CausalSelfAttention{heads}, {qkv}, where);
}

}  // namespace tidemark
