// pad: each dimension of the result follows from the input's by a rule, so that a gradient is a sum over the places
// that show an element.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "ops/shapes/moves.h"
#include "ops/table.h"
#include "tidemark/ops/shapes.h"

namespace tidemark {
namespace ops {
namespace {

constexpr const char* kModes[] = {"constant", "reflect", "replicate", "circular"};

struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// One dimension, or several side by side that are not padded.
struct PadDim {
  PadMode mode = PadMode::kConstant;
  std::int64_t in = 1;
  std::int64_t before = 0;
  std::int64_t after = 0;
  std::int64_t in_stride = 1;
  std::int64_t out_stride = 1;

  std::int64_t out() const { return in + before + after; }

  // The input's index that place `at` of the result shows; -1 where it shows the constant.
  std::int64_t source(std::int64_t at) const {
    const std::int64_t index = at - before;
    if (index >= 0 && index < in) return index;
    switch (mode) {
      case PadMode::kConstant:
        return -1;
      case PadMode::kReflect:
        return index < 0 ? -index : 2 * (in - 1) - index;
      case PadMode::kReplicate:
        return index < 0 ? 0 : in - 1;
      case PadMode::kCircular:
        return index < 0 ? index + in : index - in;
    }
    return -1;
  }

  // From the result back to the input, where no element is shown twice.
  PadDim reversed() const { return {mode, out(), -before, -after, out_stride, in_stride}; }

  // The places besides index + before that show it.
  std::array<Range, 2> copies(std::int64_t index) const {
    switch (mode) {
      case PadMode::kConstant:
        break;
      case PadMode::kReflect:
        return {one(before - index, index >= 1 && index <= before),
                one(before + 2 * (in - 1) - index, index <= in - 2 && index >= in - 1 - after)};
      case PadMode::kReplicate:
        return {Range{0, index == 0 ? before : 0}, index == in - 1 ? Range{before + in, out()} : Range{}};
      case PadMode::kCircular:
        return {one(index + before - in, index >= in - before), one(index + before + in, index < after)};
    }
    return {};
  }

 private:
  static Range one(std::int64_t at, bool holds) { return holds ? Range{at, at + 1} : Range{}; }
};

// Where rows of the result lie in the input, one after the other without dividing. All dimensions but the last of the
// outer ones are looked at where their places change.
class SourceRows {
 public:
  SourceRows(std::span<const PadDim> outer, std::int64_t row) : outer_(outer) {
    if (!outer_.empty()) last_ = outer_.back();
    for (std::size_t i = outer_.size(); i-- > 0;) {
      at_[i] = row % outer_[i].out();
      row /= outer_[i].out();
    }
    if (!outer_.empty()) at_last_ = at_[outer_.size() - 1];
    find();
  }
  // The offset of the row; -1 where it shows the constant alone.
  std::int64_t offset() const {
    const std::int64_t index = last_.source(at_last_);
    return index < 0 || before_ < 0 ? -1 : before_ + index * last_.in_stride;
  }
  void next() {
    if (++at_last_ < last_.out()) return;
    at_last_ = 0;
    for (std::size_t i = outer_.size(); i-- > 1;) {
      if (++at_[i - 1] < outer_[i - 1].out()) break;
      at_[i - 1] = 0;
    }
    find();
  }

 private:
  void find() {
    before_ = 0;
    for (std::size_t i = 0; i + 1 < outer_.size() && before_ >= 0; ++i) {
      const std::int64_t index = outer_[i].source(at_[i]);
      before_ = index < 0 ? -1 : before_ + index * outer_[i].in_stride;
    }
  }

  std::span<const PadDim> outer_;
  PadDim last_;
  std::int64_t at_last_ = 0;
  std::array<std::int64_t, Shape::kMaxRank> at_{};  // of the others
  std::int64_t before_ = 0;                         // their offset, or -1
};

template <class T>
void pad_rows(const Ctx& ctx, std::span<const PadDim> dims, T value, const T* from, T* to) {
  const PadDim inner = dims.back();
  const std::span<const PadDim> outer = dims.first(dims.size() - 1);
  std::int64_t rows = 1;
  for (const PadDim& dim : outer) rows *= dim.out();
  // Places [left, right) of a row show the input's elements in their order.
  const std::int64_t left = std::clamp<std::int64_t>(inner.before, 0, inner.out());
  const std::int64_t right = std::clamp<std::int64_t>(inner.before + inner.in, left, inner.out());
  for_range(ctx, rows, 2 * std::int64_t{sizeof(T)} * inner.out(), [&](std::int64_t first, std::int64_t last) {
    SourceRows sources(outer, first);
    for (std::int64_t row = first; row < last; ++row, sources.next()) {
      T* target = to + row * inner.out();
      const std::int64_t offset = sources.offset();
      if (offset < 0) {
        std::fill_n(target, inner.out(), value);
        continue;
      }
      const T* source = from + offset;
      std::copy_n(source + (left - inner.before), right - left, target + left);
      if (inner.mode == PadMode::kConstant) {
        for (std::int64_t at = 0; at < left; ++at) target[at] = value;
        for (std::int64_t at = right; at < inner.out(); ++at) target[at] = value;
      } else {
        for (std::int64_t at = 0; at < left; ++at) target[at] = source[inner.source(at)];
        for (std::int64_t at = right; at < inner.out(); ++at) target[at] = source[inner.source(at)];
      }
    }
  });
}

// The gradient of elements [begin, end) of a row of the input, for which `totals` has room, where the result shows all
// elements and some of them again: in every mode but that of a constant.
class Gatherer {
 public:
  Gatherer(std::span<const PadDim> dims, const float* gy, std::int64_t begin, std::int64_t end, double* totals)
      : dims_(dims), gy_(gy), begin_(begin), end_(end), totals_(totals) {
    std::fill_n(totals, end - begin, 0.0);
  }

