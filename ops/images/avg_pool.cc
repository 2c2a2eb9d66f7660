// avg_pool2d and adaptive_avg_pool2d. They save nothing. A window's rows are added up first, as whole rows of the
// image; then columns within their sum. Windows of a plain image's whole rows lie in one piece, and are summed as such.
#include "tidemark/ops/images.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/images/avg_pool.cc"  // NOLINT: what foreach_target compiles again
#include "hwy/foreach_target.h"                      // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>

#include "ops/images/windows.h"
#include "ops/simd-inl.h"
#include "ops/table.h"

HWY_BEFORE_NAMESPACE();
namespace tidemark::ops {
namespace HWY_NAMESPACE {

// sums[i] = the sum over `rows` rows of n floats, one after the other.
void pool_sum_rows(std::int64_t rows, std::int64_t n, const float* x, float* sums) {
  std::copy_n(x, n, sums);
  for (std::int64_t row = 1; row < rows; ++row) {
    map(
        n, sums, [](auto v, auto acc) HWY_ATTR { return hn::Add(acc, v); }, x + row * n, sums);
  }
}

// to[i] += from[i].
void pool_add_row(std::int64_t n, const float* from, float* to) {
  map(
      n, to, [](auto v, auto acc) HWY_ATTR { return hn::Add(acc, v); }, from, to);
}

double pool_sum(std::int64_t n, const float* x) { return sum_row(n, x); }

}  // namespace HWY_NAMESPACE
}  // namespace tidemark::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tidemark {
namespace ops {
namespace {

HWY_EXPORT(pool_sum_rows);
HWY_EXPORT(pool_add_row);
HWY_EXPORT(pool_sum);

struct AverageState {
  Windows rows, columns;
  std::int64_t divisor = 0;  // 0: the windows' own
  std::int64_t slabs = 0;
  std::int64_t inner = 1;

