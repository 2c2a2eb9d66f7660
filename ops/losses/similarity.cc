// cosine_similarity along any dimension, and pairwise_distance along the last. Both keep nothing but their operands and
// what they gave.
#include "tidemark/ops/losses.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/losses/similarity.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                        // IWYU pragma: keep
#include "hwy/highway.h"
#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/losses/similarity.h"
#include "ops/simd-inl.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

double dot(std::int64_t n, const float* a, const float* b) { return dot_row(n, a, b); }

// out = p * a + q * b
void mix(std::int64_t n, float p, const float* a, float q, const float* b, float* out) {
  const auto vp = hn::Set(Wide(), p);
  const auto vq = hn::Set(Wide(), q);
  map(
      n, out, [&](auto v, auto w) HWY_ATTR { return hn::MulAdd(vp, v, hn::Mul(vq, w)); }, a, b);
}

double sum_of_distances(std::int64_t n, float eps, bool squared, const float* a, const float* b) {
  const auto e = hn::Set(Eight(), eps);
  if (squared) {
    const auto add_square = [&](auto acc, auto v, auto w) HWY_ATTR {
      const auto off = hn::Add(hn::Sub(v, w), e);
      return hn::MulAdd(off, off, acc);
    };
    return sum_of(n, add_square, a, b);
  }
  return sum_of(
      n, [&](auto acc, auto v, auto w) HWY_ATTR { return hn::Add(acc, hn::Abs(hn::Add(hn::Sub(v, w), e))); }, a, b);
}

