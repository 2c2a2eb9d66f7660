#include "tidemark/nn/embedding.h"

#include <algorithm>
#include <string>

#include "nn/checks.h"
#include "tidemark/op.h"
#include "tidemark/session.h"
#include "tidemark/sparse_grad.h"

namespace tidemark::nn {
namespace {

// Zeros in one row of a leaf, in place: a table may be too large for a copy.
struct ClearRow {
  static constexpr std::string_view name = "clear_row";
  std::int64_t row;

  void describe(Attributes& a) const { a("row", row); }
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const {
    Prepared out;
    out.updates = {0};
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const {
    const std::int64_t width = in[0].shape()[1];
    std::fill_n(in[0].as<>() + row * width, width, 0.0f);
  }
};

template <class Options>
Tensor table(const Options& options, const char* layer, const char* name, SourceLocation where) {
  require_positive(options.count, layer, ".count", where);
  require_positive(options.width, layer, ".width", where);
  const Tensor weight = normal({options.count, options.width}, 0, options.stddev, where);
  if (options.padding) {
    const std::int64_t row = *options.padding < 0 ? *options.padding + options.count : *options.padding;
    require(row >= 0 && row < options.count, layer,
            ".padding must be from -" + std::to_string(options.count) + " to below " + std::to_string(options.count) +
                ", but is " + std::to_string(*options.padding),
            where);
    const NoGrad no_grad;
    (void)apply_all(any_op(ClearRow{row}), {&weight, 1}, where);
  }
  // Before an optimizer makes its state.
  if (options.sparse) tidemark::detail::set_read_sparsely(weight);
  return parameter(weight, name, where);
}

}  // namespace

Embedding::Embedding(const EmbeddingOptions& options, SourceLocation where)
    : weight(table(options, "Embedding", "embedding.weight", where)),
      options_{.padding = options.padding, .sparse = options.sparse} {}

void Embedding::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

Tensor Embedding::operator()(const Tensor& indices, SourceLocation where) const {
  return embedding(indices, weight, options_, where);
}

EmbeddingBag::EmbeddingBag(const EmbeddingBagOptions& options, SourceLocation where)
    : weight(table(options, "EmbeddingBag", "embedding_bag.weight", where)),
      options_{.mode = options.mode,
               .padding = options.padding,
               .include_last_offset = options.include_last_offset,
               .sparse = options.sparse} {}

void EmbeddingBag::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

Tensor EmbeddingBag::operator()(const Tensor& indices, const Tensor& offsets, const Tensor& per_sample_weights,
                                SourceLocation where) const {
  tidemark::EmbeddingBagOptions options = options_;
  options.per_sample_weights = per_sample_weights;
  return embedding_bag(indices, weight, offsets, options, where);
}

}  // namespace tidemark::nn
