// prod. Saves its input alone: backward makes the product of what is not zero again, and counts the zeros. With one
// zero only that element has a gradient, with more of them none has.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/prod.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                      // IWYU pragma: keep
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

struct Multiplying {
  static constexpr double kStart = 1;
  template <class D>
  static HWY_INLINE hn::Vec<D> merge(D, hn::Vec<D> a, hn::Vec<D> b) {
    return hn::Mul(a, b);
  }
};

struct ProductOfAll : Multiplying {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    slots[0] = hn::Mul(slots[0], hn::PromoteTo(d, x));
  }
};

// The product of what is not zero, and 2^-(how many zeros there are): more than a thousand of them are as good as two.
struct ProductOfNonzero : Multiplying {
  static constexpr int kSlots = 2;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    const auto v = hn::PromoteTo(d, x);
    const auto zero = hn::Eq(v, hn::Zero(d));
    slots[0] = hn::Mul(slots[0], hn::IfThenElse(zero, hn::Set(d, 1.0), v));
    slots[1] = hn::Mul(slots[1], hn::IfThenElse(zero, hn::Set(d, 0.5), hn::Set(d, 1.0)));
  }
};

const FoldKernels& product_kernels() { return kFoldKernels<ProductOfAll>; }
const FoldKernels& product_nonzero_kernels() { return kFoldKernels<ProductOfNonzero>; }

// gx = the product of the others: products[0] / x where no element is zero. `zeros` is 2^-(their number). Of one
// output, or of one for each element.
void product_gradient(std::int64_t n, bool repeated, const float* x, const double* products, const double* zeros,
                      const float* g, float* gx) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t at = repeated ? 0 : i;
    const double v = static_cast<double>(x[i]);
    const bool zero = v == 0;
    const double others = zero ? products[at] : products[at] / v;
    const double left = zero ? zeros[at] * 2 : zeros[at];  // the zeros among the others
    gx[i] = static_cast<float>(static_cast<double>(g[at]) * (left == 1 ? others : 0 * others));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(product_kernels);
HWY_EXPORT(product_nonzero_kernels);
HWY_EXPORT(product_gradient);

struct Prod {
  static constexpr std::string_view name = "prod";
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
    Prepared out = prepare_fold(fold, in[0], dims, keepdim, {n, 4 * n});
    if (needs[0]) {
      out.parts.push_back(
          fold_gradient(in[0], {Saved::input(0, kPlain)}, product_bytes(fold) + fold.scratch(2), {6 * n, 12 * n}));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    ctx.state<State>().fold.run(ctx, HWY_DYNAMIC_DISPATCH(product_kernels)(), {.x = in[0].data}, ctx.scratch(),
                                [&](std::int64_t first, std::int64_t count, const double* states) {
                                  for (std::int64_t i = 0; i < count; ++i) {
                                    out[0].as<>()[first + i] = static_cast<float>(states[i]);
                                  }
                                });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    auto* products = ctx.scratch<double>();
    double* zeros = products + state.fold.outputs();
    state.fold.run(ctx, HWY_DYNAMIC_DISPATCH(product_nonzero_kernels)(), {.x = saved[0].data},
                   ctx.scratch<char>() + product_bytes(state.fold),
                   [&](std::int64_t first, std::int64_t count, const double* states) {
                     std::copy_n(states, count, products + first);
                     std::copy_n(states + count, count, zeros + first);
                   });
    const float* g = gy[0].as<>();
    RowWalk(gx[0].shape(), state.ones, Shape{}).run(ctx, g, g, [&](std::int64_t at, std::int64_t count, Row row, Row) {
      const std::int64_t first = row.at - g;
      HWY_DYNAMIC_DISPATCH(product_gradient)
      (count, row.repeated, saved[0].as<>() + at, products + first, zeros + first, row.at, gx[0].as<>() + at);
    });
  }

  static std::vector<Sample> samples() {
    return {{"all", {{{3, 4}}}, any_op(Prod{}), {}, 1},
            {"channels", {{{2, 3, 2, 2}}}, any_op(Prod{{false, 0b1101}, true}), {}, 1},
            {"middle", {{{2, 5, 7}}}, any_op(Prod{{false, 0b010}}), {}, 1},
            {"last", {{{6, 9}}}, any_op(Prod{{false, 0b10}}), {}, 1},
            {"zeros", {{{6, 3}, f32, SampleInput::Fill::kZeros}}, any_op(Prod{{false, 0b10}}), {}, 1}};
  }

 private:
  static std::int64_t product_bytes(const Fold& fold) {
    return round_up(2 * fold.outputs() * static_cast<std::int64_t>(sizeof(double)), 64);
  }
};

}  // namespace

std::vector<Sample> prod_samples() { return Prod::samples(); }

}  // namespace ops

Tensor prod(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Prod{{}, options.keepdim}, {x}, where);
}
Tensor prod(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Prod{ops::dims_of("prod", x, dims, where), options.keepdim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
