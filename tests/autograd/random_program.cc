#include "tests/autograd/random_program.h"

#include <algorithm>
#include <bit>
#include <random>

#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

constexpr std::int64_t kRows = 8;

// Parameters are made on first use, by the program's own choices, and live through all steps.
class Program {
 public:
  Program(std::uint64_t seed, Histogram* histogram) : seed_(seed), histogram_(histogram) {}

  Tensor step(int index, const Tensor& matrix, const Tensor& image) {
    random_.seed(seed_);  // the same ops in every step
    used_ = 0;
    next_statistic_ = 0;
    pool_.clear();
    pool_.push_back(matrix);
    pool_.push_back(image);
    const int ops = 6 + pick(18);
    for (int i = 0; i < ops; ++i) {
      pool_.push_back(grow());
      // Handles die at all ages, so that values outlive them and they outlive values.
      while (pool_.size() > 6) pool_.erase(pool_.begin() + pick(static_cast<int>(pool_.size()) - 1));
      // Some programs are not the same in every step: here an op that nothing uses.
      if (index == 1 && seed_ % 7 == 0 && i == ops / 2) count("relu", relu(pool_.back()));
    }
    Tensor loss;
    for (const Tensor& value : pool_) {
      Tensor part = mean(mul(value, value));
      loss = loss.defined() ? add(loss, part) : part;
    }
    // Draws can lead to no parameter at all.
    if (!loss.requires_grad()) loss = add(loss, mean(linear(matrix, weight({32, 64}, 0.1f))));
    return loss;
  }

  std::vector<Tensor>& parameters() { return parameters_; }
  std::vector<Tensor>& statistics() { return statistics_; }

 private:
  int pick(int below) { return static_cast<int>(random_() % static_cast<std::uint64_t>(below)); }

  Tensor count(const char* name, Tensor value) {
    if (histogram_ != nullptr) ++histogram_->ops[name];
    return value;
  }

  const Tensor& any() { return pool_[static_cast<std::size_t>(pick(static_cast<int>(pool_.size())))]; }

  Tensor weight(const Shape& shape, float scale) {
    if (used_ == parameters_.size()) parameters_.push_back(parameter(normal(shape, 0, scale), "p"));
    return parameters_[used_++];
  }

  Tensor matrix_of(const Tensor& x) {
    if (x.shape().rank() == 2) return x;
    if (histogram_ != nullptr) ++histogram_->views;
    return flatten(x);
  }

  Tensor image_of(const Tensor& x) {
    if (x.shape().rank() == 4) return x;
    const std::int64_t columns = x.size(1);
    Tensor wide = columns % 64 == 0 ? x : linear(x, weight({128, columns}, 0.1f));
    if (histogram_ != nullptr) ++histogram_->views;
    return reshape(wide, {kRows, -1, 8, 8});
  }

  Tensor narrow(const Tensor& x) {
    return x.size(1) > 192 ? count("linear", linear(x, weight({64, x.size(1)}, 0.05f))) : x;
  }

  Tensor grow() {
    Tensor x = any();
    switch (pick(18)) {
      case 0: {
        x = narrow(matrix_of(x));
        const std::int64_t out = 32 * (1 + pick(4));
        return count("linear", linear(x, weight({out, x.size(1)}, 0.1f), weight({out}, 0.1f)));
      }
      case 1:
        return count("relu", relu(x));
      case 2:
        return count("gelu", gelu(x));
      case 3:
      case 4: {
        Tensor y = any();
        if (y.shape() != x.shape()) y = x;  // a value added to itself: shared inputs
        if (histogram_ != nullptr) ++histogram_->shared_inputs;
        return pick(2) == 0 ? count("add", add(x, y)) : count("sub", sub(affine(x, 0.5f, 0.1f), y));
      }
      case 5: {
        Tensor y = any();
        if (y.shape() != x.shape()) y = x;
        return count("mul", mul(affine(x, 0.3f, 0), y));
      }
      case 6:
        return count("dropout", dropout(x, {.p = 0.1f + 0.1f * static_cast<float>(pick(5))}));
      case 7: {
        x = matrix_of(x);
        return count("layer_norm", layer_norm(x, weight({x.size(1)}, 1), weight({x.size(1)}, 0.1f)));
      }
      case 8:
      case 9: {
        const std::int64_t channels = x.size(1);
        if (next_statistic_ + 2 > statistics_.size()) {
          statistics_.push_back(state({channels}, f32, Category::kParameters, "mean"));
          statistics_.push_back(state({channels}, f32, Category::kParameters, "variance"));
        }
        Tensor& mean = statistics_[next_statistic_++];
        Tensor& variance = statistics_[next_statistic_++];
        return count("batch_norm", batch_norm(x, weight({channels}, 1), weight({channels}, 0.1f), mean, variance));
      }
      case 10: {
        x = image_of(x);
        const std::int64_t out = 4 << pick(3);
        return count("conv2d",
                     conv2d(x, weight({out, x.size(1), 3, 3}, 0.1f), weight({out}, 0.1f), {.padding = {1, 1}}));
      }
      case 11: {
        x = image_of(x);
        if (x.size(2) < 4) return count("affine", affine(x, 0.9f, 0.01f));
        return count("max_pool2d", max_pool2d(x));
      }
      case 12: {
        x = narrow(matrix_of(x));
        return count("transpose", transpose(matmul(x, transpose(x, 0, 1)), 0, 1));
      }
      case 13: {
        x = matrix_of(x);
        const std::int64_t half = std::max<std::int64_t>(1, x.size(1) / 2);
        Tensor left = slice(x, 1, 0, half);
        Tensor right = slice(x, 1, x.size(1) - half, x.size(1));
        return count("concat", concat({right, left}, 1));
      }
      case 14:
        return count("softmax", softmax(x));
      case 15: {
        if (histogram_ != nullptr) ++histogram_->views;
        x = matrix_of(x);
        return count("reshape", affine(reshape(affine(x, 0.7f, 0), {kRows, -1}), 1, 0.1f));
      }
      case 16:
        return count("sum", add(x, sum(affine(x, 0.01f, 0))));
      default: {
        Tensor scale;
        {
          const NoGrad guard;
          scale = affine(mean(x), 0.5f, 1);
        }
        return count("no_grad", mul(x, scale));
      }
    }
  }

