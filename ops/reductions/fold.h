// Reductions over any dimensions of a plain value, in double precision: each output has a few doubles, its slots, into
// which its elements are folded one after the other. The kernels come from policies (fold-inl.h).
//
// Elements are read in the order in which they lie: where the last dimension is kept, many columns at once. Long
// reductions are made in chunks that follow from the shape alone and are merged in their order, so that the bits are
// the same on every team.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ops/kernels.h"
#include "ops/reductions/dims.h"
#include "tidemark/op.h"

namespace tidemark::ops {

inline constexpr std::int64_t kFoldColumns = 256;  // whose slots stay in the cache together
inline constexpr int kMostSlots = 2;

struct FoldKernels {
  int slots;
  double start;  // of every slot
  // Folds n elements into the slots of one output, and `rows` rows, `step` elements apart, into those of `columns`
  // outputs: states[slot * columns + column]. `aux` has a float for each output, where the policy reads it.
  void (*row)(std::int64_t n, const void* x, const float* aux, double p, double* states);
  void (*columns)(std::int64_t rows, std::int64_t columns, const void* x, std::int64_t step, const float* aux, double p,
                  double* states);
  void (*merge)(std::int64_t n, const double* from, double* to);
};

struct FoldInput {
  const void* x = nullptr;
  std::int64_t element = sizeof(float);  // bytes
  const float* aux = nullptr;
  double p = 0;  // the policy's parameter
};

class Fold {
 public:
  Fold(const Shape& shape, const Dims& dims);

  std::int64_t outputs() const { return outputs_ * width(); }
  std::int64_t reduced() const { return rows_ * (inner_kept_ ? 1 : inner_); }  // elements of each output
  std::int64_t scratch(int slots) const;                                       // bytes

  // Calls finish(first, count, states) on the team for all outputs; the slots of output first + i are
  // states[slot * count + i].
  template <class F>
  void run(const Ctx& ctx, const FoldKernels& kernels, const FoldInput& input, void* scratch, F&& finish) const {
    const std::int64_t bytes = chunk_rows_ * chunk_width() * input.element;
    if (chunks_ == 1) {
      for_range(ctx, outputs_ * blocks(), bytes, [&](std::int64_t begin, std::int64_t end) {
        double states[kMostSlots * kFoldColumns];
        for (std::int64_t block = begin; block < end; ++block) {
          fold(kernels, input, block, 0, states);
          finish(first_of(block), count_of(block), static_cast<const double*>(states));
        }
      });
      return;
    }
    auto* partial = static_cast<double*>(scratch);
    const std::int64_t each = kernels.slots * std::min(kFoldColumns, width());
    for_range(ctx, outputs_ * blocks() * chunks_, bytes, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t item = begin; item < end; ++item) {
        fold(kernels, input, item / chunks_, item % chunks_, partial + item * each);
      }
    });
    for_range(ctx, outputs_ * blocks(), 8 * each * chunks_, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) {
        double* states = partial + block * chunks_ * each;
        const std::int64_t count = count_of(block);
        for (std::int64_t chunk = 1; chunk < chunks_; ++chunk) {
          kernels.merge(kernels.slots * count, states + chunk * each, states);
        }
        finish(first_of(block), count, static_cast<const double*>(states));
      }
    });
  }

 private:
  struct Dim {
    std::int64_t size;
    std::int64_t step;
  };
  static std::int64_t offset(const std::vector<Dim>& dims, std::int64_t index);

  // Outputs are shared out in blocks: columns that lie beside each other, or a single one.
  std::int64_t width() const { return inner_kept_ ? inner_ : 1; }
  std::int64_t blocks() const { return (width() + kFoldColumns - 1) / kFoldColumns; }
  std::int64_t first_of(std::int64_t block) const {
    return block / blocks() * width() + block % blocks() * kFoldColumns;
  }
  std::int64_t count_of(std::int64_t block) const {
    return std::min(kFoldColumns, width() - block % blocks() * kFoldColumns);
  }
  std::int64_t chunk_width() const { return inner_kept_ ? std::min(kFoldColumns, inner_) : chunk_width_; }
  void fold(const FoldKernels& kernels, const FoldInput& input, std::int64_t block, std::int64_t chunk,
            double* states) const;

  std::vector<Dim> kept_;
  std::vector<Dim> reduced_;
  std::int64_t inner_ = 1;  // the innermost dimension
  bool inner_kept_ = false;
  std::int64_t outputs_ = 1;  // product of kept_
  std::int64_t rows_ = 1;     // product of reduced_
  std::int64_t chunks_ = 1;   // of a block's rows, or of one row
  std::int64_t chunk_rows_ = 1;
  std::int64_t chunk_width_ = 1;
};

// What reductions of an f32 value to one number an output keep and declare alike.
struct FoldState {
  Fold fold;
  Shape ones;  // the input's shape with 1 in place of what is reduced over
};
// Output 0, the scratch of a kernel of one slot, and the state.
Prepared prepare_fold(const Fold& fold, const Meta& x, const Dims& dims, bool keepdim, const Work& work);
// The gradient of x, which may take the place of the first value that it reads.
Part fold_gradient(const Meta& x, std::vector<Saved> saved, std::int64_t scratch, const Work& work);

}  // namespace tidemark::ops
