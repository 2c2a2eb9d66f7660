// Gated linear units: one half of a dimension is multiplied with a gate of the other half.
#include "tidemark/ops/pointwise.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/pointwise/gates.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                      // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/kernels.h"
#include "ops/math-inl.h"
#include "ops/table.h"

#ifndef TIDEMARK_OPS_GATES_SHARED_
#define TIDEMARK_OPS_GATES_SHARED_
namespace tidemark::ops {

// Of n elements of both halves.
struct GateKernels {
  void (*value)(std::int64_t n, const float* a, const float* b, float* y);
  // ga and gb may be a and b.
  void (*gradient)(std::int64_t n, const float* a, const float* b, const float* gy, float* ga, float* gb);
};

}  // namespace tidemark::ops
#endif

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

template <class Vector>
struct Halves {
  Vector a;
  Vector b;
};

// a sigmoid(b).
struct SigmoidGate {
  template <class D, class Vector>
  static HWY_INLINE Vector value(D d, Vector a, Vector b) {
    return hn::Mul(a, sigmoid(d, b));
  }
  template <class D, class Vector>
  static HWY_INLINE Halves<Vector> gradient(D d, Vector a, Vector b, Vector g) {
    const auto [gate, other] = sigmoids(d, b);
    return {hn::Mul(g, gate), hn::Mul(g, hn::Mul(hn::Mul(gate, other), a))};
  }
};

// silu(a) b.
struct SiluGate {
  template <class D, class Vector>
  static HWY_INLINE Vector value(D d, Vector a, Vector b) {
    return hn::Mul(silu(d, a), b);
  }
  template <class D, class Vector>
  static HWY_INLINE Halves<Vector> gradient(D d, Vector a, Vector b, Vector g) {
    return {hn::Mul(hn::Mul(g, b), silu_slope(d, a)), hn::Mul(g, silu(d, a))};
  }
};

template <class Gate>
HWY_FLATTEN void gate_value(std::int64_t n, const float* a, const float* b, float* y) {
  map(
      n, y, [](auto v, auto w) HWY_ATTR { return Gate::value(Wide(), v, w); }, a, b);
}

template <class Gate>
HWY_FLATTEN void gate_gradient(std::int64_t n, const float* a, const float* b, const float* gy, float* ga, float* gb) {
  const Wide d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t i = 0; i < n; i += width) {
    const bool whole = i + width <= n;
    const auto get = [&](const float* from)
                         HWY_ATTR { return whole ? load(d, from + i) : load_part(d, from + i, n - i); };
    const auto put = [&](auto v, float* to) HWY_ATTR { whole ? store(d, v, to + i) : store_part(d, v, to + i, n - i); };
    const auto halves = Gate::gradient(d, get(a), get(b), get(gy));
    put(halves.a, ga);
    put(halves.b, gb);
  }
}

const GateKernels* gate_kernels() {
  static constexpr GateKernels kKernels[] = {{gate_value<SigmoidGate>, gate_gradient<SigmoidGate>},
                                             {gate_value<SiluGate>, gate_gradient<SiluGate>}};
  return kKernels;
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(gate_kernels);

// Which kernels.
inline constexpr std::size_t kSigmoid = 0;
inline constexpr std::size_t kSilu = 1;

template <std::size_t gate>
struct GatedUnit {
  static constexpr std::string_view name = gate == kSigmoid ? "glu" : "swiglu";
  int dim = -1;

  void describe(Attributes& a) const { a("dim", dim); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& shape = in[0].shape;
    const int at = from_front(shape);
    prep.require(at >= 0 && at < shape.rank() && shape[at] % 2 == 0,
                 ops::describe("x", in[0]) + "; its dimension " + std::to_string(dim) + " must exist and be even");
    Prepared out;
    out.outputs = {Meta::plain(shape.with(at, shape[at] / 2))};
    out.input_layouts = {kPlain};
    const double n = as_double(out.outputs[0].shape.numel());
    out.work = {30 * n, 12 * n};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {Meta::plain(shape)};
      part.saved = {Saved::input(0, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {50 * n, 20 * n};
      part.overwrites = {{0, 0}};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto kernel = HWY_DYNAMIC_DISPATCH(gate_kernels)()[gate].value;
    const float* x = in[0].as<const float>();
    float* y = out[0].as<>();
    pieces(ctx, out[0].shape(),
           [&](std::int64_t n, std::int64_t a, std::int64_t b, std::int64_t at) { kernel(n, x + a, x + b, y + at); });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto kernel = HWY_DYNAMIC_DISPATCH(gate_kernels)()[gate].gradient;
    const float* x = saved[0].as<const float>();
    const float* g = gy[0].as<const float>();
    float* to = gx[0].as<>();
    pieces(ctx, gy[0].shape(), [&](std::int64_t n, std::int64_t a, std::int64_t b, std::int64_t at) {
      kernel(n, x + a, x + b, g + at, to + a, to + b);
    });
  }

  static std::vector<Sample> samples() {
    return {{"last", {{{5, 22}}}, any_op(GatedUnit{})},
            {"first", {{{6, 7}}}, any_op(GatedUnit{0})},
            {"channels", {{{2, 6, 3, 5}}}, any_op(GatedUnit{1})}};
  }

 private:
  int from_front(const Shape& shape) const { return dim < 0 ? dim + shape.rank() : dim; }

  // f(count, first of the one half, of the other, of the result) for runs that make up a result of this shape.
  template <class F>
  void pieces(const Ctx& ctx, const Shape& shape, F&& f) const {
    std::int64_t row = 1;
    for (int i = from_front(shape); i < shape.rank(); ++i) row *= shape[i];
    for_elements(ctx, shape.numel(), 30, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t count = std::min(end, (begin / row + 1) * row) - begin;
        const std::int64_t a = begin / row * 2 * row + begin % row;
        f(count, a, a + row, begin);
        begin += count;
      }
    });
  }
};

}  // namespace

std::vector<Sample> glu_samples() { return GatedUnit<kSigmoid>::samples(); }
std::vector<Sample> swiglu_samples() { return GatedUnit<kSilu>::samples(); }

}  // namespace ops

Tensor glu(const Tensor& x, int dim, SourceLocation where) {
  return apply(ops::GatedUnit<ops::kSigmoid>{dim}, {x}, where);
}
Tensor swiglu(const Tensor& x, int dim, SourceLocation where) {
  return apply(ops::GatedUnit<ops::kSilu>{dim}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
