// Tensor: a cheap handle to a value of a session's tape.
//
// Holding a handle does not pin bytes: a value that was discarded is computed again when it is read. After something it
// depends on has changed (an optimizer step, a new batch in the same place) only leaves, values of at most
// kSmallBytes and values marked keep() can be read; others throw an Error that names both lines. This holds with and
// without a budget, so a program that runs unlimited runs under every feasible budget.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tidemark/elements.h"
#include "tidemark/error.h"
#include "tidemark/shape.h"

#pragma GCC visibility push(default)
namespace tidemark {

class Session;

// Values of at most this many bytes stay readable after what they depend on has changed.
inline constexpr std::int64_t kSmallBytes = 65536;
struct BackwardOptions {
  bool retain_graph = false;  // keep the nodes, so that another loss over them can go backward
};

namespace detail {
class [[gnu::visibility("hidden")]] Handle;
struct [[gnu::visibility("hidden")]] Access;

// An element of a list in braces: a number of any type.
class Number {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> Number(T value)  // NOLINT: converting by design
      : value_(static_cast<double>(value)), whole_(std::is_integral_v<T>) {}
  double value() const { return value_; }
  bool whole() const { return whole_; }
  std::int32_t integer(SourceLocation where) const {
    if (value_ < std::numeric_limits<std::int32_t>::min() || value_ > std::numeric_limits<std::int32_t>::max()) {
      throw Error("[tensor] i32 does not hold " + std::to_string(value_) +
                  "; write it as a floating-point number (at " + tidemark::to_string(where) + ")");
    }
    return static_cast<std::int32_t>(value_);
  }

 private:
  double value_;
  bool whole_;
};
}  // namespace detail

class Tensor {
 public:
  Tensor() = default;
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Tensor& operator=(const Tensor& other);
  Tensor& operator=(Tensor&& other) noexcept;
  ~Tensor();

  bool defined() const { return handle_ != nullptr; }
  // True for handles on one value: tied parameters.
  bool same(const Tensor& other) const { return handle_ == other.handle_; }
  const Shape& shape(SourceLocation where = SourceLocation::current()) const;
  std::int64_t size(int dim, SourceLocation where = SourceLocation::current()) const;
  std::int64_t numel(SourceLocation where = SourceLocation::current()) const { return shape(where).numel(); }
  DType dtype(SourceLocation where = SourceLocation::current()) const;
  bool requires_grad(SourceLocation where = SourceLocation::current()) const;
  bool is_leaf(SourceLocation where = SourceLocation::current()) const;
  // True where reading the value would not compute anything.
  bool is_resident(SourceLocation where = SourceLocation::current()) const;

  // Leaves only. A frozen parameter needs no gradient and no optimizer state: off gives the bytes of an accumulated
  // gradient back, as zero_grad() does, and on again it begins without one. (PyTorch keeps it.)
  Tensor& set_requires_grad(bool on, SourceLocation where = SourceLocation::current());
  // The accumulated gradient of a leaf: a leaf itself, or undefined before the first backward and after zero_grad.
  Tensor grad(SourceLocation where = SourceLocation::current()) const;
  // Gives the gradient's bytes back.
  void zero_grad(SourceLocation where = SourceLocation::current());
  // Stays readable after what it depends on has changed, whatever its size. To the planner this is a hint as well:
  // where there is a choice, the value stays in memory and others are computed again.
  Tensor& keep(SourceLocation where = SourceLocation::current());
  // The opposite hint: where the budget is short, the value is among the first to be discarded and computed again.
  // Hints change what a step costs, never a result.
  Tensor& recompute(SourceLocation where = SourceLocation::current());
  // The same value, cut off from the gradient.
  Tensor detach(SourceLocation where = SourceLocation::current()) const;

  // Computes gradients of all leaves that this scalar depends on, and adds them to what the leaves have. Where that is
  // refused or fails they have what they had before. Only where it had added to some by then, which it does in place,
  // the gradients of all leaves that it reaches are gone, and the error says so.
  void backward(BackwardOptions options = {}, SourceLocation where = SourceLocation::current()) const;