  std::int64_t in_row() const { return columns.in * inner; }
  std::int64_t out_row() const { return columns.out() * inner; }
  // A plain image's windows are whole rows of it, or it has one window, the whole image.
  bool whole_rows() const { return inner == 1 && columns.whole(); }
  bool whole_images() const { return whole_rows() && rows.whole(); }
  float scale(std::int64_t row, std::int64_t column) const {
    const std::int64_t count =
        rows.count[static_cast<std::size_t>(row)] * columns.count[static_cast<std::size_t>(column)];
    return static_cast<float>(1.0 / as_double(divisor > 0 ? divisor : count));
  }
};

// What both kinds share once their windows are known.
Prepared prepare_average(Prep& prep, const Meta& in, Needs needs, std::shared_ptr<AverageState> state) {
  const Shape& x = in.shape;
  const Shape y({x[0], x[1], state->rows.out(), state->columns.out()});
  compute::Machine& machine = prep.machine();
  const KnownLayout layout = known_layout(machine, in);
  const Meta from = in_layout(machine, x, layout);
  const Meta to = in_layout(machine, y, layout);
  state->inner = layout.inner == 0 ? x[1] : layout.inner;
  state->slabs = raw_floats(from) / (state->rows.in * state->in_row());
  Prepared out;
  out.outputs = {to};
  out.input_layouts = {from.layout};
  out.scratch = prep.threads() * round_up(state->in_row() * size_of(f32), 64);
  out.work = {as_double(raw_floats(from) + raw_floats(to)), as_double(from.bytes + to.bytes)};
  if (needs[0]) {
    Part part;
    part.inputs = {0};
    part.gx = {from};
    part.gy = {{0, to.layout}};
    part.scratch = out.scratch;
    part.work = out.work;
    out.parts.push_back(std::move(part));
  }
  out.state = std::move(state);
  return out;
}

// f(slab, row buffer) for all slabs, on the team.
template <class F>
void for_slabs(Ctx& ctx, const AverageState& state, F&& f) {
  const std::int64_t bytes = state.slabs * state.rows.in * state.in_row() * size_of(f32);
  const std::int64_t stride = round_up(state.in_row(), 16);
  for_members(ctx, state.slabs, bytes < kParallelBytes ? 1 : ctx.threads(),
              [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                for (std::int64_t slab = begin; slab < end; ++slab) f(slab, ctx.scratch<float>() + member * stride);
              });
}

void average(Ctx& ctx, const Buf& in, const Buf& out) {
  const auto& state = ctx.state<AverageState>();
  const std::int64_t inner = state.inner;
  const Windows& columns = state.columns;
  for_slabs(ctx, state, [&](std::int64_t slab, float* sums) {
    const float* from = in.as<const float>() + slab * state.rows.in * state.in_row();
    float* to = out.as<>() + slab * state.rows.out() * state.out_row();
    for (std::int64_t row = 0; row < state.rows.out(); ++row) {
      const std::int64_t first = state.rows.begin[static_cast<std::size_t>(row)];
      const std::int64_t count = state.rows.end[static_cast<std::size_t>(row)] - first;
      const float* lines = from + first * state.in_row();
      if (state.whole_rows()) {
        const double total = HWY_DYNAMIC_DISPATCH(pool_sum)(count * columns.in, lines);
        to[row] = static_cast<float>(total * static_cast<double>(state.scale(row, 0)));
        continue;
      }
      HWY_DYNAMIC_DISPATCH(pool_sum_rows)(count, state.in_row(), lines, sums);
      for (std::int64_t column = 0; column < columns.out(); ++column, to += inner) {
        const std::int64_t begin = columns.begin[static_cast<std::size_t>(column)];
        const std::int64_t end = columns.end[static_cast<std::size_t>(column)];
        const float scale = state.scale(row, column);
        if (inner == 1) {
          float total = sums[begin];
          for (std::int64_t at = begin + 1; at < end; ++at) total += sums[at];
          *to = total * scale;
        } else {
          HWY_DYNAMIC_DISPATCH(pool_sum_rows)(end - begin, inner, sums + begin * inner, to);
          for (std::int64_t c = 0; c < inner; ++c) to[c] *= scale;
        }
      }
    }
  });
}

void average_gradient(Ctx& ctx, const Buf& gy, const Buf& gx) {
  const auto& state = ctx.state<AverageState>();
  const std::int64_t inner = state.inner;
  for_slabs(ctx, state, [&](std::int64_t slab, float* spread) {
    const float* from = gy.as<const float>() + slab * state.rows.out() * state.out_row();
    float* to = gx.as<>() + slab * state.rows.in * state.in_row();
    const bool whole = state.whole_images();
    std::fill_n(to, state.rows.in * state.in_row(), whole ? *from * state.scale(0, 0) : 0.0f);
    if (whole) return;
    for (std::int64_t row = 0; row < state.rows.out(); ++row) {
      std::fill_n(spread, state.in_row(), 0.0f);
      for (std::int64_t column = 0; column < state.columns.out(); ++column, from += inner) {
        const float scale = state.scale(row, column);
        const std::int64_t end = state.columns.end[static_cast<std::size_t>(column)];
        for (std::int64_t at = state.columns.begin[static_cast<std::size_t>(column)]; at < end; ++at) {
          for (std::int64_t c = 0; c < inner; ++c) spread[at * inner + c] += from[c] * scale;
        }
      }
      const std::int64_t end = state.rows.end[static_cast<std::size_t>(row)];
      for (std::int64_t at = state.rows.begin[static_cast<std::size_t>(row)]; at < end; ++at) {
        HWY_DYNAMIC_DISPATCH(pool_add_row)(state.in_row(), spread, to + at * state.in_row());
      }
    }
  });
}

void require_images(const Prep& prep, const Meta& x) {
  require_f32(prep, "x", x);
  prep.require(
      x.shape.rank() == 4 && x.shape.with(0, 1).numel() > 0,
      "x " + x.shape.to_string() + " must be [N, C, H, W], of which only N may be 0: nothing else may be empty");
}

}  // namespace

struct AvgPool2d {
  static constexpr std::string_view name = "avg_pool2d";
  AvgPool2dOptions options;

