// A training program with intermediate values that tests reach: what is looked at is one step of it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {

// Layers of 128 x 128 with tanh between them, on a batch of 2048.
class Chain {
 public:
  static constexpr int kLayers = 12;
  using Touch = std::function<void(int layer, Tensor& value)>;

  Chain() {
    for (int i = 0; i < kLayers; ++i) layers_.emplace_back(nn::LinearOptions{.in = 128, .out = 128});
    std::vector<Parameter> parameters;
    for (int i = 0; i < kLayers; ++i) {
      for (const Parameter& each : layers_[static_cast<std::size_t>(i)].parameters()) parameters.push_back(each);
    }
    optimizer_.emplace(parameters, optim::AdamWOptions{.lr = 1e-3f});
    x_ = normal({2048, 128}, 0, 1);
  }
  // `touch` is called with what each layer gives. Returns the loss.
  float step(const Touch& touch = {}) {
    Tensor value = x_;
    for (int i = 0; i < kLayers; ++i) {
      value = tanh(layers_[static_cast<std::size_t>(i)](value));
      if (touch) touch(i, value);
    }
    const Tensor loss = mean(square(value));
    loss.backward();
    const float number = loss.item();
    optimizer_->step();
    optimizer_->zero_grad();
    return number;
  }

 private:
  std::vector<nn::Linear> layers_;
  std::optional<optim::AdamW> optimizer_;
  Tensor x_;
};

// What a step takes without a budget, and above what it always takes.
struct ChainBytes {
  std::int64_t peak = 0;
  std::int64_t fixed = 0;
  std::int64_t at(double part) const {
    return fixed + static_cast<std::int64_t>(part * static_cast<double>(peak - fixed)) / 64 * 64;
  }
};
inline ChainBytes bytes_of_chain() {
  Session session({.threads = 2, .dry_run = true});
  Chain chain;
  for (int i = 0; i < 2; ++i) chain.step();
  const Report report = session.report();
  return {report.last_step.peak_bytes, report.fixed_bytes};
}

}  // namespace tidemark::test
