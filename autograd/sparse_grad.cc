#include "tidemark/sparse_grad.h"

#include "absl/strings/str_cat.h"
#include "autograd/engine.h"
#include "compute/sparse_rows.h"

namespace tidemark {
namespace {

using detail::Access;
using detail::Handle;

// The leaf's gradient, or null.
Handle* gradient_of(const Tensor& leaf, std::string_view what, SourceLocation where) {
  const Handle* handle = Access::handle(leaf);
  const auto fail = [&](const char* text) {
    throw Error(absl::StrCat("[", std::string(what), "] ", text, " (at ", to_string(where), ")"));
  };
  if (handle == nullptr) fail("the tensor is undefined");
  if (!handle->leaf) fail("only leaves have gradients");
  if (handle->engine != nullptr) handle->engine->check_call(what, where);
  return handle->grad;
}

}  // namespace

bool grad_is_sparse(const Tensor& table, SourceLocation where) {
  const Handle* gradient = gradient_of(table, "grad_is_sparse", where);
  return gradient != nullptr && compute::is_sparse_rows(gradient->meta.layout);
}

SparseGrad sparse_grad(const Tensor& table, SourceLocation where) {
  Handle* gradient = gradient_of(table, "sparse_grad", where);
  if (gradient == nullptr || !compute::is_sparse_rows(gradient->meta.layout)) {
    throw Error(absl::StrCat(
        "[sparse_grad] ",
        gradient == nullptr ? "there is no gradient" : "the gradient has all rows of the table; read it with grad()",
        " (at ", to_string(where), ")"));
  }
  detail::Engine& engine = *gradient->engine;
  return engine.call("sparse_grad", where, [&] {
    SparseGrad out;
    if (engine.options().dry_run) return out;
    const compute::SparseRows rows = compute::sparse_rows_at(gradient->meta, engine.leaf_data(gradient));
    out.indices.assign(rows.places, rows.places + *rows.count);
    out.rows.assign(rows.rows, rows.rows + *rows.count * rows.width);
    return out;
  });
}

namespace detail {

Tensor stored_grad(const Tensor& leaf, SourceLocation where) {
  Handle* gradient = gradient_of(leaf, "grad", where);
  return gradient == nullptr ? Tensor() : Access::adopt(gradient);
}

bool is_read_sparsely(const Tensor& leaf) { return Access::handle(leaf)->sparse; }
void set_read_sparsely(const Tensor& leaf) { Access::handle(leaf)->sparse = true; }

}  // namespace detail
}  // namespace tidemark
