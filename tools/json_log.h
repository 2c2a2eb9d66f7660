// One JSON object a line; a line is written whole or not at all.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace tidemark::tools {

class JsonLog {
 public:
  // An empty path writes nothing. Throws FileError where the file cannot be made.
  explicit JsonLog(const std::string& path);
  bool enabled() const { return file_ != nullptr; }
  void write(const nlohmann::ordered_json& object);

 private:
  std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};

}  // namespace tidemark::tools
