#include "scheduler/fine_units.h"

#include <algorithm>

namespace tidemark::scheduler {
namespace {

template <class Change>
Plan with_bytes(Plan plan, Change change) {
  change(plan.budget);
  change(plan.live_peak);
  change(plan.reserved_peak);
  change(plan.moved_bytes);
  for (Placement& p : plan.inputs) change(p.offset);
  for (Step& step : plan.steps) {
    change(step.offset);
    for (Placement& p : step.places) change(p.offset);
  }
  return plan;
}

}  // namespace

bool has_odd_sizes(const Graph& graph) {
  double sum = 0;
  bool odd = false;
  const auto look = [&](std::int64_t bytes) {
    sum += static_cast<double>(std::max<std::int64_t>(bytes, 0));
    odd |= bytes % kFineUnits != 0;
  };
  for (const Buffer& buffer : graph.buffers) look(buffer.bytes);
  for (const Op& op : graph.ops) look(op.scratch);
  return odd && sum <= static_cast<double>(kMostFineBytes);
}

Graph in_fine_units(Graph graph) {
  for (Buffer& buffer : graph.buffers) buffer.bytes *= kFineUnits;
  for (Op& op : graph.ops) op.scratch *= kFineUnits;
  return graph;
}

Plan in_fine_units(Plan plan) {
  return with_bytes(std::move(plan), [](std::int64_t& bytes) { bytes = to_fine_units(bytes); });
}

Plan in_bytes(Plan plan) {
  return with_bytes(std::move(plan), [](std::int64_t& bytes) { bytes /= kFineUnits; });
}

}  // namespace tidemark::scheduler
