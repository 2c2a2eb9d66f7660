// Layers, and how they make a model.
//
// A layer is a value that holds handles to its parameters; copies share them. A module says what it is made of once, in
// visit(), and everything else follows from that:
//
//   struct Residual : td::nn::Module {
//     td::nn::Linear up, down;
//     explicit Residual(int width) : up({.in = width, .out = 4 * width}), down({.in = 4 * width, .out = width}) {}
//     void visit(td::nn::Visitor& v) override { v.child("up", up), v.child("down", down); }
//     td::Tensor operator()(const td::Tensor& x) const { return x + down(td::gelu(up(x))); }
//   };
//
// Deriving from Module adds parameters(), train() and the like as members; a plain struct with the same visit() works
// as a child, in Sequential and with the free functions of the same names. Parameters are initialised as PyTorch does.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tidemark/ops.h"
#include "tidemark/parameter.h"
#include "tidemark/tensor.h"

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

class Module {
 public:
  virtual ~Module() = default;
  virtual void visit(Visitor& visitor) = 0;

  std::vector<Parameter> parameters() { return nn::parameters(*this); }
  std::vector<Parameter> state() { return nn::state(*this); }
  void train(bool on = true) { nn::train(*this, on); }
  void eval() { nn::train(*this, false); }
  std::int64_t parameter_count() { return nn::parameter_count(*this); }

 protected:
  Module() = default;
  Module(const Module&) = default;
  Module(Module&&) = default;
  Module& operator=(const Module&) = default;
  Module& operator=(Module&&) = default;
};

struct LinearOptions {
  std::int64_t in = 0;
  std::int64_t out = 0;
  bool bias = true;
  float stddev = 0;  // 0: uniform within 1 / sqrt(in); else the weight is normal and the bias zero
};
class Linear : public Module {
 public:
  explicit Linear(const LinearOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [out, in]
  Tensor bias;    // [out], or undefined
};

struct Conv2dOptions {
  std::int64_t in = 0;
  std::int64_t out = 0;
  int kernel = 3;
  int stride = 1;
  int padding = 0;
  int dilation = 1;
  int groups = 1;
  bool bias = true;
};
class Conv2d : public Module {
 public:
  explicit Conv2d(const Conv2dOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [out, in / groups, kernel, kernel]
  Tensor bias;    // [out], or undefined

 private:
  tidemark::Conv2dOptions options_;
};

struct BatchNorm2dOptions {
  std::int64_t features = 0;
  float momentum = 0.1f;
  float eps = 1e-5f;
};
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(const BatchNorm2dOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias, running_mean, running_variance;  // [features] each

 private:
  BatchNorm2dOptions options_;
  bool training_ = true;
};

struct LayerNormOptions {
  std::int64_t features = 0;
  float eps = 1e-5f;
};
class LayerNorm : public Module {
 public:
  explicit LayerNorm(const LayerNormOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight, bias;  // [features] each

 private:
  float eps_;
};

struct EmbeddingOptions {
  std::int64_t count = 0;  // rows: the indices run from 0 to count - 1
  std::int64_t width = 0;
  float stddev = 1;
};
class Embedding : public Module {
 public:
  explicit Embedding(const EmbeddingOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& indices, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [count, width]
};

struct DropoutOptions {
  float p = 0.5f;
};
class Dropout : public Module {
 public:
  explicit Dropout(const DropoutOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override { visitor.training(training_); }
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  float p_;
  bool training_ = true;
};

class ReLU : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class GELU : public Module {
 public:
  explicit GELU(const GeluOptions& options = {}) : options_(options) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  GeluOptions options_;
};

struct MaxPool2dOptions {
  int kernel = 2;
  int stride = 0;  // 0: the kernel's size
  int padding = 0;
};
class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(const MaxPool2dOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  tidemark::MaxPool2dOptions options_;
};

// All dimensions but the first become one.
class Flatten : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

// Something that maps a tensor to a tensor: a layer, a module, a function.
template <class L>
concept Layer = requires(L& layer, const Tensor& x) {
  { layer(x) } -> std::convertible_to<Tensor>;
};

// Layers one after another. Copies share parameters, and each has its own training flags.
class Sequential : public Module {
 public:
  Sequential() = default;
  template <class First, class... Rest>
  requires((sizeof...(Rest) > 0 || !std::same_as<std::remove_cvref_t<First>, Sequential>)&&Layer<
           std::remove_cvref_t<First>>) explicit Sequential(First&& first, Rest&&... rest) {
    add(std::forward<First>(first));
    (add(std::forward<Rest>(rest)), ...);
  }
  Sequential(const Sequential& other);
  Sequential(Sequential&&) noexcept = default;
  Sequential& operator=(const Sequential& other);
  Sequential& operator=(Sequential&&) noexcept = default;

  template <class L>
  requires Layer<std::remove_cvref_t<L>> Sequential& add(L&& layer) {
    if constexpr (requires { layer == nullptr; }) {
      if (layer == nullptr) throw Error("[Sequential] a layer is a function or pointer without a value");
    }
    layers_.push_back(std::make_unique<Model<std::remove_cvref_t<L>>>(std::forward<L>(layer)));
    return *this;
  }
  std::size_t size() const { return layers_.size(); }
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  struct Concept {
    virtual ~Concept() = default;
    virtual std::unique_ptr<Concept> clone() const = 0;
    virtual void visit(Visitor& visitor) = 0;
    virtual Tensor call(const Tensor& x, SourceLocation where) = 0;
  };
  template <class L>
  struct Model final : Concept {
    explicit Model(L value) : layer(std::move(value)) {}
    std::unique_ptr<Concept> clone() const override { return std::make_unique<Model>(layer); }
    void visit(Visitor& visitor) override {
      if constexpr (Visitable<L>) layer.visit(visitor);
    }
    Tensor call(const Tensor& x, SourceLocation where) override {
      if constexpr (std::invocable<L&, const Tensor&, SourceLocation>) {
        return layer(x, where);
      } else {
        return layer(x);
      }
    }
    L layer;
  };
  std::vector<std::unique_ptr<Concept>> layers_;
};

}  // namespace tidemark::nn
