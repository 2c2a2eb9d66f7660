// unfold and fold, each the gradient of the other; pixel_shuffle and its inverse.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "ops/shapes/moves.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

// Windows over images [N, C, H, W], down and across.
struct Windows {
  std::array<std::int64_t, 2> image{};
  std::array<std::int64_t, 2> kernel{};
  std::array<std::int64_t, 2> dilation{};
  std::array<std::int64_t, 2> padding{};
  std::array<std::int64_t, 2> stride{};
  std::array<std::int64_t, 2> count{};

  Windows(const UnfoldOptions& options, std::int64_t height, std::int64_t width) : image{height, width} {
    for (std::size_t d = 0; d < 2; ++d) {
      kernel[d] = options.kernel[d];
      dilation[d] = options.dilation[d];
      padding[d] = options.padding[d];
      stride[d] = options.stride[d];
      const std::int64_t room = image[d] + 2 * padding[d] - dilation[d] * (kernel[d] - 1) - 1;
      count[d] = room < 0 || stride[d] < 1 ? 0 : room / stride[d] + 1;
    }
  }
  std::int64_t places() const { return kernel[0] * kernel[1]; }
  std::int64_t windows() const { return count[0] * count[1]; }
  bool any() const { return count[0] > 0 && count[1] > 0; }

  // Windows [first, second) of direction d in which place k lies inside of [begin, end) of the image.
  std::pair<std::int64_t, std::int64_t> inside(std::size_t d, std::int64_t k, std::int64_t begin,
                                               std::int64_t end) const {
    const std::int64_t shift = padding[d] - k * dilation[d];
    const auto least = [&](std::int64_t at) {
      return std::clamp<std::int64_t>(at + shift <= 0 ? 0 : (at + shift - 1) / stride[d] + 1, 0, count[d]);
    };
    return {least(begin), std::max(least(begin), least(end))};
  }
  std::int64_t at(std::size_t d, std::int64_t window, std::int64_t k) const {
    return window * stride[d] - padding[d] + k * dilation[d];
  }
};

void check(const Prep& prep, const UnfoldOptions& options, const std::string& what) {
  for (std::size_t d = 0; d < 2; ++d) {
    prep.require(
        options.kernel[d] >= 1 && options.stride[d] >= 1 && options.dilation[d] >= 1 && options.padding[d] >= 0,
        what + "; kernel, stride and dilation must be at least 1, padding at least 0");
  }
}

void describe_options(Attributes& a, const UnfoldOptions& options) {
  a("kernel_h", options.kernel[0]);
  a("kernel_w", options.kernel[1]);
  a("dilation_h", options.dilation[0]);
  a("dilation_w", options.dilation[1]);
  a("padding_h", options.padding[0]);
  a("padding_w", options.padding[1]);
  a("stride_h", options.stride[0]);
  a("stride_w", options.stride[1]);
}

// planes x [H, W] -> planes x [places, windows]
void unfold_planes(const Ctx& ctx, const Windows& w, std::int64_t planes, const float* from, float* to) {
  for_range(ctx, planes * w.places(), 8 * w.windows(), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t item = first; item < last; ++item) {
      const std::int64_t ky = item % w.places() / w.kernel[1];
      const std::int64_t kx = item % w.kernel[1];
      const float* image = from + item / w.places() * w.image[0] * w.image[1];
      float* target = to + item * w.windows();
      const auto [begin, end] = w.inside(1, kx, 0, w.image[1]);
      for (std::int64_t y = 0; y < w.count[0]; ++y, target += w.count[1]) {
        const std::int64_t row = w.at(0, y, ky);
        if (row < 0 || row >= w.image[0]) {
          std::fill_n(target, w.count[1], 0.0f);
          continue;
        }
        const float* source = image + row * w.image[1];
        std::fill_n(target, begin, 0.0f);
        for (std::int64_t x = begin; x < end; ++x) target[x] = source[w.at(1, x, kx)];
        std::fill(target + end, target + w.count[1], 0.0f);
      }
    }
  });
}

