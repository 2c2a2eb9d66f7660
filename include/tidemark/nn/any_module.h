// A layer or module of any type, and lists of them.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "tidemark/error.h"
#include "tidemark/nn/module.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

// Something that maps a tensor to a tensor: a layer, a module, a function.
template <class L>
concept Layer = requires(L& layer, const Tensor& x) {
  { layer(x) } -> std::convertible_to<Tensor>;
};

namespace detail {
// With the user's line where the layer takes one.
template <Layer L>
Tensor call(L& layer, const Tensor& x, SourceLocation where) {
  if constexpr (std::invocable<L&, const Tensor&, SourceLocation>) {
    return layer(x, where);
  } else {
    return layer(x);
  }
}
[[noreturn]] void not_a_layer(const std::type_info& type, SourceLocation where);
[[noreturn]] void wrong_type(const std::string& what, const std::type_info& is, const std::type_info& wanted,
                             SourceLocation where);
}  // namespace detail

// Holds a layer or module, and forgets its type. Copies share parameters, and each has its own training flags.
class AnyModule {
 public:
  template <class M>
  requires(!std::same_as<M, AnyModule> && (Visitable<M> || Layer<M>)) explicit AnyModule(M module)
      : self_(std::make_unique<Model<M>>(std::move(module))) {}
  AnyModule(const AnyModule& other) : self_(other.self_ == nullptr ? nullptr : other.self_->clone()) {}
  AnyModule(AnyModule&&) noexcept = default;
  AnyModule& operator=(const AnyModule& other) { return *this = AnyModule(other); }
  AnyModule& operator=(AnyModule&&) noexcept = default;

  void visit(Visitor& visitor) { self({}).visit(visitor); }
  // An error where it is no layer: an LSTM is reached by its type.
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const {
    return self(where).call(x, where);
  }
  // Exactly this type; no base of it.
  template <class M>
  bool is(SourceLocation where = SourceLocation::current()) const {
    return self(where).type() == typeid(M);
  }
  // What it holds; an error where that has another type.
  template <class M>
  M& as(SourceLocation where = SourceLocation::current()) {
    return as<M>("[AnyModule] it", where);
  }
  template <class M>
  const M& as(SourceLocation where = SourceLocation::current()) const {
    return const_cast<AnyModule&>(*this).as<M>(where);
  }

 private:
  friend class ModuleContainer;
  struct Concept {
    virtual ~Concept() = default;
    virtual std::unique_ptr<Concept> clone() const = 0;
    virtual void visit(Visitor& visitor) = 0;
    virtual Tensor call(const Tensor& x, SourceLocation where) = 0;
    virtual const std::type_info& type() const = 0;
  };
  template <class M>
  struct Model final : Concept {
    explicit Model(M value) : module(std::move(value)) {}
    std::unique_ptr<Concept> clone() const override { return std::make_unique<Model>(module); }
    void visit(Visitor& visitor) override {
      if constexpr (Visitable<M>) module.visit(visitor);
    }
    Tensor call(const Tensor& x, SourceLocation where) override {
      if constexpr (Layer<M>) {
        return detail::call(module, x, where);
      } else {
        detail::not_a_layer(typeid(M), where);
      }
    }
    const std::type_info& type() const override { return typeid(M); }
    M module;
  };

  Concept& self(SourceLocation where) const;
  template <class M>
  M& as(const std::string& what, SourceLocation where) {
    Concept& held = self(where);
    if (held.type() != typeid(M)) detail::wrong_type(what, held.type(), typeid(M), where);
    return static_cast<Model<M>&>(held).module;
  }
  std::unique_ptr<Concept> self_;
};

// Which of a list, with the line that it is written on. A negative one counts from the end.
class ModuleIndex {
 public:
  template <std::integral Integer>
  ModuleIndex(Integer value, SourceLocation where = SourceLocation::current())  // NOLINT: converting by design
      : value_(static_cast<std::int64_t>(value)), where_(where) {}
  std::int64_t value() const { return value_; }
  SourceLocation where() const { return where_; }

 private:
  std::int64_t value_;
  SourceLocation where_;
};

// What Sequential and ModuleList have in common. Parameters are named "0.weight", "1.bias" and so on.
class ModuleContainer : public Module {
 public:
  void visit(Visitor& visitor) override;
  std::size_t size() const { return modules_.size(); }
  // Errors where the index is out of range.
  AnyModule& operator[](ModuleIndex index) { return modules_[place(index)]; }
  const AnyModule& operator[](ModuleIndex index) const { return modules_[place(index)]; }
  // By index and type: net.layer<Linear>(-1).weight. An error where the element has another type.
  template <class M>
  M& layer(ModuleIndex index) {
    const std::size_t i = place(index);
    return modules_[i].as<M>(std::string("[") + kind_ + "] element " + std::to_string(i), index.where());
  }
  template <class M>
  const M& layer(ModuleIndex index) const {
    return const_cast<ModuleContainer&>(*this).layer<M>(index);
  }
  auto begin() { return modules_.begin(); }
  auto end() { return modules_.end(); }
  auto begin() const { return modules_.begin(); }
  auto end() const { return modules_.end(); }

 protected:
  explicit ModuleContainer(const char* kind) : kind_(kind) {}
  template <class M>
  void put(M&& module) {
    if constexpr (requires { module == nullptr; }) {
      if (module == nullptr) {
        throw Error(std::string("[") + kind_ + "] a layer is a function or pointer without a value");
      }
    }
    modules_.push_back(AnyModule(std::forward<M>(module)));
  }

 private:
  std::size_t place(ModuleIndex index) const;
  const char* kind_;
  std::vector<AnyModule> modules_;
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
