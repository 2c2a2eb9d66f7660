// rotary_embedding: pairs of a row turned by angles that grow with its position. Cosines and sines are made once, for
// all heads and, where they share positions, all sequences.
#include <cmath>

#include "tidemark/ops/attention.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/attention/rotary_embedding.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                                 // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// Turns the pairs (x, y), each by the angle whose cosine and sine are given.
template <class D>
HWY_INLINE void turn(D d, hn::Vec<D>* x, hn::Vec<D>* y, const float* cosine, const float* sine) {
  const auto c = hn::LoadU(d, cosine);
  const auto s = hn::LoadU(d, sine);
  const auto turned = hn::Sub(hn::Mul(*x, c), hn::Mul(*y, s));
  *y = hn::Add(hn::Mul(*y, c), hn::Mul(*x, s));
  *x = turned;
}

// Pairs (i, i + pairs). `to` may be `from`.
template <class D>
HWY_INLINE std::int64_t turn_halves(D d, std::int64_t i, std::int64_t pairs, const float* cosine, const float* sine,
                                    const float* from, float* to) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (; i + lanes <= pairs; i += lanes) {
    auto x = load(d, from + i);
    auto y = load(d, from + pairs + i);
    turn(d, &x, &y, cosine + i, sine + i);
    store(d, x, to + i);
    store(d, y, to + pairs + i);
  }
  return i;
}

// Pairs (2 i, 2 i + 1).
template <class D>
HWY_INLINE std::int64_t turn_neighbours(D d, std::int64_t i, std::int64_t pairs, const float* cosine, const float* sine,
                                        const float* from, float* to) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (; i + lanes <= pairs; i += lanes) {
    hn::Vec<D> x;
    hn::Vec<D> y;
    hn::LoadInterleaved2(d, from + 2 * i, x, y);
    turn(d, &x, &y, cosine + i, sine + i);
    hn::StoreInterleaved2(x, y, d, to + 2 * i);
  }
  return i;
}

