// group_norm: the channels of each image in groups, each of which is normalised over its channels and places. Saves its
// input and two numbers a group. Instance norm is the case of one channel a group.
#include "tidemark/ops/norms.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norms/group_norm.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                       // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>

#include "ops/defined.h"
#include "ops/kernels.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// The mean of n floats, and 1 / sqrt(variance + eps).
void group_statistics(std::int64_t n, float eps, const float* x, float* mean, float* rstd) {
  const auto size = static_cast<double>(n);
  const auto centre = static_cast<float>(sum_row(n, x) / size);
  const auto squares = [&](auto acc, auto v) HWY_ATTR {
    const auto off = hn::Sub(v, hn::Set(Eight(), centre));
    return hn::MulAdd(off, off, acc);
  };
  *mean = centre;
  *rstd = static_cast<float>(1.0 / std::sqrt(sum_of(n, squares, x) / size + static_cast<double>(eps)));
}

// y = (x - mean) scale + shift.
void group_apply(std::int64_t n, float mean, float scale, float shift, const float* x, float* y) {
  const auto m = hn::Set(Wide(), mean);
  const auto s = hn::Set(Wide(), scale);
  const auto b = hn::Set(Wide(), shift);
  map(
      n, y, [&](auto v) HWY_ATTR { return hn::MulAdd(hn::Sub(v, m), s, b); }, x);
}

// The sums of gy, and of gy (x - mean).
void group_sums(std::int64_t n, float mean, const float* x, const float* gy, double* direct, double* along) {
  const auto weighted = [&](auto acc, auto v, auto g)
                            HWY_ATTR { return hn::MulAdd(g, hn::Sub(v, hn::Set(Eight(), mean)), acc); };
  *direct = sum_row(n, gy);
  if (x != nullptr) *along = sum_of(n, weighted, x, gy);
}

// gx = gy scale - direct - (x - mean) along.
void group_gx(std::int64_t n, float mean, float scale, float direct, float along, const float* x, const float* gy,
              float* gx) {
  const auto m = hn::Set(Wide(), mean);
  const auto s = hn::Set(Wide(), scale);
  const auto d = hn::Set(Wide(), direct);
  const auto a = hn::Set(Wide(), along);
  const auto formula = [&](auto v, auto g) HWY_ATTR { return hn::NegMulAdd(hn::Sub(v, m), a, hn::MulSub(g, s, d)); };
  map(n, gx, formula, x, gy);
}

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(group_statistics);
HWY_EXPORT(group_apply);
HWY_EXPORT(group_sums);
HWY_EXPORT(group_gx);

struct GroupNorm {
  static constexpr std::string_view name = "group_norm";
  int groups = 1;
  float eps = 1e-5f;

  void describe(Attributes& a) const {
    a("groups", groups);
    a("eps", eps);
  }

  struct State {
    std::int64_t images = 0;
    std::int64_t channels = 0;
    std::int64_t places = 0;  // of a channel
    // Where in gx of the one part; -1: not asked for.
    int x_at = -1;
    int gamma_at = -1;
    int beta_at = -1;
    // Where gamma is among the part's saved values; -1: there is none, or nothing needs it.
    int saved_gamma = -1;
  };