  void describe(Attributes& a) const {
    a("kernel_h", options.kernel[0]);
    a("kernel_w", options.kernel[1]);
    a("stride_h", options.stride[0]);
    a("stride_w", options.stride[1]);
    a("padding_h", options.padding[0]);
    a("padding_w", options.padding[1]);
    a("ceil", options.ceil_mode);
    a("count_padding", options.count_include_pad);
    a("divisor", options.divisor);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_images(prep, in[0]);
    prep.require(options.divisor >= 0, "divisor is " + std::to_string(options.divisor) + "; it must be at least 0");
    auto state = std::make_shared<AverageState>();
    state->divisor = options.divisor;
    state->rows = windows(prep, in[0].shape, 0);
    state->columns = windows(prep, in[0].shape, 1);
    return prepare_average(prep, in[0], needs, std::move(state));
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { average(ctx, in[0], out[0]); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    average_gradient(ctx, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const AvgPool2dOptions& options) {
      return Sample{std::move(label), {{x}}, any_op(AvgPool2d{options})};
    };
    return {
        sample("2x2", {2, 8, 6, 4}, {}),
        sample("overlapping", {1, 16, 7, 7}, {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}),
        sample("ceil", {2, 3, 6, 5}, {.kernel = {3, 2}, .stride = {2, 2}, .padding = {1, 0}, .ceil_mode = true}),
        sample("inside", {1, 5, 5, 6},
               {.kernel = {3, 3}, .stride = {2, 1}, .padding = {1, 1}, .count_include_pad = false}),
        sample("divisor", {2, 2, 4, 4}, {.kernel = {2, 3}, .stride = {1, 1}, .divisor = 5}),
    };
  }

 private:
  Windows windows(const Prep& prep, const Shape& x, std::size_t d) const {
    const std::int64_t in = x[static_cast<int>(d) + 2];
    const std::int64_t kernel = options.kernel[d];
    const std::int64_t stride = options.stride[d] == 0 ? kernel : options.stride[d];
    const std::int64_t padding = options.padding[d];
    prep.require(kernel >= 1 && stride >= 1 && padding >= 0 && 2 * padding <= kernel,
                 "kernel and stride must be at least 1, padding between 0 and half of the kernel");
    prep.require(in + 2 * padding >= kernel, "window [" + std::to_string(options.kernel[0]) + ", " +
                                                 std::to_string(options.kernel[1]) + "] is larger than x " +
                                                 x.to_string() + " with its padding");
    Windows out;
    out.in = in;
    const std::int64_t count = windows_along(in, kernel, stride, padding, 1, options.ceil_mode);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t start = i * stride - padding;
      const std::int64_t padded_end = std::min(start + kernel, in + padding);
      const std::int64_t begin = std::max<std::int64_t>(0, start);
      const std::int64_t end = std::min(padded_end, in);
      out.add(begin, end, options.count_include_pad ? padded_end - start : end - begin);
    }
    return out;
  }
};

struct AdaptiveAvgPool2d {
  static constexpr std::string_view name = "adaptive_avg_pool2d";
  std::array<std::int64_t, 2> size{};

  void describe(Attributes& a) const {
    a("height", size[0]);
    a("width", size[1]);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_images(prep, in[0]);
    prep.require(size[0] >= 1 && size[1] >= 1, "the output's size is " + std::to_string(size[0]) + " x " +
                                                   std::to_string(size[1]) + "; both must be at least 1");
    auto state = std::make_shared<AverageState>();
    state->rows = adaptive_windows(in[0].shape[2], size[0]);
    state->columns = adaptive_windows(in[0].shape[3], size[1]);
    return prepare_average(prep, in[0], needs, std::move(state));
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const { average(ctx, in[0], out[0]); }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    average_gradient(ctx, gy[0], gx[0]);
  }

  static std::vector<Sample> samples() {
    return {{"whole", {{{2, 5, 4, 3}}}, any_op(AdaptiveAvgPool2d{{1, 1}})},
            {"parts", {{{1, 16, 7, 5}}}, any_op(AdaptiveAvgPool2d{{3, 4}})},
            {"larger", {{{2, 3, 3, 2}}}, any_op(AdaptiveAvgPool2d{{5, 2}})}};
  }
};

std::vector<Sample> avg_pool2d_samples() { return AvgPool2d::samples(); }
std::vector<Sample> adaptive_avg_pool2d_samples() { return AdaptiveAvgPool2d::samples(); }

}  // namespace ops

Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options, SourceLocation where) {
  return apply(ops::AvgPool2d{options}, {x}, where);
}

Tensor adaptive_avg_pool2d(const Tensor& x, std::array<std::int64_t, 2> size, SourceLocation where) {
  return apply(ops::AdaptiveAvgPool2d{size}, {x}, where);
}

}  // namespace tidemark
#endif  // HWY_ONCE
