// causal_self_attention. A thread takes one head of one sequence at a time and goes through its queries in blocks of
// kBlock rows: scores of a block against the keys before it, softmax, product with the values. Saves queries, keys and
// values, its output and two numbers a row: the largest score, and the inverse of the sum of e^(score - largest).
// Backward makes the scores again, block by block. Products leave later positions out, so that nothing of them is seen.
//
// Each head is computed by one thread in one order, so results are equal on every team.
#include "tidemark/ops/attention.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/causal_self_attention.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                                      // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

#ifndef TIDEMARK_OPS_ATTENTION_SHARED_
#define TIDEMARK_OPS_ATTENTION_SHARED_
namespace tidemark::ops {

// Rows of queries that are treated together: a multiple of the rows of the products' kernel.
inline constexpr std::int64_t kBlock = 48;
inline constexpr std::int64_t kTileRows = 6;

// One head of one sequence: rows of `size` floats, `stride` apart in queries, keys and values, `out_stride` in outputs.
struct Head {
  std::int64_t length;
  std::int64_t size;
  std::int64_t stride;
  std::int64_t out_stride;
  float scale;

  // Everything in scratch is padded, so that the kernels have no edges: to whole panels of any instruction set (32
  // floats) and whole tiles (6 rows).
  std::int64_t padded_length() const { return round_up(length, 96); }
  std::int64_t padded_size() const { return round_up(size, 32); }
  std::int64_t matrix() const { return padded_length() * padded_size(); }
  std::int64_t scores() const { return kBlock * padded_length(); }
  std::int64_t block() const { return kBlock * padded_size(); }
  std::int64_t forward_floats() const { return 2 * matrix() + scores() + 2 * block(); }
  std::int64_t backward_floats() const { return 5 * matrix() + 2 * scores() + 3 * block(); }
};

struct HeadInputs {
  const float* q;
  const float* k;
  const float* v;
};

struct HeadGradients {
  float* q;
  float* k;
  float* v;
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

HWY_INLINE std::int64_t panel_width() { return 2 * static_cast<std::int64_t>(hn::Lanes(Wide())); }

// The right operand of a product, in panels of panel_width() columns.
struct Panels {
  const float* data;
  std::int64_t panel_step;  // from one panel to the next
  std::int64_t row_step;    // within one
};

// The left operand: element (i, k) at data[i * row_step + k * column_step].
struct Left {
  const float* data;
  std::int64_t row_step;
  std::int64_t column_step;
};

// Which steps of a product's depth the rows of a tile take: of the first `lead` steps, step t goes to rows up to t; the
// next `all` go to every row; of the last `tail`, step t goes to rows after t. What a row does not take is not looked
// at: zero times NaN would be NaN.
struct Steps {
  std::int64_t skipped = 0;  // that no row takes
  std::int64_t lead = 0;
  std::int64_t all = 0;
  std::int64_t tail = 0;
};

template <bool kAccumulate>
HWY_INLINE void product_tile(const Steps& steps, const float* a, std::int64_t row_step, std::int64_t column_step,
                             const float* b, std::int64_t b_step, float* c, std::int64_t c_step) {
  const Wide d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<Wide> low[kTileRows];
  hn::Vec<Wide> high[kTileRows];
  for (std::int64_t i = 0; i < kTileRows; ++i) {
    low[i] = kAccumulate ? hn::LoadU(d, c + i * c_step) : hn::Zero(d);
    high[i] = kAccumulate ? hn::LoadU(d, c + i * c_step + width) : hn::Zero(d);
  }
  a += steps.skipped * column_step;
  b += steps.skipped * b_step;
  const auto step = [&](std::int64_t first, std::int64_t end) HWY_ATTR {
    const auto b_low = hn::LoadU(d, b);
    const auto b_high = hn::LoadU(d, b + width);
#pragma GCC unroll 6
    for (std::int64_t i = 0; i < kTileRows; ++i) {
      if (i < first || i >= end) continue;
      const auto value = hn::Set(d, a[i * row_step]);
      low[i] = hn::MulAdd(value, b_low, low[i]);
      high[i] = hn::MulAdd(value, b_high, high[i]);
    }
    a += column_step;
    b += b_step;
  };
#pragma GCC unroll 5
  for (std::int64_t t = 0; t < kTileRows - 1; ++t) {
    if (t < steps.lead) step(0, t + 1);
  }
  for (std::int64_t k = 0; k < steps.all; ++k) step(0, kTileRows);
#pragma GCC unroll 5
  for (std::int64_t t = 0; t < kTileRows - 1; ++t) {
    if (t < steps.tail) step(t + 1, kTileRows);
  }
  for (std::int64_t i = 0; i < kTileRows; ++i) {
    hn::StoreU(low[i], d, c + i * c_step);
    hn::StoreU(high[i], d, c + i * c_step + width);
  }
}

// C (+)= A B for rows and columns rounded up to whole tiles; `steps(row)` says what the tile at that row takes.
template <bool kAccumulate, class F>
HWY_INLINE void product(std::int64_t rows, std::int64_t columns, F steps, Left a, Panels b, float* c,
                        std::int64_t c_step) {
  for (std::int64_t column = 0; column < columns; column += panel_width(), b.data += b.panel_step) {
    for (std::int64_t row = 0; row < rows; row += kTileRows) {
      product_tile<kAccumulate>(steps(row), a.data + row * a.row_step, a.row_step, a.column_step, b.data, b.row_step,
                                c + row * c_step + column, c_step);
    }
  }
}

// The head's [length, size] matrix as panels over its columns.
HWY_INLINE Panels pack(const Head& head, const float* from, float* to) {
  const std::int64_t width = panel_width();
  const Panels out{to, head.length * width, width};
  for (std::int64_t column = 0; column < head.size; column += width) {
    const std::int64_t count = HWY_MIN(width, head.size - column);
    for (std::int64_t row = 0; row < head.length; ++row, to += width) {
      const float* source = from + row * head.stride + column;
      for (std::int64_t i = 0; i < count; ++i) to[i] = source[i];
      for (std::int64_t i = count; i < width; ++i) to[i] = 0;
    }
  }
  return out;
}

// Its transpose, [size, length], as panels over its columns.
HWY_INLINE Panels pack_transposed(const Head& head, const float* from, float* to) {
  const std::int64_t width = panel_width();
  const Panels out{to, head.size * width, width};
  for (std::int64_t column = 0; column < head.length; column += width, to += head.size * width) {
    const std::int64_t count = HWY_MIN(width, head.length - column);
    for (std::int64_t i = 0; i < count; ++i) {
      const float* source = from + (column + i) * head.stride;
      for (std::int64_t row = 0; row < head.size; ++row) to[row * width + i] = source[row];
    }
    for (std::int64_t row = 0; row < head.size; ++row) {
      for (std::int64_t i = count; i < width; ++i) to[row * width + i] = 0;
    }
  }
  return out;
}

// A block of rows, padded with zeros to whole tiles, each element times `scale`.
HWY_INLINE void pack_rows(const Head& head, std::int64_t rows, const float* from, std::int64_t step, float scale,
                          float* to) {
  const std::int64_t width = head.padded_size();
  const auto s = hn::Set(Wide(), scale);
  for (std::int64_t row = 0; row < rows; ++row, to += width) {
    map(
        head.size, to, [&](auto v) HWY_ATTR { return hn::Mul(v, s); }, from + row * step);
    for (std::int64_t i = head.size; i < width; ++i) to[i] = 0;
  }
  for (std::int64_t i = 0; i < (round_up(rows, kTileRows) - rows) * width; ++i) to[i] = 0;
}

// A block's place: its rows, and the keys that its last row sees.
struct Block {
  Block(const Head& head, std::int64_t start)
      : first(start), rows(HWY_MIN(kBlock, head.length - start)), keys(start + rows) {}
  std::int64_t first;
  std::int64_t rows;
  std::int64_t keys;

