// Losses of corresponding elements, made from formulas. A formula is a struct of vectors, compiled once per instruction
// set (see formula-inl.h); here is what is known of one without its vectors, and the op that is the same for all of
// them.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ops/table.h"
#include "tidemark/op.h"
#include "tidemark/ops/losses.h"

namespace tidemark::ops {

// A formula's numbers, in the order of its fields, and at most three operands.
using LossNumbers = std::array<float, 3>;
inline constexpr std::size_t kLossOperands = 3;

// Elements that a kernel takes at once, at most: they are added up in float.
inline constexpr std::int64_t kLossBlock = 512;

struct LossKernels {
  using Slope = void (*)(const LossNumbers& numbers, std::int64_t n, const float* const* in, const float* g, float* gx);
  // out[i] = the loss of element i; `out` may be an operand.
  void (*value)(const LossNumbers& numbers, std::int64_t n, const float* const* in, float* out);
  double (*sum)(const LossNumbers& numbers, std::int64_t n, const float* const* in);
  // gx = g times the slope; null where an operand has no gradient. gx may be an operand, or g.
  std::array<Slope, kLossOperands> slopes;
};

// Where the elements of an operand must lie; a NaN may be anywhere.
struct LossRange {
  int operand = -1;
  float low = 0;
  float high = std::numeric_limits<float>::infinity();
};

struct LossFormula {
  std::string_view name;
  std::span<const std::string_view> numbers;
  std::span<const std::string_view> operands;
  // The last operand may be missing, and then is 1; it takes no gradient. It has one element, or the last dimensions of
  // the others behind dimensions of 1.
  bool last_repeats = false;
  std::array<unsigned, kLossOperands> slope_reads = {};  // bits of the operands that each slope reads
  std::array<bool, kLossOperands> has_slope = {};
  double flops = 1;
  LossRange range = {};
  // Of the samples.
  std::span<const LossNumbers> variants;
  std::array<SampleInput::Fill, kLossOperands> fills = {};
};

// Of the instruction set of this machine; looked up at each use, since tests change it.
using LossTable = const LossKernels* (*)();

std::shared_ptr<const AnyOp> loss_op(const LossFormula& formula, LossTable table, std::size_t index,
                                     const LossNumbers& numbers, LossReduction reduction);
std::vector<Sample> loss_samples(const LossFormula& formula, LossTable table, std::size_t index);

// The ops of a file: `Formulas` is its LossFormulas<...>.
template <class Formulas>
class LossOps {
 public:
  explicit constexpr LossOps(LossTable table) : table_(table) {}

  template <class F>
  Tensor apply(const F& formula, std::span<const Tensor> operands, LossReduction reduction,
               SourceLocation where) const {
    constexpr std::size_t kIndex = Formulas::template kIndex<F>;
    LossNumbers numbers{};
    std::memcpy(numbers.data(), &formula, Formulas::formulas[kIndex].numbers.size() * sizeof(float));
    return apply_one(loss_op(Formulas::formulas[kIndex], table_, kIndex, numbers, reduction), operands, where);
  }
  template <class F>
  Tensor apply(const F& formula, std::initializer_list<Tensor> operands, LossReduction reduction,
               SourceLocation where) const {
    return apply(formula, std::span<const Tensor>(operands.begin(), operands.size()), reduction, where);
  }

  std::vector<OpEntry> entries() const {
    std::vector<OpEntry> out;
    for (std::size_t i = 0; i < std::size(Formulas::formulas); ++i) {
      const auto samples = [i, table = table_] { return loss_samples(Formulas::formulas[i], table, i); };
      out.push_back({Formulas::formulas[i].name, samples});
    }
    return out;
  }

 private:
  LossTable table_;
};

}  // namespace tidemark::ops
