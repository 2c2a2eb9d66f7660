// Optimizers. Parameters, gradients and arithmetic are f32; the moments are kept in 16 bits where `state` is f16 (the
// default), with an exponent a block and a dither that follows from (seed, step, index) alone, so that the result does
// not depend on the number of threads and resumes exactly. docs/optimizer.md explains the format.
//
// Frozen parameters have no state until they are thawed, a parameter without a gradient is passed over, and tied
// parameters are one. Each parameter counts its own steps. A gradient that is not finite, or of 2^63 and more, and a
// parameter that an earlier step left not finite, throw Error naming it, before a single byte has changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tidemark/named_options.h"
#include "tidemark/parameter.h"
#include "tidemark/tensor.h"

#pragma GCC visibility push(default)
namespace tidemark {

class AnyOp;
class Session;

namespace optim {

struct State;

// Parameters that are treated in another way than the rest:
//
//   AdamW optimizer(net.parameters(), {.lr = 1e-3f, .groups = {{.pattern = "*.bias", .weight_decay = 0},
//                                                              {.pattern = "head.*", .lr = 1e-2f}}});
//
// What is not given is as for the rest. A pattern that matches nothing, a parameter of two groups, and a value that the
// optimizer does not have are errors.
struct Group {
  std::string pattern = {};                // of names, as in parameter.h
  std::vector<Parameter> parameters = {};  // where given: these, and `pattern` is only the group's name
  std::optional<float> lr = {};
  std::optional<float> momentum = {};
  std::optional<float> beta1 = {};
  std::optional<float> beta2 = {};
  std::optional<float> eps = {};
  std::optional<float> weight_decay = {};
};

// The values that hold for one parameter; 0 for those that the optimizer does not have.
struct Settings {
  float lr = 0, momentum = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0;
};

struct Health;

struct MinimizeOptions {
  enum class Check : std::uint8_t { kEach, kWhole };
  Check check = Check::kEach;
  // As by clip_grad_value() and clip_grad_norm(), in this order; 0: not at all. Clipping needs all gradients at once,
  // as Check::kWhole does: Optimizer::gradient_bytes() more than without.
  float clip_value = 0;
  float clip_norm = 0;
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
  // A BudgetError, and a loss that is not finite, change no parameter, no state and no running statistic, and gradients
  // of earlier calls stay. The one exception to that rule: a gradient that turns out not to be finite inside the pass
  // stops it there. The Error names what has been updated by then, and the optimizer refuses further steps until those
  // parameters and their state have been assigned again.
  //
  // `.check = Check::kWhole` looks at all gradients before the first update, at the price of their bytes, and has no
  // such case. There, and with clipping, gradients of earlier calls are lost where the budget or a gradient that is not
  // finite stops the step after this pass had added to them; the Error says so. Beside its gradients it may get by with
  // less: once a parameter is updated, what was computed from it cannot be computed again, so that values of that kind
  // which the program holds (computed under NoGrad, say) take their bytes from the first update of the pass on.
  void minimize(const Tensor& loss, const MinimizeOptions& options = {},
                SourceLocation where = SourceLocation::current());
  void zero_grad(SourceLocation where = SourceLocation::current());
  // Of all gradients together, to be known before the first step: what a pass that looks at all of them takes. Those of
  // tables that are read with .sparse = true are counted whole.
  std::int64_t gradient_bytes() const;

  // What may change between steps; no step is planned anew for it. `group` is a group's pattern; empty: the parameters
  // of no group.
  float lr() const { return sets_.front().now.lr; }
  Settings settings(std::string_view group = {}, SourceLocation where = SourceLocation::current()) const;
  // Of all parameters. A group with a rate of its own keeps its proportion to the rest.
  void set_lr(float lr, SourceLocation where = SourceLocation::current());
  // The momentum of all parameters, or beta1 where the optimizer has that in its place.
  void set_momentum(float momentum, SourceLocation where = SourceLocation::current());
  // What is given, for the group of that pattern.
  void set(const Group& changes, SourceLocation where = SourceLocation::current());

