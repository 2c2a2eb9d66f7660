// scaled_dot_product_attention. Saves its inputs, its output and two numbers a row; backward makes the scores again.
// The gradients are one part, since a look at a tile's scores serves all of them; those that are not needed are left
// out.
#include <array>
#include <cmath>
#include <vector>

#include "ops/attention/attention.h"
#include "ops/kernels.h"
#include "ops/table.h"
#include "tidemark/ops/attention.h"

namespace tidemark {
namespace ops {
namespace {

struct AttentionState {
  AttentionShape shape;
  AttentionWants wants;
  bool side_by_side = false;  // heads in the last dimension
  // Of the bias in the common shape [N, H, T, S]: zero where it is broadcast.
  std::array<std::int64_t, 4> bias_steps = {};

  template <class T>
  Heads<T> place(T* data, std::int64_t heads, std::int64_t rows, std::int64_t size) const {
    if (side_by_side) return {data, rows * heads * size, size, heads * size};
    return {data, heads * rows * size, rows * size, size};
  }
  template <class T>
  Heads<T> q(T* data) const {
    return place(data, shape.heads, shape.queries, shape.size);
  }
  template <class T>
  Heads<T> k(T* data) const {
    return place(data, shape.key_heads, shape.keys, shape.size);
  }
  template <class T>
  Heads<T> v(T* data) const {
    return place(data, shape.key_heads, shape.keys, shape.value_size);
  }
  template <class T>
  Heads<T> y(T* data) const {
    return place(data, shape.heads, shape.queries, shape.value_size);
  }
};

struct ScaledDotProductAttention {
  static constexpr std::string_view name = "scaled_dot_product_attention";
  int heads = 1;
  bool causal = false;
  std::optional<float> scale = {};
  float dropout = 0;
  // What comes after q, k and v.
  bool hides = false;  // u8 [N, S]
  bool biased = false;

