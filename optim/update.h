// What the update ops of all optimizers share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "compute/sparse_rows.h"
#include "optim/kernels.h"
#include "tidemark/op.h"
#include "tidemark/optim.h"

namespace tidemark::optim {

inline Format format_of(DType state) { return state == f16 ? Format::kF16 : Format::kF32; }

// What is known of a parameter's values: the step that left it infinite or not a number, 0 while there is none. The
// update's kernel, which has the new values at hand, says so; the next step reads it.
struct Health {
  std::atomic<std::int64_t> bad_since = 0;
};

// Changes {parameter, gradient, packed state where there is one}: the first and the last, in place. What a step is (its
// number, the learning rate) is no attribute: every step records the same op. A Step has kName and kFlops an element.
template <class Step, bool (*kKernel)(const Step&, std::int64_t, float*, const float*, const State&, int)>
struct Update {
  static constexpr std::string_view name = Step::kName;
  Step step;
  State state;
  std::shared_ptr<Health> health;
  std::int64_t number = 0;  // of the optimizer's step

  Prepared prepare(Prep& prep, std::span<const Meta> in, Needs) const {
    prep.require(in[0].shape == in[1].shape,
                 "the parameter has shape " + in[0].shape.to_string() + ", its gradient " + in[1].shape.to_string());
    Prepared prepared;
    prepared.updates = {0};
    std::int64_t changed = in[0].bytes;
    if (in.size() > 2) {
      prepared.updates.push_back(2);
      changed += in[2].bytes;
    }
    const auto elements = static_cast<double>(compute::stored_count(in[1]));
    const double share = elements / static_cast<double>(std::max<std::int64_t>(in[0].shape.numel(), 1));
    prepared.work.bytes = 2 * share * static_cast<double>(changed) + static_cast<double>(in[1].bytes);
    prepared.work.flops = Step::kFlops * elements;
    return prepared;
  }
  void forward(Ctx& ctx, std::span<const Buf> in, std::span<const Buf>) const {
    State here = state;
    if (in.size() > 2) here.bytes = in[2].data;
    if (compute::is_sparse_rows(in[1].meta->layout)) {
      const compute::SparseRows rows = compute::sparse_rows_at(*in[1].meta, in[1].data);
      here.rows = rows.places;
      here.row_count = *rows.count;
    }
    const float* gradient = compute::stored_floats(*in[1].meta, in[1].data).data;
    if (!kKernel(step, in[0].numel(), in[0].as(), gradient, here, ctx.threads())) health->bad_since = number;
  }
};

// The op for a parameter of the optimizer; `step` has everything but the step's number.
template <class Step, bool (*kKernel)(const Step&, std::int64_t, float*, const float*, const State&, int)>
std::shared_ptr<const AnyOp> update_op(const Optimizer& optimizer, std::uint64_t slot, Step step) {
  const Optimizer::Slot& own = optimizer.slots_[slot];
  step.step = own.steps;
  return any_op(Update<Step, kKernel>{
      .step = step,
      .state = {.format = format_of(optimizer.state_), .seed = optimizer.seed_, .parameter = slot, .width = own.width},
      .health = own.health,
      .number = optimizer.steps_,
  });
}

// Throws Error unless the option holds: "[AdamW] beta1 must be from 0 to below 1, not 1.5 (at train.cc:7)".
inline void require_option(bool holds, std::string_view kind, std::string_view allowed, float value,
                           SourceLocation where) {
  if (holds) return;
  char number[32];
  std::snprintf(number, sizeof number, "%.9g", static_cast<double>(value));
  throw Error("[" + std::string(kind) + "] " + std::string(allowed) + ", not " + number + " (at " + to_string(where) +
              ")");
}

}  // namespace tidemark::optim
