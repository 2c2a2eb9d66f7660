// Products with weights.
#pragma once

#include <cstdint>

#include "tidemark/nn/module.h"

#pragma GCC visibility push(default)
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

struct BilinearOptions {
  std::int64_t in1 = 0;
  std::int64_t in2 = 0;
  std::int64_t out = 0;
  bool bias = true;
};
class Bilinear : public Module {
 public:
  explicit Bilinear(const BilinearOptions& options, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x1, const Tensor& x2, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [out, in1, in2]
  Tensor bias;    // [out], or undefined
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
