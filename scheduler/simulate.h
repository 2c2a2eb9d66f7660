// What a plan says of itself, from the simulation.
#pragma once

#include <optional>

#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

// Sets cost, peaks and moved bytes. Throws Error where the plan breaks a rule.
void set_figures(Plan& plan, const Graph& graph, const std::optional<Start>& start = {});

}  // namespace tidemark::scheduler
