// What the library's sweep is told for the command's options; bench/budget_sweep.cc shares it.
#pragma once

#include "tidemark/sweep.h"
#include "tools/options.h"

namespace tidemark::tools {

SweepOptions sweep_options(const SweepCommand& command);
// The model that the options name, its optimizer and its batches, in the current session. Throws UsageError where they
// do not fit each other.
SweepSubject sweep_subject(const SweepCommand& command);

}  // namespace tidemark::tools
