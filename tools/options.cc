#include "tools/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <system_error>
#include <utility>

namespace tidemark::tools {
namespace {

constexpr std::size_t kHelpColumn = 26;

std::string join(const std::vector<std::string>& words, const char* separator) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : separator) + word;
  return out;
}

std::string short_number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%g", value);
  return buffer;
}

template <class T>
bool parse_whole(const std::string& text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

OptionTable::OptionTable(std::string command, std::string summary)
    : command_(std::move(command)), summary_(std::move(summary)) {}

void OptionTable::add(std::string name, std::string value, std::string help,
                      std::function<void(const std::string&)> set) {
  options_.push_back({std::move(name), std::move(value), std::move(help), std::move(set)});
}

void OptionTable::heading(std::string text) { add({}, {}, std::move(text), nullptr); }

void OptionTable::flag(std::string name, std::string help, bool& target) {
  add(std::move(name), {}, std::move(help), [&target](const std::string&) { target = true; });
}

void OptionTable::text(std::string name, std::string value, std::string help, std::string& target) {
  auto set = [&target, name, value](const std::string& given) {
    if (given.empty()) throw UsageError("--" + name + " is empty; it needs " + value);
    target = given;
  };
  add(std::move(name), std::move(value), std::move(help), std::move(set));
}

void OptionTable::choice(std::string name, std::string help, std::string& target, std::vector<std::string> allowed) {
  std::string value = join(allowed, "|");
  help += " [" + target + "]";
  auto set = [&target, name, allowed = std::move(allowed)](const std::string& given) {
    if (std::find(allowed.begin(), allowed.end(), given) == allowed.end()) {
      throw UsageError("--" + name + " is '" + given + "', but can be: " + join(allowed, ", "));
    }
    target = given;
  };
  add(std::move(name), std::move(value), std::move(help), std::move(set));
}

void OptionTable::integer(std::string name, std::string help, std::int64_t& target, std::int64_t least,
                          std::int64_t most) {
  if (target >= least) help += " [" + std::to_string(target) + "]";
  auto set = [&target, name, least, most](const std::string& given) {
    std::int64_t value = 0;
    if (!parse_whole(given, value) || value < least || value > most) {
      throw UsageError("--" + name + " is '" + given + "', but must be a whole number from " + std::to_string(least) +
                       " to " + std::to_string(most));
    }
    target = value;
  };
  add(std::move(name), "N", std::move(help), std::move(set));
}

void OptionTable::number(std::string name, std::string help, double& target, double least, double most) {
  if (target >= least) help += " [" + short_number(target) + "]";
  auto set = [&target, name, least, most](const std::string& given) {
    double value = 0;
    if (!parse_whole(given, value) || !(value >= least && value <= most)) {
      throw UsageError("--" + name + " is '" + given + "', but must be a number from " + short_number(least) + " to " +
                       short_number(most));
    }
    target = value;
  };
  add(std::move(name), "X", std::move(help), std::move(set));
}

OptionTable::Option& OptionTable::find(const std::string& name) {
  for (Option& option : options_) {
    if (!option.name.empty() && option.name == name) return option;
  }
  std::string allowed;
  for (const Option& option : options_) {
    if (!option.name.empty()) allowed += " --" + option.name;
  }
  throw UsageError(command_ + " has no option --" + name + "; it has:" + allowed + " --help");
}

bool OptionTable::parse(std::span<const char* const> arguments) {
  for (Option& option : options_) option.given = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--help" || argument == "-h") return true;
    if (!argument.starts_with("--")) {
      throw UsageError("'" + std::string(argument) + "' is not an option; options begin with --, see " + command_ +
                       " --help");
    }
    const std::size_t equals = argument.find('=');
    Option& option = find(std::string(argument.substr(2, equals == argument.npos ? equals : equals - 2)));
    std::string value;
    if (option.value.empty()) {
      if (equals != argument.npos) throw UsageError("--" + option.name + " takes no value");
    } else if (equals != argument.npos) {
      value = argument.substr(equals + 1);
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      throw UsageError("--" + option.name + " needs a value: " + option.value);
    }
    option.set(value);
    option.given = true;
  }
  return false;
}

bool OptionTable::given(std::string_view name) const {
  return std::any_of(options_.begin(), options_.end(),
                     [&](const Option& option) { return option.name == name && option.given; });
}

std::string OptionTable::help() const {
  std::string out = "usage: " + command_ + " [options]\n\n" + summary_ + "\n";
  for (const Option& option : options_) {
    if (option.name.empty()) {
      out += "\n" + option.help + ":\n";
      continue;
    }
    std::string left = "  --" + option.name + (option.value.empty() ? "" : " " + option.value);
    if (left.size() + 2 > kHelpColumn) {
      left += "\n" + std::string(kHelpColumn, ' ');
    } else {
      left.resize(kHelpColumn, ' ');
    }
    out += left + option.help + "\n";
  }
  return out;
}

}  // namespace tidemark::tools