  // Steps taken by this optimizer. Set it when a run is resumed: every parameter's own count becomes this, too.
  std::int64_t steps() const { return steps_; }
  void set_steps(std::int64_t steps, SourceLocation where = SourceLocation::current());
  // Of each parameter, which differ where one was frozen or had no gradient for a while: what bias correction and
  // dither count. In the order in which the parameters were given.
  std::vector<std::int64_t> step_counts() const;
  void set_step_counts(std::span<const std::int64_t> counts, SourceLocation where = SourceLocation::current());
  // What the optimizer remembers, one tensor of bytes a parameter, to be saved and assigned again: a run that is
  // resumed with these, its parameters, steps(), step_counts() and the session's seed goes on as if it had never
  // stopped.
  std::vector<Parameter> state() const;
  // Makes the state that frozen parameters do not have yet. Where a part was thawed on the way, or is frozen by now, a
  // resumed run calls this before it assigns what was saved.
  void make_all_state(SourceLocation where = SourceLocation::current());

  // What checkpoint.h saves. Counters and settings (rates, momenta) as numbers; and for each parameter, in the order in
  // which state() has them, its state, undefined where it was not made.
  std::vector<double> numbers() const;
  void set_numbers(std::span<const double> numbers, SourceLocation where = SourceLocation::current());
  std::vector<Parameter> all_state() const;
  // Whether the state of parameter `index` can have so many bytes: those of tables that are read with .sparse = true
  // have more. And making it so.
  bool state_fits(std::size_t index, std::int64_t bytes) const;
  void make_state(std::size_t index, std::int64_t bytes, SourceLocation where = SourceLocation::current());

 protected:
  struct Config {
    const char* kind = nullptr;  // the optimizer's name, for messages
    Group defaults = {};         // the values that it has, for parameters of no group
    std::vector<Group> groups = {};
    DType state = f16;
    // How many moments it keeps of a parameter.
    std::function<int(const Settings&)> moments = [](const Settings&) { return 0; };
  };
  Optimizer(const Config& config, const std::vector<Parameter>& parameters, SourceLocation where);

  // The op that takes {parameter, gradient, state (where there is one)} and updates the first and the last.
  virtual std::shared_ptr<const AnyOp> update(std::uint64_t slot) const = 0;
  // Why a step changes every row of this parameter, also of a table whose gradient has a few rows (sparse_grad.h);
  // empty where it changes these rows alone.
  virtual std::string why_every_row(std::uint64_t slot) const;
  // What it is made of, with optim/update.h.
  template <class Step, bool (*kKernel)(const Step&, std::int64_t, float*, const float*, const State&, int)>
  friend std::shared_ptr<const AnyOp> update_op(const Optimizer& optimizer, std::uint64_t slot, Step step);
  const Settings& settings_of(std::uint64_t slot) const { return sets_[slots_[slot].set].now; }
  std::int64_t steps_of(std::uint64_t slot) const { return slots_[slot].steps; }  // with the one under way
  std::uint64_t seed() const { return seed_; }
  int moments_of(std::uint64_t slot) const { return sets_[slots_[slot].set].moments; }

 private:
  // A parameter and what the optimizer remembers about it, packed as optim/kernels.h says; undefined: nothing.
  struct Slot {
    Tensor parameter;
    std::string name;
    Tensor state;
    std::int64_t width = 0;  // of a table's rows, where the state's blocks begin with them
    std::size_t set = 0;     // of sets_
    std::int64_t steps = 0;  // of its own
    std::shared_ptr<Health> health;
  };
  // The values of a group, the first of parameters in none.
  struct Set {
    std::string name;
    Settings now;
    std::optional<double> proportion;  // of its learning rate to that of the first
    int moments = 0;
  };

