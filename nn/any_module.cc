#include "tidemark/nn/any_module.h"

#include <cxxabi.h>

#include <cstdlib>

namespace tidemark::nn {
namespace {

// As it is written in C++.
std::string name_of(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(type.name(), nullptr, nullptr, &status),
                                                         &std::free);
  return text == nullptr ? type.name() : text.get();
}

}  // namespace

namespace detail {

void not_a_layer(const std::type_info& type, SourceLocation where) {
  throw Error("[AnyModule] " + name_of(type) +
              " does not map one tensor to one; reach it by its type, with as() or layer() (at " + to_string(where) +
              ")");
}

void wrong_type(const std::string& what, const std::type_info& is, const std::type_info& wanted, SourceLocation where) {
  throw Error(what + " is a " + name_of(is) + ", not a " + name_of(wanted) + " (at " + to_string(where) + ")");
}

}  // namespace detail

AnyModule::Concept& AnyModule::self(SourceLocation where) const {
  if (self_ == nullptr) throw Error("[AnyModule] it was moved from (at " + to_string(where) + ")");
  return *self_;
}

void ModuleContainer::visit(Visitor& visitor) {
  for (std::size_t i = 0; i < modules_.size(); ++i) visitor.child(std::to_string(i), modules_[i]);
}

std::size_t ModuleContainer::place(ModuleIndex index) const {
  const auto count = static_cast<std::int64_t>(modules_.size());
  const std::int64_t i = index.value() < 0 ? index.value() + count : index.value();
  if (i >= 0 && i < count) return static_cast<std::size_t>(i);
  throw Error(std::string("[") + kind_ + "] there is no element " + std::to_string(index.value()) + "; it has " +
              (count == 0 ? "none" : std::to_string(count) + ", from 0 to " + std::to_string(count - 1)) + " (at " +
              to_string(index.where()) + ")");
}

}  // namespace tidemark::nn
