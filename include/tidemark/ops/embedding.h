// Rows of a table by index.
#pragma once

#include "tidemark/tensor.h"

namespace tidemark {

// indices (i32) [...], table [V, D] -> [..., D]. An index outside [0, V) throws ShapeError when the kernel meets it.
Tensor embedding(const Tensor& indices, const Tensor& table, SourceLocation where = SourceLocation::current());

}  // namespace tidemark
