// Programs that are more than one forward, one backward and one step: each gives the same bits without a budget, at its
// own peak, and down to the smallest budget that works.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "tests/autograd/support.h"
#include "tests/autograd/training.h"
#include "tidemark/data.h"
#include "tidemark/models.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"
#include "tidemark/units.h"

namespace tidemark::test {
namespace {

constexpr std::int64_t kRows = 96;
constexpr std::int64_t kWidth = 256;
constexpr int kSteps = 5;

// Layers of 96 KiB each: above what stays readable by its size alone.
struct Stack {
  explicit Stack(int depth) {
    for (int i = 0; i < depth; ++i) layers.emplace_back(nn::LinearOptions{.in = kWidth, .out = kWidth});
  }
  Tensor operator()(Tensor x, std::size_t depth = 100) const {
    for (std::size_t i = 0; i < std::min(depth, layers.size()); ++i) {
      x = dropout(gelu(layers[i](x)), {.p = 0.1f}) + x;
    }
    return x;
  }
  std::vector<Parameter> parameters() const {
    std::vector<Parameter> list;
    for (const nn::Linear& layer : layers) {
      list.emplace_back(layer.weight, "weight");
      list.emplace_back(layer.bias, "bias");
    }
    return list;
  }
  std::vector<nn::Linear> layers;
};

Tensor square_mean(const Tensor& x) { return mean(mul(x, x)); }

class Log {
 public:
  explicit Log(Trace& trace) : trace_(trace) {}
  void operator()(const std::string& what, const Tensor& tensor) { trace_.emplace_back(what, bits(tensor)); }
  void gradients(const std::vector<Parameter>& parameters) {
    for (const Parameter& p : parameters) {
      if (p.grad().defined()) (*this)("gradient", p.grad());
    }
  }
  void weights(const std::vector<Parameter>& parameters) {
    for (const Parameter& p : parameters) (*this)("weight", p);
  }

