// Layers one after another, modules in a list, and layers that pass the same elements on.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "tidemark/error.h"
#include "tidemark/nn/any_module.h"
#include "tidemark/nn/module.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

// Layers one after another. Copies share parameters, and each has its own training flags.
class Sequential : public ModuleContainer {
 public:
  Sequential() : ModuleContainer("Sequential") {}
  template <class First, class... Rest>
  requires((sizeof...(Rest) > 0 || !std::same_as<std::remove_cvref_t<First>, Sequential>)&&Layer<
           std::remove_cvref_t<First>>) explicit Sequential(First&& first, Rest&&... rest)
      : Sequential() {
    add(std::forward<First>(first));
    (add(std::forward<Rest>(rest)), ...);
  }

  template <class L>
  requires Layer<std::remove_cvref_t<L>> Sequential& add(L&& layer) {
    put(std::forward<L>(layer));
    return *this;
  }
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

// Modules of any types, which a model calls as it likes; of one type a std::vector does as well:
//   for (const AnyModule& block : blocks) x = block(x);
//   const LstmResult result = blocks.layer<LSTM>(0)(x, state);
// Copies are as those of Sequential.
class ModuleList : public ModuleContainer {
 public:
  ModuleList() : ModuleContainer("ModuleList") {}
  template <class First, class... Rest>
  requires(sizeof...(Rest) > 0 ||
           !std::same_as<std::remove_cvref_t<First>, ModuleList>) explicit ModuleList(First&& first, Rest&&... rest)
      : ModuleList() {
    add(std::forward<First>(first));
    (add(std::forward<Rest>(rest)), ...);
  }

  template <class M>
  requires(Visitable<std::remove_cvref_t<M>> || Layer<std::remove_cvref_t<M>>) ModuleList& add(M&& module) {
    put(std::forward<M>(module));
    return *this;
  }
};

// All dimensions but the first become one.
class Flatten : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct UnflattenOptions {
  int dim = 1;
  std::vector<std::int64_t> sizes = {};  // one may be -1: what is left
};
// One dimension becomes several.
class Unflatten : public Module {
 public:
  explicit Unflatten(const UnflattenOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  int dim_;
  Shape sizes_;
};

class Identity : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation /*where*/ = SourceLocation::current()) const { return x; }
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
