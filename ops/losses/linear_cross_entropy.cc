// cross_entropy of a linear layer's logits, which exist in tiles of some rows and some classes alone. Forward keeps of
// each row the maximum and the sum of exponentials, brought together over the tiles. Backward makes each tile again,
// and from it the gradients of everything that wants one.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "compute/gemm.h"
#include "ops/kernels.h"
#include "ops/losses/class_rows.h"
#include "ops/losses/softmax_rows.h"
#include "ops/sums.h"
#include "ops/table.h"
#include "tidemark/ops/losses.h"

namespace tidemark {
namespace ops {
namespace {

// How the logits are cut up. Tiles follow from shapes alone. A gradient of the weight is added to once for each block
// of rows, that of x once for each block of classes, so that both are few; whole blocks are those of a product
// (gemm_piece.h).
struct Tiles {
  static constexpr std::int64_t kRows = 1024;
  static constexpr std::int64_t kFloats = kRows * 1536;
  static constexpr std::int64_t kColumns = 384;

  Tiles(std::int64_t all_rows, std::int64_t all_classes) {
    const std::int64_t blocks = std::max<std::int64_t>(1, (all_rows + kRows - 1) / kRows);
    rows = std::max<std::int64_t>(1, (all_rows + blocks - 1) / blocks);
    classes = std::min(all_classes, kFloats / rows / kColumns * kColumns);
  }
  std::int64_t floats() const { return round_up(rows * classes, 16); }

  std::int64_t rows = 0;
  std::int64_t classes = 0;
};

constexpr double kLowest = -std::numeric_limits<double>::infinity();

// What a row's loss is made of, while its tiles come by.
struct RowState {
  double most = kLowest;
  double sum = 0;    // of e^(x - most)
  double below = 0;  // the sum of most - x
  double seen = 0;   // logits
  double own = 0;    // that of the row's class

  // The next `width` logits, those of the classes from `from` on. Logits of -inf alone are probabilities of zero once
  // there are others; a NaN among them is none.
  void take(const float* x, std::int64_t from, std::int64_t width, std::int64_t own_class, bool sum_up_below) {
    if (own_class >= from && own_class < from + width) own = static_cast<double>(x[own_class - from]);
    float piece_most = 0;
    float piece_sum = 0;
    max_and_sum(1, width, x, &piece_most, &piece_sum);
    const auto highest = static_cast<double>(piece_most);
    const double before = most;
    most = std::max(most, highest);
    if (most > kLowest) sum *= std::exp(before - most);
    if (highest > kLowest) {
      sum += static_cast<double>(piece_sum) * std::exp(highest - most);
    } else if (std::any_of(x, x + width, [](float v) { return std::isnan(v); })) {
      sum = std::numeric_limits<double>::quiet_NaN();
    }
    if (!sum_up_below) return;
    if (most > kLowest) {
      if (seen > 0) below += seen * (most - before);
      below += as_double(width) * (most - highest);
      if (highest > kLowest) below += sum_below(width, piece_most, x, nullptr);
    }
    seen += as_double(width);
  }
};

// totals[j] += the sum of column j.
void add_columns(const Ctx& ctx, std::int64_t rows, std::int64_t columns, const float* from, double* totals) {
  for_elements(ctx, columns, rows * size_of(f32), [&](std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t kStrip = 512;
    for (std::int64_t first = begin; first < end; first += kStrip) {
      const std::int64_t width = std::min(kStrip, end - first);
      for (std::int64_t row = 0; row < rows; row += kSumRows) {
        float sums[kStrip] = {};
        add_rows(std::min(kSumRows, rows - row), width, from + row * columns + first, columns, sums);
        add_sums(width, sums, totals + first);
      }
    }
  });
}

}  // namespace

struct LinearCrossEntropy {
  static constexpr std::string_view name = "linear_cross_entropy";
  int ignore_index = -100;
  float label_smoothing = 0;
  LossReduction reduction = LossReduction::kMean;

  void describe(Attributes& a) const {
    a("ignore_index", ignore_index);
    a("label_smoothing", label_smoothing);
    a("reduction", static_cast<int>(reduction));
  }

