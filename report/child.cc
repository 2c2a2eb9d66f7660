#include "report/child.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iterator>
#include <new>

#include "tidemark/error.h"

namespace tidemark::report {
namespace {

// What a child writes first.
constexpr char kDone = '+';
constexpr char kBudget = 'b';  // then the bytes that a BudgetError names, how, and a blank
constexpr char kError = 'e';

void write_all(int descriptor, const std::string& text) {
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t now = ::write(descriptor, text.data() + written, text.size() - written);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) return;  // nobody reads any more
    written += static_cast<std::size_t>(now);
  }
}

std::string read_all(int descriptor) {
  std::string text;
  char part[1 << 16];
  for (;;) {
    const ssize_t now = ::read(descriptor, part, sizeof part);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) return text;
    text.append(part, static_cast<std::size_t>(now));
  }
}

std::string outcome_of(const std::function<std::string()>& work) {
  try {
    return kDone + work();
  } catch (const BudgetError& error) {
    const int kind = error.exact() ? 2 : error.planned() ? 1 : 0;
    return kBudget + std::to_string(error.needed_bytes()) + " " + std::to_string(kind) + " " + error.what();
  } catch (const std::bad_alloc&) {
    return kError + std::string("the system has no memory left");
  } catch (const std::exception& error) {
    return kError + std::string(error.what());
  }
}

[[noreturn]] void rethrow(const std::string& text) {
  if (text.front() != kBudget) throw Error(text.substr(1));
  std::size_t at = 0;
  const std::int64_t needed = std::stoll(text.substr(1), &at);
  const int kind = text.at(at + 2) - '0';
  throw BudgetError(text.substr(at + 4), needed,
                    kind == 2   ? BudgetError::Needed::kExactly
                    : kind == 1 ? BudgetError::Needed::kPlanned
                                : BudgetError::Needed::kAtLeast);
}

}  // namespace

std::string in_child(const std::function<std::string()>& work) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (std::distance(fs::directory_iterator("/proc/self/task", ignored), fs::directory_iterator()) > 1) {
    throw Error("this process has several threads, which a forked one would miss: sweep before the first session");
  }
  int ends[2];
  if (pipe(ends) != 0) throw Error(std::string("a pipe cannot be made: ") + std::strerror(errno));
  std::fflush(nullptr);  // else both would write what is buffered
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    const int reason = errno;
    close(ends[0]);
    close(ends[1]);
    throw Error(std::string("a process cannot be started: ") + std::strerror(reason));
  }
  if (child == 0) {
    close(ends[0]);
    // It does not outlive whoever waits for it.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    write_all(ends[1], outcome_of(work));
    std::fflush(nullptr);
    _exit(0);
  }
  close(ends[1]);
  const std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (text.empty() || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Error(WIFSIGNALED(status) ? std::string("the process of a point was ended by signal ") +
                                          std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) + ")"
                                    : std::string("the process of a point ended without a result"));
  }
  if (text.front() != kDone) rethrow(text);
  return text.substr(1);
}

}  // namespace tidemark::report