 private:
  Trace& trace_;
};

void retained_graph(Log log) {
  const Stack stack(6);
  optim::SGD optimizer(stack.parameters(), {.lr = 0.05f, .momentum = 0.9f});
  for (int step = 0; step < kSteps; ++step) {
    const Tensor middle = stack(normal({kRows, kWidth}, 0, 1), 3);
    const Tensor loss = square_mean(stack(middle));
    loss.backward({.retain_graph = true});
    log.gradients(stack.parameters());
    log("middle", middle);
    loss.backward({.retain_graph = step % 2 == 0});
    log("loss", loss);
    log.gradients(stack.parameters());
    optimizer.step();
    optimizer.zero_grad();
    log.weights(stack.parameters());
  }
}

void two_losses(Log log) {
  const Stack trunk(4), head(2);
  std::vector<Parameter> all = trunk.parameters();
  for (const Parameter& p : head.parameters()) all.push_back(p);
  optim::AdamW optimizer(all);
  for (int step = 0; step < kSteps; ++step) {
    const Tensor shared = trunk(normal({kRows, kWidth}, 0, 1));
    const Tensor a = square_mean(shared);
    const Tensor b = mean(head(shared));
    backward({a, b});
    log("a", a);
    log("b", b);
    log.gradients(all);
    optimizer.step();
    optimizer.zero_grad();
    log.weights(all);
  }
}

// Two models with an optimizer each, one of them learning through the other.
void adversaries(Log log) {
  const Stack generator(4), critic(4);
  optim::AdamW of_generator(generator.parameters());
  optim::AdamW of_critic(critic.parameters());
  for (int step = 0; step < kSteps; ++step) {
    const Tensor made = generator(normal({kRows, kWidth}, 0, 1));
    {
      const Tensor loss = mean(critic(made.detach())) - mean(critic(normal({kRows, kWidth}, 0, 1)));
      loss.backward();
      log("critic's loss", loss);
    }
    log.gradients(critic.parameters());
    of_critic.step();
    of_critic.zero_grad();
    const Tensor loss = square_mean(critic(made));
    loss.backward();
    log("generator's loss", loss);
    log.gradients(generator.parameters());
    of_generator.step();
    of_generator.zero_grad();
    of_critic.zero_grad();
    log.weights(generator.parameters());
    log.weights(critic.parameters());
  }
}

// Steps differ in depth and in rows, and there is an evaluation in between.
void changing_graphs(Log log) {
  const Stack stack(7);
  optim::AdamW optimizer(stack.parameters());
  for (int step = 0; step < 2 * kSteps; ++step) {
    const std::size_t depth = step % 3 == 0 ? 7 : 4;
    const std::int64_t rows = step % 4 == 3 ? kRows / 2 : kRows;
    const Tensor loss = square_mean(stack(normal({rows, kWidth}, 0, 1), depth));
    loss.backward();
    log("loss", loss);
    log.gradients(stack.parameters());
    optimizer.step();
    optimizer.zero_grad();
    log.weights(stack.parameters());
    if (step % 2 == 1) {
      const NoGrad guard;
      for (int batch = 0; batch < 3; ++batch) log("evaluation", square_mean(stack(normal({kRows, kWidth}, 0, 1))));
    }
  }
}

// Gradients are leaves: read, scaled and written back before the step.
void clipped_gradients(Log log) {
  const Stack stack(6);
  optim::SGD optimizer(stack.parameters(), {.lr = 0.1f, .momentum = 0.9f, .nesterov = true});
  for (int step = 0; step < kSteps; ++step) {
    const Tensor loss = square_mean(stack(normal({kRows, kWidth}, 0, 1)));
    loss.backward();
    for (const Parameter& p : stack.parameters()) {
      std::vector<float> values = p.grad().to_vector();
      for (float& value : values) value = std::clamp(0.5f * value, -1e-3f, 1e-3f);
      p.grad().assign(std::span<const float>(values));
    }
    log.gradients(stack.parameters());
    optimizer.step();
    optimizer.zero_grad();
    log.weights(stack.parameters());
  }
}

// Values are read at other places in each step, and what is read decides what comes next.
void reads_in_the_middle(Log log) {
  const Stack stack(6);
  optim::AdamW optimizer(stack.parameters());
  for (int step = 0; step < 2 * kSteps; ++step) {
    std::vector<Tensor> values = {normal({kRows, kWidth}, 0, 1)};
    for (std::size_t i = 0; i < stack.layers.size(); ++i) {
      values.push_back(gelu(stack.layers[i](values.back())));
      if (static_cast<int>(i) == step % 6) log("read", values[static_cast<std::size_t>(step) % values.size()]);
      if (mean(values.back()).item() > 0.05f) values.back() = dropout(values.back(), {.p = 0.2f});
    }
    const Tensor loss = square_mean(values.back());
    if (step % 2 == 0) log("first", values[1]);
    if (step % 3 == 0) values.clear();
    loss.backward();
    if (!values.empty()) log("after backward", values[2]);
    log("loss", loss);
    log.gradients(stack.parameters());
    optimizer.step();
    optimizer.zero_grad();
    log.weights(stack.parameters());
  }
}

void freezing(Log log) {
  const Stack stack(5);
  optim::AdamW optimizer(stack.parameters());
  for (int step = 0; step < 2 * kSteps; ++step) {
    for (std::size_t i = 0; i < stack.layers.size(); ++i) {
      Tensor weight = stack.layers[i].weight;
      weight.set_requires_grad(static_cast<int>(i) % 3 != step % 3);
    }
    const Tensor loss = square_mean(stack(normal({kRows, kWidth}, 0, 1)));
    loss.backward();
    log("loss", loss);
    log.gradients(stack.parameters());
    optimizer.step();
    optimizer.zero_grad();
    log.weights(stack.parameters());
  }
}

void micro_batches(Log log) {
  const Stack stack(6);
  optim::AdamW optimizer(stack.parameters());
  for (int step = 0; step < kSteps; ++step) {
    for (int micro = 0; micro < 3; ++micro) {
      const Tensor loss = square_mean(stack(normal({kRows, kWidth}, 0, 1))) * (1.0f / 3);
      loss.backward();
      log("loss", loss);
    }
    log.gradients(stack.parameters());
    optimizer.step();
    optimizer.zero_grad();
    log.weights(stack.parameters());
  }
}

// One weight at every time step, sequences of other lengths in each optimizer step.
void recurrent(Log log) {
  const nn::Linear input({.in = kWidth, .out = kWidth}), hidden({.in = kWidth, .out = kWidth, .bias = false});
  const std::vector<Parameter> all = {{input.weight, "in"}, {input.bias, "bias"}, {hidden.weight, "hidden"}};
  optim::SGD optimizer(all, {.lr = 0.1f, .momentum = 0.9f});
  for (int step = 0; step < kSteps; ++step) {
    const int length = 8 + 5 * (step % 3);
    const Tensor sequence = normal({length, kRows, kWidth}, 0, 1);
    Tensor h = zeros({kRows, kWidth});
    Tensor loss;
    for (int t = 0; t < length; ++t) {
      const Tensor x = reshape(slice(sequence, 0, t, t + 1), {kRows, kWidth});
      h = gelu(input(x) + hidden(h));
      if (t % 4 == 3) loss = loss.defined() ? loss + square_mean(h) : square_mean(h);
    }
    loss.backward();
    log("loss", loss);
    log.gradients(all);
    optimizer.step();
    optimizer.zero_grad();
    log.weights(all);
  }
}

// Takes its time over each batch, so that the program runs on while the next one is written.
class SlowImages final : public data::Source {
 public:
  std::int64_t size() const override { return images_->size(); }
  Shape x_shape() const override { return images_->x_shape(); }
  Shape y_shape() const override { return images_->y_shape(); }
  void write(std::int64_t index, std::int64_t epoch, void* x, void* y) const override {
    if (index % kRows == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));
    images_->write(index, epoch, x, y);
  }