  // Copies elements out as numbers of type T (elements.h), in row-major order, computing the value again where it was
  // discarded.
  template <class T = float>
  std::vector<T> to_vector(SourceLocation where = SourceLocation::current()) const {
    std::vector<T> out(static_cast<std::size_t>(numel(where)));
    read(out.data(), static_cast<std::int64_t>(out.size()), element_type<T>(), where);
    return out;
  }
  // The element of a tensor that has one.
  template <class T = float>
  T item(SourceLocation where = SourceLocation::current()) const {
    T out{};
    read(&out, 1, element_type<T>(), where);
    return out;
  }
  // Overwrites a leaf's elements (row-major). What was computed from the old ones can no longer go backward.
  template <class T>
  void assign(std::span<const T> elements, SourceLocation where = SourceLocation::current()) {
    write(elements.data(), static_cast<std::int64_t>(elements.size()), element_type<T>(), where);
  }

  Session& session(SourceLocation where = SourceLocation::current()) const;

 private:
  friend struct detail::Access;
  explicit Tensor(detail::Handle* handle) : handle_(handle) {}
  void read(void* out, std::int64_t count, ElementType type, SourceLocation where) const;
  void write(const void* elements, std::int64_t count, ElementType type, SourceLocation where);
  detail::Handle* handle_ = nullptr;
};

// Several losses at once, over nodes that they may share.
void backward(std::span<const Tensor> losses, BackwardOptions options = {},
              SourceLocation where = SourceLocation::current());
inline void backward(std::initializer_list<Tensor> losses, BackwardOptions options = {},
                     SourceLocation where = SourceLocation::current()) {
  backward(std::span<const Tensor>(losses.begin(), losses.size()), options, where);
}

// While one lives, ops of this thread record no gradient, and their values are never discarded or computed again.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

// While one lives, the leaves that the functions below make in this thread have a shape, and neither elements nor
// bytes: for models whose weights are loaded next, also ones that are larger than the budget. Random keys are drawn as
// ever.
//
//   std::optional<Net> net;
//   {
//     const td::DeferredInit deferred;
//     net.emplace();
//   }
//   td::load(*net, "net.safetensors");
//
// An op that reads such a leaf before it is loaded or assigned is an Error.
class DeferredInit {
 public:
  DeferredInit();
  ~DeferredInit();
  DeferredInit(const DeferredInit&) = delete;
  DeferredInit& operator=(const DeferredInit&) = delete;

 private:
  bool before_;
};

// Leaves, in the current session.
Tensor zeros(const Shape& shape, DType dtype = f32, SourceLocation where = SourceLocation::current());
Tensor full(const Shape& shape, float value, SourceLocation where = SourceLocation::current());
// Row-major elements; their number must be shape.numel().
Tensor tensor(std::span<const float> elements, const Shape& shape, SourceLocation where = SourceLocation::current());
Tensor tensor(std::span<const std::int32_t> elements, const Shape& shape,
              SourceLocation where = SourceLocation::current());
// Numbers in braces: i32 where all are of integer types, else f32. An integer that i32 does not hold throws Error.
inline Tensor tensor(std::initializer_list<detail::Number> elements, const Shape& shape,
                     SourceLocation where = SourceLocation::current()) {
  bool whole = elements.size() > 0;
  for (const detail::Number& element : elements) whole = whole && element.whole();
  if (whole) {
    std::vector<std::int32_t> integers;
    for (const detail::Number& element : elements) integers.push_back(element.integer(where));
    return tensor(std::span<const std::int32_t>(integers), shape, where);
  }
  std::vector<float> floats;
  for (const detail::Number& element : elements) floats.push_back(static_cast<float>(element.value()));
  return tensor(std::span<const float>(floats), shape, where);
}
// Drawn from the session's seed: uniform over [low, high), and normal.
Tensor uniform(const Shape& shape, float low, float high, SourceLocation where = SourceLocation::current());
Tensor normal(const Shape& shape, float mean, float stddev, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
#pragma GCC visibility pop
