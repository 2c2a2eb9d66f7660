#include "tidemark/log.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "core/output_file.h"
#include "core/printable.h"

namespace tidemark {

struct JsonLog::File {
  explicit File(const std::string& path) : out(path) {}
  core::OutputFile out;
  bool published = false;
};

JsonLog::JsonLog(std::string path) : path_(std::move(path)) {
  if (enabled()) core::OutputFile::check(path_);
}
JsonLog::JsonLog(JsonLog&&) noexcept = default;
JsonLog& JsonLog::operator=(JsonLog&&) noexcept = default;
JsonLog::~JsonLog() = default;

void JsonLog::write(std::span<const Field> fields, SourceLocation where) {
  if (!enabled()) return;
  using Json = nlohmann::ordered_json;
  Json object = Json::object();
  for (const Field& field : fields) {
    if (object.contains(field.name)) {
      throw Error("[log] the name '" + core::printable_name(field.name) + "' is there twice (at " + to_string(where) +
                  ")");
    }
    object[field.name] = std::visit([](const auto& value) { return Json(value); }, field.value.any());
  }
  const std::string line = object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  if (!file_) file_ = std::make_unique<File>(path_);
  file_->out.append(line);
  if (file_->published) return;
  file_->out.publish();
  file_->published = true;
}

void JsonLog::finish() {
  if (file_) file_->out.publish();
}

}  // namespace tidemark
