// Sweeps as JSON: docs/sweep.md.
#pragma once

#include <string>

#include "tidemark/sweep.h"

namespace tidemark::report {

// Puts the whole file in the place of one that is there.
void write_sweep(const Sweep& sweep, const std::string& path);

std::string run_to_json(const SweepRun& run);
SweepRun run_from_json(const std::string& text);

// The figures of each point that follow from its runs.
void summarize(Sweep& sweep);

}  // namespace tidemark::report