 private:
  std::shared_ptr<const data::Source> images_ = data::synthetic_images({.count = 4 * kRows, .image = 8});
};

// The loader moves on before backward: the batch that backward still reads stays as it was.
void batches_held_over(Log log) {
  nn::Sequential net = nn::mlp({.sizes = {192, kWidth, kWidth, kWidth, 10}});
  optim::SGD optimizer(net.parameters(), {.lr = 0.05f});
  data::Loader loader(std::make_shared<SlowImages>(), {.batch = kRows});
  int seen = 0;
  for (int epoch = 0; epoch < 2; ++epoch) {
    Tensor pending;
    for (const auto& [x, y] : loader) {
      const Tensor loss = cross_entropy(net(x), y);
      if (pending.defined()) {
        backward({pending, loss});
        pending = Tensor();
        log.gradients(net.parameters());
        optimizer.step();
        optimizer.zero_grad();
      } else {
        pending = loss;
      }
      log("classes", y);
      log("loss", loss);
      ++seen;
    }
    log.weights(net.parameters());
  }
  EXPECT_EQ(seen, 8);
}

// Values that stay: kept ones of the last step are inputs of this one.
void carried_over(Log log) {
  const Stack stack(5);
  optim::AdamW optimizer(stack.parameters());
  Tensor state = normal({kRows, kWidth}, 0, 1);
  for (int step = 0; step < kSteps; ++step) {
    const Tensor next = stack(state).keep();
    const Tensor loss = square_mean(next);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    log("kept", next);
    log.weights(stack.parameters());
    state = next.detach();
  }
}

struct Program {
  const char* name;
  void (*run)(Log log);
  friend void PrintTo(const Program& program, std::ostream* out) { *out << program.name; }
};

class ProgramsTest : public ::testing::TestWithParam<Program> {};

struct Result {
  Trace trace;
  Report report;
};

Result run(const Program& program, std::optional<std::int64_t> budget, bool verify) {
  Session session({.budget = budget, .threads = 2, .seed = 5, .verify_replay = verify});
  Result result;
  program.run(Log(result.trace));
  result.report = session.report();
  return result;
}

TEST_P(ProgramsTest, HasTheSameBitsAtEveryBudget) {
  const Program program = GetParam();
  const Result unlimited = run(program, std::nullopt, true);
  ASSERT_FALSE(unlimited.trace.empty());
  const std::int64_t peak = unlimited.report.peak_bytes;
  const std::int64_t smallest =
      smallest_budget(peak + peak / 20, peak / 25, [&](std::int64_t budget) { (void)run(program, budget, false); });
  EXPECT_LT(smallest, peak);
  int completed = 0;
  for (const int percent : {100, 60, 30, 0}) {
    const std::int64_t budget = std::max(smallest, smallest + (peak - smallest) * percent / 100);
    SCOPED_TRACE(format_bytes(budget) + " of " + format_bytes(peak));
    Result limited;
    try {
      limited = run(program, budget, true);
    } catch (const BudgetError&) {
      continue;
    }
    ++completed;
    EXPECT_EQ(first_difference(unlimited.trace, limited.trace), std::nullopt);
    EXPECT_LE(limited.report.peak_bytes, budget);
    EXPECT_LE(limited.report.reserved_bytes, budget);
    EXPECT_EQ(limited.report.live_bytes, unlimited.report.live_bytes) << "lifetimes follow the program";
    if (percent == 0) {
      EXPECT_GT(limited.report.recomputed_ops, 0);
    }
    std::printf("%s in %s of %s: %lld ops recomputed, %lld of %lld steps planned\n", program.name,
                format_bytes(budget).c_str(), format_bytes(peak).c_str(),
                static_cast<long long>(limited.report.recomputed_ops),
                static_cast<long long>(limited.report.planned_steps), static_cast<long long>(limited.report.steps));
  }
  EXPECT_EQ(completed, 4) << "a larger budget than one that works is refused";
}

INSTANTIATE_TEST_SUITE_P(
    All, ProgramsTest,
    ::testing::Values(Program{"RetainedGraph", retained_graph}, Program{"TwoLosses", two_losses},
                      Program{"Adversaries", adversaries}, Program{"ChangingGraphs", changing_graphs},
                      Program{"ClippedGradients", clipped_gradients}, Program{"ReadsInTheMiddle", reads_in_the_middle},
                      Program{"Freezing", freezing}, Program{"MicroBatches", micro_batches},
                      Program{"Recurrent", recurrent}, Program{"BatchesHeldOver", batches_held_over},
                      Program{"CarriedOver", carried_over}),
    [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace tidemark::test
