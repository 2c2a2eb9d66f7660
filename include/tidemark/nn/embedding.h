// Rows of a table by index, and bags of them.
#pragma once

#include <cstdint>
#include <optional>

#include "tidemark/nn/module.h"
#include "tidemark/ops/embedding.h"

#pragma GCC visibility push(default)
namespace tidemark::nn {

struct EmbeddingOptions {
  std::int64_t count = 0;  // rows: the indices run from 0 to count - 1
  std::int64_t width = 0;
  // A row that starts as zeros and has no gradient; a negative one counts from the end.
  std::optional<std::int64_t> padding = {};
  bool sparse = false;  // gradients have the rows that were read, and no others: see sparse_grad.h
  float stddev = 1;
};
class Embedding : public Module {
 public:
  explicit Embedding(const EmbeddingOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& indices, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [count, width]

 private:
  tidemark::EmbeddingOptions options_;
};

struct EmbeddingBagOptions {
  using Mode = tidemark::EmbeddingBagOptions::Mode;
  std::int64_t count = 0;
  std::int64_t width = 0;
  Mode mode = Mode::kMean;
  std::optional<std::int64_t> padding = {};  // as of Embedding; its indices count for nothing
  bool include_last_offset = false;
  bool sparse = false;
  float stddev = 1;
};
class EmbeddingBag : public Module {
 public:
  explicit EmbeddingBag(const EmbeddingBagOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  // As embedding_bag().
  Tensor operator()(const Tensor& indices, const Tensor& offsets = {}, const Tensor& per_sample_weights = {},
                    SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [count, width]

 private:
  tidemark::EmbeddingBagOptions options_;
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
