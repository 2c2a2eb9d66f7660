// tidemark: the command.
#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <string_view>

#include "tidemark/error.h"
#include "tools/command.h"
#include "tools/options.h"

namespace tidemark::tools {
namespace {

const Command* const kCommands[] = {&kTrain, &kPlan, &kSimulate};

std::string help() {
  std::string out = "usage: tidemark COMMAND [options]\n\ncommands:\n";
  for (const Command* command : kCommands) {
    std::string name = command->name;
    name.resize(12, ' ');
    out += "  " + name + command->summary + "\n";
  }
  return out + "\n'tidemark COMMAND --help' lists the options of one.\n";
}

int run(std::span<const char* const> arguments) {
  if (arguments.empty()) throw UsageError("a command is missing\n\n" + help());
  const std::string_view name = arguments.front();
  if (name == "--help" || name == "-h" || name == "help") {
    std::fputs(help().c_str(), stdout);
    return kSuccess;
  }
  for (const Command* command : kCommands) {
    if (name == command->name) return command->run(arguments.subspan(1));
  }
  throw UsageError("there is no command '" + std::string(name) + "'\n\n" + help());
}

int complain(const char* kind, const char* text, ExitCode code) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", kind, text);
  return code;
}

}  // namespace
}  // namespace tidemark::tools

int main(int argc, char** argv) {
  using namespace tidemark;
  try {
    const int code =
        tools::run(std::span<const char* const>(argv + 1, static_cast<std::size_t>(argc > 0 ? argc - 1 : 0)));
    const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    return written ? code : tools::complain("error", "standard output cannot be written", tools::kFailure);
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
