// What a layer or a model is made of, and what follows from it.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/parameter.h"
#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

class Visitor;

template <class M>
concept Visitable = requires(M& module, Visitor& visitor) {
  module.visit(visitor);
};

// Walks a module; names are joined with dots: "blocks.3.norm.weight".
class Visitor {
 public:
  virtual ~Visitor() = default;

  // An undefined tensor (a layer without bias) is passed over.
  void parameter(std::string_view name, Tensor& tensor);
  // Part of the model, but no gradient's subject: running statistics.
  void state(std::string_view name, Tensor& tensor);
  // A number of the model's own, which files keep as an i64: of batches that a layer has seen.
  void counter(std::string_view name, std::int64_t& value);
  // True while training: what train() and eval() set.
  void training(bool& flag) { on_training(flag); }

  template <Visitable M>
  void child(std::string_view name, M& module) {
    const std::size_t length = enter(name);
    module.visit(*this);
    path_.resize(length);
  }
  template <Visitable M>
  void child(std::string_view name, std::vector<M>& modules) {
    const std::size_t length = enter(name);
    for (std::size_t i = 0; i < modules.size(); ++i) child(std::to_string(i), modules[i]);
    path_.resize(length);
  }

 protected:
  virtual void on_parameter(const std::string& /*name*/, Tensor& /*tensor*/) {}
  virtual void on_state(const std::string& /*name*/, Tensor& /*tensor*/) {}
  virtual void on_counter(const std::string& /*name*/, std::int64_t& /*value*/) {}
  virtual void on_training(bool& /*flag*/) {}

 private:
  std::size_t enter(std::string_view name);
  std::string path_;
};

namespace detail {
using Visit = std::function<void(Visitor&)>;
std::vector<Parameter> parameters(const Visit& visit);
std::vector<Parameter> state(const Visit& visit);
void set_training(const Visit& visit, bool on);
std::int64_t parameter_count(const Visit& visit);
std::string summary(const Visit& visit);
}  // namespace detail

// In the order of the visits, each tensor once even where two children share it.
template <Visitable M>
std::vector<Parameter> parameters(M& module) {
  return detail::parameters([&](Visitor& v) { module.visit(v); });
}
template <Visitable M>
std::vector<Parameter> state(M& module) {
  return detail::state([&](Visitor& v) { module.visit(v); });
}
template <Visitable M>
void train(M& module, bool on = true) {
  detail::set_training([&](Visitor& v) { module.visit(v); }, on);
}
template <Visitable M>
void eval(M& module) {
  train(module, false);
}
// Elements of all parameters.
template <Visitable M>
std::int64_t parameter_count(M& module) {
  return detail::parameter_count([&](Visitor& v) { module.visit(v); });
}
// A table of parameters and buffers (state) with names, shapes and numbers of elements, and what they add up to.
template <Visitable M>
std::string summary(M& module) {
  return detail::summary([&](Visitor& v) { module.visit(v); });
}
template <Visitable M>
void print(M& module, std::FILE* out = stdout) {
  std::fputs(summary(module).c_str(), out);
}

class Module {
 public:
  virtual ~Module() = default;
  virtual void visit(Visitor& visitor) = 0;

  std::vector<Parameter> parameters() { return nn::parameters(*this); }
  std::vector<Parameter> state() { return nn::state(*this); }
  void train(bool on = true) { nn::train(*this, on); }
  void eval() { nn::train(*this, false); }
  std::int64_t parameter_count() { return nn::parameter_count(*this); }
  std::string summary() { return nn::summary(*this); }

 protected:
  Module() = default;
  Module(const Module&) = default;
  Module(Module&&) = default;
  Module& operator=(const Module&) = default;
  Module& operator=(Module&&) = default;
};

// A base for layers without parameters, which hold the options of a function.
template <class Options>
class FunctionLayer : public Module {
 public:
  void visit(Visitor&) override {}

 protected:
  explicit FunctionLayer(const Options& options) : options_(options) {}

  Options options_;
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
