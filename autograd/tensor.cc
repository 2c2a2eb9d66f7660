// The public face of values: handles, leaves, and the functions that make them.
#include "tidemark/tensor.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "autograd/check.h"
#include "autograd/elements.h"
#include "autograd/engine.h"
#include "compute/philox.h"
#include "compute/sparse_rows.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

using detail::Access;
using detail::Engine;
using detail::Handle;

Handle* checked(const Tensor& tensor, std::string_view what, SourceLocation where) {
  Handle* handle = Access::handle(tensor);
  if (handle == nullptr) {
    throw Error(absl::StrCat("[", std::string(what), "] the tensor is undefined (at ", to_string(where), ")"));
  }
  return handle;
}

Engine& engine_of(Handle* handle, std::string_view what, SourceLocation where) {
  if (handle->engine == nullptr) {
    throw Error(absl::StrCat("[", std::string(what), "] the tensor's session has ended (at ", to_string(where), ")"));
  }
  return *handle->engine;
}

Handle* leaf(const Tensor& tensor, std::string_view what, SourceLocation where) {
  Handle* handle = checked(tensor, what, where);
  if (!handle->leaf) {
    throw Error(absl::StrCat("[", std::string(what), "] only leaves have this; the value was computed at ",
                             to_string(handle->where), " (at ", to_string(where), ")"));
  }
  return handle;
}

void check_count(const Handle& handle, std::int64_t count, std::string_view what, SourceLocation where) {
  const std::int64_t has = handle.meta.shape.numel();
  if (count == has) return;
  throw ShapeError(absl::StrCat("[", std::string(what), "] a tensor of shape ", handle.meta.shape.to_string(), " has ",
                                has, " elements, not ", count, " (at ", to_string(where), ")"));
}

void retain(Handle* handle) {
  if (handle != nullptr) ++handle->refs;
}

void release(Handle* handle) {
  if (handle == nullptr || --handle->refs > 0) return;
  if (handle->engine != nullptr) {
    handle->engine->handle_died(handle);
  } else {
    release(handle->grad);
    delete handle;
  }
}

// Of the current session.
Tensor new_leaf(const Meta& meta, Category category, std::string_view name, std::string_view what,
                SourceLocation where) {
  Engine& engine = Session::current().engine();
  return engine.call(what, where, [&] { return engine.new_leaf(meta, category, name, where); });
}

bool& deferred() {
  thread_local bool on = false;
  return on;
}

// One with initial elements.
Tensor new_leaf(const Meta& meta, std::string_view what, SourceLocation where) {
  if (!deferred()) return new_leaf(meta, Category::kBatch, "", what, where);
  Engine& engine = Session::current().engine();
  return engine.call(what, where, [&] { return engine.new_deferred(meta, where); });
}

// Where they are written to; null in a dry run, and under DeferredInit.
void* initial_elements(const Tensor& leaf) {
  Engine& engine = Session::current().engine();
  const Handle* handle = Access::handle(leaf);
  return engine.options().dry_run || handle->source != nullptr ? nullptr : engine.leaf_data(handle);
}

Tensor filled(const Shape& shape, DType dtype, const void* elements, std::size_t count, SourceLocation where) {
  const Meta meta = detail::plain_meta("tensor", shape, dtype, where);
  if (static_cast<std::int64_t>(count) != shape.numel()) {
    throw ShapeError(absl::StrCat("[tensor] shape ", shape.to_string(), " has ", shape.numel(), " elements, ", count,
                                  " are given (at ", to_string(where), ")"));
  }
  Tensor out = new_leaf(meta, "tensor", where);
  void* const to = initial_elements(out);
  if (to != nullptr && count > 0) std::memcpy(to, elements, count * static_cast<std::size_t>(size_of(dtype)));
  return out;
}

void clear(const Tensor& leaf) {
  void* const to = initial_elements(leaf);
  if (to != nullptr) std::memset(to, 0, static_cast<std::size_t>(Access::handle(leaf)->meta.bytes));
}

// The elements of a new leaf; none in a dry run.
std::span<float> to_draw(const Tensor& leaf) {
  auto* const to = static_cast<float*>(initial_elements(leaf));
  if (to == nullptr) return {};
  return {to, static_cast<std::size_t>(Access::handle(leaf)->meta.shape.numel())};
}

}  // namespace

Tensor::Tensor(const Tensor& other) : handle_(other.handle_) { retain(handle_); }

Tensor& Tensor::operator=(const Tensor& other) {
  Tensor copy(other);
  std::swap(handle_, copy.handle_);
  return *this;
}

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  if (this != &other) release(std::exchange(handle_, std::exchange(other.handle_, nullptr)));
  return *this;
}

Tensor::~Tensor() { release(handle_); }

const Shape& Tensor::shape(SourceLocation where) const { return checked(*this, "shape", where)->meta.shape; }
DType Tensor::dtype(SourceLocation where) const { return checked(*this, "dtype", where)->meta.dtype; }
bool Tensor::requires_grad(SourceLocation where) const { return checked(*this, "requires_grad", where)->requires_grad; }
bool Tensor::is_leaf(SourceLocation where) const { return checked(*this, "is_leaf", where)->leaf; }

