#include "report/script.h"

#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "tidemark/error.h"

namespace tidemark::report {
namespace {

std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

ScriptEnd run_script(const std::string& interpreter, std::string_view script, const std::vector<std::string>& words,
                     Errors errors) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  if (file == nullptr || std::fwrite(script.data(), 1, script.size(), file.get()) != script.size() ||
      std::fflush(file.get()) != 0) {
    throw Error(std::string("a temporary file cannot be written: ") + std::strerror(errno));
  }
  std::rewind(file.get());
  // The process inherits the file.
  std::string command = interpreter + " /dev/fd/" + std::to_string(fileno(file.get()));
  for (const std::string& word : words) command += " " + quoted(word);
  command += errors == Errors::kTaken ? " 2>&1" : " 2>/dev/null";
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw Error(std::string("a process cannot be started: ") + std::strerror(errno));
  ScriptEnd end;
  char part[1 << 16];
  while (const std::size_t got = std::fread(part, 1, sizeof part, pipe)) end.output.append(part, got);
  const int status = pclose(pipe);
  if (WIFEXITED(status)) end.code = WEXITSTATUS(status);
  return end;
}

}  // namespace tidemark::report
