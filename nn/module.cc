#include <algorithm>

#include "tidemark/nn.h"

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

Sequential::Sequential(const Sequential& other) : Module(other) {
  layers_.reserve(other.layers_.size());
  for (const auto& layer : other.layers_) layers_.push_back(layer->clone());
}

Sequential& Sequential::operator=(const Sequential& other) {
  if (this != &other) *this = Sequential(other);
  return *this;
}

void Sequential::visit(Visitor& visitor) {
  for (std::size_t i = 0; i < layers_.size(); ++i) visitor.child(std::to_string(i), *layers_[i]);
}

Tensor Sequential::operator()(const Tensor& x, SourceLocation where) const {
  if (layers_.empty()) {
    throw Error("[Sequential] it has no layer, or was moved from (at " + to_string(where) + ")");
  }
  Tensor y = x;
  for (const auto& layer : layers_) y = layer->call(y, where);
  return y;
}

}  // namespace tidemark::nn
