#include "tools/json_log.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tidemark/error.h"

namespace tidemark::tools {

JsonLog::JsonLog(const std::string& path)
    : path_(path), file_(path.empty() ? nullptr : std::fopen(path.c_str(), "w"), &std::fclose) {
  if (!path.empty() && !file_) throw FileError(path + ": cannot be written: " + std::strerror(errno));
}

void JsonLog::write(const nlohmann::ordered_json& object) {
  if (!file_) return;
  const std::string line = object.dump() + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0) {
    throw FileError(path_ + ": cannot be written: " + std::strerror(errno));
  }
}

}  // namespace tidemark::tools
