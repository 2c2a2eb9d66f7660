#include "io/model_tensors.h"

#include <algorithm>

#include "tidemark/error.h"

namespace tidemark::io {
namespace {

struct Collector final : nn::Visitor {
  void on_parameter(const std::string& name, Tensor& tensor) override { add(name, tensor, true); }
  void on_state(const std::string& name, Tensor& tensor) override { add(name, tensor, false); }
  void on_counter(const std::string& name, std::int64_t& value) override { found.counters.push_back({name, &value}); }
  void add(const std::string& name, const Tensor& tensor, bool parameter) {
    const auto known = std::find_if(found.tensors.begin(), found.tensors.end(),
                                    [&](const ModelTensor& each) { return each.tensor.same(tensor); });
    if (known == found.tensors.end()) {
      found.tensors.push_back({{name}, tensor, parameter});
    } else {
      known->names.push_back(name);
    }
  }
  ModelTensors found;
};

std::string fill_in(std::string_view pattern, const std::vector<std::string>& stars) {
  std::string text;
  std::size_t next = 0;
  for (const char c : pattern) {
    if (c == '*') {
      text += stars[next++];
    } else {
      text += c;
    }
  }
  return text;
}

Renamed rename(const NameTable& names, const std::string& name, std::string Rename::*from, std::string Rename::*to) {
  for (const Rename& each : names.renames) {
    std::vector<std::string> stars;
    if (match(name, each.*from, stars)) return {fill_in(each.*to, stars), each.transpose};
  }
  return {name};
}

}  // namespace

ModelTensors model_tensors(const nn::detail::Visit& visit) {
  Collector collector;
  visit(collector);
  return std::move(collector.found);
}

bool match(std::string_view text, std::string_view pattern, std::vector<std::string>& stars) {
  const std::size_t star = pattern.find('*');
  if (text.substr(0, star) != pattern.substr(0, star)) return false;
  if (star == std::string_view::npos) return text.size() == pattern.size();
  const std::string_view rest = pattern.substr(star + 1);
  const std::size_t had = stars.size();
  for (std::size_t length = 0; star + length <= text.size(); ++length) {
    stars.resize(had);
    stars.emplace_back(text.substr(star, length));
    if (match(text.substr(star + length), rest, stars)) return true;
  }
  stars.resize(had);
  return false;
}

Renamed to_module(const NameTable& names, const std::string& file_name) {
  return rename(names, file_name, &Rename::file, &Rename::module);
}

Renamed to_file(const NameTable& names, const std::string& module_name) {
  return rename(names, module_name, &Rename::module, &Rename::file);
}

void check(const NameTable& names, SourceLocation where) {
  for (const Rename& each : names.renames) {
    if (std::count(each.file.begin(), each.file.end(), '*') == std::count(each.module.begin(), each.module.end(), '*'))
      continue;
    throw Error("[names] '" + each.file + "' and '" + each.module + "' have not the same number of stars (at " +
                to_string(where) + ")");
  }
}

}  // namespace tidemark::io