std::int64_t Tensor::size(int dim, SourceLocation where) const {
  const Shape& shape = checked(*this, "size", where)->meta.shape;
  try {
    return shape[dim];
  } catch (const ShapeError&) {
    detail::rethrow_at("size", where);
  }
}

bool Tensor::is_resident(SourceLocation where) const {
  Handle* handle = checked(*this, "is_resident", where);
  Engine& engine = engine_of(handle, "is_resident", where);
  return engine.call("is_resident", where, [&] { return engine.is_resident(handle); });
}

Tensor& Tensor::set_requires_grad(bool on, SourceLocation where) {
  Handle* handle = leaf(*this, "set_requires_grad", where);
  if (on && handle->meta.dtype != f32) {
    throw Error(absl::StrCat("[set_requires_grad] only f32 values have gradients, this one is ",
                             to_string(handle->meta.dtype), " (at ", to_string(where), ")"));
  }
  Engine& engine = engine_of(handle, "set_requires_grad", where);
  engine.call("set_requires_grad", where, [&] { engine.set_requires_grad(handle, on, where); });
  return *this;
}

Tensor Tensor::grad(SourceLocation where) const {
  Handle* handle = leaf(*this, "grad", where);
  if (handle->engine != nullptr) handle->engine->check_call("grad", where);
  if (handle->grad != nullptr && compute::is_sparse_rows(handle->grad->meta.layout)) {
    throw Error(absl::StrCat("[grad] the gradient has some of the rows of ", handle->meta.shape.to_string(),
                             " only, because the table is used with .sparse = true; read it with sparse_grad() (at ",
                             to_string(where), ")"));
  }
  return handle->grad == nullptr ? Tensor() : Access::adopt(handle->grad);
}

void Tensor::zero_grad(SourceLocation where) {
  Handle* handle = leaf(*this, "zero_grad", where);
  Engine& engine = engine_of(handle, "zero_grad", where);
  engine.call("zero_grad", where, [&] { engine.zero_grad(handle); });
}

Tensor& Tensor::keep(SourceLocation where) {
  Handle* handle = checked(*this, "keep", where);
  handle->keep = true;
  if (handle->engine != nullptr) {
    handle->engine->check_call("keep", where);
    handle->engine->hint(handle, detail::Node::Hint::kKeep);
  }
  return *this;
}

Tensor& Tensor::recompute(SourceLocation where) {
  Handle* handle = checked(*this, "recompute", where);
  if (handle->engine != nullptr) {
    handle->engine->check_call("recompute", where);
    handle->engine->hint(handle, detail::Node::Hint::kRecompute);
  }
  return *this;
}

Tensor Tensor::detach(SourceLocation where) const {
  Handle* handle = checked(*this, "detach", where);
  Engine& engine = engine_of(handle, "detach", where);
  return engine.call("detach", where, [&] { return engine.detach(handle, where); });
}

void Tensor::backward(BackwardOptions options, SourceLocation where) const {
  tidemark::backward(std::span<const Tensor>(this, 1), options, where);
}

void backward(std::span<const Tensor> losses, BackwardOptions options, SourceLocation where) {
  if (losses.empty()) throw Error(absl::StrCat("[backward] no loss is given (at ", to_string(where), ")"));
  Engine& engine = engine_of(checked(losses.front(), "backward", where), "backward", where);
  engine.call("backward", where, [&] { engine.backward(losses, options, {}, where); });
}

void Tensor::read(void* out, std::int64_t count, ElementType type, SourceLocation where) const {
  Handle* handle = checked(*this, "read", where);
  Engine& engine = engine_of(handle, "read", where);
  engine.check_call("read", where);
  check_count(*handle, count, "read", where);
  const ElementType own = detail::element_type_of(handle->meta.dtype);
  const auto read = [&](void* to) { engine.call("read", where, [&] { engine.read(handle, to, where); }); };
  if (type == own) return read(out);
  std::vector<std::byte> elements(static_cast<std::size_t>(count * size_of(handle->meta.dtype)));
  read(elements.data());
  detail::convert_elements(elements.data(), own, out, type, count, "read", where);
}

void Tensor::write(const void* elements, std::int64_t count, ElementType type, SourceLocation where) {
  Handle* handle = leaf(*this, "assign", where);
  Engine& engine = engine_of(handle, "assign", where);
  engine.check_call("assign", where);
  check_count(*handle, count, "assign", where);
  const ElementType own = detail::element_type_of(handle->meta.dtype);
  const auto write = [&](const void* from) {
    const auto copy = [&](std::byte* bytes) { std::memcpy(bytes, from, static_cast<std::size_t>(handle->meta.bytes)); };
    engine.call("assign", where, [&] { engine.write(handle, copy, where); });
  };
  if (type == own) return write(elements);
  std::vector<std::byte> converted(static_cast<std::size_t>(count * size_of(handle->meta.dtype)));
  detail::convert_elements(elements, type, converted.data(), own, count, "assign", where);
  write(converted.data());
}

