// What the subcommands' options share: numbers and texts that CLI11 alone would let through, budgets, and the options
// of models and optimizers, which come from the library's tables.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tidemark/named_options.h"
#include "tools/command.h"

namespace tidemark::tools {

inline constexpr const char* kExitCodes = "Exit codes: 0 done, 1 error, 2 impossible budget, 64 wrong usage";

// A whole number in decimal digits.
CLI::Option* add_whole(CLI::App& app, const std::string& name, std::int64_t& target, std::int64_t least,
                       std::int64_t most, const std::string& help);
// One whose default, shown by --help, depends on what else is given.
CLI::Option* add_whole(CLI::App& app, const std::string& name, std::optional<std::int64_t>& target,
                       const std::string& otherwise, std::int64_t least, std::int64_t most, const std::string& help);
// A text that is not empty; `type` says what it is.
CLI::Option* add_text(CLI::App& app, const std::string& name, const std::string& type, std::string& target,
                      const std::string& help);

// One of the allowed words.
CLI::Option* add_choice(CLI::App& app, const std::string& name, std::string& target,
                        const std::vector<std::string>& allowed, const std::string& help);

// One whose default, shown by --help, may have nothing to say.
CLI::Option* add_choice(CLI::App& app, const std::string& name, std::optional<std::string>& target,
                        const std::string& otherwise, const std::vector<std::string>& allowed, const std::string& help);

// An option of an entry of one of the library's tables.
CLI::Option* add_named_option(CLI::App& app, const NamedOption& option, const std::string& help,
                              NamedValues::Given& given);
// What it is, and its default.
std::string describe(const NamedOption& option);

template <class Named>
std::vector<std::string> list_names(const std::vector<Named>& entries) {
  std::vector<std::string> names;
  names.reserve(entries.size());
  for (const Named& entry : entries) names.push_back(entry.name);
  return names;
}

// Adds the options of all entries, each name once; its help says what it is to each entry that has it, and the default.
// What is given goes to `given`.
template <class Named>
void add_named_options(CLI::App& app, const std::vector<Named>& entries, const std::string& group,
                       NamedValues::Given& given) {
  for (const Named& entry : entries) {
    for (const NamedOption& option : entry.options) {
      if (app.get_option_no_throw("--" + option.name) != nullptr) continue;
      std::string help;
      for (const Named& other : entries) {
        for (const NamedOption& same : other.options) {
          if (same.name == option.name) help += (help.empty() ? "" : "\n") + other.name + ": " + describe(same);
        }
      }
      add_named_option(app, option, help, given)->group(group);
    }
  }
}

// Throws UsageError where something is given that the chosen entry does not have, or not like that; `kind` is the
// option that chooses.
template <class Named>
void check_named(const std::string& kind, const std::vector<Named>& entries, const std::string& chosen,
                 const NamedValues::Given& given) {
  const auto has = [](const Named& entry, const std::string& name) {
    return std::any_of(entry.options.begin(), entry.options.end(), [&](const auto& o) { return o.name == name; });
  };
  const Named& entry = find_named(entries, kind.c_str(), chosen, {});
  const auto refuse = [&](const std::string& name) {
    std::vector<Named> others;
    std::copy_if(entries.begin(), entries.end(), std::back_inserter(others),
                 [&](const Named& e) { return has(e, name); });
    throw UsageError("--" + name + " is for " + kind + " " + names_of(others) + ", not for " + chosen);
  };
  for (const auto& [name, value] : given) {
    if (!has(entry, name)) refuse(name);
  }
  try {
    (void)NamedValues(entry.options, given, {});
  } catch (const Error& error) {
    throw UsageError("--" + std::string(error.what()));
  }
}

// For a file that the command will write: throws UsageError where it is one of those that it reads, and FileError where
// it cannot be written. Nothing is made yet. `path`, given with `option`, may be empty: then there is none.
// Throws UsageError where two options would write one file. Pairs of an option and a path; empty paths are none.
void check_distinct(const std::vector<std::pair<std::string, std::string>>& outputs);
void check_output(const std::string& option, const std::string& path, const std::vector<std::string>& inputs);

// What the library says, without the place: that is a line of the command, not of its user.
std::string without_place(const Error& error);

// The budget of a graph file: bytes, a size with a unit, or a part of the graph's peak. Throws UsageError.
inline constexpr const char* kBudgetForms = "bytes, 512MiB, ..., or 40% of the peak without recomputation";
std::int64_t budget_of(const std::string& text, std::int64_t peak);

}  // namespace tidemark::tools
