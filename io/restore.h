// A run's state to a checkpoint's, and back.
#pragma once

#include <string>
#include <vector>

#include "io/checkpoint_file.h"
#include "tidemark/checkpoint.h"
#include "tidemark/session.h"

namespace tidemark::io {

RunState run_state(Session& session, const std::vector<detail::CheckpointPart>& parts);

// Throws Error, before anything has changed, naming all that does not fit. A BudgetError leaves states of the optimizer
// that were made for it, and nothing else.
Resumed restore(const CheckpointFile& saved, const std::string& file, const std::vector<detail::CheckpointPart>& parts,
                SourceLocation where);

}  // namespace tidemark::io