  // Inputs: x, classes, weight and, where there is one, bias.
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_reduction(prep, reduction);
    require_smoothing(prep, label_smoothing);
    const Shape& x = in[0].shape;
    const Shape& w = in[2].shape;
    require_f32(prep, "x", in[0]);
    require_f32(prep, "weight", in[2]);
    prep.require(x.rank() >= 1 && w.rank() == 2 && x[-1] == w[1] && w[0] > 0,
                 "x " + x.to_string() + " and weight " + w.to_string() +
                     " must be [..., D] and [V, D], with at least one class");
    if (in.size() > 3) {
      require_f32(prep, "bias", in[3]);
      prep.require(in[3].shape == Shape({w[0]}), "bias " + in[3].shape.to_string() + " does not fit weight " +
                                                     w.to_string() + "; it must be [" + std::to_string(w[0]) + "]");
    }
    const Shape rows(x.dims().first(static_cast<std::size_t>(x.rank() - 1)));
    prep.require(in[1].dtype == i32 && in[1].shape == rows,
                 ops::describe("x", in[0]) + ", " + ops::describe("classes", in[1]) +
                     "; classes must be i32 of x's shape without its last dimension");
    const std::int64_t count = rows.numel();
    const Tiles tiles(count, w[0]);
    const double product = 2.0 * as_double(count) * as_double(w[0]) * as_double(w[1]);
    const double operands = as_double((x.numel() + w.numel()) * size_of(f32));
    const double logits = as_double(count) * as_double(w[0]);
    Prepared out;
    out.outputs = {Meta::plain(reduction == LossReduction::kNone ? rows : Shape{}), Meta::plain({2, count})};
    out.visible = 1;
    out.input_layouts.assign(in.size(), kPlain);
    out.scratch = round_up(tiles.floats() * size_of(f32), 64) +
                  round_up(tiles.rows * static_cast<std::int64_t>(sizeof(RowState)), 64) +
                  compute::gemm_scratch(logits_of(tiles, w[1]), prep.threads());
    out.work = {product + 20 * logits, operands};
    if (!needs.any()) return out;
    // One part for all: what costs most, the logits, is then made once.
    Part part;
    auto state = std::make_shared<State>();
    part.saved = {Saved::input(0, kPlain), Saved::input(1, kPlain), Saved::input(2, kPlain), Saved::output(1)};
    if (in.size() > 3) part.saved.push_back(Saved::input(3, kPlain));
    part.gy = {{0, kPlain}};
    std::int64_t space = compute::gemm_scratch(logits_of(tiles, w[1]), prep.threads());
    part.work = out.work;
    for (int i = 0; i < static_cast<int>(in.size()); ++i) {
      if (!needs[static_cast<std::size_t>(i)]) continue;
      state->at[static_cast<std::size_t>(i)] = static_cast<int>(part.inputs.size());
      part.inputs.push_back(i);
      part.gx.push_back(Meta::plain(in[static_cast<std::size_t>(i)].shape));
      if (i == 3) continue;
      const compute::Gemm gemm = i == 0 ? data_of(tiles, w[1]) : weight_of(tiles, w[1]);
      space = std::max(space, compute::gemm_scratch(gemm, prep.threads()));
      part.work.flops += product;
      part.work.bytes += operands;
    }
    part.scratch = round_up(tiles.floats() * size_of(f32), 64) +
                   round_up(tiles.classes * static_cast<std::int64_t>(sizeof(double)), 64) + space;
    part.accumulates = part.inputs.size() == 1;
    out.parts.push_back(std::move(part));
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Operands o(in[0], in[2], in.size() > 3 ? &in[3] : nullptr);
    const ClassRows classes(in[1], o.classes, ignore_index, nullptr);
    classes.require_range(name, "logits", in[0].shape().with(-1, o.classes), in[1].shape());
    const Tiles tiles(o.rows, o.classes);
    auto* bytes = ctx.scratch<std::byte>();
    auto* tile = reinterpret_cast<float*>(bytes);
    bytes += round_up(tiles.floats() * size_of(f32), 64);
    auto* rows = reinterpret_cast<RowState*>(bytes);
    bytes += round_up(tiles.rows * static_cast<std::int64_t>(sizeof(RowState)), 64);
    float* maxima = out[1].as<>();
    float* sums = maxima + o.rows;
    RowLosses losses(reduction, out[0]);
    for (std::int64_t first = 0; first < o.rows; first += tiles.rows) {
      const std::int64_t count = std::min(tiles.rows, o.rows - first);
      std::uninitialized_fill_n(rows, count, RowState());
      for (std::int64_t from = 0; from < o.classes; from += tiles.classes) {
        const std::int64_t width = std::min(tiles.classes, o.classes - from);
        make_logits(ctx, o, first, count, from, width, tile, bytes);
        for_range(ctx, count, 16 * width, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            if (classes.ignored(first + i)) continue;
            rows[i].take(tile + i * width, from, width, classes.of(first + i), label_smoothing > 0);
          }
        });
      }
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t row = first + i;
        const RowState& state = rows[i];
        if (classes.ignored(row)) {
          maxima[row] = sums[row] = 0;
          losses.set(row, 0);
          continue;
        }
        // Of no logit above -inf no distribution follows.
        const double sum = state.most > kLowest ? state.sum : std::numeric_limits<double>::quiet_NaN();
        maxima[row] = static_cast<float>(state.most);
        sums[row] = static_cast<float>(sum);
        const double log_sum = std::log(sum);
        double loss = state.most - state.own + log_sum;
        if (label_smoothing > 0) {
          const double uniform = state.below / as_double(o.classes) + log_sum;
          loss = own_share() * loss + static_cast<double>(label_smoothing) * uniform;
        }
        losses.set(row, loss);
      }
    }
    losses.finish(classes.total_weight());
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const State& state = ctx.state<State>();
    const Operands o(saved[0], saved[2], saved.size() > 4 ? &saved[4] : nullptr);
    const ClassRows classes(saved[1], o.classes, ignore_index, nullptr);
    const RowGradients gradients(reduction, gy[0], classes.total_weight());
    const float* maxima = saved[3].as<>();
    const float* sums = maxima + o.rows;
    const Tiles tiles(o.rows, o.classes);
    const auto target = [&](int input) {
      const int at = state.at[static_cast<std::size_t>(input)];
      return at < 0 ? nullptr : gx[static_cast<std::size_t>(at)].as<float>();
    };
    float* const gx_of_x = target(0);
    float* const gx_of_weight = target(2);
    float* const gx_of_bias = target(3);
    const bool add = ctx.accumulate();
    if (o.rows == 0 && !add) {
      for (const Buf& out : gx) std::fill_n(out.as<float>(), out.numel(), 0.0f);
      return;
    }
    auto* bytes = ctx.scratch<std::byte>();
    auto* tile = reinterpret_cast<float*>(bytes);
    bytes += round_up(tiles.floats() * size_of(f32), 64);
    auto* totals = reinterpret_cast<double*>(bytes);
    bytes += round_up(tiles.classes * static_cast<std::int64_t>(sizeof(double)), 64);
    const auto own = static_cast<float>(own_share());
    const auto uniform = static_cast<float>(static_cast<double>(label_smoothing) / as_double(o.classes));
    // Rows are the inner loop: the weight's gradient of some classes stays in the caches while they add to it.
    for (std::int64_t from = 0; from < o.classes; from += tiles.classes) {
      const std::int64_t width = std::min(tiles.classes, o.classes - from);
      std::fill_n(totals, width, 0.0);
      for (std::int64_t first = 0; first < o.rows; first += tiles.rows) {
        const std::int64_t count = std::min(tiles.rows, o.rows - first);
        make_logits(ctx, o, first, count, from, width, tile, bytes);
        for_range(ctx, count, 16 * width, [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t row = first + i;
            float* to = tile + i * width;
            if (classes.ignored(row)) {
              std::fill_n(to, width, 0.0f);
              continue;
            }
            const float g = gradients(row);
            softmax_gradient(width, to, maxima[row], g / sums[row], g * uniform, nullptr, to);
            const std::int64_t at = classes.of(row) - from;
            if (at >= 0 && at < width) to[at] -= g * own;
          }
        });
        if (gx_of_x != nullptr) {
          const compute::Gemm gemm = compute::Gemm::dense(count, o.features, width);
          compute::gemm(gemm, tile, o.weight + from * o.features, nullptr, gx_of_x + first * o.features,
                        add || from > 0, bytes, ctx.threads());
        }
        if (gx_of_weight != nullptr) {
          const compute::Gemm gemm = compute::Gemm::dense(width, o.features, count, true, false);
          compute::gemm(gemm, tile, o.x + first * o.features, nullptr, gx_of_weight + from * o.features,
                        add || first > 0, bytes, ctx.threads());
        }
        if (gx_of_bias != nullptr) add_columns(ctx, count, width, tile, totals);
      }
      if (gx_of_bias == nullptr) continue;
      for (std::int64_t j = 0; j < width; ++j) {
        gx_of_bias[from + j] = (add ? gx_of_bias[from + j] : 0.0f) + static_cast<float>(totals[j]);
      }
    }
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, const Shape& x, std::int64_t classes, bool bias,
                           const LinearCrossEntropy& op) {
      const Shape rows(x.dims().first(static_cast<std::size_t>(x.rank() - 1)));
      Sample out{std::move(label),
                 {{x}, {rows, i32, SampleInput::Fill::kIndices, classes, false}, {{classes, x[-1]}}},
                 any_op(op),
                 {true, true, false},
                 op.reduction == LossReduction::kMean ? std::numeric_limits<float>::quiet_NaN() : 0};
      if (bias) {
        out.inputs.push_back({Shape{classes}});
        out.batched.push_back(false);
      }
      return out;
    };
    return {sample("batch", {5, 7}, 11, true, {}),
            sample("no bias", {2, 3, 4}, 9, false, {.ignore_index = 2, .reduction = LossReduction::kNone}),
            sample("smooth", {40, 3}, 50, true, {.label_smoothing = 0.2f, .reduction = LossReduction::kSum}),
            // Several tiles both ways.
            sample("tiles", {1030, 2}, 3100, true, {.label_smoothing = 0.1f, .reduction = LossReduction::kNone})};
  }

 private:
  struct State {
    std::array<int, 4> at = {-1, -1, -1, -1};  // of each input's gradient among those of the part
  };

  struct Operands {
    Operands(const Buf& x_buf, const Buf& weight_buf, const Buf* bias_buf)
        : x(x_buf.as<const float>()),
          weight(weight_buf.as<const float>()),
          bias(bias_buf != nullptr ? bias_buf->as<const float>() : nullptr),
          features(weight_buf.shape()[1]),
          classes(weight_buf.shape()[0]),
          rows(x_buf.shape().with(-1, 1).numel()) {}
    const float* x;
    const float* weight;
    const float* bias;
    std::int64_t features;
    std::int64_t classes;
    std::int64_t rows;
  };

  double own_share() const { return 1 - static_cast<double>(label_smoothing); }

  // The products of the largest tile.
  static compute::Gemm logits_of(const Tiles& tiles, std::int64_t features) {
    return compute::Gemm::dense(tiles.rows, tiles.classes, features, false, true);
  }
  static compute::Gemm data_of(const Tiles& tiles, std::int64_t features) {
    return compute::Gemm::dense(tiles.rows, features, tiles.classes);
  }
  static compute::Gemm weight_of(const Tiles& tiles, std::int64_t features) {
    return compute::Gemm::dense(tiles.classes, features, tiles.rows, true, false);
  }

  static void make_logits(const Ctx& ctx, const Operands& o, std::int64_t row, std::int64_t rows, std::int64_t from,
                          std::int64_t width, float* tile, void* scratch) {
    const compute::Gemm gemm = compute::Gemm::dense(rows, width, o.features, false, true);
    compute::gemm(gemm, o.x + row * o.features, o.weight + from * o.features,
                  o.bias != nullptr ? o.bias + from : nullptr, tile, false, scratch, ctx.threads());
  }
};

std::vector<Sample> linear_cross_entropy_samples() { return LinearCrossEntropy::samples(); }

}  // namespace ops

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& classes,
                            const LinearCrossEntropyOptions& options, SourceLocation where) {
  std::vector<Tensor> inputs = {x, classes, weight};
  if (bias.defined()) inputs.push_back(bias);
  const ops::LinearCrossEntropy op{options.ignore_index, options.label_smoothing, options.reduction};
  return apply_one(any_op(op), inputs, where);
}

}  // namespace tidemark
