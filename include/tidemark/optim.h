// Optimizers. Parameters, gradients and arithmetic are f32; the moments are kept in 16 bits where `state` is f16 (the
// default), with an exponent a block and a dither that follows from (seed, step, index) alone, so that the result does
// not depend on the number of threads and resumes exactly. docs/optimizer.md explains the format.
//
// Frozen parameters have no state, a parameter without a gradient is passed over, and tied parameters are one. A
// gradient that is not finite, or of 2^63 and more, throws Error naming the parameter, before a single byte has
// changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/named_options.h"
#include "tidemark/parameter.h"
#include "tidemark/tensor.h"

namespace tidemark {

class AnyOp;

namespace optim {

struct MinimizeOptions {
  enum class Check : std::uint8_t { kEach, kWhole };
  Check check = Check::kEach;
};

class Optimizer {
 public:
  virtual ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // Changes the parameters by their gradients and ends the session's step. Throws Error where none of them had a
  // gradient yet.
  void step(SourceLocation where = SourceLocation::current());
  // backward() and step() in one pass, with the same bits: each parameter is updated as soon as its gradient is whole,
  // and the gradient is gone then, so that never all of them live at once. Gradients that earlier calls of backward()
  // left count, and are gone afterwards too. Other parameters than this optimizer's get no gradient.
  //
  // A BudgetError, and a loss that is not finite, change nothing. The one exception to that rule: a gradient that turns
  // out not to be finite inside the pass stops it there. The Error names what has been updated by then, and the
  // optimizer refuses further steps until those parameters and their state have been assigned again.
  // `.check = Check::kWhole` looks at all gradients before the first update, at the price of their bytes, and has no
  // such case.
  void minimize(const Tensor& loss, const MinimizeOptions& options = {},
                SourceLocation where = SourceLocation::current());
  void zero_grad();
  float lr() const { return lr_; }
  void set_lr(float lr, SourceLocation where = SourceLocation::current());
  // Steps taken by this optimizer: what bias correction and dither count. Set it when a run is resumed.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps, SourceLocation where = SourceLocation::current());
  // What the optimizer remembers, one tensor of bytes a parameter, to be saved and assigned again: a run that is
  // resumed with these, its parameters, steps() and the session's seed goes on as if it had never stopped.
  std::vector<Parameter> state() const;

 protected:
  // `kind` is the optimizer's name, for messages; its state holds this many moments a parameter, in f16 or f32.
  Optimizer(const char* kind, const std::vector<Parameter>& parameters, float lr, int moments, DType state,
            SourceLocation where);

  // The op that takes {parameter, gradient, state (where there is one)} and updates the first and the last.
  virtual std::shared_ptr<const AnyOp> update(std::uint64_t slot) const = 0;
  std::uint64_t seed() const { return seed_; }

 private:
  // A parameter and what the optimizer remembers about it, packed as optim/kernels.h says; undefined: nothing.
  struct Slot {
    Tensor parameter;
    std::string name;
    Tensor state;
  };

  void check_frozen(SourceLocation where) const;
  void minimize_whole(const Tensor& loss, SourceLocation where);
  // Throws Error where a pass broke off and what it had updated was not assigned again.
  void check_whole(SourceLocation where);

  // What a pass that broke off had updated, and how often each had been assigned by then.
  struct Broken {
    std::size_t slot = 0;
    std::int64_t parameter = 0;
    std::int64_t state = 0;
  };

  std::string kind_;
  std::vector<Broken> broken_;
  std::vector<Slot> slots_;
  std::vector<Slot> frozen_;  // when the optimizer was made
  std::uint64_t seed_ = 0;
  float lr_;
  std::int64_t steps_ = 0;
  bool stepped_ = false;  // there was a gradient once
};

struct SGDOptions {
  float lr = 0.01f;
  float momentum = 0;
  bool nesterov = false;
  float weight_decay = 0;
  DType state = f16;
};
// g += weight_decay p;  m = momentum m + g;  p -= lr m, or lr (g + momentum m) with Nesterov's momentum.
class SGD final : public Optimizer {
 public:
  explicit SGD(const std::vector<Parameter>& parameters, const SGDOptions& options = {},
               SourceLocation where = SourceLocation::current());

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override;
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
// m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
// p = (1 - lr weight_decay) p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
class AdamW final : public Optimizer {
 public:
  explicit AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options = {},
                 SourceLocation where = SourceLocation::current());

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override;
  AdamWOptions options_;
};

// An optimizer that can be chosen by name; every one has an option "lr".
struct NamedOptimizer {
  std::string name;
  std::vector<NamedOption> options;
  std::unique_ptr<Optimizer> (*make)(const std::vector<Parameter>& parameters, const NamedValues& values, DType state,
                                     SourceLocation where) = nullptr;
};

// All of them, in the order in which they are listed to people.
const std::vector<NamedOptimizer>& optimizers();
// make_optimizer("sgd", net.parameters(), {{"momentum", 0.9}})
std::unique_ptr<Optimizer> make_optimizer(std::string_view name, const std::vector<Parameter>& parameters,
                                          const NamedValues::Given& given = {}, DType state = f16,
                                          SourceLocation where = SourceLocation::current());

}  // namespace optim
}  // namespace tidemark
