// Activations as layers: functions of single elements, gates and softmax.
#pragma once

#include <cstdint>

#include "tidemark/nn/module.h"
#include "tidemark/ops/pointwise.h"

#pragma GCC visibility push(default)
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

class Sigmoid : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class LogSigmoid : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class Tanh : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class SiLU : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class Mish : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class SELU : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class ReLU6 : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class Hardswish : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class Hardsigmoid : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class Softsign : public Module {
 public:
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct LeakyReLUOptions {
  float slope = 0.01f;
};
class LeakyReLU : public Module {
 public:
  explicit LeakyReLU(const LeakyReLUOptions& options = {}) : slope_(options.slope) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  float slope_;
};

struct ELUOptions {
  float alpha = 1;
};
class ELU : public Module {
 public:
  explicit ELU(const ELUOptions& options = {}) : alpha_(options.alpha) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  float alpha_;
};

class CELU : public Module {
 public:
  explicit CELU(const ELUOptions& options = {}) : alpha_(options.alpha) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  float alpha_;
};

class Softplus : public Module {
 public:
  explicit Softplus(const SoftplusOptions& options = {}) : options_(options) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  SoftplusOptions options_;
};

class Hardtanh : public Module {
 public:
  explicit Hardtanh(const HardtanhOptions& options = {}) : options_(options) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  HardtanhOptions options_;
};

struct GLUOptions {
  int dim = -1;
};
class GLU : public Module {
 public:
  explicit GLU(const GLUOptions& options = {}) : dim_(options.dim) {}
  void visit(Visitor&) override {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

 private:
  int dim_;
};

class SwiGLU : public FunctionLayer<GLUOptions> {
 public:
  explicit SwiGLU(const GLUOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct SoftmaxOptions {
  int dim = -1;
};
class Softmax : public FunctionLayer<SoftmaxOptions> {
 public:
  explicit Softmax(const SoftmaxOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

class LogSoftmax : public FunctionLayer<SoftmaxOptions> {
 public:
  explicit LogSoftmax(const SoftmaxOptions& options = {}) : FunctionLayer(options) {}
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;
};

struct PReLUOptions {
  std::int64_t count = 1;  // of weights: 1, or one for each channel
  float init = 0.25f;
};
class PReLU : public Module {
 public:
  explicit PReLU(const PReLUOptions& options = {}, SourceLocation where = SourceLocation::current());
  void visit(Visitor& visitor) override;
  Tensor operator()(const Tensor& x, SourceLocation where = SourceLocation::current()) const;

  Tensor weight;  // [count]
};

}  // namespace tidemark::nn
#pragma GCC visibility pop