  // --- groups.cc
  void make_sets(const Config& config, const std::vector<Parameter>& parameters, SourceLocation where);
  std::size_t find_set(std::string_view group, SourceLocation where) const;
  void change(Set& set, const Group& changes, SourceLocation where) const;
  // --- optimizer.cc
  void check_count(std::int64_t steps, SourceLocation where) const;
  [[noreturn]] void fail(const std::string& text, SourceLocation where) const;
  void make_state(Slot& slot, SourceLocation where) const;
  void check_tables(SourceLocation where);
  void check_parameters(Session& session, SourceLocation where);
  void check_gradients(Session& session, std::span<const Tensor> gradients, std::span<const std::size_t> slots,
                       SourceLocation where) const;

  // --- minimize.cc
  void minimize_whole(const Tensor& loss, const MinimizeOptions& options, SourceLocation where);
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
  Group has_;  // the values that the optimizer has
  std::function<int(const Settings&)> moments_;
  DType state_;
  std::vector<Set> sets_;
  std::vector<Slot> slots_;  // those that were frozen when the optimizer was made are the last
  std::uint64_t seed_ = 0;
  std::int64_t steps_ = 0;
  bool stepped_ = false;  // there was a gradient once
};

struct SGDOptions {
  float lr = 0.01f;
  float momentum = 0;
  bool nesterov = false;
  float weight_decay = 0;
  DType state = f16;
  std::vector<Group> groups = {};
};
// g += weight_decay p;  m = momentum m + g;  p -= lr m, or lr (g + momentum m) with Nesterov's momentum.
class SGD final : public Optimizer {
 public:
  explicit SGD(const std::vector<Parameter>& parameters, const SGDOptions& options = {},
               SourceLocation where = SourceLocation::current());

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override;
  std::string why_every_row(std::uint64_t slot) const override;
  SGDOptions options_;
};

struct AdamWOptions {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.01f;
  DType state = f16;
  std::vector<Group> groups = {};
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

struct AdamOptions {
  float lr = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0;
  DType state = f16;
  std::vector<Group> groups = {};
};
// AdamW without its decay, of gradients g += weight_decay p.
class Adam final : public Optimizer {
 public:
  explicit Adam(const std::vector<Parameter>& parameters, const AdamOptions& options = {},
                SourceLocation where = SourceLocation::current());

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override;
  std::string why_every_row(std::uint64_t slot) const override;
  AdamOptions options_;
};

struct AdagradOptions {
  float lr = 0.01f;
  float lr_decay = 0;
  float weight_decay = 0;
  float initial_accumulator_value = 0;
  float eps = 1e-10f;
  DType state = f16;
  std::vector<Group> groups = {};
};
// g += weight_decay p;  sum += g^2;  p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(sum) + eps)
class Adagrad final : public Optimizer {
 public:
  explicit Adagrad(const std::vector<Parameter>& parameters, const AdagradOptions& options = {},
                   SourceLocation where = SourceLocation::current());

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override;
  std::string why_every_row(std::uint64_t slot) const override;
  AdagradOptions options_;
};

struct RMSpropOptions {
  float lr = 0.01f;
  float alpha = 0.99f;
  float eps = 1e-8f;
  float weight_decay = 0;
  float momentum = 0;
  bool centered = false;
  DType state = f16;
  std::vector<Group> groups = {};
};
// g += weight_decay p;  v = alpha v + (1 - alpha) g^2, less the square of the average gradient where centered;
// m = momentum m + g / (sqrt(v) + eps);  p -= lr m
class RMSprop final : public Optimizer {
 public:
  explicit RMSprop(const std::vector<Parameter>& parameters, const RMSpropOptions& options = {},
                   SourceLocation where = SourceLocation::current());

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override;
  RMSpropOptions options_;
};

struct LionOptions {
  float lr = 1e-4f;
  float beta1 = 0.9f;
  float beta2 = 0.99f;
  float weight_decay = 0;
  DType state = f16;
  std::vector<Group> groups = {};
};
// p = (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g);  m = beta2 m + (1 - beta2) g
class Lion final : public Optimizer {
 public:
  explicit Lion(const std::vector<Parameter>& parameters, const LionOptions& options = {},
                SourceLocation where = SourceLocation::current());

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override;
  LionOptions options_;
};

// An optimizer that can be chosen by name; every one has an option "lr". Defaults are those of its type.
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
#pragma GCC visibility pop
