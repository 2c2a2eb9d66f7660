// Random training loops that carry values from step to step, read values late, take batches of several sizes, sum
// gradients over passes and evaluate in between: the same bits without a budget, at the smallest and between, and
// nothing but a BudgetError below it.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/parameter.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;

constexpr int kWidth = 96;
constexpr int kIterations = 18;
constexpr std::int64_t kBatches[] = {128, 200, 60};

std::uint32_t below(std::mt19937& random, std::uint32_t n) { return static_cast<std::uint32_t>(random()) % n; }

Tensor filled(std::int64_t rows, std::uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<std::size_t>(rows * kWidth));
  for (float& value : values) value = (static_cast<float>(random() % 2001) / 1000 - 1) * scale;
  return tensor(values, {rows, kWidth});
}

// What a loop does besides training, drawn once.
struct Habits {
  explicit Habits(std::mt19937& random)
      : parameters(static_cast<int>(3 + below(random, 3))),
        sizes(1 + below(random, 3)),
        passes(below(random, 3) == 0 ? 3 : 1),
        keeps(below(random, 2) != 0),
        evaluates(below(random, 2) != 0),
        sums(below(random, 2) != 0),
        views(below(random, 2) != 0),
        averages(below(random, 3) == 0),
        retains(below(random, 4) == 0),
        computes_after_step(below(random, 3) == 0) {
    for (std::uint32_t& seed : shape_seeds) seed = static_cast<std::uint32_t>(random());
  }

  int parameters;
  std::uint32_t sizes;
  int passes;  // between two optimizer steps
  bool keeps, evaluates, sums, views, averages, retains, computes_after_step;
  std::uint32_t shape_seeds[3] = {};  // of the network for each size of batch
};

class Loop {
 public:
  Loop(const Habits& habits, std::uint32_t seed) : habits_(habits), order_(seed) {
    std::vector<Parameter> all;
    for (int i = 0; i < habits.parameters; ++i) {
      weights_.push_back(parameter(filled(kWidth, 7 * static_cast<std::uint32_t>(i) + 1, 0.15f), "w"));
      biases_.push_back(parameter(zeros({kWidth}), "b"));
      all.emplace_back(weights_.back());
      all.emplace_back(biases_.back());
    }
    optimizer_.emplace(all);
  }

  // Everything that the program read, in order.
  std::vector<float> run() {
    for (int i = 0; i < kIterations; ++i) iterate(i);
    for (const Tensor& loss : losses_) read(loss);
    for (const Tensor& value : carried_) read(value);
    for (const Tensor& value : averaged_) read(value);
    for (const Tensor& value : weights_) read(value);
    for (const Tensor& value : averages_) read(value);
    read(after_);
    return std::move(seen_);
  }

 private:
  void read(const Tensor& value) {
    if (!value.defined()) return;
    std::vector<float> elements;
    try {
      elements = value.to_vector();
    } catch (const BudgetError&) {
      throw;
    } catch (const Error&) {
      elements = {-12345};  // it expired, with a budget and without
    }
    float sum = 0;
    for (std::size_t i = 0; i < elements.size(); ++i) sum += elements[i] * static_cast<float>(1 + i % 7);
    seen_.push_back(sum);
    seen_.push_back(elements.empty() ? 0 : elements[elements.size() / 2]);
  }

  Tensor layer(const Tensor& h, std::size_t size, std::mt19937& shape, const std::vector<Tensor>& before) {
    const std::size_t p = below(shape, static_cast<std::uint32_t>(habits_.parameters));
    const Tensor y = linear(h, weights_[p], biases_[p]);
    switch (below(shape, 8)) {
      case 0:
        return relu(y);
      case 1:
        return gelu(y);
      case 2:
        return tanh(y);
      case 3:
        return softmax(y) * 3.0f;
      case 4:
        return dropout(y, {.p = 0.3f});
      case 5:
        return before.empty() ? y : y + before[below(shape, static_cast<std::uint32_t>(before.size()))];
      case 6:
        return carried_[size].defined() ? y * sigmoid(carried_[size]) : y;
      default:
        return averaged_[size].defined() ? y + averaged_[size] * 0.5f : y;
    }
  }