  // Adds what all rows of the result show that are copies of row `row`.
  void add(std::int64_t row) {
    for (std::size_t i = dims_.size() - 1; i-- > 0;) {
      index_[i] = row % dims_[i].in;
      row /= dims_[i].in;
    }
    add_dim(0, 0);
  }

 private:
  void add_dim(std::size_t i, std::int64_t offset) {
    if (i + 1 == dims_.size()) return add_row(gy_ + offset);
    const PadDim& dim = dims_[i];
    add_dim(i + 1, offset + (index_[i] + dim.before) * dim.out_stride);
    for (const Range& range : dim.copies(index_[i])) {
      for (std::int64_t k = range.begin; k < range.end; ++k) add_dim(i + 1, offset + k * dim.out_stride);
    }
  }

  void add_row(const float* g) {
    const PadDim& inner = dims_.back();
    for (std::int64_t i = begin_; i < end_; ++i) totals_[i - begin_] += static_cast<double>(g[i + inner.before]);
    if (inner.out() == inner.in) return;
    for (std::int64_t i = begin_; i < end_; ++i) {
      for (const Range& range : inner.copies(i)) {
        for (std::int64_t k = range.begin; k < range.end; ++k) totals_[i - begin_] += static_cast<double>(g[k]);
      }
    }
  }

  std::span<const PadDim> dims_;
  const float* gy_;
  std::int64_t begin_;
  std::int64_t end_;
  double* totals_;
  std::array<std::int64_t, Shape::kMaxRank> index_{};
};

struct Pad {
  static constexpr std::string_view name = "pad";
  Shape before;  // of the last dimensions, outermost first
  Shape after;
  PadOptions options;

  void describe(Attributes& a) const {
    a("before", before);
    a("after", after);
    a("mode", static_cast<int>(options.mode));
    a("value", options.value);
  }

  using State = std::vector<PadDim>;

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Meta& x = in[0];
    const int skipped = x.shape.rank() - before.rank();
    prep.require(skipped >= 0, ops::describe("x", x) + ", and there are " + std::to_string(before.rank()) +
                                   " pairs of padding; there must be at most one for each dimension");
    check_value(prep, x);
    Shape y = x.shape;
    auto state = std::make_shared<State>();
    for (int i = 0; i < x.shape.rank(); ++i) {
      PadDim dim{options.mode, x.shape[i]};
      if (i >= skipped) {
        dim.before = before[i - skipped];
        dim.after = after[i - skipped];
        check(prep, x, i, dim);
      }
      y = y.with(i, dim.out());
      const bool plain = dim.before == 0 && dim.after == 0;
      if (plain && !state->empty() && state->back().before == 0 && state->back().after == 0) {
        state->back().in *= dim.in;
      } else {
        state->push_back(dim);
      }
    }
    if (state->empty()) state->push_back({});
    for (std::size_t i = state->size() - 1; i-- > 0;) {
      const PadDim& inside = (*state)[i + 1];
      (*state)[i].in_stride = inside.in_stride * inside.in;
      (*state)[i].out_stride = inside.out_stride * inside.out();
    }
    Prepared out = prepare_move(x, y, needs);
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const State& dims = ctx.state<State>();
    switch (in[0].meta->dtype) {
      case DType::f32:
        return pad_rows(ctx, dims, options.value, in[0].as<const float>(), out[0].as<float>());
      case DType::i32:
        return pad_rows(ctx, dims, static_cast<std::int32_t>(options.value), in[0].as<const std::int32_t>(),
                        out[0].as<std::int32_t>());
      case DType::f16:
        return pad_rows(ctx, dims, std::uint16_t{0}, in[0].as<const std::uint16_t>(), out[0].as<std::uint16_t>());
      case DType::u8:
        return pad_rows(ctx, dims, static_cast<std::uint8_t>(options.value), in[0].as<const std::uint8_t>(),
                        out[0].as<std::uint8_t>());
    }
  }

