// Gradients kept within bounds, as they lie: to be called between backward() and the optimizer's step.
//
//   loss.backward();
//   optim::clip_grad_norm(net.parameters(), 1.0f);
//   optimizer.step();
#pragma once

#include <vector>

#include "tidemark/parameter.h"

#pragma GCC visibility push(default)
namespace tidemark::optim {

struct ClipOptions {
  bool error_if_nonfinite = true;
};
// Scales all gradients by max_norm / (norm + 1e-6) where that is below 1; returns the norm that they had, all gradients
// as one vector. It is summed in f64 in one fixed order: the same bits at every number of threads, on every instruction
// set and at every budget. A gradient that is not finite is an error that names the parameter, before anything is
// clipped. That refuses this call and not the step: running statistics stay as the forward pass left them. minimize()
// with .clip_norm restores them, as it refuses the step, and so does step() where .error_if_nonfinite = false leaves it
// the refusal. (The norm of finite ones may be beyond f32, and is returned as infinity; they are scaled all the same.)
// Parameters without a gradient are passed over.
float clip_grad_norm(const std::vector<Parameter>& parameters, float max_norm, const ClipOptions& options = {},
                     SourceLocation where = SourceLocation::current());
// Moves every element of a gradient into [-clip_value, clip_value]. One that is not a number stays what it is.
void clip_grad_value(const std::vector<Parameter>& parameters, float clip_value,
                     SourceLocation where = SourceLocation::current());

}  // namespace tidemark::optim
#pragma GCC visibility pop