  std::uint64_t seed_;
  Histogram* histogram_;
  std::mt19937_64 random_;
  std::vector<Tensor> pool_;
  std::vector<Tensor> parameters_;
  std::vector<Tensor> statistics_;
  std::size_t used_ = 0;
  std::size_t next_statistic_ = 0;
};

}  // namespace

ProgramResult run_program(std::uint64_t seed, int steps, std::optional<std::int64_t> budget, Histogram* histogram) {
  // One thread or two: kernels differ in how they divide work, and so in what they ask for.
  Session session({.budget = budget, .threads = 1 + static_cast<int>(seed % 2), .seed = seed, .verify_replay = true});
  Program program(seed, histogram);
  ProgramResult result;
  for (int s = 0; s < steps; ++s) {
    Tensor matrix = normal({kRows, 64}, 0, 1);
    Tensor image = normal({kRows, 4, 8, 8}, 0, 1);
    matrix.set_requires_grad(seed % 3 == 0);
    Tensor loss = program.step(s, matrix, image);
    loss.backward();
    result.values.push_back(loss.to_vector());
    std::vector<std::pair<Tensor, std::vector<float>>> updated;
    for (Tensor& parameter : program.parameters()) {
      if (!parameter.grad().defined()) continue;
      result.values.push_back(parameter.grad().to_vector());
      std::vector<float> weights = parameter.to_vector();
      for (std::size_t i = 0; i < weights.size(); ++i) weights[i] -= 0.01f * result.values.back()[i];
      result.values.push_back(weights);
      updated.emplace_back(parameter, std::move(weights));
      parameter.zero_grad();
    }
    if (matrix.grad().defined()) result.values.push_back(matrix.grad().to_vector());
    for (const Tensor& statistic : program.statistics()) result.values.push_back(statistic.to_vector());
    detail::optimizer_step(session, {}, SourceLocation::current());
    for (auto& [parameter, weights] : updated) parameter.assign(std::span<const float>(weights));
    if (histogram != nullptr) {
      const auto replays = static_cast<std::uint64_t>(session.report().last_step.recomputed_ops);
      ++histogram->recompute_depth[static_cast<int>(std::bit_width(replays))];
    }
  }
  result.report = session.report();
  result.recomputed_ops = result.report.recomputed_ops;
  result.planned_steps = result.report.planned_steps;
  return result;
}

ProgramResult run_at_smallest_budget(std::uint64_t seed, int steps, const ProgramResult& unlimited,
                                     Histogram* histogram) {
  std::int64_t budget = unlimited.report.fixed_bytes / 64 * 64;
  for (;;) {
    try {
      Histogram counted = *histogram;
      ProgramResult result = run_program(seed, steps, budget, &counted);
      *histogram = counted;
      return result;
    } catch (const BudgetError& error) {
      // What the refusal says is needed at least, and a little more where that alone would not get on.
      budget = std::max<std::int64_t>(error.needed_bytes(), budget + budget / 12) / 64 * 64 + 64;
    }
  }
}

}  // namespace tidemark::test
