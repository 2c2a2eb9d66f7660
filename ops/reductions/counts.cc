// any, all and count_nonzero: what follows from how many elements are not zero.
#include "tidemark/ops/reductions.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/reductions/counts.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                        // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/reductions/fold-inl.h"
#include "ops/reductions/fold.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

struct NonzeroCount : Adding {
  static constexpr int kSlots = 1;
  template <class D>
  static HWY_INLINE void add(D d, Narrow<D> x, Narrow<D>, double, hn::Vec<D>* slots) {
    const NarrowTag<D> narrow;
    const auto counted = hn::IfThenZeroElse(hn::Eq(x, hn::Zero(narrow)), hn::Set(narrow, 1.0f));
    slots[0] = hn::Add(slots[0], hn::PromoteTo(d, counted));
  }
};

const FoldKernels& nonzero_kernels(DType dtype) {
  switch (dtype) {
    case i32:
      return kFoldKernels<NonzeroCount, std::int32_t>;
    case u8:
      return kFoldKernels<NonzeroCount, std::uint8_t>;
    default:
      return kFoldKernels<NonzeroCount>;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(nonzero_kernels);

enum class Count : std::uint8_t { kAny, kAll, kNonzero };

template <Count count>
struct Counting {
  static constexpr std::string_view name =
      count == Count::kAny ? "any" : (count == Count::kAll ? "all" : "count_nonzero");
  Dims dims;
  bool keepdim = false;

  void describe(Attributes& a) const {
    dims.describe(a);
    a("keepdim", keepdim);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    prep.require(in[0].dtype != f16, ops::describe("x", in[0]) + "; it must be f32, i32 or u8");
    const Shape& shape = in[0].shape;
    auto fold = std::make_shared<Fold>(shape, dims);
    prep.require(count != Count::kNonzero || fold->reduced() <= std::numeric_limits<std::int32_t>::max(),
                 ops::describe("x", in[0]) + "; what is counted must fit into i32");
    Prepared out;
    out.outputs = {Meta::plain(reduced_shape(shape, dims, keepdim), count == Count::kNonzero ? i32 : u8)};
    out.input_layouts = {kPlain};
    out.scratch = fold->scratch(1);
    out.work = {as_double(shape.numel()), as_double(in[0].bytes)};
    out.state = std::move(fold);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Fold& fold = ctx.state<Fold>();
    const DType dtype = in[0].meta->dtype;
    const double n = as_double(fold.reduced());
    fold.run(ctx, HWY_DYNAMIC_DISPATCH(nonzero_kernels)(dtype), {.x = in[0].data, .element = size_of(dtype)},
             ctx.scratch(), [&](std::int64_t first, std::int64_t outputs, const double* states) {
               for (std::int64_t i = 0; i < outputs; ++i) {
                 if constexpr (count == Count::kNonzero) {
                   out[0].as<std::int32_t>()[first + i] = static_cast<std::int32_t>(states[i]);
                 } else {
                   out[0].as<std::uint8_t>()[first + i] = count == Count::kAny ? states[i] > 0 : states[i] == n;
                 }
               }
             });
  }

  static std::vector<Sample> samples() {
    const auto mask = [](const Shape& shape, DType dtype) {
      return SampleInput{shape, dtype, SampleInput::Fill::kIndices, 2, false};
    };
    return {{"all", {{{3, 4, 5}, f32, SampleInput::Fill::kNormal, 0, false}}, any_op(Counting{}), {false}},
            {"long", {mask({70000}, u8)}, any_op(Counting{}), {false}},
            {"channels", {mask({3, 4, 2, 5}, i32)}, any_op(Counting{{false, 0b1101}, true}), {false}},
            {"middle", {mask({2, 41, 7}, u8)}, any_op(Counting{{false, 0b010}})},
            {"last", {mask({6, 45}, i32)}, any_op(Counting{{false, 0b10}})}};
  }
};

}  // namespace

std::vector<Sample> any_samples() { return Counting<Count::kAny>::samples(); }
std::vector<Sample> all_samples() { return Counting<Count::kAll>::samples(); }
std::vector<Sample> count_nonzero_samples() { return Counting<Count::kNonzero>::samples(); }

}  // namespace ops

Tensor any(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Counting<ops::Count::kAny>{{}, options.keepdim}, {x}, where);
}
Tensor any(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Counting<ops::Count::kAny>{ops::dims_of("any", x, dims, where), options.keepdim}, {x}, where);
}
Tensor all(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Counting<ops::Count::kAll>{{}, options.keepdim}, {x}, where);
}
Tensor all(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Counting<ops::Count::kAll>{ops::dims_of("all", x, dims, where), options.keepdim}, {x}, where);
}
Tensor count_nonzero(const Tensor& x, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Counting<ops::Count::kNonzero>{{}, options.keepdim}, {x}, where);
}
Tensor count_nonzero(const Tensor& x, std::span<const int> dims, const ReduceOptions& options, SourceLocation where) {
  return apply(ops::Counting<ops::Count::kNonzero>{ops::dims_of("count_nonzero", x, dims, where), options.keepdim}, {x},
               where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
