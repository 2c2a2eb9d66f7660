// What the update ops of all optimizers share.
#pragma once

#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "optim/kernels.h"
#include "tidemark/op.h"

namespace tidemark::optim {

inline Format format_of(DType state) { return state == f16 ? Format::kF16 : Format::kF32; }

// Inputs: parameter, gradient, and the packed state where there is one. The first and the last change in place. What
// a step is (its number, the learning rate) is no attribute: every step records the same op.
inline Prepared prepare_update(Prep& prep, std::span<const Meta> in, double flops_per_element) {
  prep.require(in[0].shape == in[1].shape,
               "the parameter has shape " + in[0].shape.to_string() + ", its gradient " + in[1].shape.to_string());
  Prepared prepared;
  prepared.updates = {0};
  prepared.work.bytes = static_cast<double>(2 * in[0].bytes + in[1].bytes);
  if (in.size() > 2) {
    prepared.updates.push_back(2);
    prepared.work.bytes += static_cast<double>(2 * in[2].bytes);
  }
  prepared.work.flops = flops_per_element * static_cast<double>(in[0].shape.numel());
  return prepared;
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
