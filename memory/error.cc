#include "tidemark/error.h"

#include <string_view>

namespace tidemark {

std::string to_string(SourceLocation where) {
  std::string_view file = where.file;
  if (file.empty()) return "unknown place";
  if (auto slash = file.rfind('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
  return std::string(file) + ":" + std::to_string(where.line);
}

}  // namespace tidemark
