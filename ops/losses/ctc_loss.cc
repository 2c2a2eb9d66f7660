// ctc_loss: minus the log probability of all alignments of a target with its input. Forward keeps nothing: backward
// goes through the input again, forwards and then back, in scratch. Both count in double.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/kernels.h"
#include "ops/losses/class_rows.h"
#include "ops/table.h"
#include "tidemark/ops/losses.h"

namespace tidemark {
namespace ops {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double log_add(double a, double b, double c) {
  const double most = std::max({a, b, c});
  if (most == kNever) return a + b + c;  // -inf, or a NaN that std::max did not see
  return most + std::log(std::exp(a - most) + std::exp(b - most) + std::exp(c - most));
}

// One sequence of the batch. Its target with blanks around each label has 2 L + 1 places.
struct Alignment {
  const float* log_probabilities;  // of its first moment
  std::int64_t step;               // to the next moment
  std::int64_t moments;
  const std::int32_t* target;
  std::int64_t length;
  std::int64_t blank;

  std::int64_t places() const { return 2 * length + 1; }
  std::int64_t label(std::int64_t place) const { return place % 2 == 0 ? blank : target[place / 2]; }
  // Whether place - 2 may come right before a place: not a blank, nor the same label again.
  bool skips(std::int64_t place) const { return place >= 2 && place % 2 == 1 && label(place) != label(place - 2); }
  double at(std::int64_t moment, std::int64_t place) const {
    return static_cast<double>(log_probabilities[moment * step + label(place)]);
  }

  // The log probability of each place at the first moment, and at one from that before it.
  void start(double* alpha) const {
    std::fill_n(alpha, places(), kNever);
    alpha[0] = at(0, 0);
    if (length > 0) alpha[1] = at(0, 1);
  }
  void advance(std::int64_t moment, const double* before, double* alpha) const {
    for (std::int64_t s = 0; s < places(); ++s) {
      const double one = s >= 1 ? before[s - 1] : kNever;
      const double two = skips(s) ? before[s - 2] : kNever;
      alpha[s] = log_add(before[s], one, two) + at(moment, s);
    }
  }
  // The loss, from the last moment's.
  double loss(const double* alpha) const {
    const std::int64_t last = places() - 1;
    return -log_add(alpha[last], length > 0 ? alpha[last - 1] : kNever, kNever);
  }
  // An input of no moments has one alignment, of nothing.
  double loss_of_nothing() const { return length == 0 ? 0 : kInfinity; }
};

struct CtcLoss {
  static constexpr std::string_view name = "ctc_loss";
  int blank = 0;
  bool zero_infinity = false;
  LossReduction reduction = LossReduction::kMean;

  void describe(Attributes& a) const {
    a("blank", blank);
    a("zero_infinity", zero_infinity);
    a("reduction", static_cast<int>(reduction));
  }