Session& Tensor::session(SourceLocation where) const {
  Engine& engine = engine_of(checked(*this, "session", where), "session", where);
  engine.check_call("session", where);
  return engine.session();
}

NoGrad::NoGrad() : before_(std::exchange(detail::grad_enabled(), false)) {}
NoGrad::~NoGrad() { detail::grad_enabled() = before_; }

bool detail::waits_for_elements(const Tensor& leaf) {
  const Handle* handle = Access::handle(leaf);
  return deferred() && handle->source != nullptr && !handle->source->read;
}

DeferredInit::DeferredInit() : before_(std::exchange(deferred(), true)) {}
DeferredInit::~DeferredInit() { deferred() = before_; }

Tensor zeros(const Shape& shape, DType dtype, SourceLocation where) {
  Tensor out = new_leaf(detail::plain_meta("zeros", shape, dtype, where), "zeros", where);
  clear(out);
  return out;
}

Tensor full(const Shape& shape, float value, SourceLocation where) {
  Tensor out = new_leaf(detail::plain_meta("full", shape, f32, where), "full", where);
  if (auto* const to = static_cast<float*>(initial_elements(out)); to != nullptr) {
    std::fill_n(to, shape.numel(), value);
  }
  return out;
}

Tensor tensor(std::span<const float> elements, const Shape& shape, SourceLocation where) {
  return filled(shape, f32, elements.data(), elements.size(), where);
}

Tensor tensor(std::span<const std::int32_t> elements, const Shape& shape, SourceLocation where) {
  return filled(shape, i32, elements.data(), elements.size(), where);
}

Tensor uniform(const Shape& shape, float low, float high, SourceLocation where) {
  if (!(std::isfinite(low) && std::isfinite(high) && low <= high && std::isfinite(high - low))) {
    throw Error(absl::StrCat("[uniform] the range from ", low, " to ", high, " is none; low must be at most high, and ",
                             "both finite (at ", to_string(where), ")"));
  }
  Tensor out = new_leaf(detail::plain_meta("uniform", shape, f32, where), "uniform", where);
  const std::span<float> elements = to_draw(out);
  compute::random_uniform(compute::philox_key(Session::current().engine().next_key()), 0,
                          static_cast<std::int64_t>(elements.size()), elements.data());
  for (float& element : elements) element = low + (high - low) * element;
  return out;
}

Tensor normal(const Shape& shape, float mean, float stddev, SourceLocation where) {
  if (!(std::isfinite(mean) && std::isfinite(stddev) && stddev >= 0)) {
    throw Error(absl::StrCat("[normal] mean ", mean, " and standard deviation ", stddev,
                             "; both must be finite, and the deviation 0 or more (at ", to_string(where), ")"));
  }
  Tensor out = new_leaf(detail::plain_meta("normal", shape, f32, where), "normal", where);
  const std::span<float> elements = to_draw(out);
  compute::random_normal(compute::philox_key(Session::current().engine().next_key()), 0,
                         static_cast<std::int64_t>(elements.size()), elements.data());
  for (float& element : elements) element = mean + stddev * element;
  return out;
}

Tensor parameter(const Tensor& initial, std::string_view name, SourceLocation where) {
  Handle* handle = leaf(initial, "parameter", where);
  if (handle->meta.dtype != f32) {
    throw Error(absl::StrCat("[parameter] a parameter is f32, this tensor is ", to_string(handle->meta.dtype), " (at ",
                             to_string(where), ")"));
  }
  Engine& engine = engine_of(handle, "parameter", where);
  engine.call("parameter", where, [&] { engine.make_parameter(handle, name, where); });
  return initial;
}

Tensor state(const Shape& shape, DType dtype, Category category, std::string_view name, SourceLocation where) {
  const Meta meta = detail::plain_meta("state", shape, dtype, where);
  Tensor out = new_leaf(meta, category, name, "state", where);
  clear(out);
  return out;
}

std::vector<Tensor> apply_all(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                              SourceLocation where) {
  if (op == nullptr)
    throw Error(absl::StrCat("[apply] there is no op: the pointer is null (at ", to_string(where), ")"));
  Handle* first = inputs.empty() ? nullptr : Access::handle(inputs.front());
  Engine& engine = first == nullptr ? Session::current().engine() : engine_of(first, op->name(), where);
  return engine.call(op->name(), where, [&] { return engine.apply(op, inputs, where); });
}

Tensor apply_one(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs, SourceLocation where) {
  std::vector<Tensor> outputs = apply_all(op, inputs, where);
  if (outputs.empty()) {
    throw Error(absl::StrCat("[", std::string(op->name()), "] it has no visible output; call apply_all (at ",
                             to_string(where), ")"));
  }
  return std::move(outputs.front());
}

}  // namespace tidemark
