// multinomial: indices drawn from rows of probabilities.
//
// With replacement: the place of a uniform number in the running sums of the row. Without: each index waits for an
// exponential time of rate p, and those that come first are taken, in that order; which is drawing one after the other
// from what is left.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compute/philox.h"
#include "ops/kernels.h"
#include "ops/reductions/select.h"
#include "ops/table.h"
#include "tidemark/ops/reductions.h"

namespace tidemark {
namespace ops {
namespace {

struct Multinomial {
  static constexpr std::string_view name = "multinomial";
  std::int64_t count = 1;
  bool replacement = false;

  void describe(Attributes& a) const {
    a("count", count);
    a("replacement", replacement);
  }

  // Of the team: how many may work at once, each with a double for each class.
  struct State {
    std::int64_t classes;
    std::int64_t rows;
    std::int64_t members;
  };

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    const Meta& p = in[0];
    require_f32(prep, "probabilities", p);
    prep.require(p.shape.rank() > 0 && p.shape[-1] > 0,
                 ops::describe("probabilities", p) + "; the last dimension must be there and not be empty");
    const std::int64_t classes = p.shape[-1];
    require_indexable(prep, p, classes);
    prep.require(count >= 0 && (replacement || count <= classes),
                 ops::describe("probabilities", p) + "; count is " + std::to_string(count) + ", and must be " +
                     (replacement ? "at least 0" : "0 to " + std::to_string(classes) + " without replacement"));
    const std::int64_t rows = p.shape.numel() / classes;
    const std::int64_t members = std::clamp<std::int64_t>(rows, 1, prep.threads());
    Prepared out;
    out.outputs = {Meta::plain(p.shape.with(p.shape.rank() - 1, count), i32)};
    out.input_layouts = {kPlain};
    out.scratch = members * classes * static_cast<std::int64_t>(sizeof(double));
    out.work = {(replacement ? 2 : 60) * as_double(p.shape.numel()), as_double(p.bytes + out.outputs[0].bytes)};
    out.random = true;
    out.state = std::make_shared<State>(State{classes, rows, members});
    return out;
  }

  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf> out) const {
    const State& state = ctx.state<State>();
    const compute::PhiloxKey key = compute::philox_key(ctx.rng());
    for_members(ctx, state.rows, state.members, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const float* p = in[0].as<>() + row * state.classes;
        std::int32_t* to = out[0].as<std::int32_t>() + row * count;
        check(p, row, in[0].shape());
        if (replacement) {
          draw(key, row, state.classes, p, ctx.scratch<double>() + member * state.classes, to);
        } else {
          draw_different(key, row, state.classes, p, ctx.scratch<std::uint64_t>() + member * state.classes, to);
        }
      }
    });
  }

  static std::vector<Sample> samples() {
    const auto of = [](const Shape& shape) { return SampleInput{shape, f32, SampleInput::Fill::kPositive, 0, false}; };
    return {{"different", {of({3, 7, 12})}, any_op(Multinomial{5, false})},
            {"all", {of({9})}, any_op(Multinomial{9, false}), {false}},
            {"again", {of({70, 300})}, any_op(Multinomial{11, true})}};
  }

 private:
  static constexpr std::int64_t kPiece = 256;  // words that are drawn at a time

  void check(const float* p, std::int64_t row, const Shape& shape) const {
    const std::int64_t classes = shape[-1];
    const auto valid = [](float x) { return (x >= 0) & (x <= std::numeric_limits<float>::max()); };
    // Without a branch for each class, so that it is done in vectors.
    std::int32_t invalid = 0;
    std::int32_t possible = 0;
    for (std::int64_t i = 0; i < classes; ++i) {
      invalid |= valid(p[i]) ? 0 : 1;
      possible += p[i] > 0 ? 1 : 0;
    }
    if (invalid != 0) {
      const std::int64_t i = std::find_if_not(p, p + classes, valid) - p;
      throw Error("[multinomial] probabilities are " + shape.to_string() + "; the one of class " + std::to_string(i) +
                  " in row " + std::to_string(row) + " is " + std::to_string(p[i]) +
                  ", and must be finite and not negative");
    }
    const std::int64_t least = replacement ? std::min<std::int64_t>(1, count) : count;
    if (possible < least) {
      throw Error("[multinomial] probabilities are " + shape.to_string() + "; row " + std::to_string(row) + " has " +
                  std::to_string(possible) + " above zero, and " + std::to_string(least) + " are needed to draw " +
                  std::to_string(count) + (replacement ? "" : "; draw fewer, or with replacement"));
    }
  }

  void draw(compute::PhiloxKey key, std::int64_t row, std::int64_t classes, const float* p, double* sums,
            std::int32_t* to) const {
    double total = 0;
    for (std::int64_t i = 0; i < classes; ++i) sums[i] = total += static_cast<double>(p[i]);
    std::uint32_t words[kPiece];
    for (std::int64_t first = 0; first < count; first += kPiece / 2) {
      const std::int64_t last = std::min(count, first + kPiece / 2);
      compute::random_words(key, 2 * (row * count + first), 2 * (row * count + last), words);
      for (std::int64_t i = first; i < last; ++i) {
        const std::uint32_t* pair = words + 2 * (i - first);
        const std::uint64_t bits = std::uint64_t{pair[0]} << 20 | pair[1] >> 12;
        // Below 1 so far that the product is below the total: the first sum above it belongs to a class that can be.
        const double place = (static_cast<double>(bits) + 0.5) * 0x1p-52 * total;
        to[i] = static_cast<std::int32_t>(std::upper_bound(sums, sums + classes, place) - sums);
      }
    }
  }

  void draw_different(compute::PhiloxKey key, std::int64_t row, std::int64_t classes, const float* p,
                      std::uint64_t* keys, std::int32_t* to) const {
    std::uint32_t words[kPiece];
    for (std::int64_t first = 0; first < classes; first += kPiece) {
      const std::int64_t last = std::min(classes, first + kPiece);
      compute::random_words(key, row * classes + first, row * classes + last, words);
      for (std::int64_t i = first; i < last; ++i) {
        const double u = (static_cast<double>(words[i - first]) + 0.5) * 0x1p-32;
        // As logarithms, which float holds whatever the probability.
        const double wait = p[i] > 0 ? std::log(-std::log(u)) - std::log(static_cast<double>(p[i]))
                                     : std::numeric_limits<double>::infinity();
        keys[i] = order_key(static_cast<float>(wait), i, false);
      }
    }
    std::partial_sort(keys, keys + count, keys + classes);
    for (std::int64_t i = 0; i < count; ++i) to[i] = index_of(keys[i]);
  }
};

}  // namespace

std::vector<Sample> multinomial_samples() { return Multinomial::samples(); }

}  // namespace ops

Tensor multinomial(const Tensor& probabilities, std::int64_t count, const MultinomialOptions& options,
                   SourceLocation where) {
  return apply(ops::Multinomial{count, options.replacement}, {probabilities}, where);
}

}  // namespace tidemark
