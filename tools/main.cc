// tidemark: the command.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "core/printable.h"
#include "tidemark/error.h"
#include "tidemark/models.h"
#include "tools/command.h"
#include "tools/command_line.h"
#include "tools/training.h"

namespace tidemark::tools {
namespace {

int complain(const char* kind, const char* text, ExitCode code) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", kind, core::printable_text(text).c_str());
  return code;
}

}  // namespace
}  // namespace tidemark::tools

namespace tidemark::tools {
namespace {

// A file that is opened takes the lowest free number: it would be taken for a standard stream that was closed.
void open_standard_streams() {
  int descriptor = 0;
  do {
    descriptor = ::open("/dev/null", O_RDWR);
  } while (descriptor >= 0 && descriptor <= STDERR_FILENO);
  if (descriptor > STDERR_FILENO) ::close(descriptor);
}

int run(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file as long as the system lets it be is an error with a name, as a full disk is
  try {
    const Tables tables{nn::models(), optimizers()};
    run_command_line(argc, argv, tables, {train, plan, simulate, explain, sweep});
    const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
    return written ? kSuccess : complain("error", "standard output cannot be written", kFailure);
  } catch (const UsageError& error) {
    return complain("tidemark", error.what(), kUsage);
  } catch (const BudgetError& error) {
    return complain("BudgetError", error.what(), kImpossibleBudget);
  } catch (const ShapeError& error) {
    return complain("ShapeError", error.what(), kFailure);
  } catch (const FileError& error) {
    return complain("FileError", error.what(), kFailure);
  } catch (const std::bad_alloc&) {
    return complain("error", "the system has no memory left; give the process more (ulimit -v)", kFailure);
  } catch (const std::exception& error) {
    return complain("error", error.what(), kFailure);
  }
}

}  // namespace
}  // namespace tidemark::tools

int main(int argc, char** argv) {
  tidemark::tools::open_standard_streams();
  try {
    return tidemark::tools::run(argc, argv);
  } catch (...) {  // not even the memory for a message
    static constexpr char kText[] = "error: the system has no memory left\n";
    return ::write(STDERR_FILENO, kText, sizeof kText - 1) < 0 ? 1 : tidemark::tools::kFailure;
  }
}