// planes x [places, windows] -> planes x [H, W], where each element is the sum of its places.
void fold_planes(const Ctx& ctx, const Windows& w, std::int64_t planes, const float* from, float* to) {
  constexpr std::int64_t kBlock = 512;
  const std::int64_t width = w.image[1];
  for_range(ctx, planes * w.image[0], 4 * width * (w.places() + 1), [&](std::int64_t first, std::int64_t last) {
    double totals[kBlock];
    for (std::int64_t item = first; item < last; ++item) {
      const std::int64_t row = item % w.image[0];
      const float* plane = from + item / w.image[0] * w.places() * w.windows();
      for (std::int64_t begin = 0; begin < width; begin += kBlock) {
        const std::int64_t end = std::min(width, begin + kBlock);
        std::fill_n(totals, end - begin, 0.0);
        for (std::int64_t ky = 0; ky < w.kernel[0]; ++ky) {
          const auto [top, bottom] = w.inside(0, ky, row, row + 1);
          if (top == bottom) continue;
          for (std::int64_t kx = 0; kx < w.kernel[1]; ++kx) {
            const float* source = plane + (ky * w.kernel[1] + kx) * w.windows() + top * w.count[1];
            const auto [left, right] = w.inside(1, kx, begin, end);
            for (std::int64_t x = left; x < right; ++x) {
              totals[w.at(1, x, kx) - begin] += static_cast<double>(source[x]);
            }
          }
        }
        std::transform(totals, totals + (end - begin), to + item * width + begin,
                       [](double total) { return static_cast<float>(total); });
      }
    }
  });
}

struct Unfold {
  static constexpr std::string_view name = "unfold";
  UnfoldOptions options;

  void describe(Attributes& a) const { describe_options(a, options); }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    require_f32(prep, "x", in[0]);
    prep.require(x.rank() == 4, ops::describe("x", in[0]) + "; it must be [N, C, H, W]");
    check(prep, options, ops::describe("x", in[0]));
    const Windows w(options, x[2], x[3]);
    prep.require(w.any(), ops::describe("x", in[0]) + ", in which no window has room; it must be larger");
    return prepare_move(in[0], {x[0], x[1] * w.places(), w.windows()}, needs);
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Shape& x = in[0].shape();
    unfold_planes(ctx, Windows(options, x[2], x[3]), x[0] * x[1], in[0].as<const float>(), out[0].as<float>());
  }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Shape& x = gx[0].shape();
    fold_planes(ctx, Windows(options, x[2], x[3]), x[0] * x[1], gy[0].as<const float>(), gx[0].as<float>());
  }

  static std::vector<Sample> samples() {
    return {{"same", {{{2, 3, 5, 4}}}, any_op(Unfold{{.kernel = {3, 3}, .padding = {1, 1}}})},
            {"steps",
             {{{1, 2, 7, 9}}},
             any_op(Unfold{{.kernel = {2, 3}, .dilation = {2, 1}, .padding = {0, 2}, .stride = {3, 2}}})}};
  }
};

struct Fold {
  static constexpr std::string_view name = "fold";
  std::array<std::int64_t, 2> size{};
  UnfoldOptions options;

