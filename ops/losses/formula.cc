// The op of a loss of corresponding elements: it adds up as it goes, and keeps nothing but what slopes read of its
// inputs.
#include "ops/losses/formula.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "ops/kernels.h"

namespace tidemark::ops {
namespace {

// Elements that are summed as one: partial sums do not depend on the team.
constexpr std::int64_t kChunk = std::int64_t{32} * 1024;

// The operands' elements from a place on, block by block: one that repeats is written out, one that is missing is 1.
class Blocks {
 public:
  // `in[k]` is null where nothing reads it.
  Blocks(std::span<const float* const> in, bool last_repeats, std::int64_t period) : count_(in.size()) {
    std::copy(in.begin(), in.end(), from_.begin());
    if (!last_repeats) return;
    repeated_ = count_ - 1;
    period_ = period;
    if (from_[repeated_] == nullptr) std::fill_n(block_, kLossBlock, 1.0f);
  }

  const float* const* at(std::int64_t begin, std::int64_t count) {
    for (std::size_t k = 0; k < count_; ++k) {
      if (k != repeated_) here_[k] = from_[k] == nullptr ? nullptr : from_[k] + begin;
    }
    if (repeated_ == kLossOperands) return here_.data();
    here_[repeated_] = block_;
    if (period_ == 1 && from_[repeated_] != nullptr) {
      std::fill_n(block_, count, *from_[repeated_]);
      return here_.data();
    }
    for (std::int64_t i = 0; i < count && from_[repeated_] != nullptr;) {
      const std::int64_t place = (begin + i) % period_;
      const std::int64_t run = std::min(count - i, period_ - place);
      std::copy_n(from_[repeated_] + place, run, block_ + i);
      i += run;
    }
    return here_.data();
  }

 private:
  std::size_t count_;
  std::size_t repeated_ = kLossOperands;
  std::int64_t period_ = 1;
  std::array<const float*, kLossOperands> from_ = {};
  std::array<const float*, kLossOperands> here_ = {};
  float block_[kLossBlock] = {};
};

class ElementLoss final : public AnyOp {
 public:
  ElementLoss(const LossFormula& formula, LossTable table, std::size_t index, const LossNumbers& numbers,
              LossReduction reduction)
      : formula_(formula), table_(table), index_(index), numbers_(numbers), reduction_(reduction) {}

  std::string_view name() const override { return formula_.name; }
  void describe(Attributes& a) const override {
    for (std::size_t i = 0; i < formula_.numbers.size(); ++i) a(formula_.numbers[i], numbers_[i]);
    a("reduction", static_cast<int>(reduction_));
  }

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs needs) const override {
    require_operands(prep, in, needs);
    const Meta plain = Meta::plain(in[0].shape);
    const double n = as_double(plain.shape.numel());
    const double whole = as_double(static_cast<std::int64_t>(whole_operands()));
    Prepared out;
    out.outputs = {reduction_ == LossReduction::kNone ? plain : Meta::plain({})};
    out.input_layouts.assign(in.size(), kPlain);
    out.work = {formula_.flops * n, 4 * whole * n};
    if (reduction_ == LossReduction::kNone) {
      out.work.bytes += 4 * n;
      for (std::size_t i = 0; i < whole_operands(); ++i) out.overwrites.emplace_back(static_cast<int>(i), 0);
    } else {
      out.scratch = chunks(plain.shape.numel()) * static_cast<std::int64_t>(sizeof(double));
    }
    auto state = std::make_shared<State>();
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (!needs[i]) continue;
      Part part;
      part.inputs = {static_cast<int>(i)};
      part.gx = {plain};
      part.gy = {{0, kPlain}};
      part.work = {formula_.flops * n, 4 * n};
      for (std::size_t k = 0; k < in.size(); ++k) {
        if (((formula_.slope_reads[i] >> k) & 1) == 0) continue;
        if (k < whole_operands()) {
          part.overwrites.emplace_back(static_cast<int>(part.saved.size()), 0);
          part.work.bytes += 4 * n;
        }
        part.saved.push_back(Saved::input(static_cast<int>(k), kPlain));
      }
      if (reduction_ == LossReduction::kNone) {
        part.overwrites.emplace_back(static_cast<int>(part.saved.size()), 0);
        part.work.bytes += 4 * n;
      }
      out.parts.push_back(std::move(part));
      state->parts.push_back(i);
    }
    state->operands = in.size();
    if (formula_.last_repeats && in.size() == formula_.operands.size()) state->period = in.back().shape.numel();
    out.state = std::move(state);
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const override {
    const LossKernels& kernels = table_()[index_];
    const std::int64_t n = in[0].numel();
    std::array<const float*, kLossOperands> from = {};
    for (std::size_t i = 0; i < in.size(); ++i) from[i] = in[i].as<const float>();
    const std::span<const float* const> used(from.data(), formula_.operands.size());
    const Blocks blocks(used, formula_.last_repeats, period(ctx));
    const std::int64_t bytes = 4 * static_cast<std::int64_t>(whole_operands());
    auto* to = out[0].as<float>();
    if (reduction_ == LossReduction::kNone) {
      for_elements(ctx, n, bytes + 4, [&](std::int64_t begin, std::int64_t end) {
        Blocks own = blocks;
        for (std::int64_t i = begin; i < end; i += kLossBlock) {
          const std::int64_t count = std::min(kLossBlock, end - i);
          const float* const* operands = own.at(i, count);
          require_range(operands, i, count);
          kernels.value(numbers_, count, operands, to + i);
        }
      });
      return;
    }
    auto* sums = ctx.scratch<double>();
    for_range(ctx, chunks(n), bytes * std::min(n, kChunk), [&](std::int64_t begin, std::int64_t end) {
      Blocks own = blocks;
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        const std::int64_t last = std::min(n, (chunk + 1) * kChunk);
        sums[chunk] = 0;
        for (std::int64_t i = chunk * kChunk; i < last; i += kLossBlock) {
          const std::int64_t count = std::min(kLossBlock, last - i);
          const float* const* operands = own.at(i, count);
          require_range(operands, i, count);
          sums[chunk] += kernels.sum(numbers_, count, operands);
        }
      }
    });
    double total = 0;
    for (std::int64_t chunk = 0; chunk < chunks(n); ++chunk) total += sums[chunk];
    *to = static_cast<float>(total / divisor(in[0].shape()));
  }

