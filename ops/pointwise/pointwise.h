// Pointwise ops made from formulas. A formula is a struct of vectors, compiled once per instruction set (see
// pointwise-inl.h); here is what is known of one without its vectors, and the ops that are the same for all of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "ops/broadcast.h"
#include "ops/table.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// A formula's numbers, in the order of its fields.
using FormulaAttributes = std::array<float, 4>;

// y = f(x), and the gradient of x; see detail::Pointwise.
struct UnaryKernels {
  void (*value)(const FormulaAttributes& attributes, std::int64_t n, const float* x, float* y);
  void (*gradient)(const FormulaAttributes& attributes, std::int64_t n, const float* x, const float* y, const float* gy,
                   float* gx);
};

struct UnaryFormula {
  std::string_view name;
  std::span<const std::string_view> attributes;  // names
  bool slope_reads_x;
  bool slope_reads_y;
  double flops;
  double slope_flops;
  bool positive;                                // samples are drawn above zero
  std::span<const FormulaAttributes> variants;  // of the samples
};

struct BinaryFormula {
  std::string_view name;
  bool positive;
};

// Of the instruction set of this machine; looked up at each use, since tests change it.
using UnaryTable = const UnaryKernels* (*)();
using BinaryTable = const BinaryKernels* (*)();

std::shared_ptr<const AnyOp> unary_op(const UnaryFormula& formula, UnaryTable table, std::size_t index,
                                      const FormulaAttributes& attributes);
std::vector<Sample> unary_samples(const UnaryFormula& formula, UnaryTable table, std::size_t index);
std::shared_ptr<const AnyOp> binary_op(const BinaryFormula& formula, BinaryTable table, std::size_t index);
std::vector<Sample> binary_samples(const BinaryFormula& formula, BinaryTable table, std::size_t index);

// The ops of a file: `Formulas` is its UnaryFormulas<...>.
template <class Formulas>
class UnaryOps {
 public:
  explicit constexpr UnaryOps(UnaryTable table) : table_(table) {}

  template <class F>
  Tensor apply(const F& formula, const Tensor& x, SourceLocation where) const {
    constexpr std::size_t kIndex = Formulas::template kIndex<F>;
    FormulaAttributes attributes{};
    std::memcpy(attributes.data(), &formula, Formulas::formulas[kIndex].attributes.size() * sizeof(float));
    return apply_one(unary_op(Formulas::formulas[kIndex], table_, kIndex, attributes), {&x, 1}, where);
  }

  std::vector<OpEntry> entries() const {
    std::vector<OpEntry> out;
    for (std::size_t i = 0; i < std::size(Formulas::formulas); ++i) {
      const auto samples = [i, table = table_] { return unary_samples(Formulas::formulas[i], table, i); };
      out.push_back({Formulas::formulas[i].name, samples});
    }
    return out;
  }

 private:
  UnaryTable table_;
};

// The same of BinaryFormulas<...>.
template <class Formulas>
class BinaryOps {
 public:
  explicit constexpr BinaryOps(BinaryTable table) : table_(table) {}

  template <class F>
  Tensor apply(const F&, const Tensor& a, const Tensor& b, SourceLocation where) const {
    constexpr std::size_t kIndex = Formulas::template kIndex<F>;
    const std::array<Tensor, 2> operands = {a, b};
    return apply_one(binary_op(Formulas::formulas[kIndex], table_, kIndex), operands, where);
  }

  template <class F>
  const BinaryKernels& kernels() const {
    return table_()[Formulas::template kIndex<F>];
  }

  std::vector<OpEntry> entries() const {
    std::vector<OpEntry> out;
    for (std::size_t i = 0; i < std::size(Formulas::formulas); ++i) {
      const auto samples = [i, table = table_] { return binary_samples(Formulas::formulas[i], table, i); };
      out.push_back({Formulas::formulas[i].name, samples});
    }
    return out;
  }

 private:
  BinaryTable table_;
};

}  // namespace tidemark::ops
