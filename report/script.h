// A script that the library carries, run by an interpreter that the machine has.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tidemark::report {

struct ScriptEnd {
  int code = -1;       // of the process; 127 where there is no such interpreter, -1 where a signal ended it
  std::string output;  // standard output, and standard error where that was asked for
};

// The script is a file without a name, which nothing can leave behind. Throws Error where no process can be started.
enum class Errors { kDropped, kTaken };
ScriptEnd run_script(const std::string& interpreter, std::string_view script, const std::vector<std::string>& words,
                     Errors errors);

}  // namespace tidemark::report
