// Maxima of windows that follow no fixed step (adaptive_max_pool2d) or have gaps (max_pool2d with a dilation). Saves
// where in its image each maximum lies. NaN is larger than everything, and the first of equal numbers counts.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/images/max_windows.h"
#include "ops/images/windows.h"
#include "ops/table.h"

namespace tidemark {
namespace ops {
namespace {

struct MaxState {
  Windows rows, columns;
  std::int64_t slabs = 0;
  std::int64_t inner = 1;

  std::int64_t in_places() const { return rows.in * columns.in; }
  std::int64_t out_places() const { return rows.out() * columns.out(); }
};

}  // namespace

struct MaxWindows {
  static constexpr std::string_view name = "max_windows";
  // kernel 0: adaptive, to `size`.
  std::array<std::int64_t, 2> size{};
  MaxPool2dOptions options;

  void describe(Attributes& a) const {
    static constexpr std::array<const char*, 2> kSizes = {"height", "width"};
    static constexpr std::array<const char*, 2> kKernels = {"kernel_h", "kernel_w"};
    static constexpr std::array<const char*, 2> kStrides = {"stride_h", "stride_w"};
    static constexpr std::array<const char*, 2> kPaddings = {"padding_h", "padding_w"};
    static constexpr std::array<const char*, 2> kDilations = {"dilation_h", "dilation_w"};
    for (std::size_t d = 0; d < 2; ++d) {
      a(kSizes[d], size[d]);
      a(kKernels[d], options.kernel[d]);
      a(kStrides[d], options.stride[d]);
      a(kPaddings[d], options.padding[d]);
      a(kDilations[d], options.dilation[d]);
    }
    a("ceil", options.ceil_mode);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_f32(prep, "x", in[0]);
    const Shape& x = in[0].shape;
    prep.require(x.rank() == 4 && x.with(0, 1).numel() > 0,
                 "x " + x.to_string() + " must be [N, C, H, W], of which only N may be 0: nothing else may be empty");
    auto state = std::make_shared<MaxState>();
    state->rows = windows(prep, x, 0);
    state->columns = windows(prep, x, 1);
    prep.require(state->in_places() <= std::numeric_limits<std::int32_t>::max(),
                 "x " + x.to_string() + " must have less than 2^31 places in an image");
    compute::Machine& machine = prep.machine();
    const KnownLayout layout = known_layout(machine, in[0]);
    const Meta from = in_layout(machine, x, layout);
    const Meta to = in_layout(machine, Shape({x[0], x[1], state->rows.out(), state->columns.out()}), layout);
    state->inner = layout.inner == 0 ? x[1] : layout.inner;
    state->slabs = raw_floats(from) / (state->in_places() * state->inner);
    Prepared out;
    out.outputs = {to, Meta::plain(Shape({raw_floats(to)}), i32)};
    out.visible = 1;
    out.input_layouts = {from.layout};
    out.work = {as_double(raw_floats(from)), as_double(from.bytes + 2 * to.bytes)};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {from};
      part.saved = {Saved::output(1)};
      part.gy = {{0, to.layout}};
      part.work = out.work;
      out.parts.push_back(std::move(part));
    }
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const auto& state = ctx.state<MaxState>();
    for_range(ctx, state.slabs, 8 * state.in_places() * state.inner, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t slab = begin; slab < end; ++slab) {
        const std::int64_t at = slab * state.out_places() * state.inner;
        maxima(state, in[0].as<const float>() + slab * state.in_places() * state.inner, out[0].as<>() + at,
               out[1].as<std::int32_t>() + at);
      }
    });
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const auto& state = ctx.state<MaxState>();
    const std::int64_t inner = state.inner;
    for_range(ctx, state.slabs, 8 * state.in_places() * inner, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t slab = begin; slab < end; ++slab) {
        float* to = gx[0].as<>() + slab * state.in_places() * inner;
        std::fill_n(to, state.in_places() * inner, 0.0f);
        const std::int64_t first = slab * state.out_places() * inner;
        const float* g = gy[0].as<const float>() + first;
        const auto* places = saved[0].as<const std::int32_t>() + first;
        for (std::int64_t i = 0; i < state.out_places() * inner; ++i) to[places[i] * inner + i % inner] += g[i];
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const MaxWindows& op) {
      return Sample{std::move(label), {{x}}, any_op(op)};
    };
    return {
        sample("adaptive", {2, 5, 7, 5}, {{3, 2}, {.kernel = {0, 0}}}),
        sample("adaptive whole", {1, 16, 4, 3}, {{1, 1}, {.kernel = {0, 0}}}),
        sample("gaps", {2, 3, 8, 9}, {{}, {.kernel = {3, 2}, .stride = {2, 1}, .padding = {1, 1}, .dilation = {2, 3}}}),
        sample("gaps, ceil", {1, 8, 6, 7}, {{}, {.kernel = {2, 2}, .dilation = {2, 2}, .ceil_mode = true}}),
    };
  }

 private:
  std::int64_t step(std::size_t d) const { return options.kernel[d] == 0 ? 1 : options.dilation[d]; }

  Windows windows(const Prep& prep, const Shape& x, std::size_t d) const {
    const std::int64_t in = x[static_cast<int>(d) + 2];
    const std::int64_t kernel = options.kernel[d];
    if (kernel == 0) {
      prep.require(size[d] >= 1, "the output's size is " + std::to_string(size[0]) + " x " + std::to_string(size[1]) +
                                     "; both must be at least 1");
      return adaptive_windows(in, size[d]);
    }
    const std::int64_t stride = options.stride[d] == 0 ? kernel : options.stride[d];
    const std::int64_t padding = options.padding[d];
    const std::int64_t dilation = options.dilation[d];
    prep.require(kernel >= 1 && stride >= 1 && dilation >= 1 && padding >= 0 && 2 * padding <= kernel,
                 "kernel, stride and dilation must be at least 1, padding between 0 and half of the kernel");
    const std::int64_t reach = dilation * (kernel - 1) + 1;
    prep.require(in + 2 * padding >= reach,
                 "window [" + std::to_string(options.kernel[0]) + ", " + std::to_string(options.kernel[1]) +
                     "] with its dilation is larger than x " + x.to_string() + " with its padding");
    Windows out;
    out.in = in;
    const std::int64_t count = windows_along(in, kernel, stride, padding, dilation, options.ceil_mode);
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t begin = i * stride - padding;
      const std::int64_t end = std::min(begin + reach, in);
      if (begin < 0) begin += (-begin + dilation - 1) / dilation * dilation;
      prep.require(begin < end,
                   "a window of x " + x.to_string() + " lies in the padding alone; padding must be smaller");
      out.add(begin, end, 1);
    }
    return out;
  }

  void maxima(const MaxState& state, const float* x, float* y, std::int32_t* places) const {
    const std::int64_t inner = state.inner;
    for (std::int64_t row = 0; row < state.rows.out(); ++row) {
      for (std::int64_t column = 0; column < state.columns.out(); ++column, y += inner, places += inner) {
        const auto r = static_cast<std::size_t>(row);
        const auto c = static_cast<std::size_t>(column);
        for (std::int64_t i = 0; i < inner; ++i) {
          std::int64_t best = state.rows.begin[r] * state.columns.in + state.columns.begin[c];
          float most = x[best * inner + i];
          for (std::int64_t h = state.rows.begin[r]; h < state.rows.end[r]; h += step(0)) {
            for (std::int64_t w = state.columns.begin[c]; w < state.columns.end[c]; w += step(1)) {
              const std::int64_t at = h * state.columns.in + w;
              const float value = x[at * inner + i];
              if (value > most || (std::isnan(value) && !std::isnan(most))) {
                most = value;
                best = at;
              }
            }
          }
          y[i] = most;
          places[i] = static_cast<std::int32_t>(best);
        }
      }
    }
  }
};

std::vector<Sample> max_windows_samples() { return MaxWindows::samples(); }

Tensor max_of_windows(const Tensor& x, const MaxPool2dOptions& options, SourceLocation where) {
  return apply(MaxWindows{{}, options}, {x}, where);
}

}  // namespace ops

Tensor adaptive_max_pool2d(const Tensor& x, std::array<std::int64_t, 2> size, SourceLocation where) {
  return apply(ops::MaxWindows{size, {.kernel = {0, 0}}}, {x}, where);
}

}  // namespace tidemark
