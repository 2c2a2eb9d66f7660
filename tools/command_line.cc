#include "tools/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

#include "tidemark/version.h"
#include "tools/arguments.h"
#include "tools/command.h"

namespace tidemark::tools {
namespace {

// What was not understood, and what could have been said in its place.
std::string explain_extras(const CLI::App& app) {
  // What follows "--" is the whole line's and not the subcommand's.
  std::vector<std::string> extras = app.remaining(true);
  if (extras.front() == "--") std::rotate(extras.begin(), extras.begin() + 1, extras.end());
  const std::string& extra = extras.front();
  if (app.get_subcommands().empty()) return "there is no command '" + extra + "'\n\n" + app.help();
  const CLI::App& command = *app.get_subcommands().front();
  std::string text = "tidemark " + command.get_name() + " has no option " + extra + "; it has:";
  for (const CLI::Option* option : command.get_options()) {
    if (option != command.get_help_ptr()) text += " " + option->get_name();
  }
  return text + " --help";
}

CLI::App& add_command(CLI::App& app, const char* name, const char* summary) {
  CLI::App& command = *app.add_subcommand(name, summary);
  command.option_defaults()->always_capture_default();
  command.footer(kExitCodes);
  return command;
}

}  // namespace

void run_command_line(int argc, const char* const* argv, const Tables& tables, const Actions& actions) {
  CLI::App app("Trains neural networks inside a memory budget stated in bytes.", "tidemark");
  app.set_version_flag("--version", "tidemark " TIDEMARK_VERSION);
  app.footer("'tidemark COMMAND --help' lists the options of one.");
  app.require_subcommand(0, 1);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);

  TrainCommand train;
  CLI::App& train_app = add_command(app, "train", "Trains a built-in model inside a memory budget.");
  add_options(train_app, train, tables);
  PlanCommand plan;
  CLI::App& plan_app =
      add_command(app, "plan", "Plans what a program keeps, discards and computes again inside a budget.");
  add_options(plan_app, plan, tables);
  SimulateCommand simulate;
  CLI::App& simulate_app = add_command(app, "simulate", "Runs a policy over a graph file, without tensors or kernels.");
  add_options(simulate_app, simulate);
  ExplainCommand explain;
  CLI::App& explain_app = add_command(
      app, "explain", "Says why each value of a step is kept, discarded or computed again; no kernel runs.");
  add_options(explain_app, explain, tables);
  SweepCommand sweep;
  CLI::App& sweep_app =
      add_command(app, "sweep", "Measures time and memory of a built-in model in many budgets, and compares the bits.");
  add_options(sweep_app, sweep, tables);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // for help or the version
    app.exit(asked);
    return;
  } catch (const CLI::ExtrasError&) {
    throw UsageError(explain_extras(app));
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
  if (app.got_subcommand(&train_app)) {
    check(train, tables);
    actions.train(train);
  } else if (app.got_subcommand(&plan_app)) {
    check(plan, tables);
    actions.plan(plan);
  } else if (app.got_subcommand(&simulate_app)) {
    actions.simulate(simulate);
  } else if (app.got_subcommand(&explain_app)) {
    check(explain, tables);
    actions.explain(explain);
  } else if (app.got_subcommand(&sweep_app)) {
    check(sweep, tables);
    actions.sweep(sweep);
  } else {
    throw UsageError("a command is missing\n\n" + app.help());
  }
}

}  // namespace tidemark::tools
