// The public face of values: handles, leaves, and the functions that make them.
#include "tidemark/tensor.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

using detail::Access;
using detail::Engine;
using detail::Handle;

Handle* checked(const Tensor& tensor, const char* what) {
  Handle* handle = Access::handle(tensor);
  if (handle == nullptr) throw Error(absl::StrCat("[", what, "] the tensor is undefined"));
  return handle;
}

Engine& engine_of(Handle* handle, const char* what) {
  if (handle->engine == nullptr) throw Error(absl::StrCat("[", what, "] the tensor's session has ended"));
  return *handle->engine;
}

Handle* leaf(const Tensor& tensor, const char* what) {
  Handle* handle = checked(tensor, what);
  if (!handle->leaf) {
    throw Error(
        absl::StrCat("[", what, "] only leaves have this; the value was computed at ", to_string(handle->where)));
  }
  return handle;
}

void retain(Handle* handle) {
  if (handle != nullptr) ++handle->refs;
}

void release(Handle* handle) {
  if (handle == nullptr || --handle->refs > 0) return;
  if (handle->engine != nullptr) {
    try {
      handle->engine->handle_died(handle);
    } catch (const std::exception&) {
      // Called from destructors. The step is abandoned by then, and whoever uses a value of it is told why.
    }
  } else {
    release(handle->grad);
    delete handle;
  }
}

Tensor new_leaf(const Shape& shape, DType dtype, SourceLocation where) {
  for (std::int64_t dim : shape.dims()) {
    if (dim < 0)
      throw ShapeError(absl::StrCat("a shape cannot be ", shape.to_string(), " (at ", to_string(where), ")"));
  }
  return Session::current().engine().new_leaf(Meta::plain(shape, dtype), Category::kBatch, "", where);
}

Tensor filled(const Shape& shape, DType dtype, const void* elements, std::size_t count, SourceLocation where) {
  if (static_cast<std::int64_t>(count) != shape.numel()) {
    throw ShapeError(absl::StrCat("[tensor] shape ", shape.to_string(), " has ", shape.numel(), " elements, ", count,
                                  " are given (at ", to_string(where), ")"));
  }
  Tensor out = new_leaf(shape, dtype, where);
  Engine& engine = Session::current().engine();
  if (!engine.options().dry_run) {
    std::memcpy(engine.leaf_data(Access::handle(out)), elements, count * static_cast<std::size_t>(size_of(dtype)));
  }
  return out;
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

const Shape& Tensor::shape() const { return checked(*this, "shape")->meta.shape; }
DType Tensor::dtype() const { return checked(*this, "dtype")->meta.dtype; }
bool Tensor::requires_grad() const { return checked(*this, "requires_grad")->requires_grad; }
bool Tensor::is_leaf() const { return checked(*this, "is_leaf")->leaf; }

bool Tensor::is_resident() const {
  Handle* handle = checked(*this, "is_resident");
  return engine_of(handle, "is_resident").is_resident(handle);
}

Tensor& Tensor::set_requires_grad(bool on) {
  Handle* handle = leaf(*this, "set_requires_grad");
  if (on && handle->meta.dtype != f32) {
    throw Error(absl::StrCat("[set_requires_grad] only f32 values have gradients, this one is ",
                             to_string(handle->meta.dtype)));
  }
  engine_of(handle, "set_requires_grad").set_requires_grad(handle, on);
  return *this;
}

Tensor Tensor::grad() const {
  Handle* handle = leaf(*this, "grad");
  return handle->grad == nullptr ? Tensor() : Access::adopt(handle->grad);
}

void Tensor::zero_grad() {
  Handle* handle = leaf(*this, "zero_grad");
  engine_of(handle, "zero_grad").zero_grad(handle);
}

Tensor& Tensor::keep() {
  checked(*this, "keep")->keep = true;
  return *this;
}

Tensor Tensor::detach(SourceLocation where) const {
  Handle* handle = checked(*this, "detach");
  return engine_of(handle, "detach").detach(handle, where);
}

void Tensor::backward(BackwardOptions options, SourceLocation where) const {
  tidemark::backward(std::span<const Tensor>(this, 1), options, where);
}

void backward(std::span<const Tensor> losses, BackwardOptions options, SourceLocation where) {
  if (losses.empty()) throw Error(absl::StrCat("[backward] no loss is given (at ", to_string(where), ")"));
  engine_of(checked(losses.front(), "backward"), "backward").backward(losses, options, where);
}

void Tensor::read(void* out, std::int64_t bytes, SourceLocation where) const {
  Handle* handle = checked(*this, "read");
  engine_of(handle, "read").read(handle, out, bytes, where);
}

void Tensor::write(const void* elements, std::int64_t bytes, SourceLocation where) {
  Handle* handle = checked(*this, "assign");
  engine_of(handle, "assign").write(handle, elements, bytes, where);
}

Session& Tensor::session() const { return engine_of(checked(*this, "session"), "session").session(); }

NoGrad::NoGrad() : before_(std::exchange(detail::grad_enabled(), false)) {}
NoGrad::~NoGrad() { detail::grad_enabled() = before_; }

Tensor zeros(const Shape& shape, DType dtype, SourceLocation where) {
  Tensor out = new_leaf(shape, dtype, where);
  Engine& engine = Session::current().engine();
  if (!engine.options().dry_run) {
    std::memset(engine.leaf_data(Access::handle(out)), 0, static_cast<std::size_t>(Access::handle(out)->meta.bytes));
  }
  return out;
}

Tensor full(const Shape& shape, float value, SourceLocation where) {
  Tensor out = new_leaf(shape, f32, where);
  Engine& engine = Session::current().engine();
  if (!engine.options().dry_run) {
    std::fill_n(static_cast<float*>(engine.leaf_data(Access::handle(out))), shape.numel(), value);
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
  Tensor out = new_leaf(shape, f32, where);
  Session::current().engine().fill_uniform(Access::handle(out), low, high);
  return out;
}

Tensor normal(const Shape& shape, float mean, float stddev, SourceLocation where) {
  Tensor out = new_leaf(shape, f32, where);
  Session::current().engine().fill_normal(Access::handle(out), mean, stddev);
  return out;
}

Tensor parameter(const Tensor& initial, std::string_view name) {
  Handle* handle = leaf(initial, "parameter");
  if (handle->meta.dtype != f32) throw Error("[parameter] a parameter is f32");
  engine_of(handle, "parameter").make_parameter(handle, name);
  return initial;
}

Tensor state(const Shape& shape, DType dtype, Category category, std::string_view name, SourceLocation where) {
  Engine& engine = Session::current().engine();
  Tensor out = engine.new_leaf(Meta::plain(shape, dtype), category, name, where);
  if (!engine.options().dry_run) {
    std::memset(engine.leaf_data(Access::handle(out)), 0, static_cast<std::size_t>(Access::handle(out)->meta.bytes));
  }
  return out;
}

std::vector<Tensor> apply_all(const std::shared_ptr<const AnyOp>& op, std::span<const Tensor> inputs,
                              SourceLocation where) {
  if (inputs.empty()) return Session::current().engine().apply(op, inputs, where);
  Handle* first = Access::handle(inputs.front());
  if (first == nullptr) return Session::current().engine().apply(op, inputs, where);
  return engine_of(first, "apply").apply(op, inputs, where);
}

}  // namespace tidemark
