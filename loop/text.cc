#include "loop/text.h"

#include <algorithm>

namespace tidemark::loop {
namespace {

// By the first byte of a UTF-8 character; the bytes after it take nothing.
std::size_t width_of(char c) {
  const auto byte = static_cast<unsigned char>(c);
  if (byte < 0x80) return 1;
  return (byte & 0xC0U) == 0x80 ? 0 : 2;
}

}  // namespace

std::size_t columns(std::string_view text) {
  std::size_t sum = 0;
  for (const char c : text) sum += width_of(c);
  return sum;
}

std::string_view cut(std::string_view text, std::size_t columns) {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    sum += width_of(text[i]);
    if (sum > columns) return text.substr(0, i);
  }
  return text;
}

std::string aligned(const std::vector<std::vector<std::string>>& lines) {
  // One column a character: letters of European languages line up, which columns() would not let them.
  const auto length = [](const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return width_of(c) > 0; }));
  };
  std::vector<std::size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], length(line[i]));
  }
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const std::string blanks(widths[i] - length(line[i]), ' ');
      text += i == 0 ? line[i] + blanks : "  " + blanks + line[i];
    }
    text += '\n';
  }
  return text;
}

}  // namespace tidemark::loop
