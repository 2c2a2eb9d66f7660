// Optimizers. Parameters, gradients and arithmetic are f32; the moments are kept in 16 bits where `state` is f16 (the
// default), with an exponent a block and a dither that follows from (seed, step, index) alone, so that the result does
// not depend on the number of threads and resumes exactly. docs/optimizer.md explains the format.
//
// Frozen parameters have no state, a parameter without a gradient is passed over, and tied parameters are one. A
// gradient that is not finite throws Error naming the parameter, before a single byte has changed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tidemark/parameter.h"
#include "tidemark/tensor.h"

namespace tidemark::optim {

class Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Changes the parameters by their gradients and ends the session's step.
  void step(SourceLocation where = SourceLocation::current());
  void zero_grad();
  float lr() const { return lr_; }
  void set_lr(float lr);
  // Steps taken by this optimizer: what bias correction and dither count. Set it when a run is resumed.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps) { steps_ = steps; }

 protected:
  // A parameter and what the optimizer remembers about it.
  struct Slot {
    Tensor parameter;
    std::string name;
    std::vector<Tensor> moments;  // values, and in f16 their exponents after them
  };
  Optimizer(const std::vector<Parameter>& parameters, float lr, SourceLocation where);

  // One f32 tensor, or f16 values and a byte for each block of them.
  void add_moment(DType state, const char* name, SourceLocation where);
  // Records the op that updates one parameter.
  virtual void update(Slot& slot, std::uint64_t index, const Tensor& gradient, SourceLocation where) = 0;

  std::vector<Slot> slots_;
  std::uint64_t seed_ = 0;

 private:
  float lr_;
  std::int64_t steps_ = 0;
};

struct SGDOptions {
  float lr = 0.01f;
  float momentum = 0;
  bool nesterov = false;
  float weight_decay = 0;
  DType state = f16;
};
class SGD final : public Optimizer {
 public:
  SGD(const std::vector<Parameter>& parameters, const SGDOptions& options = {},
      SourceLocation where = SourceLocation::current());

 private:
  void update(Slot& slot, std::uint64_t index, const Tensor& gradient, SourceLocation where) override;
  SGDOptions options_;
};

struct AdamWOptions {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.01f;
  DType state = f16;
};
class AdamW final : public Optimizer {
 public:
  AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options = {},
        SourceLocation where = SourceLocation::current());

 private:
  void update(Slot& slot, std::uint64_t index, const Tensor& gradient, SourceLocation where) override;
  AdamWOptions options_;
};

}  // namespace tidemark::optim