  void iterate(int i) {
    const std::size_t size = below(order_, habits_.sizes);
    std::mt19937 shape(habits_.shape_seeds[size]);
    Tensor h = filled(kBatches[size], static_cast<std::uint32_t>(i), 1);
    std::vector<Tensor> layers;
    const std::uint32_t depth = 3 + below(shape, 6);
    for (std::uint32_t l = 0; l < depth; ++l) layers.push_back(h = layer(h, size, shape, layers));
    const auto one_of = [&] { return layers[below(shape, depth)]; };

    const Tensor loss = mean(h * h) + mean(one_of()) * 0.1f;
    if (below(shape, 2) != 0) read(loss);
    loss.backward({.retain_graph = habits_.retains});
    if (habits_.retains) mean(layers[0] * layers[0]).backward();
    if (below(shape, 2) != 0) read(one_of());
    if (habits_.keeps) {
      carried_[size] = one_of().keep().detach();
    } else {
      carried_[size] = one_of().detach();
    }
    if (habits_.views) view_ = reshape(slice(one_of().detach(), 0, 5, 25), {kWidth, 20});
    {
      const NoGrad no_grad;
      averaged_[size] = averaged_[size].defined() ? averaged_[size] * 0.9f + h * 0.1f : h * 0.1f;
    }
    const Tensor detached = h.detach();
    const bool steps = i % habits_.passes == habits_.passes - 1;
    if (steps) {
      optimizer_->step();
      optimizer_->zero_grad();
    }
    if (habits_.sums) losses_.push_back(losses_.empty() ? loss.detach() : losses_.back() + loss);
    if (habits_.computes_after_step) after_ = linear(detached, weights_[0].detach());
    if (habits_.averages && steps) average_weights();
    read(layers[0]);
    read(loss);
    if (i % 4 == 0) read(view_);
    if (habits_.evaluates && i % 4 == 1) evaluate();
  }

  void average_weights() {
    const NoGrad no_grad;
    averages_.resize(weights_.size());
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      averages_[i] = averages_[i].defined() ? averages_[i] * 0.9f + weights_[i] * 0.1f : weights_[i] * 1.0f;
    }
  }

  void evaluate() {
    const NoGrad no_grad;
    Tensor total = zeros({});
    for (std::uint32_t batch = 0; batch < 2; ++batch) {
      Tensor y = filled(220, batch, 1);
      for (const Tensor& weight : weights_) y = gelu(linear(y, weight));
      total = total + mean(y);
    }
    read(total);
  }

  Habits habits_;
  std::mt19937 order_;  // of the batches' sizes
  std::vector<Tensor> weights_, biases_, losses_, averages_;
  std::optional<optim::AdamW> optimizer_;
  Tensor carried_[3], averaged_[3], view_, after_;
  std::vector<float> seen_;
};

std::vector<float> run(std::uint32_t seed) {
  std::mt19937 random(seed);
  const Habits habits(random);
  return Loop(habits, seed + 99).run();
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::uint32_t from_environment(const char* name, std::uint32_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::atoi(text));
}

TEST(RandomLoops, BudgetNeverChangesTheNumbers) {
  std::vector<std::uint32_t> seeds = {1, 2, 3, 4, 5, 6, 7, 9};  // 9: what is gone must not be read by what runs again
  if (const std::uint32_t loops = from_environment("TIDEMARK_FUZZ_PROGRAMS", 0); loops > 0) {
    seeds.resize(loops);
    std::iota(seeds.begin(), seeds.end(), from_environment("TIDEMARK_FUZZ_FIRST", 1));
  }
  for (const std::uint32_t seed : seeds) {
    SCOPED_TRACE("loop " + std::to_string(seed));
    std::vector<float> expected;
    std::int64_t peak = 0;
    {
      const Session session({.threads = 1});
      expected = run(seed);
      peak = session.report().peak_bytes;
    }
    const std::int64_t smallest = smallest_budget({.threads = 1}, [&] { (void)run(seed); });
    EXPECT_LE(smallest, peak + peak / 32);
    for (const std::int64_t budget : {smallest, (smallest + peak) / 2, peak}) {
      const Session session({.budget = budget, .threads = 1, .verify_replay = seed % 2 != 0});
      EXPECT_TRUE(same(run(seed), expected)) << "in " << budget << " of " << peak << " bytes";
      EXPECT_LE(session.report().peak_bytes, budget);
    }
    const Session session({.budget = smallest / 2, .threads = 1});
    EXPECT_THROW((void)run(seed), BudgetError);
  }
}

