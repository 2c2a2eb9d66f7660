// What an op says of itself, and its doors to the machine.
#include "tidemark/op.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "compute/machine.h"

namespace tidemark {

void Attributes::operator()(std::string_view name, double value) {
  // Hexadecimal floats are exact, so that equal texts mean equal attributes. Neither a NaN nor -0 is a whole number.
  const bool whole = std::abs(value) < 0x1p53 && value == std::trunc(value) && !(value == 0 && std::signbit(value));
  char exact[40];
  std::snprintf(exact, sizeof exact, whole ? "%.0f" : "%a", value);
  absl::StrAppend(&text_, text_.empty() ? "" : ", ", std::string(name), "=", exact);
}

void Attributes::operator()(std::string_view name, std::int64_t value) {
  absl::StrAppend(&text_, text_.empty() ? "" : ", ", std::string(name), "=", value);
}

void Attributes::operator()(std::string_view name, const Shape& value) {
  absl::StrAppend(&text_, text_.empty() ? "" : ", ", std::string(name), "=", value.to_string());
}

void Prep::fail(const std::string& message) const {
  throw ShapeError(absl::StrCat("[", std::string(op_), "] ", message, " (at ", to_string(where_), ")"));
}

int Prep::threads() const { return machine_.threads(); }
int Ctx::threads() const { return machine_.threads(); }

}  // namespace tidemark