  void backward(Ctx& ctx, int part, std::span<const Buf> saved, std::span<const Buf> gy,
                std::span<const Buf> gx) const override {
    const auto& state = ctx.state<State>();
    const std::size_t operand = state.parts[static_cast<std::size_t>(part)];
    const LossKernels::Slope slope = table_()[index_].slopes[operand];
    std::array<const float*, kLossOperands> from = {};
    for (std::size_t i = 0, k = 0; i < state.operands; ++i) {
      if (((formula_.slope_reads[operand] >> i) & 1) != 0) from[i] = saved[k++].as<const float>();
    }
    const std::span<const float* const> used(from.data(), formula_.operands.size());
    const Blocks blocks(used, formula_.last_repeats, period(ctx));
    const bool each = reduction_ == LossReduction::kNone;
    const auto* g = gy[0].as<const float>();
    const float common = each ? 0 : static_cast<float>(static_cast<double>(*g) / divisor(gx[0].shape()));
    for_elements(ctx, gx[0].numel(), 16, [&](std::int64_t begin, std::int64_t end) {
      Blocks own = blocks;
      float gradients[kLossBlock];
      if (!each) std::fill_n(gradients, std::min(kLossBlock, end - begin), common);
      for (std::int64_t i = begin; i < end; i += kLossBlock) {
        const std::int64_t count = std::min(kLossBlock, end - i);
        slope(numbers_, count, own.at(i, count), each ? g + i : gradients, gx[0].as<float>() + i);
      }
    });
  }

 private:
  struct State {
    std::vector<std::size_t> parts;  // the operand that each is the gradient of
    std::size_t operands = 0;        // that are there
    std::int64_t period = 1;         // elements of the one that repeats
  };

  static std::int64_t chunks(std::int64_t n) { return (n + kChunk - 1) / kChunk; }
  static std::int64_t period(const Ctx& ctx) { return std::max<std::int64_t>(1, ctx.state<State>().period); }
  std::size_t whole_operands() const { return formula_.operands.size() - (formula_.last_repeats ? 1 : 0); }

  double divisor(const Shape& shape) const {
    if (reduction_ == LossReduction::kMean) return as_double(shape.numel());
    if (reduction_ == LossReduction::kBatchMean) return as_double(shape[0]);
    return 1;
  }

