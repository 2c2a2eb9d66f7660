// Programs that run again and again: what stays in memory from one run to the next.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tidemark/scheduler.h"

namespace tidemark::scheduler {

struct Cycle {
  std::vector<BufferId> resident;  // outputs of sources that are in memory when the program starts and when it ends
  double cost = 0;                 // of a run from there to there
  double lower_bound = 0;          // of all choices
  Plan plan;                       // of the program with its sources in front
};

// The program with its sources in front, where they have had their first run, as it were: what is not resident is
// produced again when it is needed.
struct SourcesInFront {
  explicit SourcesInFront(const Graph& program);
  // The plan's ops as the program numbers them.
  Plan in_order_of_program(Plan plan) const;

  Graph graph;
  std::vector<OpId> original;  // by op: its place in the program
  Start start;                 // without any output of a source
};

// A plan of a program in a budget, or none.
using FindPlan = std::function<std::optional<Plan>(const Graph&, const PlanOptions&)>;

// Of the choices that were tried the cheapest. With up to ten sources every choice is tried that could be cheaper; with
// more, those that cost most to run again a byte come first, as many of them as turn out best. Nothing where no plan
// was found.
std::optional<Cycle> choose_residents(const SourcesInFront& program, std::int64_t budget, const PlanOptions& options,
                                      const FindPlan& find);
// The same by the planner, whose plans are compared as they are found: sources do not run early in them.
std::optional<Cycle> choose_residents(const Graph& graph, std::int64_t budget, const PlanOptions& options = {});

}  // namespace tidemark::scheduler
