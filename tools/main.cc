// tidemark: the command.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "core/printable.h"
#include "tidemark/error.h"
#include "tools/command.h"

namespace tidemark::tools {
namespace {

// What was not understood, and what could have been said in its place.
std::string explain_extras(const CLI::App& app) {
  if (app.get_subcommands().empty()) return "there is no command '" + app.remaining().front() + "'\n\n" + app.help();
  const CLI::App& command = *app.get_subcommands().front();
  std::string text = "tidemark " + command.get_name() + " has no option " + command.remaining().front() + "; it has:";
  for (const CLI::Option* option : command.get_options()) {
    if (option != command.get_help_ptr()) text += " " + option->get_name();
  }
  return text + " --help";
}

void run(int argc, char** argv) {
  CLI::App app("Trains neural networks inside a memory budget stated in bytes.", "tidemark");
  app.set_version_flag("--version", "tidemark " TIDEMARK_VERSION);
  app.footer("'tidemark COMMAND --help' lists the options of one.");
  app.require_subcommand(0, 1);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_train(app);
  add_plan(app);
  add_simulate(app);
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
  if (app.get_subcommands().empty()) throw UsageError("a command is missing\n\n" + app.help());
}

int complain(const char* kind, const char* text, ExitCode code) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", kind, core::printable_text(text).c_str());
  return code;
}

}  // namespace
}  // namespace tidemark::tools

int main(int argc, char** argv) {
  using namespace tidemark;
  std::signal(SIGXFSZ, SIG_IGN);  // a file as long as the system lets it be is an error with a name, as a full disk is
  try {
    tools::run(argc, argv);
    const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    return written ? tools::kSuccess : tools::complain("error", "standard output cannot be written", tools::kFailure);
  } catch (const tools::UsageError& error) {
    return tools::complain("tidemark", error.what(), tools::kUsage);
  } catch (const BudgetError& error) {
    return tools::complain("BudgetError", error.what(), tools::kImpossibleBudget);
  } catch (const ShapeError& error) {
    return tools::complain("ShapeError", error.what(), tools::kFailure);
  } catch (const FileError& error) {
    return tools::complain("FileError", error.what(), tools::kFailure);
  } catch (const std::exception& error) {
    return tools::complain("error", error.what(), tools::kFailure);
  }
}
