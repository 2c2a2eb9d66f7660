// Functions of single elements as layers.
#pragma once

#include "tidemark/nn/module.h"
#include "tidemark/ops/pointwise.h"

namespace tidemark::nn {

class ReLU : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class GELU : public Module {
 public:
  explicit GELU(const GeluOptions& options = {}) : options_(options) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  GeluOptions options_;
};

}  // namespace tidemark::nn
