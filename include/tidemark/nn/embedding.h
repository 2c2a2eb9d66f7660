// Rows of a table by index.
#pragma once

#include <cstdint>

#include "tidemark/nn/module.h"

namespace tidemark::nn {

struct EmbeddingOptions {
  std::int64_t count = 0;  // rows: the indices run from 0 to count - 1
  std::int64_t width = 0;
  float stddev = 1;
};
class Embedding : public Module {
 public:
  explicit Embedding(const EmbeddingOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& indices, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [count, width]
};

}  // namespace tidemark::nn
