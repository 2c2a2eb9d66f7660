#include "tidemark/nn/module.h"

#include <algorithm>

namespace tidemark::nn {

std::size_t Visitor::enter(std::string_view name) {
  const std::size_t length = path_.size();
  if (length > 0) path_ += '.';
  path_ += name;
  return length;
}

void Visitor::parameter(std::string_view name, Tensor& tensor) {
  if (!tensor.defined()) return;
  const std::size_t length = enter(name);
  on_parameter(path_, tensor);
  path_.resize(length);
}

void Visitor::state(std::string_view name, Tensor& tensor) {
  if (!tensor.defined()) return;
  const std::size_t length = enter(name);
  on_state(path_, tensor);
  path_.resize(length);
}

void Visitor::counter(std::string_view name, std::int64_t& value) {
  const std::size_t length = enter(name);
  on_counter(path_, value);
  path_.resize(length);
}

namespace detail {
namespace {

void add_once(std::vector<Parameter>& list, const std::string& name, const Tensor& tensor) {
  const bool known = std::any_of(list.begin(), list.end(), [&](const Parameter& p) { return p.same(tensor); });
  if (!known) list.emplace_back(tensor, name);
}

struct Collector final : Visitor {
  void on_parameter(const std::string& name, Tensor& tensor) override { add_once(parameters, name, tensor); }
  void on_state(const std::string& name, Tensor& tensor) override { add_once(state, name, tensor); }
  std::vector<Parameter> parameters;
  std::vector<Parameter> state;
};

struct TrainingSetter final : Visitor {
  explicit TrainingSetter(bool value) : on(value) {}
  void on_training(bool& flag) override { flag = on; }
  bool on;
};

}  // namespace

std::vector<Parameter> parameters(const Visit& visit) {
  Collector collector;
  visit(collector);
  return std::move(collector.parameters);
}

std::vector<Parameter> state(const Visit& visit) {
  Collector collector;
  visit(collector);
  return std::move(collector.state);
}

void set_training(const Visit& visit, bool on) {
  TrainingSetter setter(on);
  visit(setter);
}

std::int64_t parameter_count(const Visit& visit) {
  std::int64_t count = 0;
  for (const Parameter& p : parameters(visit)) count += p.numel();
  return count;
}

}  // namespace detail

}  // namespace tidemark::nn
