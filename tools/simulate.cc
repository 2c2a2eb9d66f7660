// tidemark simulate: what the online policy, which sees the ops one at a time, does with a graph file.
#include <cstdio>
#include <memory>
#include <string>

#include "core/printable.h"
#include "tidemark/scheduler.h"
#include "tidemark/units.h"
#include "tools/arguments.h"
#include "tools/command.h"

namespace tidemark::tools {
namespace {

struct SimulateCommand {
  std::string graph;
  std::string budget;
  std::string policy = "online";
  std::string out;
};

void run(const SimulateCommand& command) {
  check_output("--out", command.out, {command.graph});
  const scheduler::Graph graph = scheduler::read_graph(command.graph);
  const std::int64_t budget = budget_of(command.budget, scheduler::peak_without_recomputation(graph));
  const scheduler::Plan plan = scheduler::run_online(graph, budget);
  if (!command.out.empty()) scheduler::write_plan(plan, command.out);
  std::printf("%s in %s, %s: +%.3f %% cost, %lld ops recomputed, live %s, reserved %s\n",
              core::printable_name(graph.name).c_str(), format_bytes(budget).c_str(), command.policy.c_str(),
              plan.base_cost > 0 ? 100 * (plan.cost / plan.base_cost - 1) : 0.0,
              static_cast<long long>(scheduler::simulate(graph, plan).recomputed_ops),
              format_bytes(plan.live_peak).c_str(), format_bytes(plan.reserved_peak).c_str());
}

}  // namespace

void add_simulate(CLI::App& app) {
  const auto simulate = std::make_shared<SimulateCommand>();
  CLI::App& command = *app.add_subcommand("simulate", "Runs a policy over a graph file, without tensors or kernels.");
  command.option_defaults()->always_capture_default();
  command.footer(kExitCodes);
  add_text(command, "--graph", "FILE", simulate->graph, "the program, in the format of docs/scheduler.md")->required();
  add_text(command, "--budget", "SIZE", simulate->budget, std::string("what it may take: ") + kBudgetForms)->required();
  add_choice(command, "--policy", simulate->policy, {"online"}, "who chooses what is discarded");
  add_text(command, "--out", "FILE", simulate->out, "where the steps go, as a plan");
  command.callback([simulate] { run(*simulate); });
}

}  // namespace tidemark::tools
