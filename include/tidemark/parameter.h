// A tensor with the name it has in its model: what optimizers take and messages say. Some of a model's parameters are
// chosen by a pattern of their names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tidemark/error.h"
#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

class Parameter : public Tensor {
 public:
  Parameter(const Tensor& tensor, std::string name = {})  // NOLINT: a list of plain tensors is a list of parameters
      : Tensor(tensor), name_(std::move(name)) {}
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

// Whether a name is of a pattern: '*' stands for any text, also for none and across dots, '?' for one character.
inline bool matches(std::string_view name, std::string_view pattern) {
  std::size_t n = 0;
  std::size_t p = 0;
  std::size_t star = std::string_view::npos;  // the last one seen, which stands for more where the rest does not fit
  std::size_t rest = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      rest = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++rest;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// "'encoder.0.weight', 'encoder.0.bias', ... (12 in all)": for messages.
inline std::string names_of_some(std::span<const Parameter> parameters) {
  constexpr std::size_t kShown = 4;
  std::string text;
  for (std::size_t i = 0; i < parameters.size() && i < kShown; ++i) {
    text += (i > 0 ? ", '" : "'") + parameters[i].name() + "'";
  }
  if (parameters.size() > kShown) text += ", ... (" + std::to_string(parameters.size()) + " in all)";
  return text;
}

namespace detail {
inline std::int64_t set_requires_grad(const char* what, std::span<const Parameter> parameters, std::string_view pattern,
                                      bool on, SourceLocation where) {
  std::int64_t count = 0;
  for (const Parameter& parameter : parameters) {
    if (!matches(parameter.name(), pattern)) continue;
    Tensor(parameter).set_requires_grad(on, where);
    ++count;
  }
  if (count > 0) return count;
  throw Error("[" + std::string(what) + "] no parameter's name matches '" + std::string(pattern) + "'; there are: " +
              (parameters.empty() ? "none" : names_of_some(parameters)) + " (at " + to_string(where) + ")");
}
}  // namespace detail

// Parameters whose names match are no longer trained, or are again; their number. An error where there is none. The
// gradient that one has by then goes with freeze(), and its bytes with it: optimizers would pass it over.
//   freeze(net.parameters(), "encoder.*");
inline std::int64_t freeze(std::span<const Parameter> parameters, std::string_view pattern,
                           SourceLocation where = SourceLocation::current()) {
  return detail::set_requires_grad("freeze", parameters, pattern, false, where);
}
inline std::int64_t thaw(std::span<const Parameter> parameters, std::string_view pattern,
                         SourceLocation where = SourceLocation::current()) {
  return detail::set_requires_grad("thaw", parameters, pattern, true, where);
}

}  // namespace tidemark
#pragma GCC visibility pop