void turn_row(bool interleaved, std::int64_t pairs, const float* cosine, const float* sine, const float* from,
              float* to) {
  const hn::CappedTag<float, 1> one;
  if (interleaved) {
    const std::int64_t done = turn_neighbours(Wide(), 0, pairs, cosine, sine, from, to);
    turn_neighbours(one, done, pairs, cosine, sine, from, to);
  } else {
    const std::int64_t done = turn_halves(Wide(), 0, pairs, cosine, sine, from, to);
    turn_halves(one, done, pairs, cosine, sine, from, to);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(turn_row);

struct RotaryEmbedding {
  static constexpr std::string_view name = "rotary_embedding";
  float base = 10000;
  std::int64_t offset = 0;
  bool interleaved = false;
  int heads = 1;

  void describe(Attributes& a) const {
    a("base", base);
    a("offset", offset);
    a("interleaved", interleaved);
    a("heads", heads);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    require_f32(prep, "x", in[0]);
    prep.require(std::isfinite(base) && base > 0, "base is " + std::to_string(base) + "; it must be above 0");
    prep.require(x.rank() >= 2 && heads > 0 && x[-1] % (2 * std::int64_t{heads}) == 0,
                 ops::describe("x", in[0]) + "; it must be [..., T, heads * E] with heads = " + std::to_string(heads) +
                     " and an even E");
    if (in.size() > 1) {
      const Shape& positions = in[1].shape;
      const bool shared = positions == Shape{x[-2]};
      const bool own = x.rank() >= 3 && positions == Shape{x[0], x[-2]};
      prep.require(in[1].dtype == i32 && (shared || own),
                   ops::describe("positions", in[1]) +
                       "; they must be i32 and [T] or [N, T] for x [N, ..., T, E] = " + x.to_string());
    }
    const Meta plain = Meta::plain(x);
    const double n = as_double(x.numel());
    Prepared out;
    out.outputs = {plain};
    out.input_layouts.assign(in.size(), kPlain);
    out.scratch = 2 * turns(x, in.size() > 1 ? in[1].shape : Shape{x[-2]}) * size_of(f32);
    out.work = {3 * n, 8 * n};
    out.overwrites = {{0, 0}};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      if (in.size() > 1) part.saved = {Saved::input(1, kPlain)};
      part.gy = {{0, kPlain}};
      part.scratch = out.scratch;
      part.work = out.work;
      part.overwrites = {{in.size() > 1 ? 1 : 0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    run(ctx, 1, in[0], in.size() > 1 ? &in[1] : nullptr, out[0]);
  }
  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    run(ctx, -1, gy[0], saved.empty() ? nullptr : saved.data(), gx[0]);
  }

  static std::vector<Sample> samples() {
    using Op = RotaryEmbedding;
    const SampleInput shared{{5}, i32, SampleInput::Fill::kIndices, 40};
    const SampleInput own{{2, 5}, i32, SampleInput::Fill::kIndices, 40};
    return {{"halves", {{{2, 3, 5, 22}}}, any_op(Op{})},
            {"neighbours", {{{2, 5, 38}}}, any_op(Op{.base = 100, .offset = 7, .interleaved = true})},
            {"side_by_side", {{{2, 5, 12}}, shared}, any_op(Op{.heads = 3}), {true, false}},
            {"own_positions", {{{2, 2, 5, 6}}, own}, any_op(Op{.interleaved = true}), {true, true}},
            {"matrix", {{{4, 2}}}, any_op(Op{})}};
  }

 private:
  // Turns, of a row's pairs for each of these positions.
  std::int64_t turns(const Shape& x, const Shape& positions) const { return positions.numel() * x[-1] / heads / 2; }

  // sign: which way.
  void run(const Ctx& ctx, double sign, const Buf& from, const Buf* positions, const Buf& to) const {
    const Shape& x = from.shape();
    const std::int64_t length = x[-2];
    const std::int64_t size = x[-1] / heads;
    const std::int64_t pairs = size / 2;
    if (x.numel() == 0) return;
    const std::int64_t places = positions == nullptr ? length : positions->numel();
    auto* cosines = ctx.scratch<float>();
    float* sines = cosines + places * pairs;
    for_range(ctx, places, 256 * pairs, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const auto position = positions == nullptr ? as_double(offset) + as_double(i)
                                                   : static_cast<double>(positions->as<const std::int32_t>()[i]);
        for (std::int64_t pair = 0; pair < pairs; ++pair) {
          const double angle = position * std::pow(static_cast<double>(base), -2.0 * as_double(pair) / as_double(size));
          cosines[i * pairs + pair] = static_cast<float>(std::cos(angle));
          sines[i * pairs + pair] = static_cast<float>(sign * std::sin(angle));
        }
      }
    });
    const std::int64_t rows = x.numel() / x[-1];
    const std::int64_t sequence = rows / x[0];  // rows of one, where each has positions of its own
    const bool own = positions != nullptr && positions->shape().rank() == 2;
    for_range(ctx, rows, 8 * x[-1], [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t place = (own ? row / sequence * length : 0) + row % length;
        for (int head = 0; head < heads; ++head) {
          const std::int64_t at = row * x[-1] + head * size;
          HWY_DYNAMIC_DISPATCH(turn_row)
          (interleaved, pairs, cosines + place * pairs, sines + place * pairs, from.as<const float>() + at,
           to.as<>() + at);
        }
      }
    });
  }
};

}  // namespace

std::vector<Sample> rotary_embedding_samples() { return RotaryEmbedding::samples(); }

}  // namespace ops

Tensor rotary_embedding(const Tensor& x, const RotaryOptions& options, SourceLocation where) {
  const ops::RotaryEmbedding op{options.base, options.offset, options.interleaved, options.heads};
  if (!options.positions.defined()) return apply(op, {x}, where);
  return apply(op, {x, options.positions}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
