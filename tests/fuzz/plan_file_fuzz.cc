// Any file as a plan: it is refused with its name, or what is written of it reads as the same plan; and whatever steps
// it has, the simulation refuses them or finds them inside the budget.
#include <string>

#include "tests/fuzz/input.h"
#include "tests/scheduler/graphs.h"
#include "tidemark/error.h"

namespace {

using namespace tidemark;  // NOLINT(google-build-using-namespace)
using fuzz::require;

// Every rule of a step applies to one of its ops.
scheduler::Graph graph() {
  scheduler::Graph graph = scheduler::testing::chain(2);
  graph.ops[1].scratch = 64;
  graph.ops[1].overwrites = {{1, 2}};
  graph.ops[3].once = true;
  graph.ops[4].updates = {0};
  return graph;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const scheduler::Graph kGraph = graph();
  const fuzz::MemoryFile file({data, size});
  scheduler::Plan plan;
  try {
    plan = scheduler::read_plan(file.path());
  } catch (const FileError& error) {
    require(std::string(error.what()).starts_with(file.path() + ": "), "an error names the file");
    return 0;
  }
  const std::string first = fuzz::folder() / "first.json";
  const std::string second = fuzz::folder() / "second.json";
  scheduler::write_plan(plan, first);
  const scheduler::Plan again = scheduler::read_plan(first);
  require(again.steps.size() == plan.steps.size() && again.placed == plan.placed, "nothing is lost");
  scheduler::write_plan(again, second);
  require(fuzz::read_whole(first) == fuzz::read_whole(second), "a plan that was read is written as it was");
  try {
    const scheduler::Simulation simulation = scheduler::simulate(kGraph, plan);
    require(simulation.live_peak <= plan.budget && simulation.reserved_peak <= plan.budget, "peak <= budget");
  } catch (const Error& error) {
    require(std::string(error.what()).starts_with("plan: "), "an error says what it is about");
  }
  return 0;
}