// A plan may move a value that it is going to read before any op has read it.
TEST(Carried, OneValueForEachSizeOfBatchAndOneOfAfterTheStep) {
  const auto program = [] {
    const Tensor w = parameter(full({160, 160}, 0.01f), "w");
    optim::SGD optimizer({Parameter(w)});
    Tensor carried[3], after;
    std::vector<float> losses;
    for (const int k : {1, 2, 2, 1, 0, 2, 1, 0, 0, 2, 1, 2, 0, 1}) {
      const Tensor x = full({kBatches[k], 160}, 0.5f), h = linear(x, w), loss = mean(h);
      loss.backward();
      carried[k] = h.detach();
      const Tensor detached = h.detach();
      optimizer.step();
      optimizer.zero_grad();
      after = relu(detached);
      losses.push_back(loss.item());
    }
    return losses;
  };
  std::vector<float> expected;
  {
    const Session session({.threads = 1});
    expected = program();
  }
  for (const std::int64_t budget : {1'000'000, 1'500'000, 3'000'000}) {
    const Session session({.budget = budget, .threads = 1});
    EXPECT_TRUE(same(program(), expected)) << budget;
  }
}

// States that are carried over many small steps: where the budget has no plan of the whole step, the plan of its rest
// is made once.
TEST(Carried, StatesAtTheSmallestBudgetArePlannedOnce) {
  const auto program = [](int steps) {
    const Tensor w = parameter(filled(kWidth, 3, 0.1f), "w");
    optim::AdamW optimizer({Parameter(w)});
    Tensor h = full({256, kWidth}, 0.1f), c = full({256, kWidth}, 0.2f);
    for (int i = 0; i < steps; ++i) {
      Tensor loss = zeros({});
      for (int t = 0; t < 4; ++t) {
        h = tanh(linear(h, w)) * sigmoid(c);
        c = c * 0.5f + h;
        loss = loss + mean(h);
      }
      loss.backward();
      h = h.detach();
      c = c.detach();
      optimizer.step();
      optimizer.zero_grad();
    }
  };
  const std::int64_t smallest = smallest_budget({.threads = 1}, [&] { program(4); });
  for (const std::int64_t budget : {smallest, smallest + smallest / 200, smallest + smallest / 20}) {
    const Session session({.budget = budget, .threads = 1});
    program(25);
    const Report report = session.report();
    EXPECT_LE(report.plans, 5) << report.replan_reason;
    if (report.planned_steps < 24) {
      EXPECT_NE(report.replan_reason, "");
    }
  }
}

// The figure of each refusal, typed back, leads to a budget that works in a few tries.
TEST(Carried, RefusalsLeadToABudget) {
  for (const std::uint32_t seed : {1U, 2U, 3U, 4U}) {
    std::int64_t budget = 64_KiB, tries = 0;
    for (bool refused = true; refused && tries < 60; ++tries) {
      const Session session({.budget = budget, .threads = 1});
      try {
        (void)run(seed);
        refused = false;
      } catch (const BudgetError& error) {
        ASSERT_GT(error.needed_bytes(), budget) << error.what();
        budget = error.needed_bytes();
      }
    }
    EXPECT_LT(tries, 60) << "loop " << seed << ", at " << budget << " bytes";
  }
}

}  // namespace
}  // namespace tidemark::test