  void require_operands(const Prep& prep, std::span<const Meta> in, Needs needs) const {
    const Shape& shape = in[0].shape;
    std::string text;
    bool fits = true;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::string_view operand = formula_.operands[i];
      require_f32(prep, operand, in[i]);
      if (i >= whole_operands()) break;
      text += (i == 0 ? "" : ", ") + std::string(operand) + " is " + in[i].shape.to_string();
      fits = fits && in[i].shape == shape;
    }
    prep.require(fits, text + "; they must be equal, since losses broadcast nothing");
    if (in.size() > whole_operands()) require_repeats(prep, shape, in.back());
    for (std::size_t i = 0; i < in.size(); ++i) {
      prep.require(!needs[i] || formula_.has_slope[i],
                   std::string(formula_.operands[i]) + " takes no gradient; give its detach()");
    }
    const bool batch = reduction_ == LossReduction::kBatchMean;
    prep.require(!batch || shape.rank() > 0, "the mean over a batch wants dimensions, and " +
                                                 std::string(formula_.operands[0]) + " is " + shape.to_string());
  }

  void require_repeats(const Prep& prep, const Shape& shape, const Meta& last) const {
    const Shape& own = last.shape;
    const int skipped = shape.rank() - own.rank();
    bool fits = skipped >= 0;
    bool leading = true;  // so far its dimensions are 1
    for (int i = 0; fits && i < own.rank(); ++i) {
      leading = leading && own[i] == 1;
      fits = leading || own[i] == shape[skipped + i];
    }
    prep.require(fits || own.numel() == 1, std::string(formula_.operands[0]) + " is " + shape.to_string() + ", " +
                                               std::string(formula_.operands.back()) + " is " + own.to_string() +
                                               "; it must broadcast to the last dimensions of the former");
  }

  // `at` is where the block begins.
  void require_range(const float* const* operands, std::int64_t at, std::int64_t count) const {
    const LossRange& range = formula_.range;
    if (range.operand < 0) return;
    const float* x = operands[range.operand];
    bool outside = false;
    for (std::int64_t i = 0; i < count; ++i) outside |= x[i] < range.low || x[i] > range.high;
    if (!outside) return;
    std::int64_t i = 0;
    while (!(x[i] < range.low || x[i] > range.high)) ++i;
    const bool bounded = range.high < std::numeric_limits<float>::infinity();
    throw Error("[" + std::string(formula_.name) + "] " +
                std::string(formula_.operands[static_cast<std::size_t>(range.operand)]) + " is " +
                std::to_string(x[i]) + " at position " + std::to_string(at + i) + "; it must be " +
                (bounded ? "in [" + std::to_string(static_cast<int>(range.low)) + ", " +
                               std::to_string(static_cast<int>(range.high)) + "]"
                         : "at least " + std::to_string(static_cast<int>(range.low))));
  }

  const LossFormula& formula_;
  LossTable table_;
  std::size_t index_;
  LossNumbers numbers_;
  LossReduction reduction_;
};

}  // namespace

std::shared_ptr<const AnyOp> loss_op(const LossFormula& formula, LossTable table, std::size_t index,
                                     const LossNumbers& numbers, LossReduction reduction) {
  return std::make_shared<ElementLoss>(formula, table, index, numbers, reduction);
}

std::vector<Sample> loss_samples(const LossFormula& formula, LossTable table, std::size_t index) {
  std::vector<Sample> out;
  const auto add = [&](std::string label, const Shape& shape, LossReduction reduction, const LossNumbers& numbers,
                       int last_dims) {
    Sample sample{std::move(label), {}, loss_op(formula, table, index, numbers, reduction)};
    const bool mean = reduction == LossReduction::kMean || reduction == LossReduction::kBatchMean;
    if (mean) sample.of_nothing = std::numeric_limits<float>::quiet_NaN();
    for (std::size_t i = 0; i < formula.operands.size(); ++i) {
      const bool repeats = formula.last_repeats && i + 1 == formula.operands.size();
      if (repeats && last_dims == 0) continue;
      const Shape own(shape.dims().last(static_cast<std::size_t>(repeats ? last_dims : shape.rank())));
      sample.inputs.push_back(
          {.shape = own, .fill = formula.fills[i], .below = 1, .differentiable = formula.has_slope[i]});
      sample.batched.push_back(!repeats);
    }
    out.push_back(std::move(sample));
  };
  static constexpr LossNumbers kNothing[] = {{}};
  const std::span<const LossNumbers> variants = formula.variants.empty() ? std::span(kNothing) : formula.variants;
  for (std::size_t i = 0; i < variants.size(); ++i) {
    const std::string suffix = i == 0 ? "" : absl::StrCat(" ", i);
    add("matrix" + suffix, {5, 13}, LossReduction::kMean, variants[i], 0);
    add("each" + suffix, {2, 3, 19}, LossReduction::kNone, variants[i], 1);
  }
  add("sum", {37}, LossReduction::kSum, variants[0], 0);
  add("batch", {3, 4, 5}, LossReduction::kBatchMean, variants[0], 2);
  add("long", {3, 22000}, LossReduction::kMean, variants[0], 1);
  return out;
}

}  // namespace tidemark::ops
