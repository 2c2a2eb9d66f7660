// dropout. The mask is never stored: backward and replay make it again from the op's key.
//
// Word i of the key's stream decides about element i, counted as the value's bytes lie. That is as good as the logical
// index: layouts follow from shapes, machine and threads, never from budget or plan.
#include "tidemark/ops/norms.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norms/dropout.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                    // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>

#include "compute/philox.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// y = x * scale where the word is at least the threshold, else x * 0: what is not finite stays NaN. y may be x. Words
// are read in whole vectors.
void select(std::int64_t n, const std::uint32_t* words, std::uint32_t threshold, float scale, const float* x,
            float* y) {
  const Wide d;
  const hn::RebindToUnsigned<Wide> du;
  const auto least = hn::Set(du, threshold);
  const auto factor = hn::Set(d, scale);
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  const auto chosen = [&](std::int64_t i, hn::Vec<Wide> v) HWY_ATTR {
    const auto dropped = hn::Lt(hn::LoadU(du, words + i), least);
    return hn::Mul(v, hn::IfThenZeroElse(hn::RebindMask(d, dropped), factor));
  };
  std::int64_t i = 0;
  for (; i + width <= n; i += width) hn::StoreU(chosen(i, hn::LoadU(d, x + i)), d, y + i);
  if (i < n) store_part(d, chosen(i, load_part(d, x + i, n - i)), y + i, n - i);
}

void scale(std::int64_t n, float factor, const float* x, float* y) {
  const auto s = hn::Set(Wide(), factor);
  map(
      n, y, [&](auto v) HWY_ATTR { return hn::Mul(v, s); }, x);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(select);
HWY_EXPORT(scale);

// What a word decides: with p = 1 the largest word is not below any threshold, and the scale drops it too.
struct Keep {
  explicit Keep(float p)
      : threshold(static_cast<std::uint32_t>(std::min(static_cast<double>(p) * 0x1p32, 0x1p32 - 1))),
        scale(p < 1 ? 1.0f / (1.0f - p) : 0.0f) {}
  std::uint32_t threshold;
  float scale;
};

void require_probability(const Prep& prep, float p) {
  prep.require(p >= 0 && p <= 1, "p is " + std::to_string(p) + "; it must lie in [0, 1]");
}

struct Dropout {
  static constexpr std::string_view name = "dropout";
  float p = 0.5f;

  void describe(Attributes& a) const { a("p", p); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    require_probability(prep, p);
    const double n = as_double(raw_floats(in[0]));
    Prepared out;
    out.outputs = {in[0]};
    out.work = {8 * n, 8 * n};
    out.overwrites = {{0, 0}};
    out.random = true;
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {in[0]};
      part.gy = {{0, in[0].layout}};
      part.work = out.work;
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { run(ctx, in[0], out[0]); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    run(ctx, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    return {{"half", {{{11, 13}}}, any_op(Dropout{})},
            {"tenth", {{{3000}}}, any_op(Dropout{0.1f})},
            {"all", {{{40}}}, any_op(Dropout{1.0f})}};
  }

 private:
  void run(const Ctx& ctx, const Buf& from, const Buf& to) const {
    const Keep keep(p);
    const compute::PhiloxKey key = compute::philox_key(ctx.rng());
    for_elements(ctx, raw_floats(*from.meta), 32, [&](std::int64_t begin, std::int64_t end) {
      constexpr std::int64_t kPiece = 1024;  // whole vectors
      std::uint32_t words[kPiece];
      for (std::int64_t first = begin; first < end; first += kPiece) {
        const std::int64_t count = std::min(kPiece, end - first);
        compute::random_words(key, first, first + count, words);
        HWY_DYNAMIC_DISPATCH(select)(count, words, keep.threshold, keep.scale, from.as<>() + first, to.as<>() + first);
      }
    });
  }
};

// Whole rows are kept or dropped: all that follows the first `leading` dimensions. Word i decides about row i.
struct DropoutRows {
  static constexpr std::string_view name = "dropout_rows";
  float p = 0.5f;
  int leading = 1;

  void describe(Attributes& a) const {
    a("p", p);
    a("leading", leading);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    require_probability(prep, p);
    const Shape& x = in[0].shape;
    prep.require(x.rank() >= leading, "x " + x.to_string() + " must have at least " + std::to_string(leading) +
                                          (leading == 1 ? " dimension" : " dimensions"));
    const Meta plain = Meta::plain(x);
    const double n = as_double(x.numel());
    Prepared out;
    out.outputs = {plain};
    out.input_layouts = {kPlain};
    out.work = {n, 8 * n};
    out.overwrites = {{0, 0}};
    out.random = true;
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.gy = {{0, kPlain}};
      part.work = out.work;
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { run(ctx, in[0], out[0]); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    run(ctx, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    return {{"channels", {{{3, 5, 4, 7}}}, any_op(DropoutRows{0.5f, 2})},
            {"images", {{{9, 2, 3}}}, any_op(DropoutRows{0.3f, 1})},
            {"all", {{{4, 6}}}, any_op(DropoutRows{1.0f, 1})}};
  }

 private:
  void run(const Ctx& ctx, const Buf& from, const Buf& to) const {
    std::int64_t rows = 1;
    for (int d = 0; d < leading; ++d) rows *= from.shape()[d];
    const std::int64_t width = rows > 0 ? from.numel() / rows : 0;
    const Keep keep(p);
    const compute::PhiloxKey key = compute::philox_key(ctx.rng());
    for_range(ctx, rows, 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        std::uint32_t word;
        compute::random_words(key, row, row + 1, &word);
        HWY_DYNAMIC_DISPATCH(scale)
        (width, word < keep.threshold ? 0.0f : keep.scale, from.as<>() + row * width, to.as<>() + row * width);
      }
    });
  }
};

}  // namespace

std::vector<Sample> dropout_samples() { return Dropout::samples(); }
std::vector<Sample> dropout_rows_samples() { return DropoutRows::samples(); }

}  // namespace ops

Tensor dropout(const Tensor& x, const DropoutOptions& options, SourceLocation where) {
  if (!options.training) return x;
  return apply(ops::Dropout{options.p}, {x}, where);
}

Tensor dropout2d(const Tensor& x, const DropoutOptions& options, SourceLocation where) {
  if (!options.training) return x;
  return apply(ops::DropoutRows{options.p, 2}, {x}, where);
}

Tensor drop_path(const Tensor& x, const DropoutOptions& options, SourceLocation where) {
  if (!options.training) return x;
  return apply(ops::DropoutRows{options.p, 1}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
