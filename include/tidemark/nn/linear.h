// Products with weights.
#pragma once

#include <cstdint>

#include "tidemark/nn/module.h"

namespace tidemark::nn {

struct LinearOptions {
  std::int64_t in = 0;
  std::int64_t out = 0;
  bool bias = true;
  float stddev = 0;  // 0: uniform within 1 / sqrt(in); else the weight is normal and the bias zero
};
class Linear : public Module {
 public:
  explicit Linear(const LinearOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [out, in]
  Tensor bias;    // [out], or undefined
};

}  // namespace tidemark::nn
