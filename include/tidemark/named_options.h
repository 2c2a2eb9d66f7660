// What can be chosen by name: models (models.h) and optimizers (optim.h), each an entry of a table, with options that
// have names as well. A program that takes the choice from a command line or a file can list, check and apply it
// without knowing any of the types.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tidemark/error.h"

#pragma GCC visibility push(default)
namespace tidemark {

struct NamedOption {
  enum class Kind : std::uint8_t { kWhole, kNumber, kFlag };
  std::string name;
  Kind kind = Kind::kNumber;
  double value = 0;  // where none is given; of a flag 0 or 1
  double least = 0;
  double most = 1;
  std::string help;

  static NamedOption whole(std::string name, double value, double least, double most, std::string help) {
    return {std::move(name), Kind::kWhole, value, least, most, std::move(help)};
  }
  static NamedOption number(std::string name, double value, double least, double most, std::string help) {
    return {std::move(name), Kind::kNumber, value, least, most, std::move(help)};
  }
  static NamedOption flag(std::string name, std::string help) {
    return {std::move(name), Kind::kFlag, 0, 0, 1, std::move(help)};
  }
};

// "0.0003", "1048576".
inline std::string format_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", value);
  return text;
}

// " (at train.cc:41)"; nothing where there is no place.
inline std::string at_place(SourceLocation where) { return where.line > 0 ? " (at " + to_string(where) + ")" : ""; }

// "mlp, vgg16, gpt".
template <class Named>
std::string names_of(const std::vector<Named>& entries) {
  std::string text;
  for (const Named& entry : entries) text += (text.empty() ? "" : ", ") + entry.name;
  return text;
}

// The entry of that name. Throws Error naming those that there are; `kind` is the word for one.
template <class Named>
const Named& find_named(const std::vector<Named>& entries, const char* kind, std::string_view name,
                        SourceLocation where) {
  for (const Named& entry : entries) {
    if (entry.name == name) return entry;
  }
  throw Error(std::string("there is no ") + kind + " '" + std::string(name) + "'; there are: " + names_of(entries) +
              at_place(where));
}

// A value for each option.
class NamedValues {
 public:
  using Given = std::map<std::string, double, std::less<>>;

  // What is given, and the options' own values for the rest. Throws Error where a name is unknown or a value is not
  // allowed: "width is 0, but must be a whole number from 1 to 1024 (at train.cc:41)".
  NamedValues(const std::vector<NamedOption>& options, const Given& given, SourceLocation where) {
    for (const NamedOption& option : options) values_[option.name] = option.value;
    for (const auto& [name, value] : given) {
      check(find_named(options, "option", name, where), value, where);
      values_[name] = value;
    }
  }

  std::int64_t whole(std::string_view name) const { return static_cast<std::int64_t>(at(name)); }
  float number(std::string_view name) const { return static_cast<float>(at(name)); }
  bool flag(std::string_view name) const { return at(name) != 0; }

 private:
  static void check(const NamedOption& option, double value, SourceLocation where) {
    const bool whole = option.kind != NamedOption::Kind::kNumber;
    if (value >= option.least && value <= option.most && (!whole || value == std::floor(value))) return;
    throw Error(option.name + " is " + format_number(value) + ", but must be a " + (whole ? "whole number" : "number") +
                " from " + format_number(option.least) + " to " + format_number(option.most) + at_place(where));
  }
  double at(std::string_view name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw Error("there is no option '" + std::string(name) + "' to read");
    return found->second;
  }

  Given values_;
};

}  // namespace tidemark
#pragma GCC visibility pop