  // Inputs: log probabilities, targets, input lengths and target lengths.
  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const {
    require_reduction(prep, reduction);
    require_f32(prep, "log_probabilities", in[0]);
    const Shape& shape = in[0].shape;
    const Shape& targets = in[1].shape;
    const bool ranks = shape.rank() == 3 && targets.rank() == 2;
    const bool integers = in[1].dtype == i32 && in[2].dtype == i32 && in[3].dtype == i32;
    prep.require(ranks && integers && targets[0] == shape[1] && in[2].shape == Shape{shape[1]} &&
                     in[3].shape == Shape{shape[1]} && shape[0] > 0 && shape[2] > 0,
                 ops::describe("log_probabilities", in[0]) + ", " + ops::describe("targets", in[1]) + ", " +
                     ops::describe("input_lengths", in[2]) + ", " + ops::describe("target_lengths", in[3]) +
                     "; they must be [T, N, C], [N, S], [N] and [N], all but the first i32, and neither T nor C empty");
    prep.require(blank >= 0 && blank < shape[2],
                 "blank is " + std::to_string(blank) + ", which log_probabilities " + shape.to_string() + " must have");
    const std::int64_t places = 2 * targets[1] + 1;
    const Meta plain = Meta::plain(shape);
    const double cells = as_double(shape[0] * shape[1] * places);
    Prepared out;
    out.outputs = {Meta::plain(reduction == LossReduction::kNone ? Shape{shape[1]} : Shape{})};
    out.input_layouts.assign(4, kPlain);
    out.scratch = double_bytes(members(prep.threads(), shape[1]) * 2 * places + shape[1]);
    out.work = {100 * cells, 4 * cells};
    if (needs[0]) {
      Part part;
      part.inputs = {0};
      part.gx = {plain};
      part.saved = {Saved::input(0, kPlain), Saved::input(1, kPlain), Saved::input(2, kPlain), Saved::input(3, kPlain)};
      part.gy = {{0, kPlain}};
      part.scratch = double_bytes(members(prep.threads(), shape[1]) * (shape[0] + 2) * places);
      part.work = {250 * cells, 24 * cells + as_double(plain.bytes)};
      out.parts.push_back(std::move(part));
    }
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const Batch batch(in, blank);
    batch.require_values();
    const std::int64_t places = 2 * batch.width + 1;
    auto* losses = ctx.scratch<double>();
    double* rows = losses + batch.size;
    for_members(ctx, batch.size, members(ctx.threads(), batch.size),
                [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                  double* before = rows + member * 2 * places;
                  double* alpha = before + places;
                  for (std::int64_t n = begin; n < end; ++n) {
                    const Alignment alignment = batch[n];
                    losses[n] = alignment.loss_of_nothing();
                    if (alignment.moments == 0) continue;
                    alignment.start(alpha);
                    for (std::int64_t t = 1; t < alignment.moments; ++t) {
                      std::swap(before, alpha);
                      alignment.advance(t, before, alpha);
                    }
                    losses[n] = alignment.loss(alpha);
                  }
                });
    RowLosses results(reduction, out[0]);
    for (std::int64_t n = 0; n < batch.size; ++n) {
      const double loss = zero_infinity && losses[n] == kInfinity ? 0 : losses[n];
      results.set(n, reduction == LossReduction::kMean ? loss / batch.divisor(n) : loss);
    }
    results.finish(as_double(batch.size));
  }

  void backward(Ctx& ctx, int, std::span<const Buf> saved, std::span<const Buf> gy, std::span<const Buf> gx) const {
    const Batch batch(saved, blank);
    const std::int64_t places = 2 * batch.width + 1;
    const RowGradients gradients(reduction, gy[0], as_double(batch.size));
    for_members(ctx, batch.size, members(ctx.threads(), batch.size),
                [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                  double* alpha = ctx.scratch<double>() + member * (batch.moments + 2) * places;
                  for (std::int64_t n = begin; n < end; ++n) {
                    const double g =
                        static_cast<double>(gradients(n)) / (reduction == LossReduction::kMean ? batch.divisor(n) : 1);
                    sequence_gradient(batch, n, g, places, alpha, gx[0].as<float>());
                  }
                });
  }

  static std::vector<Sample> samples() {
    const auto sample = [](std::string label, std::int64_t moments, std::int64_t batch, std::int64_t classes,
                           std::int64_t width, const CtcLoss& op) {
      const auto lengths = [&](std::int64_t most) {
        return SampleInput{{batch}, i32, SampleInput::Fill::kIndices, most + 1, false};
      };
      return Sample{std::move(label),
                    {{{moments, batch, classes}},
                     {{batch, width}, i32, SampleInput::Fill::kIndices, classes - 1, false},
                     lengths(moments),
                     lengths(width)},
                    any_op(op),
                    {true, false, false, false}};
    };
    // The last class is the blank, which targets do not hold.
    return {sample("batch", 12, 5, 4, 3, {.blank = 3, .zero_infinity = true}),
            sample("sum", 7, 3, 6, 2, {.blank = 5, .zero_infinity = true, .reduction = LossReduction::kSum}),
            sample("each", 9, 4, 3, 4, {.blank = 2, .zero_infinity = true, .reduction = LossReduction::kNone})};
  }

 private:
  struct Batch {
    Batch(std::span<const Buf> in, std::int64_t blank_class)
        : moments(in[0].shape()[0]),
          size(in[0].shape()[1]),
          classes(in[0].shape()[2]),
          width(in[1].shape()[1]),
          blank(blank_class),
          log_probabilities(in[0].as<const float>()),
          targets(in[1].as<const std::int32_t>()),
          input_lengths(in[2].as<const std::int32_t>()),
          target_lengths(in[3].as<const std::int32_t>()) {}

    Alignment operator[](std::int64_t n) const {
      return {log_probabilities + n * classes,
              size * classes,
              input_lengths[n],
              targets + n * width,
              target_lengths[n],
              blank};
    }
    double divisor(std::int64_t n) const { return as_double(std::max(1, target_lengths[n])); }

