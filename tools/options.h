// Command-line options from a table: what is accepted, what is printed by --help, and what a mistake is answered with
// are one and the same list.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/error.h"

namespace tidemark::tools {

// The command line is wrong; the text says what is allowed.
class UsageError : public Error {
 public:
  using Error::Error;
};

class OptionTable {
 public:
  // `summary` is one line on what the command does.
  OptionTable(std::string command, std::string summary);

  void heading(std::string text);
  void flag(std::string name, std::string help, bool& target);
  void text(std::string name, std::string value, std::string help, std::string& target);
  void choice(std::string name, std::string help, std::string& target, std::vector<std::string> allowed);
  void integer(std::string name, std::string help, std::int64_t& target, std::int64_t least, std::int64_t most);
  void number(std::string name, std::string help, double& target, double least, double most);

  // Reads "--name value", "--name=value" and "--flag". True where --help was among them. Throws UsageError.
  bool parse(std::span<const char* const> arguments);
  // Whether the last parse() met the option.
  bool given(std::string_view name) const;
  std::string help() const;

 private:
  struct Option {
    std::string name;   // without the dashes; empty for a heading
    std::string value;  // how help writes its value; empty for a flag
    std::string help;
    std::function<void(const std::string&)> set;
    bool given = false;
  };
  void add(std::string name, std::string value, std::string help, std::function<void(const std::string&)> set);
  Option& find(const std::string& name);

  std::string command_, summary_;
  std::vector<Option> options_;
};

}  // namespace tidemark::tools
