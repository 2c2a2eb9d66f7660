// The similarity that cosine_embedding_loss is made of.
#pragma once

#include "tidemark/tensor.h"

namespace tidemark::ops {

// Along the last dimension, with 1e-12 added to each sum of squares.
Tensor similarity_of_embeddings(const Tensor& a, const Tensor& b, SourceLocation where);

}  // namespace tidemark::ops
