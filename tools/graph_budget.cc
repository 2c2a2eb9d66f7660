#include "tools/graph_budget.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "tidemark/error.h"
#include "tidemark/units.h"
#include "tools/options.h"

namespace tidemark::tools {

std::int64_t budget_of(const std::string& text, std::int64_t peak) {
  const auto wrong = [&] { throw UsageError("a budget is '" + text + "', but can be: " + kBudgetForms); };
  std::int64_t bytes = 0;
  if (text.ends_with('%')) {
    double part = 0;
    const char* last = text.data() + text.size() - 1;
    const auto [end, error] = std::from_chars(text.data(), last, part);
    if (error != std::errc() || end != last || !(part > 0 && part <= 1000)) wrong();
    bytes = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<long double>(part) * peak / 100));
  } else {
    try {
      bytes = parse_bytes(text);
    } catch (const Error&) {
      wrong();
    }
  }
  if (bytes <= 0) wrong();
  return bytes;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace tidemark::tools
