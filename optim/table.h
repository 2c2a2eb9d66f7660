// The table of optimizers: every line of optimizers.def. An optimizer's file defines `<name>_optimizer()`.
#pragma once

#include "tidemark/optim.h"

namespace tidemark::optim {

#define TIDEMARK_OPTIMIZER(name) NamedOptimizer name##_optimizer();
#include "optim/optimizers.def"
#undef TIDEMARK_OPTIMIZER

}  // namespace tidemark::optim
