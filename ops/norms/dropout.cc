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

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(select);

struct Dropout {
  static constexpr std::string_view name = "dropout";
  float p = 0.5f;

  void describe(Attributes& a) const { a("p", p); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    prep.require(p >= 0 && p <= 1, "p is " + std::to_string(p) + "; it must lie in [0, 1]");
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
    // With p = 1 the largest word is not below any threshold: the scale drops it too.
    const auto threshold = static_cast<std::uint32_t>(std::min(static_cast<double>(p) * 0x1p32, 0x1p32 - 1));
    const float scale = p < 1 ? 1.0f / (1.0f - p) : 0.0f;
    const compute::PhiloxKey key = compute::philox_key(ctx.rng());
    for_elements(ctx, raw_floats(*from.meta), 32, [&](std::int64_t begin, std::int64_t end) {
      constexpr std::int64_t kPiece = 1024;  // whole vectors
      std::uint32_t words[kPiece];
      for (std::int64_t first = begin; first < end; first += kPiece) {
        const std::int64_t count = std::min(kPiece, end - first);
        compute::random_words(key, first, first + count, words);
        HWY_DYNAMIC_DISPATCH(select)(count, words, threshold, scale, from.as<>() + first, to.as<>() + first);
      }
    });
  }
};

}  // namespace

std::vector<Sample> dropout_samples() { return Dropout::samples(); }

}  // namespace ops

Tensor dropout(const Tensor& x, const DropoutOptions& options, SourceLocation where) {
  if (!options.training) return x;
  return apply(ops::Dropout{options.p}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
