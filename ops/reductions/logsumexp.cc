// logsumexp. Keeps two numbers of each output, the maximum m and the sum of e^(x - m): as one number they would lose
// digits where elements are large. Where m is infinite 0 takes its place, so that the sum shows what there is.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/logsumexp.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                           // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "ops/reductions/fold-inl.h"
#include "ops/reductions/fold.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct LogsumexpMaximum : Extreme<true> {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    slots[0] = merge(d, slots[0], hn::PromoteTo(d, x));
  }
};

struct LogsumexpSum : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D> aux, double, hn::Vec<D>* slots) {
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, exp(NarrowTag<D>(), hn::Sub(x, aux))));
  }
};

const FoldKernels& logsumexp_maximum_kernels() { return kFoldKernels<LogsumexpMaximum>; }
const FoldKernels& logsumexp_sum_kernels() { return kFoldKernels<LogsumexpSum>; }

void logsumexp_gradient(std::int64_t n, const float* x, Row most, Row scale, float* gx) {
  const auto formula = [](auto v, auto m, auto s) HWY_ATTR { return hn::Mul(s, exp(Wide(), hn::Sub(v, m))); };
  if (most.repeated) {
    const auto m = hn::Set(Wide(), *most.at);
    const auto s = hn::Set(Wide(), *scale.at);
    map(
        n, gx, [&](auto v) HWY_ATTR { return formula(v, m, s); }, x);
  } else {
    map(n, gx, formula, x, most.at, scale.at);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(logsumexp_maximum_kernels);
HWY_EXPORT(logsumexp_sum_kernels);
HWY_EXPORT(logsumexp_gradient);

struct Logsumexp {
  static constexpr std::string_view name = "logsumexp";
  Dims dims;
  bool keepdim = false;

  void describe(Attributes& a) const {
    dims.describe(a);
    a("keepdim", keepdim);
  }

  using State = FoldState;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Fold fold(in[0].shape, dims);
    const double n = as_double(in[0].shape.numel());
    Prepared out = prepare_fold(fold, in[0], dims, keepdim, {20 * n, 8 * n});
    out.outputs.push_back(Meta::plain({2, fold.outputs()}));
    out.visible = 1;
    if (needs[0]) {
      out.parts.push_back(fold_gradient(in[0], {Saved::input(0, kPlain), Saved::output(1)},
                                        fold.outputs() * size_of(f32), {20 * n, 8 * n}));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Fold& fold = ctx.state<State>().fold;
    float* maxima = out[1].as<>();
    float* sums = maxima + fold.outputs();
    fold.run(ctx, HWY_DYNAMIC_DISPATCH(logsumexp_maximum_kernels)(), {.x = in[0].data}, ctx.scratch(),
             [&](std::int64_t first, std::int64_t count, const double* states) {
               for (std::int64_t i = 0; i < count; ++i) {
                 maxima[first + i] = std::isinf(states[i]) ? 0.0f : static_cast<float>(states[i]);
               }
             });
    fold.run(ctx, HWY_DYNAMIC_DISPATCH(logsumexp_sum_kernels)(), {.x = in[0].data, .aux = maxima}, ctx.scratch(),
             [&](std::int64_t first, std::int64_t count, const double* states) {
               for (std::int64_t i = 0; i < count; ++i) {
                 const double most = static_cast<double>(maxima[first + i]);
                 sums[first + i] = static_cast<float>(states[i]);
                 out[0].as<>()[first + i] = static_cast<float>(most + std::log(states[i]));
               }
             });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const std::int64_t outputs = state.fold.outputs();
    const float* maxima = saved[1].as<>();
    auto* scales = ctx.scratch<float>();
    for_elements(ctx, outputs, 12, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) scales[i] = gy[0].as<>()[i] / maxima[outputs + i];
    });
    RowWalk(gx[0].shape(), state.ones, state.ones)
        .run(ctx, maxima, scales, [&](std::int64_t at, std::int64_t count, Row most, Row scale) {
          HWY_DYNAMIC_DISPATCH(logsumexp_gradient)(count, saved[0].as<>() + at, most, scale, gx[0].as<>() + at);
        });
  }

  static std::vector<Sample> samples() {
    const float nothing = -std::numeric_limits<float>::infinity();
    return {{"all", {{{3, 4, 5}}}, any_op(Logsumexp{}), {}, nothing},
            {"channels", {{{3, 4, 2, 5}}}, any_op(Logsumexp{{false, 0b1101}, true}), {}, nothing},
            {"middle", {{{2, 41, 7}}}, any_op(Logsumexp{{false, 0b010}}), {}, nothing},
            {"last", {{{6, 45}}}, any_op(Logsumexp{{false, 0b10}}), {}, nothing}};
  }
};

}  // namespace

std::vector<Sample> logsumexp_samples() { return Logsumexp::samples(); }

}  // namespace ops

Tensor logsumexp(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Logsumexp{{}, options.keepdim}, {x}, where);
}
Tensor logsumexp(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Logsumexp{ops::dims_of("logsumexp", x, dims, where), options.keepdim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
