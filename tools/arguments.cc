#include "tools/arguments.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/output_file.h"
#include "tidemark/units.h"

namespace tidemark::tools {
namespace {

bool parse_whole(const std::string& text, std::int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// CLI11 alone reads 010 as 8, and takes what is too large for the largest.
CLI::Validator whole(std::int64_t least, std::int64_t most) {
  return CLI::Validator(
      [least, most](std::string& text) {
        std::int64_t value = 0;
        if (!parse_whole(text, value) || value < least || value > most) {
          return "'" + text + "' is not a whole number from " + std::to_string(least) + " to " + std::to_string(most);
        }
        text = std::to_string(value);
        return std::string();
      },
      "");
}

CLI::Validator filled(const std::string& type) {
  return CLI::Validator(
      [type](const std::string& text) { return text.empty() ? "is empty, but must be a " + type : std::string(); }, "");
}

CLI::Option* limit_to(const std::vector<std::string>& allowed, CLI::Option* option) {
  return option->check(CLI::IsMember(allowed).description(""))->type_name("{" + CLI::detail::join(allowed, ",") + "}");
}

}  // namespace

CLI::Option* add_whole(CLI::App& app, const std::string& name, std::int64_t& target, std::int64_t least,
                       std::int64_t most, const std::string& help) {
  return app.add_option(name, target, help)->transform(whole(least, most))->type_name("N");
}

CLI::Option* add_whole(CLI::App& app, const std::string& name, std::optional<std::int64_t>& target,
                       const std::string& otherwise, std::int64_t least, std::int64_t most, const std::string& help) {
  return app.add_option(name, target, help)->transform(whole(least, most))->type_name("N")->default_str(otherwise);
}

CLI::Option* add_text(CLI::App& app, const std::string& name, const std::string& type, std::string& target,
                      const std::string& help) {
  return app.add_option(name, target, help)->check(filled(type))->type_name(type);
}

CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& target,
                        const std::vector<std::string>& allowed, const std::string& help) {
  return limit_to(allowed, app.add_option(name, target, help));
}

CLI::Option* add_choice(CLI::App& app, const std::string& name, std::optional<std::string>& target,
                        const std::string& otherwise, const std::vector<std::string>& allowed,
                        const std::string& help) {
  return limit_to(allowed, app.add_option(name, target, help))->default_str(otherwise);
}

std::string without_place(const Error& error) {
  const std::string text = error.what();
  return text.substr(0, text.rfind(" (at "));
}

void check_distinct(const std::vector<std::pair<std::string, std::string>>& outputs) {
  namespace fs = std::filesystem;
  std::error_code none;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (std::size_t j = i + 1; j < outputs.size(); ++j) {
      const auto& [option, path] = outputs[i];
      const auto& [other, other_path] = outputs[j];
      if (path.empty() || other_path.empty() || option == other) continue;
      if (fs::exists(path, none) && !fs::is_regular_file(path, none)) continue;  // a pipe takes both
      const auto whole = [&](const std::string& each) { return fs::weakly_canonical(fs::absolute(each, none), none); };
      if (whole(path) != whole(other_path)) continue;
      throw UsageError(option + " and " + other + " would both write " + path + "; give them names of their own");
    }
  }
}

void check_output(const std::string& option, const std::string& path, const std::vector<std::string>& inputs) {
  if (path.empty()) return;
  const auto input =
      std::find_if(inputs.begin(), inputs.end(), [&](const std::string& read) { return core::same_file(path, read); });
  if (input != inputs.end()) {
    throw UsageError(option + " is '" + path + "', which would take the place of the input " + *input +
                     "; give another file");
  }
  core::OutputFile::check(path);
}

std::int64_t budget_of(const std::string& text, std::int64_t peak) {
  const auto wrong = [&] { throw UsageError("a budget is '" + text + "', but can be: " + kBudgetForms); };
  if (text.ends_with('%')) {
    double part = 0;
    const char* last = text.data() + text.size() - 1;
    const auto [end, error] = std::from_chars(text.data(), last, part);
    if (error != std::errc() || end != last || !(part > 0 && part <= 1000)) wrong();
    return static_cast<std::int64_t>(static_cast<long double>(part) * peak / 100);
  }
  std::int64_t bytes = 0;
  try {
    bytes = parse_bytes(text);
  } catch (const Error&) {
    wrong();
  }
  if (bytes <= 0) wrong();
  return bytes;
}

CLI::Option* add_named_option(CLI::App& app, const NamedOption& option, const std::string& help,
                              NamedValues::Given& given) {
  const std::string name = "--" + option.name;
  const auto set = [&given, key = option.name](double value) { given[key] = value; };
  if (option.kind == NamedOption::Kind::kFlag)
    return app.add_flag_callback(
        name, [set] { set(1); }, help);
  return app.add_option_function<double>(name, set, help)
      ->type_name(option.kind == NamedOption::Kind::kWhole ? "N" : "X");
}

std::string describe(const NamedOption& option) {
  if (option.kind == NamedOption::Kind::kFlag) return option.help;
  return option.help + " [" + format_number(option.value) + "]";
}

}  // namespace tidemark::tools
