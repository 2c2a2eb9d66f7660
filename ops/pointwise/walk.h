// Broadcasting for kernels of any number of operands and any element types: which runs of elements they go through.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "ops/broadcast.h"
#include "ops/kernels.h"
#include "tidemark/op.h"

namespace tidemark::ops {

// Where a run of elements begins in an operand, and whether it is one element again and again.
struct Run {
  std::int64_t offset = 0;
  bool repeated = false;
};

// Kernels take a run in pieces of at most so many elements.
inline constexpr std::int64_t kPiece = 256;

// An operand's elements of a run, one after the other even where one is repeated.
template <class T>
class RunOf {
 public:
  RunOf(const T* operand, Run run, std::int64_t count) : from_(operand + run.offset), repeated_(run.repeated) {
    if (repeated_) std::fill_n(piece_, std::min(count, kPiece), *from_);
  }
  const T* at(std::int64_t i) const { return repeated_ ? piece_ : from_ + i; }

 private:
  const T* from_;
  bool repeated_;
  alignas(64) T piece_[kPiece];
};

template <std::size_t kOperands>
class Walk {
 public:
  // Operands broadcast to `shape`.
  Walk(const Shape& shape, const std::array<Shape, kOperands>& operands) : count_(shape.numel()) {
    std::array<std::int64_t, kOperands> strides;
    strides.fill(1);
    std::vector<Dim> dims;  // the innermost first
    for (int i = 1; i <= shape.rank(); ++i) {
      Dim dim{shape[-i], {}};
      for (std::size_t k = 0; k < kOperands; ++k) {
        const std::int64_t size = i <= operands[k].rank() ? operands[k][-i] : 1;
        dim.steps[k] = size == 1 ? 0 : strides[k];
        strides[k] *= size;
      }
      if (dim.size == 1) continue;
      if (dims.empty() || !joins(dims.back(), dim)) {
        dims.push_back(dim);
      } else {
        dims.back().size *= dim.size;
      }
    }
    if (dims.empty()) return;
    inner_ = dims.front();
    outer_.assign(dims.begin() + 1, dims.end());
  }

  // f(at, count, runs) for runs that make up all elements, in any order, on the team; each element costs about
  // `bytes_each`.
  template <class F>
  void run(const Ctx& ctx, std::int64_t bytes_each, F&& f) const {
    for_elements(ctx, count_, bytes_each, [&](std::int64_t begin, std::int64_t end) {
      while (begin < end) {
        const std::int64_t at = begin % inner_.size;
        const std::int64_t count = std::min(end - begin, inner_.size - at);
        std::array<Run, kOperands> runs;
        for (std::size_t k = 0; k < kOperands; ++k) runs[k] = {at * inner_.steps[k], inner_.steps[k] == 0};
        std::int64_t row = begin / inner_.size;
        for (const Dim& dim : outer_) {
          for (std::size_t k = 0; k < kOperands; ++k) runs[k].offset += row % dim.size * dim.steps[k];
          row /= dim.size;
        }
        f(begin, count, runs);
        begin += count;
      }
    });
  }

 private:
  struct Dim {
    std::int64_t size = 1;
    std::array<std::int64_t, kOperands> steps{};
  };

  static bool joins(const Dim& inner, const Dim& outer) {
    for (std::size_t k = 0; k < kOperands; ++k) {
      if (outer.steps[k] != inner.steps[k] * inner.size) return false;
    }
    return true;
  }

  std::int64_t count_;
  Dim inner_;
  std::vector<Dim> outer_;
};

// The gradient of an operand: made element by element, and summed where the operand was broadcast. The elements are in
// scratch then.
class BroadcastGradient {
 public:
  BroadcastGradient(const Shape& whole, const Shape& own) : elements_(whole.numel()) {
    if (own != whole) reduction_.emplace(whole, own);
  }
  bool summed() const { return reduction_.has_value(); }
  std::int64_t scratch() const { return summed() ? offset() + 4 * elements_ : 0; }  // bytes
  // make(y) writes the elements.
  template <class F>
  void run(const Ctx& ctx, float* gx, F&& make) const {
    if (!summed()) return make(gx);
    auto* elements = reinterpret_cast<float*>(ctx.scratch<std::byte>() + offset());
    make(elements);
    reduction_->run(ctx, elements, 1, gx);
  }

 private:
  std::int64_t offset() const { return round_up(reduction_->scratch(), 64); }

  std::int64_t elements_;
  std::optional<Reduction> reduction_;
};

}  // namespace tidemark::ops
