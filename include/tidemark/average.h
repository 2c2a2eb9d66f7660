// Averages of a model's weights, which often do better than the weights of any one step.
//
//   optim::ExponentialAverage average(net.parameters(), {.decay = 0.999f});
//   for (...) { ...; optimizer.step(); average.update(); }
//   average.exchange();  // the model has the averages, and the average keeps the weights
//   evaluate(net);
//   average.exchange();  // back, to train on
#pragma once

#include <cstdint>
#include <vector>

#include "tidemark/parameter.h"

#pragma GCC visibility push(default)
namespace tidemark::optim {

class WeightAverage {
 public:
  WeightAverage(const WeightAverage&) = delete;
  WeightAverage& operator=(const WeightAverage&) = delete;

  // Takes the weights into the average: the first time it becomes a copy of them. An error while exchanged.
  void update(SourceLocation where = SourceLocation::current());
  // Weights and averages change places, without a copy of either. An error before the first update.
  void exchange(SourceLocation where = SourceLocation::current());
  bool exchanged() const { return exchanged_; }
  std::int64_t updates() const { return updates_; }
  // To be saved and loaded with updates(): a run that is resumed goes on with the same averages.
  const std::vector<Parameter>& state() const { return averages_; }
  void set_updates(std::int64_t updates, SourceLocation where = SourceLocation::current());

 protected:
  WeightAverage(const char* kind, const std::vector<Parameter>& parameters, SourceLocation where);
  ~WeightAverage() = default;

 private:
  // How much of the difference the next update goes towards the weights, after so many.
  virtual float share(std::int64_t updates) const = 0;

  const char* kind_;
  std::vector<Parameter> parameters_;
  std::vector<Parameter> averages_;  // f32, in the order of the parameters
  std::int64_t updates_ = 0;
  bool exchanged_ = false;
};

struct ExponentialAverageOptions {
  float decay = 0.999f;
};
// average = decay average + (1 - decay) weight, after each step.
class ExponentialAverage final : public WeightAverage {
 public:
  explicit ExponentialAverage(const std::vector<Parameter>& parameters, const ExponentialAverageOptions& options = {},
                              SourceLocation where = SourceLocation::current());

 private:
  float share(std::int64_t updates) const override;
  ExponentialAverageOptions options_;
};

// The mean of the weights at all updates: stochastic weight averaging, with an update every epoch or so.
class MeanWeights final : public WeightAverage {
 public:
  explicit MeanWeights(const std::vector<Parameter>& parameters, SourceLocation where = SourceLocation::current());

 private:
  float share(std::int64_t updates) const override;
};

}  // namespace tidemark::optim
#pragma GCC visibility pop
