// Any graph at any budget, from its beginning and from the middle: the simulation accepts every plan, finds it inside
// the budget and no cheaper than the bound, and a refusal's figures are true.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/graphs.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;             // NOLINT(google-build-using-namespace)
using namespace tidemark::scheduler;  // NOLINT(google-build-using-namespace)
using fuzz::require;

void require_plan(const Graph& graph, std::int64_t budget, const Plan& plan, const std::optional<Start>& start) {
  const Simulation simulation = simulate(graph, plan, start);  // throws where the plan breaks a rule
  require(plan.budget <= budget, "a plan is for the budget");
  require(simulation.live_peak <= budget && simulation.reserved_peak <= budget, "peak <= budget");
  require(simulation.live_peak == plan.live_peak && simulation.reserved_peak == plan.reserved_peak &&
              simulation.moved_bytes == plan.moved_bytes && simulation.cost == plan.cost,
          "a plan's figures are the simulation's");
  require(plan.lower_bound <= plan.cost * (1 + 1e-9) && plan.base_cost <= plan.cost * (1 + 1e-9), "bound <= cost");
}

// A plan, where there is one. Of a refusal one claim is looked at: each takes another search.
std::optional<Plan> require_answer(const Graph& graph, std::int64_t budget, const PlanOptions& options, int claim) {
  try {
    Plan found = plan(graph, budget, options);
    require_plan(graph, budget, found, options.start);
    return found;
  } catch (const BudgetError& refused) {
    require(refused.needed_bytes() > budget, "a refusal asks for more");
    if (claim == 0) require(!try_plan(graph, budget, options), "what is refused is not planned");
    if (claim == 1 && refused.planned()) {
      const std::int64_t needed = refused.needed_bytes();
      const std::optional<Plan> larger = try_plan(graph, needed, options);
      require(larger.has_value(), "what a refusal asks for is enough");
      require_plan(graph, needed, *larger, options.start);
    }
    if (claim == 2 && refused.exact())
      require(!try_plan(graph, refused.needed_bytes() - 1, options), "and less is not");
    return std::nullopt;
  }
}

// What is in memory when the first `ops` ops of the program have had their first run by the plan.
Start middle(const Plan& plan, OpId ops, bool anywhere) {
  std::vector<Placement> resident = plan.inputs;
  const auto remove = [&](BufferId b) { std::erase_if(resident, [&](const Placement& p) { return p.buffer == b; }); };
  OpId next = 0;
  for (const Step& step : plan.steps) {
    if (next == ops) break;
    if (step.kind != Step::Kind::kRun) {
      remove(step.id);
      if (step.kind == Step::Kind::kMove) resident.push_back({step.id, step.offset});
      continue;
    }
    for (const auto& [read, write] : step.overwrites) remove(read);
    for (const Placement& p : step.places) {
      if (p.buffer != kScratch) resident.push_back(p);
    }
    next = std::max(next, step.id + 1);
  }
  // Sizes that are no multiples of 64 have offsets that a start cannot give.
  for (Placement& p : resident) {
    if (anywhere || p.offset % 64 != 0) p.offset = kAnywhere;
  }
  return {next, resident};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  const int choices = input.byte();
  const Graph graph = fuzz::any_graph(input, 10, (choices & 7) == 7);
  std::int64_t peak = 0;
  try {
    peak = peak_without_recomputation(graph);
  } catch (const Error& error) {
    require(std::string(error.what()).starts_with("graph: "), "an error says what it is about");
    return 0;
  }
  const std::int64_t least = least_budget(graph);
  require(least <= peak, "least <= peak");
  PlanOptions options{.effort = (choices & 0x68) == 0x68 ? Effort::kHigh : Effort::kDefault,
                      .place = (choices & 0x10) == 0,
                      .seed = input.byte()};
  const std::int64_t budget = fuzz::any_budget(input, least, peak);
  const std::optional<Plan> found = require_answer(graph, budget, options, input.number(0, 3));
  require(!found || budget >= least, "no plan below the least budget");
  require(found || options.place || budget < peak, "a plan at the peak");

  const Plan whole = plan_without_recomputation(graph);
  require_plan(graph, whole.budget, whole, {});
  require(simulate(graph, whole).recomputed_ops == 0, "nothing is computed again");
  if (found && found->placed) {
    const OpId ops = input.number(0, static_cast<int>(graph.ops.size()));
    options.start = middle(*found, ops, input.flag());
    const std::int64_t rest = input.flag() ? budget : fuzz::any_budget(input, found->live_peak / 2, budget);
    (void)require_answer(graph, rest, options, input.number(0, 3));
  }
  return 0;
}
