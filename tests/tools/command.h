// Runs the tidemark command.
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace tidemark::test {

struct Outcome {
  int code = -1;
  std::string output;  // both streams
};

// `before` is for the shell, as "ulimit -f 1;".
inline Outcome run_command(const std::string& arguments, const std::string& before = "") {
  std::FILE* pipe = popen((before + " " + TIDEMARK_COMMAND + " " + arguments + " 2>&1").c_str(), "r");
  Outcome outcome;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) outcome.output.append(buffer, got);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  return outcome;
}

}  // namespace tidemark::test
