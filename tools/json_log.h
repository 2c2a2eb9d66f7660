// One JSON object a line; a line is written whole or not at all.
//
// The file is there for readers with its first line and then grows line by line. Until that line, a log of an earlier
// run stays under the name: a run that fails before its first step has nothing to say that would be worth it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/output_file.h"

namespace tidemark::tools {

class JsonLog {
 public:
  // An empty path writes nothing.
  explicit JsonLog(std::string path);
  bool enabled() const { return !path_.empty(); }
  // Throws FileError where the line cannot be written.
  void write(const nlohmann::ordered_json& object);
  // Once all lines are written: they are on the disk. Throws FileError where they are not.
  void finish();

 private:
  std::string path_;
  std::optional<core::OutputFile> file_;  // from the first line on
  bool published_ = false;
};

}  // namespace tidemark::tools