    void require_values() const {
      for (std::int64_t n = 0; n < size; ++n) {
        const auto sequence = " of sequence " + std::to_string(n);
        const auto require = [](bool holds, const std::string& message) {
          if (!holds) throw ShapeError("[ctc_loss] " + message);
        };
        require(input_lengths[n] >= 0 && input_lengths[n] <= moments,
                "the input length " + std::to_string(input_lengths[n]) + sequence + " is outside [0, " +
                    std::to_string(moments) + "]");
        require(target_lengths[n] >= 0 && target_lengths[n] <= width,
                "the target length " + std::to_string(target_lengths[n]) + sequence + " is outside [0, " +
                    std::to_string(width) + "]");
        for (std::int64_t i = 0; i < target_lengths[n]; ++i) {
          const std::int32_t label = targets[n * width + i];
          require(label >= 0 && label < classes && label != blank,
                  "label " + std::to_string(label) + " at position " + std::to_string(i) + sequence +
                      " must be in [0, " + std::to_string(classes) + ") and not the blank, " + std::to_string(blank));
        }
      }
    }

    std::int64_t moments;
    std::int64_t size;
    std::int64_t classes;
    std::int64_t width;
    std::int64_t blank;
    const float* log_probabilities;
    const std::int32_t* targets;
    const std::int32_t* input_lengths;
    const std::int32_t* target_lengths;
  };

  static std::int64_t double_bytes(std::int64_t count) { return count * static_cast<std::int64_t>(sizeof(double)); }
  static std::int64_t members(int threads, std::int64_t batch) { return std::clamp<std::int64_t>(batch, 1, threads); }

  // alpha has room for the places of all moments and two rows more.
  void sequence_gradient(const Batch& batch, std::int64_t n, double g, std::int64_t places, double* alpha,
                         float* gx) const {
    const Alignment alignment = batch[n];
    const std::int64_t moments = alignment.moments;
    for (std::int64_t t = 0; t < batch.moments; ++t) {
      std::fill_n(gx + (t * batch.size + n) * batch.classes, batch.classes, 0.0f);
    }
    if (moments == 0) return;
    alignment.start(alpha);
    for (std::int64_t t = 1; t < moments; ++t) alignment.advance(t, alpha + (t - 1) * places, alpha + t * places);
    const double loss = alignment.loss(alpha + (moments - 1) * places);
    if (zero_infinity && loss == kInfinity) return;
    // beta: the log probability of what follows a place, without that of the place itself.
    double* beta = alpha + batch.moments * places;
    double* after = beta + places;
    for (std::int64_t t = moments - 1; t >= 0; --t) {
      float* to = gx + (t * batch.size + n) * batch.classes;
      if (t == moments - 1) {
        std::fill_n(beta, alignment.places(), kNever);
        beta[alignment.places() - 1] = 0;
        if (alignment.length > 0) beta[alignment.places() - 2] = 0;
      } else {
        std::swap(beta, after);
        for (std::int64_t s = 0; s < alignment.places(); ++s) {
          const auto next = [&](std::int64_t place) {
            return place < alignment.places() ? after[place] + alignment.at(t + 1, place) : kNever;
          };
          const bool skips = s + 2 < alignment.places() && alignment.skips(s + 2);
          beta[s] = log_add(next(s), next(s + 1), skips ? next(s + 2) : kNever);
        }
      }
      // Minus the probability that the moment is at a place, given the target.
      double blanks = 0;
      for (std::int64_t s = 0; s < alignment.places(); ++s) {
        const double share = -g * std::exp(alpha[t * places + s] + beta[s] + loss);
        if (s % 2 == 0) {
          blanks += share;
        } else {
          to[alignment.label(s)] += static_cast<float>(share);
        }
      }
      to[blank] = static_cast<float>(blanks);
    }
  }
};

}  // namespace

std::vector<Sample> ctc_loss_samples() { return CtcLoss::samples(); }

}  // namespace ops

Tensor ctc_loss(const Tensor& log_probabilities, const Tensor& targets, const Tensor& input_lengths,
                const Tensor& target_lengths, const CtcLossOptions& options, SourceLocation where) {
  const ops::CtcLoss op{options.blank, options.zero_infinity, options.reduction};
  return apply(op, {log_probabilities, targets, input_lengths, target_lengths}, where);
}

}  // namespace tidemark
