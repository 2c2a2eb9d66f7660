#include "tidemark/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "tidemark/error.h"

namespace tidemark {

namespace {

std::string format(std::int64_t bytes, bool up) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = 0;  // as it is shown: what rounds to 1024 of a unit is 1 of the next
  std::size_t unit = 0;
  for (auto exact = static_cast<double>(bytes);; exact /= 1024, ++unit) {
    value = (up ? std::ceil(exact * 10) : std::round(exact * 10)) / 10;
    if (std::abs(value) < 1024 || unit + 1 == kUnits.size()) break;
  }
  char text[48];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

}  // namespace

std::string format_bytes(std::int64_t bytes) { return format(bytes, false); }
std::string format_bytes_up(std::int64_t bytes) { return format(bytes, true); }

std::int64_t parse_bytes(std::string_view text) {
  auto fail = [&] {
    return Error(std::string("'").append(text) +
                 "' is not a number of bytes; write e.g. 1048576, 512MiB, 1.5GiB or 800MB");
  };
  double number = 0;
  auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc() || !(number >= 0)) throw fail();
  std::string unit;
  for (char c : std::string_view(rest, static_cast<std::size_t>(text.data() + text.size() - rest))) {
    if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  struct Unit {
    std::string_view name;
    double bytes;
  };
  static constexpr Unit kUnits[] = {{"", 1},         {"b", 1},    {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30},
                                    {"tib", 0x1p40}, {"kb", 1e3}, {"mb", 1e6},     {"gb", 1e9},     {"tb", 1e12}};
  for (const Unit& known : kUnits) {
    if (unit != known.name) continue;
    const double bytes = std::floor(number * known.bytes);
    if (bytes > 0x1p62) throw fail();  // which the largest are rounded up to
    return static_cast<std::int64_t>(bytes);
  }
  throw fail();
}

const char* to_string(Category category) {
  static constexpr std::array<const char*, kCategories> kNames = {
      "parameters", "gradients", "optimizer state", "activations", "batch", "workspace", "scratch"};
  return kNames[static_cast<std::size_t>(category)];
}

}  // namespace tidemark
