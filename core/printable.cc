#include "core/printable.h"

#include <algorithm>

namespace tidemark::core {

std::string printable_text(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (c == 0xC2 && next >= 0x80 && next < 0xA0) {
      shown += '?';
      ++i;
    } else {
      shown += (c < 0x20 && c != '\n') || c == 0x7F ? '?' : text[i];
    }
  }
  return shown;
}

std::string printable_name(std::string_view name) {
  constexpr std::size_t kMost = 100;
  std::size_t end = std::min(name.size(), kMost);
  while (end > 0 && end < name.size() && (static_cast<unsigned char>(name[end]) & 0xC0U) == 0x80) --end;
  std::string shown = printable_text(name.substr(0, end));
  std::replace(shown.begin(), shown.end(), '\n', '?');
  return end < name.size() ? shown + "..." : shown;
}

}  // namespace tidemark::core
