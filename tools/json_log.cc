#include "tools/json_log.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace tidemark::tools {

JsonLog::JsonLog(std::string path) : path_(std::move(path)) {}

void JsonLog::write(const nlohmann::ordered_json& object) {
  if (!enabled()) return;
  const std::string line = object.dump() + "\n";
  if (file_) {
    file_->append(line);
    return;
  }
  file_.emplace(path_);
  file_->append(line);
  file_->publish();
}

void JsonLog::finish() {
  if (file_) file_->publish();
}

}  // namespace tidemark::tools