  void backward(Ctx& ctx, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& dims = ctx.state<State>();
    const std::int64_t width = dims.back().in;
    if (gx[0].numel() == 0) return;
    if (options.mode == PadMode::kConstant) {
      std::array<PadDim, Shape::kMaxRank> back;
      std::transform(dims.begin(), dims.end(), back.begin(), [](const PadDim& dim) { return dim.reversed(); });
      return pad_rows(ctx, std::span(back).first(dims.size()), 0.0f, gy[0].as<const float>(), gx[0].as<float>());
    }
    constexpr std::int64_t kBlock = 512;
    const std::int64_t blocks = (width + kBlock - 1) / kBlock;
    const std::int64_t items = gx[0].numel() / width * blocks;
    for_range(ctx, items, 8 * std::min(width, kBlock), [&](std::int64_t first, std::int64_t last) {
      double totals[kBlock];
      for (std::int64_t item = first; item < last; ++item) {
        const std::int64_t begin = item % blocks * kBlock;
        const std::int64_t end = std::min(width, begin + kBlock);
        Gatherer(dims, gy[0].as<const float>(), begin, end, totals).add(item / blocks);
        float* target = gx[0].as<float>() + item / blocks * width + begin;
        std::transform(totals, totals + (end - begin), target, [](double total) { return static_cast<float>(total); });
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, const Shape& before, const Shape& after, PadMode mode) {
      const bool batched = before.rank() < x.rank() || before[0] == 0;
      return Sample{std::move(label),
                    {{x}},
                    any_op(Pad{before, after, {mode, mode == PadMode::kConstant ? 2.5f : 0}}),
                    {batched}};
    };
    return {
        sample("images", {2, 3, 4, 5}, {1, 2}, {0, 3}, PadMode::kConstant),
        sample("cropped", {3, 4, 7}, {-1, 2}, {1, -3}, PadMode::kConstant),
        sample("reflect", {4, 5}, {3, 2}, {1, 4}, PadMode::kReflect),
        sample("replicate", {2, 3, 5}, {0, 2, 0}, {0, 1, 4}, PadMode::kReplicate),
        sample("circular", {2, 4, 3}, {0, 1, 3}, {0, 4, 2}, PadMode::kCircular),
        sample("middle", {2, 4, 6}, {0, 2, 0}, {0, 1, 0}, PadMode::kReflect),
    };
  }

 private:
  void check_value(Prep& prep, const Meta& x) const {
    if (options.mode != PadMode::kConstant || x.dtype == f32) return;
    const double value = options.value;
    const double low = x.dtype == i32 ? -2147483648.0 : 0;
    const double high = x.dtype == i32 ? 2147483647.0 : x.dtype == u8 ? 255 : 0;
    prep.require(value == std::floor(value) && value >= low && value <= high,
                 ops::describe("x", x) + ", which cannot be padded with " + std::to_string(value));
  }

  void check(Prep& prep, const Meta& x, int i, const PadDim& dim) const {
    const std::string what = ops::describe("x", x) + "; padding {" + std::to_string(dim.before) + ", " +
                             std::to_string(dim.after) + "} of dimension " + std::to_string(i);
    if (options.mode == PadMode::kConstant) {
      // Neither side may crop what is not there.
      const bool fits = dim.before >= -dim.in && dim.after >= -dim.in && dim.before <= kMaxBytes &&
                        dim.after <= kMaxBytes &&
                        dim.in + std::min<std::int64_t>(0, dim.before) + std::min<std::int64_t>(0, dim.after) >= 0;
      return prep.require(fits, what + " crops more than there is, or is too large");
    }
    const std::int64_t most = options.mode == PadMode::kReflect    ? dim.in - 1
                              : options.mode == PadMode::kCircular ? dim.in
                              : dim.in > 0                         ? kMaxBytes
                                                                   : 0;
    const std::int64_t limit = std::max<std::int64_t>(0, most);
    prep.require(
        dim.before >= 0 && dim.after >= 0 && dim.before <= limit && dim.after <= limit,
        what + " must be 0 to " + std::to_string(limit) + " in mode " + kModes[static_cast<std::size_t>(options.mode)]);
  }
};

}  // namespace

std::vector<Sample> pad_samples() { return Pad::samples(); }

}  // namespace ops

Tensor pad(const Tensor& x, std::span<const std::array<std::int64_t, 2>> padding, const PadOptions& options,
           SourceLocation where) {
  if (padding.size() > Shape::kMaxRank) {
    ops::refuse("pad",
                "x is " + x.shape(where).to_string() + ", and there are " + std::to_string(padding.size()) +
                    " pairs of padding; there must be at most one for each dimension",
                where);
  }
  std::vector<std::int64_t> before;
  std::vector<std::int64_t> after;
  for (const auto& [first, second] : padding) {
    before.push_back(first);
    after.push_back(second);
  }
  return apply(ops::Pad{Shape(before), Shape(after), options}, {x}, where);
}

}  // namespace tidemark