  void describe(Attributes& a) const {
    a("height", size[0]);
    a("width", size[1]);
    describe_options(a, options);
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& x = in[0].shape;
    require_f32(prep, "x", in[0]);
    check(prep, options, ops::describe("x", in[0]));
    const std::string image = Shape({size[0], size[1]}).to_string();
    prep.require(size[0] >= 0 && size[1] >= 0, ops::describe("x", in[0]) + "; images cannot be " + image);
    const Windows w(options, size[0], size[1]);
    const bool fits = x.rank() == 3 && w.any() && x[1] % w.places() == 0 && x[2] == w.windows();
    prep.require(fits, ops::describe("x", in[0]) + "; for images of " + image + " it must be [N, C * " +
                           std::to_string(w.places()) + ", " + std::to_string(w.windows()) + "]");
    return prepare_move(in[0], {x[0], x[1] / w.places(), size[0], size[1]}, needs);
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Shape& y = out[0].shape();
    fold_planes(ctx, Windows(options, y[2], y[3]), y[0] * y[1], in[0].as<const float>(), out[0].as<float>());
  }
  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Shape& y = gy[0].shape();
    unfold_planes(ctx, Windows(options, y[2], y[3]), y[0] * y[1], gy[0].as<const float>(), gx[0].as<float>());
  }

  static std::vector<Sample> samples() {
    return {{"same", {{{2, 18, 20}}}, any_op(Fold{{5, 4}, {.kernel = {3, 3}, .padding = {1, 1}}})},
            {"steps",
             {{{1, 12, 12}}},
             any_op(Fold{{8, 7}, {.kernel = {2, 3}, .dilation = {2, 1}, .padding = {0, 1}, .stride = {2, 2}}})}};
  }
};

}  // namespace

std::vector<Sample> unfold_samples() { return Unfold::samples(); }
std::vector<Sample> fold_samples() { return Fold::samples(); }

}  // namespace ops

Tensor unfold(const Tensor& x, const UnfoldOptions& options, SourceLocation where) {
  return apply(ops::Unfold{options}, {x}, where);
}

Tensor fold(const Tensor& x, std::array<std::int64_t, 2> size, const UnfoldOptions& options, SourceLocation where) {
  return apply(ops::Fold{size, options}, {x}, where);
}

namespace {

// The sizes before the last three dimensions as one, and the shape with those three replaced.
std::pair<std::int64_t, Shape> with_last(const Shape& shape, std::int64_t c, std::int64_t h, std::int64_t w) {
  std::int64_t images = 1;
  for (int i = 0; i < shape.rank() - 3; ++i) images *= shape[i];
  return {images, shape.with(-3, c).with(-2, h).with(-1, w)};
}

// Of a shuffle: its square is a number.
constexpr std::int64_t kMostFactor = std::int64_t{1} << 31;

}  // namespace

Tensor pixel_shuffle(const Tensor& x, std::int64_t factor, SourceLocation where) {
  const Shape shape = x.shape(where);
  if (shape.rank() < 3 || factor < 1 || factor > kMostFactor || shape[-3] % (factor * factor) != 0) {
    ops::refuse("pixel_shuffle",
                "x is " + shape.to_string() + " and the factor " + std::to_string(factor) +
                    "; x must be [..., C * factor * factor, H, W]",
                where);
  }
  const std::int64_t c = shape[-3] / factor / factor;
  const auto [images, result] = with_last(shape, c, shape[-2] * factor, shape[-1] * factor);
  const Tensor apart = reshape(x, {images, c, factor, factor, shape[-2], shape[-1]}, where);
  return reshape(permute(apart, {0, 1, 4, 2, 5, 3}, where), result, where);
}

Tensor pixel_unshuffle(const Tensor& x, std::int64_t factor, SourceLocation where) {
  const Shape shape = x.shape(where);
  if (shape.rank() < 3 || factor < 1 || factor > kMostFactor || shape[-2] % factor != 0 || shape[-1] % factor != 0) {
    ops::refuse("pixel_unshuffle",
                "x is " + shape.to_string() + " and the factor " + std::to_string(factor) +
                    "; x must be [..., C, H * factor, W * factor]",
                where);
  }
  const std::int64_t h = shape[-2] / factor;
  const std::int64_t w = shape[-1] / factor;
  const auto [images, result] = with_last(shape, shape[-3] * factor * factor, h, w);
  const Tensor apart = reshape(x, {images, shape[-3], h, factor, w, factor}, where);
  return reshape(permute(apart, {0, 1, 3, 5, 2, 4}, where), result, where);
}

}  // namespace tidemark