  // Inputs: x, and gamma and beta or neither.
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    check(prep, in);
    const Shape& x = in[0].shape;
    const Meta plain = Meta::plain(x);
    auto state = std::make_shared<State>();
    state->images = x[0];
    state->channels = x[1];
    for (state->places = 1; const std::int64_t size : x.dims().subspan(2)) state->places *= size;
    const Meta statistics = Meta::plain({x[0] * groups});
    const double n = as_double(x.numel());
    Prepared out;
    out.outputs = {plain, statistics, statistics};
    out.visible = 1;
    out.input_layouts.assign(in.size(), kPlain);
    out.work = {8 * n, 8 * n};
    out.overwrites = {{0, 0}};
    if (needs.any()) out.parts.push_back(gradient_part(in, needs, *state));
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const State& state = ctx.state<State>();
    const std::int64_t channels = state.channels / groups;
    const std::int64_t size = channels * state.places;
    const float* gamma = in.size() > 1 ? in[1].as<const float>() : nullptr;
    const float* beta = in.size() > 1 ? in[2].as<const float>() : nullptr;
    for_range(ctx, state.images * groups, 16 * size, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t group = begin; group < end; ++group) {
        float* mean = out[1].as<>() + group;
        float* rstd = out[2].as<>() + group;
        const float* x = in[0].as<const float>() + group * size;
        float* y = out[0].as<>() + group * size;
        HWY_DYNAMIC_DISPATCH(group_statistics)(size, eps, x, mean, rstd);
        if (gamma == nullptr) {
          HWY_DYNAMIC_DISPATCH(group_apply)(size, *mean, *rstd, 0.0f, x, y);
          continue;
        }
        const std::int64_t first = group % groups * channels;
        for (std::int64_t c = 0; c < channels; ++c) {
          HWY_DYNAMIC_DISPATCH(group_apply)
          (state.places, *mean, *rstd * gamma[first + c], beta[first + c], x + c * state.places, y + c * state.places);
        }
      }
    });
  }

  // With h = (x - mean) rstd and g = gy gamma: gx = rstd (g - mean(g) - h mean(g h)). The sums of each channel of each
  // image come first; all three gradients are made of them.
  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const std::int64_t channels = state.channels / groups;
    const std::int64_t size = channels * state.places;
    const float* gamma = state.saved_gamma < 0 ? nullptr : saved[static_cast<std::size_t>(state.saved_gamma)].as<>();
    auto* const direct = ctx.scratch<double>();
    double* const along = direct + state.images * state.channels;
    for_range(ctx, state.images * groups, 24 * size, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t group = begin; group < end; ++group) {
        const std::int64_t first = group * channels;  // channel of all images
        const float* from = saved.empty() ? nullptr : saved[0].as<const float>() + group * size;
        const float mean = saved.empty() ? 0.0f : saved[1].as<>()[group];
        const float rstd = saved.empty() ? 0.0f : saved[2].as<>()[group];
        const float* g = gy[0].as<const float>() + group * size;
        double total_direct = 0;
        double total_along = 0;
        for (std::int64_t c = 0; c < channels; ++c) {
          const std::int64_t at = c * state.places;
          HWY_DYNAMIC_DISPATCH(group_sums)
          (state.places, mean, from == nullptr ? nullptr : from + at, g + at, direct + first + c, along + first + c);
          const double weight = gamma == nullptr ? 1.0 : static_cast<double>(gamma[(first + c) % state.channels]);
          total_direct += weight * direct[first + c];
          total_along += weight * along[first + c];
        }
        if (state.gamma_at >= 0) {
          for (std::int64_t c = 0; c < channels; ++c) along[first + c] *= static_cast<double>(rstd);
        }
        if (state.x_at < 0) continue;
        const double each = static_cast<double>(rstd) / as_double(size);
        const auto mean_direct = static_cast<float>(total_direct * each);
        const auto mean_along =
            static_cast<float>(total_along * each * static_cast<double>(rstd) * static_cast<double>(rstd));
        float* to = gx[static_cast<std::size_t>(state.x_at)].as<>() + group * size;
        for (std::int64_t c = 0; c < channels; ++c) {
          const std::int64_t at = c * state.places;
          const float scale = gamma == nullptr ? rstd : rstd * gamma[(first + c) % state.channels];
          HWY_DYNAMIC_DISPATCH(group_gx)
          (state.places, mean, scale, mean_direct, mean_along, from + at, g + at, to + at);
        }
      }
    });
    const auto give = [&](int at, const double* sums) {
      if (at < 0) return;
      auto* to = gx[static_cast<std::size_t>(at)].as<>();
      for (std::int64_t c = 0; c < state.channels; ++c) {
        double total = 0;
        for (std::int64_t image = 0; image < state.images; ++image) total += sums[image * state.channels + c];
        to[c] = static_cast<float>(total);
      }
    };
    give(state.gamma_at, along);
    give(state.beta_at, direct);
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, int groups, bool affine) {
      Sample out{std::move(label), {{x}}, any_op(GroupNorm{groups, 1e-5f})};
      if (affine) out.inputs.insert(out.inputs.end(), {{Shape({x[1]})}, {Shape({x[1]})}});
      out.batched = {true};
      out.batched.resize(out.inputs.size(), false);
      return out;
    };
    return {sample("images", {2, 6, 3, 5}, 3, true),    sample("one group", {3, 5, 2, 3}, 1, true),
            sample("instances", {2, 3, 5, 7}, 3, true), sample("plain instances", {2, 3, 4, 9}, 3, false),
            sample("sequence", {2, 8, 19}, 2, true),    sample("features", {5, 12}, 4, true),
            sample("plain", {1, 4, 2, 3, 3}, 2, false)};
  }

 private:
  void check(const Prep& prep, std::span<const Meta> in) const {
    require_eps(prep, eps);
    static constexpr std::array<std::string_view, 3> kNames = {"x", "gamma", "beta"};
    for (std::size_t i = 0; i < in.size(); ++i) require_f32(prep, kNames[i], in[i]);
    const Shape& x = in[0].shape;
    prep.require(x.rank() >= 2 && x.with(0, 1).numel() > 0,
                 "x " + x.to_string() + " must be [N, C, ...], of which only N may be 0: nothing else may be empty");
    prep.require(groups >= 1 && x[1] % groups == 0, "x " + x.to_string() + " has " + std::to_string(x[1]) +
                                                        " channels, which must be a multiple of the " +
                                                        std::to_string(groups) + " groups");
    for (std::size_t i = 1; i < in.size(); ++i) {
      prep.require(in[i].shape == Shape({x[1]}), std::string(kNames[i]) + " " + in[i].shape.to_string() +
                                                     " does not fit x " + x.to_string() + "; it must be [" +
                                                     std::to_string(x[1]) + "]");
    }
  }

  static Part gradient_part(std::span<const Meta> in, Needs needs, State& state) {
    Part part;
    const auto want = [&](std::size_t input, int& place) {
      if (!needs[input]) return;
      place = static_cast<int>(part.inputs.size());
      part.inputs.push_back(static_cast<int>(input));
      part.gx.push_back(Meta::plain(in[input].shape));
    };
    want(0, state.x_at);
    want(1, state.gamma_at);
    want(2, state.beta_at);
    if (needs[0] || needs[1]) part.saved = {Saved::input(0, kPlain), Saved::output(1), Saved::output(2)};
    if (needs[0] && in.size() > 1) {
      state.saved_gamma = static_cast<int>(part.saved.size());
      part.saved.push_back(Saved::input(1, kPlain));
    }
    part.gy = {{0, kPlain}};
    if (needs[0]) part.overwrites = {{static_cast<int>(part.saved.size()), 0}, {0, 0}};
    part.scratch = 2 * state.images * state.channels * static_cast<std::int64_t>(sizeof(double));
    const double n = as_double(in[0].shape.numel());
    part.work = {12 * n, (needs[0] ? 12 : 8) * n};
    return part;
  }
};

}  // namespace

std::vector<Sample> group_norm_samples() { return GroupNorm::samples(); }

}  // namespace ops

Tensor group_norm(const Tensor& x, int groups, const Tensor& gamma, const Tensor& beta, const GroupNormOptions& options,
                  SourceLocation where) {
  if (gamma.defined() != beta.defined()) {
    throw Error("[group_norm] gamma and beta are both given, or neither (at " + to_string(where) + ")");
  }
  const ops::GroupNorm op{groups, options.eps};
  return gamma.defined() ? apply(op, {x, gamma, beta}, where) : apply(op, {x}, where);
}

Tensor instance_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, const GroupNormOptions& options,
                     SourceLocation where) {
  ops::require_defined("instance_norm", {&x}, where);
  const Shape& shape = x.shape(where);
  if (shape.rank() < 3 || shape[1] > std::numeric_limits<int>::max()) {
    throw ShapeError("[instance_norm] x " + shape.to_string() + " must be [N, C, L] or [N, C, H, W] (at " +
                     to_string(where) + ")");
  }
  return group_norm(x, static_cast<int>(shape[1]), gamma, beta, options, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
