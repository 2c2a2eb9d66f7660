// Layers one after another.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "tidemark/error.h"
#include "tidemark/nn/module.h"

namespace tidemark::nn {

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

// All dimensions but the first become one.
class Flatten : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

}  // namespace tidemark::nn