  // Of keys, for a tile of queries.
  Steps earlier_keys(std::int64_t row) const { return {0, 0, first + row + 1, HWY_MIN(kTileRows - 1, rows - row - 1)}; }
  // Of queries, for a tile of keys: those of this block come first, those before it are seen by all queries.
  Steps later_queries(std::int64_t key) const {
    if (key < first) return {0, 0, rows, 0};
    const std::int64_t left = rows - (key - first);
    const std::int64_t lead = HWY_MIN(kTileRows - 1, left);
    return {key - first, lead, left - lead, 0};
  }
};

HWY_INLINE void zero(float* from, float* to) {
  for (; from < to; ++from) *from = 0;
}

// `largest` and `inverse`: what is saved of each row.
void attention_forward(const Head& head, const HeadInputs& in, float* scratch, float* out, float* largest,
                       float* inverse) {
  float* keys = scratch;
  float* values = keys + head.matrix();
  float* scores = values + head.matrix();
  float* queries = scores + head.scores();
  float* sums = queries + head.block();
  const std::int64_t width = head.padded_size();
  const std::int64_t step = head.padded_length();
  const Panels k_transposed = pack_transposed(head, in.k, keys);
  const Panels v = pack(head, in.v, values);
  const auto all = [&](std::int64_t) { return Steps{0, 0, head.size, 0}; };
  for (std::int64_t first = 0; first < head.length; first += kBlock) {
    const Block block(head, first);
    pack_rows(head, block.rows, in.q + first * head.stride, head.stride, head.scale, queries);
    product<false>(block.rows, block.keys, all, {queries, width, 1}, k_transposed, scores, step);
    for (std::int64_t i = 0; i < block.rows; ++i) {
      float* row = scores + i * step;
      const std::int64_t seen = first + i + 1;
      const float most = max_row(seen, row);
      const auto m = hn::Set(Wide(), most);
      map(
          seen, row, [&](auto s) HWY_ATTR { return exp(Wide(), hn::Sub(s, m)); }, row);
      largest[first + i] = most;
      inverse[first + i] = static_cast<float>(1.0 / sum_row(seen, row));
    }
    product<false>(
        block.rows, head.size, [&](std::int64_t row) { return block.earlier_keys(row); }, {scores, step, 1}, v, sums,
        width);
    for (std::int64_t i = 0; i < block.rows; ++i) {
      const auto s = hn::Set(Wide(), inverse[first + i]);
      map(
          head.size, out + (first + i) * head.out_stride, [&](auto o) HWY_ATTR { return hn::Mul(o, s); },
          sums + i * width);
    }
  }
}

// With P the probabilities and S the scores: gV = P' gO, gP = gO V', gS = P (gP - rowsum(gO O)), gQ = gS K, gK = gS' Q.
// Inputs are packed before the gradients of their rows are written, which may take their place.
void attention_backward(const Head& head, const HeadInputs& in, const float* out, const float* largest,
                        const float* inverse, const float* gy, float* scratch, const HeadGradients& to) {
  float* key_columns = scratch;
  float* value_columns = key_columns + head.matrix();
  float* key_rows = value_columns + head.matrix();
  float* gk = key_rows + head.matrix();
  float* gv = gk + head.matrix();
  float* probabilities = gv + head.matrix();
  float* slopes = probabilities + head.scores();
  float* queries = slopes + head.scores();
  float* go = queries + head.block();
  float* gq = go + head.block();
  const std::int64_t width = head.padded_size();
  const std::int64_t step = head.padded_length();
  const Panels k_transposed = pack_transposed(head, in.k, key_columns);
  const Panels v_transposed = pack_transposed(head, in.v, value_columns);
  const Panels k = pack(head, in.k, key_rows);
  const auto all = [&](std::int64_t) { return Steps{0, 0, head.size, 0}; };
  zero(gk, gv + head.matrix());
  for (std::int64_t first = 0; first < head.length; first += kBlock) {
    const Block block(head, first);
    pack_rows(head, block.rows, in.q + first * head.stride, head.stride, head.scale, queries);
    pack_rows(head, block.rows, gy + first * head.out_stride, head.out_stride, 1.0f, go);
    product<false>(block.rows, block.keys, all, {queries, width, 1}, k_transposed, probabilities, step);
    product<false>(block.rows, block.keys, all, {go, width, 1}, v_transposed, slopes, step);
    for (std::int64_t i = 0; i < block.rows; ++i) {
      float* p = probabilities + i * step;
      float* s = slopes + i * step;
      const std::int64_t seen = first + i + 1;
      const auto most = hn::Set(Wide(), largest[first + i]);
      const auto part = hn::Set(Wide(), inverse[first + i]);
      const double dot = dot_row(head.size, go + i * width, out + (first + i) * head.out_stride);
      const auto mean = hn::Set(Wide(), static_cast<float>(dot));
      map(
          seen, p, [&](auto score) HWY_ATTR { return hn::Mul(part, exp(Wide(), hn::Sub(score, most))); }, p);
      map(
          seen, s, [&](auto prob, auto slope) HWY_ATTR { return hn::Mul(prob, hn::Sub(slope, mean)); }, p, s);
    }
    const std::int64_t panel = panel_width();
    const auto later = [&](std::int64_t key) { return block.later_queries(key); };
    product<true>(block.keys, head.size, later, {probabilities, 1, step}, {go, panel, width}, gv, width);
    product<true>(block.keys, head.size, later, {slopes, 1, step}, {queries, panel, width}, gk, width);
    product<false>(
        block.rows, head.size, [&](std::int64_t row) { return block.earlier_keys(row); }, {slopes, step, 1}, k, gq,
        width);
    const auto scale = hn::Set(Wide(), head.scale);
    for (std::int64_t i = 0; i < block.rows; ++i) {
      map(
          head.size, to.q + (first + i) * head.stride, [&](auto g) HWY_ATTR { return hn::Mul(g, scale); },
          gq + i * width);
    }
  }
  for (std::int64_t row = 0; row < head.length; ++row) {
    for (std::int64_t i = 0; i < head.size; ++i) {
      to.k[row * head.stride + i] = gk[row * width + i];
      to.v[row * head.stride + i] = gv[row * width + i];
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(attention_forward);
HWY_EXPORT(attention_backward);

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
    const Shape out_shape = shape.with(2, shape[2] / 3);
    const Head head = head_of(shape);
    const std::int64_t team = std::min<std::int64_t>(prep.threads(), shape[0] * heads);
    const Meta plain = Meta::plain(shape);
    const double scores = as_double(shape[0] * heads) * as_double(head.length) * as_double(head.length) / 2;
    Prepared out;
    out.outputs = {Meta::plain(out_shape), Meta::plain({2, shape[0], heads, head.length})};
    out.visible = 1;
    out.input_layouts = {kPlain};
    out.scratch = team * head.forward_floats() * size_of(f32);
    out.work = {scores * (4 * as_double(head.size) + 20), as_double(plain.bytes + out.outputs[0].bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::output(0, kPlain), Saved::output(1)};
      part.gy = {{0, kPlain}};
      part.scratch = team * head.backward_floats() * size_of(f32);
      part.work = {scores * (10 * as_double(head.size) + 24),
                   2 * as_double(plain.bytes) + 2 * as_double(out.outputs[0].bytes)};
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Head head = head_of(in[0].shape());
    float* largest = out[1].as<>();
    float* inverse = largest + out[1].numel() / 2;
    each_head(ctx, in[0].shape()[0], head.forward_floats(),
              [&](std::int64_t sequence, std::int64_t at, float* scratch) {
                const std::int64_t row = (sequence * heads + at) * head.length;
                HWY_DYNAMIC_DISPATCH(attention_forward)
                (head, inputs(head, in[0].as<>(), sequence, at), scratch, out[0].as<>() + place(head, sequence, at),
                 largest + row, inverse + row);
              });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Head head = head_of(gx[0].shape());
    const float* largest = saved[2].as<>();
    const float* inverse = largest + saved[2].numel() / 2;
    each_head(
        ctx, gx[0].shape()[0], head.backward_floats(), [&](std::int64_t sequence, std::int64_t at, float* scratch) {
          const std::int64_t from = (sequence * heads + at) * head.length;
          const std::int64_t row = place(head, sequence, at);
          float* q = gx[0].as<>() + sequence * head.length * head.stride + at * head.size;
          HWY_DYNAMIC_DISPATCH(attention_backward)
          (head, inputs(head, saved[0].as<>(), sequence, at), saved[1].as<>() + row, largest + from, inverse + from,
           gy[0].as<>() + row, scratch, HeadGradients{q, q + head.out_stride, q + 2 * head.out_stride});
        });
  }

  static std::vector<Sample> samples() {
    return {{"two_heads", {{{2, 7, 24}}}, any_op(CausalSelfAttention{2})},
            {"one_row", {{{3, 1, 9}}}, any_op(CausalSelfAttention{1})},
            {"blocks", {{{1, 101, 30}}}, any_op(CausalSelfAttention{2})}};
  }

 private:
  Head head_of(const Shape& qkv) const {
    const std::int64_t width = qkv[2] / 3;
    const std::int64_t size = width / heads;
    return {qkv[1], size, 3 * width, width, static_cast<float>(1.0 / std::sqrt(as_double(size)))};
  }

  HeadInputs inputs(const Head& head, const float* qkv, std::int64_t sequence, std::int64_t at) const {
    const float* q = qkv + sequence * head.length * head.stride + at * head.size;
    return {q, q + head.out_stride, q + 2 * head.out_stride};
  }

  // Where a head's output begins.
  static std::int64_t place(const Head& head, std::int64_t sequence, std::int64_t at) {
    return sequence * head.length * head.out_stride + at * head.size;
  }

  // f(sequence, head, scratch) for all; each thread has scratch of its own.
  template <class F>
  void each_head(const Ctx& ctx, std::int64_t sequences, std::int64_t scratch_floats, F&& f) const {
    for_members(ctx, sequences * heads, ctx.threads(), [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      float* scratch = ctx.scratch<float>() + member * scratch_floats;
      for (std::int64_t i = begin; i < end; ++i) f(i / heads, i % heads, scratch);
    });
  }
};

}  // namespace

std::vector<Sample> causal_self_attention_samples() { return CausalSelfAttention::samples(); }

}  // namespace ops

Tensor causal_self_attention(const Tensor& qkv, int heads, SourceLocation where) {
  return apply(ops::CausalSelfAttention{heads}, {qkv}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
