#include "tidemark/error.h"

#include <string_view>

namespace tidemark {

std::string to_string(SourceLocation where) {
  const std::string_view path = where.file;
  if (path.empty()) return "unknown place";
  const auto slash = path.rfind('/');
  std::string text(slash == std::string_view::npos ? path : path.substr(slash + 1));
  text.append(":").append(std::to_string(where.line));
  return text;
}

}  // namespace tidemark
