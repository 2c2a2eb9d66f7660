#include "tidemark/nn/embedding.h"

#include "nn/checks.h"
#include "tidemark/ops/embedding.h"
#include "tidemark/session.h"

namespace tidemark::nn {

Embedding::Embedding(const EmbeddingOptions& options, SourceLocation where) {
  require_positive(options.count, "Embedding", ".count", where);
  require_positive(options.width, "Embedding", ".width", where);
  weight = parameter(normal({options.count, options.width}, 0, options.stddev, where), "embedding.weight");
}

void Embedding::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

Tensor Embedding::operator()(const Tensor& indices, SourceLocation where) const {
  return embedding(indices, weight, where);
}

}  // namespace tidemark::nn
