// Gradients of tables of which a step reads a few rows: embedding() and embedding_bag() with .sparse = true.
//
// Such a gradient takes the bytes of as many rows as there were indices, or as the table has where that is less, and an
// optimizer reads and changes those rows and their state alone. optim::Adam (then PyTorch's SparseAdam), optim::Adagrad
// and optim::SGD do that, without weight decay and momentum; other optimizers refuse such a table by name.
//
// Gradients of several backward passes, and of several uses in one program, add up to one of all their rows. Where
// another op uses the table too (an output projection that is tied to it), the gradient is one of all rows, as
// without .sparse: grad_is_sparse() says so, and the optimizer changes every row.
#pragma once

#include <cstdint>
#include <vector>

#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

// Whether the leaf has a gradient of some rows only, which grad() refuses to give.
bool grad_is_sparse(const Tensor& table, SourceLocation where = SourceLocation::current());

struct SparseGrad {
  std::vector<std::int32_t> indices;  // of the table's rows, ascending, each once
  std::vector<float> rows;            // [indices.size(), width]
};
// Throws Error where the table has no gradient, or one of all rows: that is grad().
SparseGrad sparse_grad(const Tensor& table, SourceLocation where = SourceLocation::current());

namespace detail {
// The gradient as it lies, for ops that know both kinds; undefined where there is none.
Tensor stored_grad(const Tensor& leaf, SourceLocation where);
// Whether some op reads the leaf with .sparse = true, and says that one is going to.
bool is_read_sparsely(const Tensor& leaf);
void set_read_sparsely(const Tensor& leaf);
}  // namespace detail

}  // namespace tidemark
#pragma GCC visibility pop