  void describe(Attributes& a) const {
    a("heads", heads);
    a("causal", causal);
    if (scale) a("scale", *scale);
    a("dropout_p", dropout);
    a("key_padding_mask", hides);
    a("attn_mask", biased);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    auto state = std::make_shared<AttentionState>();
    state->wants = {needs[0], needs[1], needs[2]};
    state->side_by_side = in[0].shape.rank() == 3;
    AttentionShape& shape = state->shape;
    shape = shape_of(prep, in);
    if (hides) {
      const Shape expected{shape.batch, shape.keys};
      prep.require(in[3].dtype == u8 && in[3].shape == expected, ops::describe("key_padding_mask", in[3]) +
                                                                     "; it must be " + expected.to_string() +
                                                                     " u8 for k " + in[1].shape.to_string());
    }
    if (biased) {
      state->bias_steps = bias_steps(prep, in, {shape.batch, shape.heads, shape.queries, shape.keys});
      prep.require(!needs[bias_at()], "attn_mask requires a gradient, which this op does not make; detach() it");
    }
    const Meta y = Meta::plain(state->side_by_side ? Shape{shape.batch, shape.queries, shape.heads * shape.value_size}
                                                   : Shape{shape.batch, shape.heads, shape.queries, shape.value_size});
    std::int64_t bytes = y.bytes;
    for (const Meta& meta : in) bytes += meta.bytes;
    const double depth = as_double(shape.size + shape.value_size);
    Prepared out;
    out.outputs = {y, Meta::plain({2, shape.batch, shape.heads, shape.queries})};
    out.visible = 1;
    out.input_layouts.assign(in.size(), kPlain);
    out.scratch = attention_forward_scratch(shape, prep.threads());
    out.work = {shape.pairs() * (2 * depth + 20), as_double(bytes)};
    out.random = dropout > 0;
    const AttentionWants& wants = state->wants;
    if (wants.q || wants.k || wants.v) {
      Part part;
      for (int i = 0; i < 3; ++i) {
        if (!needs[static_cast<std::size_t>(i)]) continue;
        part.inputs.push_back(i);
        part.gx.push_back(Meta::plain(in[static_cast<std::size_t>(i)].shape));
        bytes += part.gx.back().bytes;
      }
      part.saved = {Saved::output(1), Saved::input(0, kPlain), Saved::input(1, kPlain)};
      if (hides) part.saved.push_back(Saved::input(3, kPlain));
      if (biased) part.saved.push_back(Saved::input(static_cast<int>(bias_at()), kPlain));
      if (wants.q || wants.k) {
        part.saved.push_back(Saved::input(2, kPlain));
        part.saved.push_back(Saved::output(0, kPlain));
      }
      part.gy = {{0, kPlain}};
      part.scratch = attention_backward_scratch(shape, wants, prep.threads());
      part.work = {shape.pairs() * (5 * depth + 24), as_double(bytes + y.bytes)};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<AttentionState>();
    attention_forward(ctx, state.shape, inputs(ctx, in[0], in[1], in[2].as<const float>(), in.subspan(3)),
                      state.y(out[0].as<>()), out[1].as<>());
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<AttentionState>();
    const AttentionWants& wants = state.wants;
    const bool sloped = wants.q || wants.k;
    const std::span<const Buf> masks = saved.subspan(3);
    const std::size_t last = saved.size() - 1;
    AttentionGradients to;
    std::size_t next = 0;
    if (wants.q) to.q = state.q(gx[next++].as<>());
    if (wants.k) to.k = state.k(gx[next++].as<>());
    if (wants.v) to.v = state.v(gx[next++].as<>());
    attention_backward(ctx, state.shape,
                       inputs(ctx, saved[1], saved[2], sloped ? saved[last - 1].as<const float>() : nullptr, masks),
                       state.y(sloped ? saved[last].as<const float>() : nullptr), saved[0].as<const float>(),
                       state.y(gy[0].as<const float>()), to);
  }

  static std::vector<Sample> samples() {
    using Op = ScaledDotProductAttention;
    const SampleInput rows{{2, 1, 5, 7}, f32, SampleInput::Fill::kNormal, 0, false};
    const SampleInput table{{101, 1}, f32, SampleInput::Fill::kNormal, 0, false};
    // Each element sets one byte of four.
    const SampleInput hidden{{2, 8}, u8, SampleInput::Fill::kIndices, 2};
    return {
        {"cross", {{{2, 2, 5, 4}}, {{2, 2, 7, 4}}, {{2, 2, 7, 3}}}, any_op(Op{}), {true, true, true}},
        {"grouped", {{{2, 4, 5, 3}}, {{2, 2, 5, 3}}, {{2, 2, 5, 3}}}, any_op(Op{.causal = true}), {true, true, true}},
        {"side_by_side",
         {{{2, 5, 12}}, {{2, 7, 6}}, {{2, 7, 10}}},
         any_op(Op{.heads = 4, .causal = true, .scale = 0.3f}),
         {true, true, true}},
        {"tiles",
         {{{1, 1, 101, 6}}, {{1, 1, 197, 6}}, {{1, 1, 197, 5}}},
         any_op(Op{.causal = true}),
         {true, true, true}},
        {"dropout", {{{2, 2, 6, 4}}, {{2, 2, 9, 4}}, {{2, 2, 9, 4}}}, any_op(Op{.dropout = 0.3f}), {true, true, true}},
        {"hidden",
         {{{2, 5, 8}}, {{2, 8, 8}}, {{2, 8, 8}}, hidden},
         any_op(Op{.hides = true}),
         {true, true, true, true}},
        {"biased",
         {{{2, 2, 5, 4}}, {{2, 1, 7, 4}}, {{2, 1, 7, 4}}, rows},
         any_op(Op{.biased = true}),
         {true, true, true, true}},
        {"biased_rows",
         {{{1, 2, 101, 4}}, {{1, 2, 8, 4}}, {{1, 2, 8, 4}}, {{1, 8}, u8, SampleInput::Fill::kIndices, 2}, table},
         any_op(Op{.causal = true, .dropout = 0.1f, .hides = true, .biased = true}),
         {true, true, true, true, false}},
    };
  }

 private:
  std::size_t bias_at() const { return hides ? 4 : 3; }

  AttentionShape shape_of(const Prep& prep, std::span<const Meta> in) const {
    require_f32(prep, "q", in[0]);
    require_f32(prep, "k", in[1]);
    require_f32(prep, "v", in[2]);
    const Shape& q = in[0].shape;
    const Shape& k = in[1].shape;
    const Shape& v = in[2].shape;
    const std::string given = "q is " + q.to_string() + ", k " + k.to_string() + ", v " + v.to_string();
    prep.require(scale.value_or(1) - scale.value_or(1) == 0, "scale is not finite");
    prep.require(dropout >= 0 && dropout <= 1, "dropout_p is " + std::to_string(dropout) + "; it must lie in [0, 1]");
    AttentionShape shape;
    bool fits = false;
    if (q.rank() == 4) {
      prep.require(heads == 1, given + "; heads = " + std::to_string(heads) +
                                   " must be left out where q has a dimension of heads, [N, H, T, E]");
      fits = k.rank() == 4 && v.rank() == 4 && k[0] == q[0] && v[0] == q[0] && v[1] == k[1] && v[2] == k[2] &&
             k[3] == q[3];
      if (fits) shape = {q[0], q[1], k[1], q[2], k[2], q[3], v[3]};
    } else if (q.rank() == 3 && heads > 0 && q[2] % heads == 0 && q[2] > 0) {
      const std::int64_t size = q[2] / heads;
      const std::int64_t key_heads = k.rank() == 3 ? k[2] / size : 0;
      fits = key_heads > 0 && k[2] % size == 0 && v.rank() == 3 && k[0] == q[0] && v[0] == q[0] && v[1] == k[1] &&
             v[2] % key_heads == 0;
      if (fits) shape = {q[0], heads, key_heads, q[1], k[1], size, v[2] / key_heads};
    }
    fits = fits && shape.key_heads > 0 && shape.heads > 0 && shape.heads % shape.key_heads == 0 && shape.size > 0 &&
           shape.value_size > 0;
    prep.require(fits, given + "; they must be [N, H, T, E], [N, G, S, E] and [N, G, S, Ev], or with heads = " +
                           std::to_string(heads) +
                           " side by side [N, T, heads * E], [N, S, G * E] and [N, S, G * Ev], with H or heads a " +
                           "multiple of G, and E and Ev not empty");
    shape.scale = scale.value_or(static_cast<float>(1.0 / std::sqrt(as_double(shape.size))));
    shape.dropout = dropout;
    shape.causal = causal;
    shape.biased = biased;
    return shape;
  }

  std::array<std::int64_t, 4> bias_steps(const Prep& prep, std::span<const Meta> in, const Shape& common) const {
    const Meta& bias = in[bias_at()];
    std::array<std::int64_t, 4> steps = {};
    bool fits = bias.dtype == f32 && bias.shape.rank() <= 4;
    std::int64_t step = 1;
    for (int i = 1; fits && i <= bias.shape.rank(); ++i) {
      const std::int64_t size = bias.shape[-i];
      fits = size == 1 || size == common[-i];
      steps[static_cast<std::size_t>(4 - i)] = size == 1 ? 0 : step;
      step *= size;
    }
    prep.require(fits, ops::describe("attn_mask", bias) +
                           "; it must be f32 and broadcast to [N, H, T, S] = " + common.to_string() + " for q " +
                           in[0].shape.to_string() + " and k " + in[1].shape.to_string());
    return steps;
  }

  // `masks`: the bufs of the masks that there are.
  AttentionInputs inputs(const Ctx& ctx, const Buf& q, const Buf& k, const float* v, std::span<const Buf> masks) const {
    const auto& state = ctx.state<AttentionState>();
    AttentionInputs in{.q = state.q(q.as<const float>()), .k = state.k(k.as<const float>()), .v = state.v(v)};
    if (hides) in.hidden = masks[0].as<const std::uint8_t>();
    if (biased) {
      const auto& steps = state.bias_steps;
      in.bias = {masks[hides ? 1 : 0].as<const float>(), steps[0], steps[1], steps[2]};
      in.bias_column_step = steps[3];
    }
    in.rng = ctx.rng();
    return in;
  }
};

}  // namespace

std::vector<Sample> scaled_dot_product_attention_samples() { return ScaledDotProductAttention::samples(); }

}  // namespace ops

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                                    SourceLocation where) {
  std::vector<Tensor> inputs = {q, k, v};
  for (const Tensor& mask : {options.key_padding_mask, options.attn_mask}) {
    if (mask.defined()) inputs.push_back(mask);
  }
  const ops::ScaledDotProductAttention op{.heads = options.heads,
                                          .causal = options.causal,
                                          .scale = options.scale,
                                          .dropout = options.training ? options.dropout_p : 0,
                                          .hides = options.key_padding_mask.defined(),
                                          .biased = options.attn_mask.defined()};
  return apply_one(any_op(op), inputs, where);
}

}  // namespace tidemark
