#include "tests/autograd/random_program.h"

#include <algorithm>
#include <bit>

#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

const std::vector<RandomOp>& random_ops() {
  static const std::vector<RandomOp> ops = [] {
    std::vector<RandomOp> all;
    for (const auto& family :
         {core_random_ops, attention_random_ops, embedding_random_ops, losses_random_ops, pointwise_random_ops,
          products_random_ops, recurrent_random_ops, reductions_random_ops, shapes_random_ops}) {
      const std::vector<RandomOp> more = family();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }();
  return ops;
}

// Parameters are made on first use, by the program's own choices, and live through all steps.
class Program : public Draw {
 public:
  using Draw::Draw;

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
  Tensor grow() {
    const Tensor x = any();
    // Half of a program's ops are the usual ones, with which the others meet.
    static const std::vector<RandomOp> usual = core_random_ops();
    const std::vector<RandomOp>& ops = pick(2) == 0 ? usual : random_ops();
    const RandomOp& op = ops[static_cast<std::size_t>(pick(static_cast<int>(ops.size())))];
    return count(op.name, op.apply(*this, x));
  }
};

}  // namespace

Tensor Draw::like(const Tensor& x) {
  const Tensor& y = any();
  if (histogram_ != nullptr && y.shape() != x.shape()) ++histogram_->shared_inputs;
  return y.shape() == x.shape() ? y : x;
}

Tensor Draw::weight(const Shape& shape, float scale) {
  if (used_ == parameters_.size()) parameters_.push_back(parameter(normal(shape, 0, scale), "p"));
  return parameters_[used_++];
}

Tensor Draw::statistic(const Shape& shape) {
  if (next_statistic_ == statistics_.size()) {
    statistics_.push_back(state(shape, f32, Category::kParameters, "statistic"));
  }
  return statistics_[next_statistic_++];
}

Tensor Draw::matrix_of(const Tensor& x) {
  if (x.shape().rank() == 2) return x;
  if (histogram_ != nullptr) ++histogram_->views;
  return flatten(x);
}

Tensor Draw::image_of(const Tensor& x) {
  if (x.shape().rank() == 4) return x;
  const std::int64_t columns = x.size(1);
  const Tensor wide = columns % 64 == 0 ? x : linear(x, weight({128, columns}, 0.1f));
  if (histogram_ != nullptr) ++histogram_->views;
  return reshape(wide, {kRows, -1, 8, 8});
}

Tensor Draw::narrow(const Tensor& x) { return x.size(1) > 192 ? linear(x, weight({64, x.size(1)}, 0.05f)) : x; }

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
