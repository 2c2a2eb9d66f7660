// tidemark: the command.
#include <csignal>
#include <cstdio>
#include <exception>

#include "core/printable.h"
#include "tidemark/error.h"
#include "tidemark/models.h"
#include "tidemark/optim.h"
#include "tools/command.h"
#include "tools/command_line.h"

namespace tidemark::tools {
namespace {

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
    const tools::Tables tables{nn::models(), optim::optimizers()};
    tools::run_command_line(argc, argv, tables, {tools::train, tools::plan, tools::simulate});
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