// out = scale * (a - b + eps), or the sign of that.
void distance_gradient(std::int64_t n, float eps, bool signs, float scale, const float* a, const float* b, float* out) {
  const auto e = hn::Set(Wide(), eps);
  const auto s = hn::Set(Wide(), scale);
  if (signs) {
    const auto zero = hn::Zero(Wide());
    map(
        n, out,
        [&](auto v, auto w) HWY_ATTR {
          const auto off = hn::Add(hn::Sub(v, w), e);
          const auto below = hn::IfThenElseZero(hn::Lt(off, zero), hn::Neg(s));
          return hn::IfThenElse(hn::Gt(off, zero), s, below);
        },
        a, b);
  } else {
    map(
        n, out, [&](auto v, auto w) HWY_ATTR { return hn::Mul(s, hn::Add(hn::Sub(v, w), e)); }, a, b);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(dot);
HWY_EXPORT(mix);
HWY_EXPORT(sum_of_distances);
HWY_EXPORT(distance_gradient);

void require_equal(const Prep& prep, std::span<const Meta> in) {
  require_f32(prep, "a", in[0]);
  require_f32(prep, "b", in[1]);
  prep.require(in[0].shape == in[1].shape, "a is " + in[0].shape.to_string() + ", b is " + in[1].shape.to_string() +
                                               "; they must be equal, since losses broadcast nothing");
}

// The sums that a cosine is made of.
struct Products {
  double ab = 0;
  double aa = 0;
  double bb = 0;
};

struct CosineSimilarity {
  static constexpr std::string_view name = "cosine_similarity";
  int dim = -1;
  float eps = 1e-8f;
  bool added = false;  // eps is added to the squares of lengths, instead of being the least of lengths

  void describe(Attributes& a) const {
    a("dim", dim);
    a("eps", eps);
    a("added", added);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_equal(prep, in);
    const Shape& shape = in[0].shape;
    const int rank = shape.rank();
    prep.require(has_dim(dim, rank), "a is " + shape.to_string() + ", which has no dimension " + std::to_string(dim));
    prep.require(std::isfinite(eps) && eps > 0, "eps is " + std::to_string(eps) + "; it must be finite and above 0");
    auto state = std::make_shared<State>();
    const int at = from_front(dim, rank);
    state->split = Split(shape, at);
    std::vector<std::int64_t> kept;
    for (int i = 0; i < rank; ++i) {
      if (i != at) kept.push_back(shape[i]);
    }
    const Meta plain = Meta::plain(shape);
    const double n = as_double(shape.numel());
    Prepared out;
    out.outputs = {Meta::plain(Shape(kept))};
    out.input_layouts = {kPlain, kPlain};
    out.work = {6 * n, 8 * n};
    for (int i = 0; i < 2; ++i) {
      if (!needs[static_cast<std::size_t>(i)]) continue;
      Part part;
      part.inputs = {i};
      part.gx = {plain};
      // The input that the gradient is of comes first.
      part.saved = {Saved::input(i, kPlain), Saved::input(1 - i, kPlain)};
      part.gy = {{0, kPlain}};
      part.work = {9 * n, 12 * n};
      part.overwrites = {{0, 0}, {1, 0}};
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Split& split = ctx.state<State>().split;
    const float* a = in[0].as<const float>();
    const float* b = in[1].as<const float>();
    for_range(ctx, split.outer * split.inner, 8 * split.length, [&](std::int64_t begin, std::int64_t end) {
      split.walk(begin, end, [&](std::int64_t place, std::int64_t at, std::int64_t count) {
        Products products[kStrip];
        add_up(split, count, a + at, b + at, products);
        for (std::int64_t j = 0; j < count; ++j) {
          const Products& p = products[j];
          out[0].as<float>()[place + j] = static_cast<float>(p.ab / std::sqrt(square(p.aa) * square(p.bb)));
        }
      });
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Split& split = ctx.state<State>().split;
    const float* a = saved[0].as<const float>();
    const float* b = saved[1].as<const float>();
    for_range(ctx, split.outer * split.inner, 16 * split.length, [&](std::int64_t begin, std::int64_t end) {
      split.walk(begin, end, [&](std::int64_t place, std::int64_t at, std::int64_t count) {
        Products products[kStrip];
        float of_a[kStrip];
        float of_b[kStrip];
        add_up(split, count, a + at, b + at, products);
        for (std::int64_t j = 0; j < count; ++j) {
          const Products& p = products[j];
          const double lengths = std::sqrt(square(p.aa) * square(p.bb));
          const auto g = static_cast<double>(gy[0].as<const float>()[place + j]);
          of_a[j] = static_cast<float>(-g * (p.ab / lengths) / square(p.aa));
          of_b[j] = static_cast<float>(g / lengths);
        }
        auto* to = gx[0].as<float>() + at;
        if (split.inner == 1) {
          HWY_DYNAMIC_DISPATCH(mix)(split.length, of_a[0], a + at, of_b[0], b + at, to);
          return;
        }
        for (std::int64_t i = 0; i < split.length; ++i) {
          const std::int64_t row = i * split.inner;
          for (std::int64_t j = 0; j < count; ++j) {
            to[row + j] = of_a[j] * a[at + row + j] + of_b[j] * b[at + row + j];
          }
        }
      });
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& shape, const CosineSimilarity& op,
                           std::vector<bool> batched = {true, true}) {
      return Sample{std::move(label), {{shape}, {shape}}, any_op(op), std::move(batched)};
    };
    return {sample("rows", {7, 19}, {}), sample("columns", {9, 70}, {.dim = 0}, {false, false}),
            sample("middle", {2, 5, 3}, {.dim = 1}), sample("added", {3, 4, 6}, {.eps = 0.5f, .added = true})};
  }

 private:
  static constexpr std::int64_t kStrip = 64;

  // The dimensions before and after `dim`, and that itself.
  struct Split {
    Split() = default;
    Split(const Shape& shape, int dim) : length(shape.rank() == 0 ? 1 : shape[dim]) {
      for (int i = 0; i < shape.rank(); ++i) (i < dim ? outer : inner) *= i == dim ? 1 : shape[i];
    }
    // f(place, at, count) for strips of [begin, end): `count` results from `place` on, whose elements start at `at`.
    template <class F>
    void walk(std::int64_t begin, std::int64_t end, F&& f) const {
      while (begin < end) {
        const std::int64_t column = begin % inner;
        const std::int64_t count = std::min({end - begin, inner - column, kStrip});
        f(begin, begin / inner * length * inner + column, count);
        begin += count;
      }
    }
    std::int64_t outer = 1;
    std::int64_t length = 1;
    std::int64_t inner = 1;
  };
  struct State {
    Split split;
  };

  double square(double sum) const {
    const auto e = static_cast<double>(eps);
    if (added) return sum + e;
    return sum < e * e ? e * e : sum;
  }

  static void add_up(const Split& split, std::int64_t count, const float* a, const float* b, Products* products) {
    if (split.inner == 1) {
      const auto dot_of = [&](const float* x, const float* y) { return HWY_DYNAMIC_DISPATCH(dot)(split.length, x, y); };
      products[0] = {dot_of(a, b), dot_of(a, a), dot_of(b, b)};
      return;
    }
    for (std::int64_t i = 0; i < split.length; ++i, a += split.inner, b += split.inner) {
      for (std::int64_t j = 0; j < count; ++j) {
        const auto x = static_cast<double>(a[j]);
        const auto y = static_cast<double>(b[j]);
        products[j].ab += x * y;
        products[j].aa += x * x;
        products[j].bb += y * y;
      }
    }
  }
};

struct PairwiseDistance {
  static constexpr std::string_view name = "pairwise_distance";
  float p = 2;
  float eps = 1e-6f;

  void describe(Attributes& a) const {
    a("p", p);
    a("eps", eps);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_equal(prep, in);
    const Shape& shape = in[0].shape;
    prep.require(shape.rank() > 0, "a is " + shape.to_string() + "; it must have a dimension");
    prep.require(p > 0, "p is " + std::to_string(p) + "; it must be above 0");
    prep.require(std::isfinite(eps), "eps is " + std::to_string(eps) + "; it must be finite");
    const Meta plain = Meta::plain(shape);
    const double n = as_double(shape.numel());
    const double each = p == 1 || p == 2 ? 3 : 40;
    Prepared out;
    out.outputs = {Meta::plain(Shape(shape.dims().first(static_cast<std::size_t>(shape.rank() - 1))))};
    out.input_layouts = {kPlain, kPlain};
    out.work = {each * n, 8 * n};
    auto state = std::make_shared<State>();
    for (int i = 0; i < 2; ++i) {
      if (!needs[static_cast<std::size_t>(i)]) continue;
      Part part;
      part.inputs = {i};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::input(1, kPlain)};
      if (p != 1) part.saved.push_back(Saved::output(0, kPlain));
      part.gy = {{0, kPlain}};
      part.work = {each * n, 12 * n};
      part.overwrites = {{0, 0}, {1, 0}};
      out.parts.push_back(std::move(part));
      state->signs.push_back(i == 0 ? 1.0f : -1.0f);
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const std::int64_t width = in[0].shape()[-1];
    for_range(ctx, out[0].numel(), 8 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* a = in[0].as<const float>() + row * width;
        const float* b = in[1].as<const float>() + row * width;
        out[0].as<float>()[row] = static_cast<float>(norm(width, a, b));
      }
    });
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const {
    const std::int64_t width = gx[0].shape()[-1];
    const float side = ctx.state<State>().signs[static_cast<std::size_t>(part)];
    for_range(ctx, gy[0].numel(), 12 * width, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float norm = p == 1 ? 1 : saved[2].as<const float>()[row];
        slope(width, norm, side * gy[0].as<const float>()[row], saved[0].as<const float>() + row * width,
              saved[1].as<const float>() + row * width, gx[0].as<float>() + row * width);
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& shape, float p) {
      return Sample{std::move(label), {{shape}, {shape}}, any_op(PairwiseDistance{.p = p}), {true, true}};
    };
    return {sample("two", {7, 19}, 2), sample("p of one", {2, 3, 9}, 1), sample("three", {4, 5}, 3),
            sample("less than two", {4, 5}, 1.5f), sample("largest", {6, 4}, std::numeric_limits<float>::infinity())};
  }

 private:
  struct State {
    std::vector<float> signs;  // of the gradients that the parts make
  };

  double distance(float a, float b) const {
    return static_cast<double>(a) - static_cast<double>(b) + static_cast<double>(eps);
  }

  double norm(std::int64_t n, const float* a, const float* b) const {
    if (p == 1) return HWY_DYNAMIC_DISPATCH(sum_of_distances)(n, eps, false, a, b);
    if (p == 2) return std::sqrt(HWY_DYNAMIC_DISPATCH(sum_of_distances)(n, eps, true, a, b));
    double total = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double off = std::fabs(distance(a[i], b[i]));
      if (std::isinf(p)) {
        if (!(off <= total)) total = off;
        if (std::isnan(total)) break;
      } else {
        total += std::pow(off, static_cast<double>(p));
      }
    }
    return std::isinf(p) ? total : std::pow(total, 1 / static_cast<double>(p));
  }

  void slope(std::int64_t n, float norm, float g, const float* a, const float* b, float* out) const {
    if (norm == 0) {
      std::fill_n(out, n, 0.0f);
    } else if (p == 1 || p == 2) {
      HWY_DYNAMIC_DISPATCH(distance_gradient)(n, eps, p == 1, p == 1 ? g : g / norm, a, b, out);
    } else if (std::isinf(p)) {
      // The norm was rounded to float, and so are the distances here.
      const auto largest = [&](std::int64_t i) { return static_cast<float>(std::fabs(distance(a[i], b[i]))) == norm; };
      std::int64_t count = 0;
      for (std::int64_t i = 0; i < n; ++i) count += largest(i) ? 1 : 0;
      const float share = g / static_cast<float>(count);  // nothing is equal to a NaN
      for (std::int64_t i = 0; i < n; ++i) {
        const float each = largest(i) ? share : count == 0 ? norm : 0.0f;
        out[i] = distance(a[i], b[i]) < 0 ? -each : each;
      }
    } else {
      for (std::int64_t i = 0; i < n; ++i) {
        const double off = distance(a[i], b[i]);
        const double ratio = std::fabs(off) / static_cast<double>(norm);
        const double power = off == 0 ? 0 : std::pow(ratio, static_cast<double>(p) - 1);
        out[i] = static_cast<float>(static_cast<double>(g) * std::copysign(power, off));
      }
    }
  }
};

}  // namespace

Tensor similarity_of_embeddings(const Tensor& a, const Tensor& b, SourceLocation where) {
  return apply(CosineSimilarity{.dim = -1, .eps = 1e-12f, .added = true}, {a, b}, where);
}

std::vector<Sample> cosine_similarity_samples() { return CosineSimilarity::samples(); }
std::vector<Sample> pairwise_distance_samples() { return PairwiseDistance::samples(); }

}  // namespace ops

Tensor cosine_similarity(const Tensor& a, const Tensor& b, const CosineSimilarityOptions& options,
                         SourceLocation where) {
  return apply(ops::CosineSimilarity{.dim = options.dim, .eps = options.eps}, {a, b}, where);
}

Tensor pairwise_distance(const Tensor& a, const Tensor& b, const PairwiseDistanceOptions& options,
                         SourceLocation where) {
  ops::require_defined("pairwise_distance", {&a, &b}, where);
  const Tensor norms = apply(ops::PairwiseDistance{.p = options.p, .eps = options.eps}, {a, b}, where);
  if (!options.keepdim) return norms;
  return reshape(norms, a.shape(where).with(-1, 1), where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
