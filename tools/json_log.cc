#include "tools/json_log.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace tidemark::tools {

JsonLog::JsonLog(std::string path) : path_(std::move(path)) {}

void JsonLog::write(const nlohmann::ordered_json& object) {
  if (!enabled()) return;
  if (!file_) file_.emplace(path_);
  file_->append(object.dump() + "\n");
  if (published_) return;
  file_->publish();
  published_ = true;
}

void JsonLog::finish() {
  if (file_) file_->publish();
}

}  // namespace tidemark::tools
