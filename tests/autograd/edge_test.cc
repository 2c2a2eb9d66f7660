// Budgets in steps of 64 bytes through the edge of what is possible, for five models and one and two threads: what
// smallest_budget() names works and one byte less is refused, every larger budget works, every smaller one is refused,
// and no run takes more than its budget. TIDEMARK_EDGE_STEPS says how many budgets on each side; 3 where it is not set.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "tests/autograd/support.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

constexpr int kSteps = 3;

void train(nn::Sequential net, const Tensor& x) {
  optim::AdamW optimizer(net.parameters());
  const Tensor y = zeros({x.shape()[0]}, i32);
  for (int i = 0; i < kSteps; ++i) {
    cross_entropy(net(x), y).backward();
    optimizer.step();
    optimizer.zero_grad();
  }
}

void mlp() {
  train(nn::Sequential(nn::Linear({.in = 32, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 64}), nn::GELU(),
                       nn::Linear({.in = 64, .out = 64}), nn::ReLU(), nn::Linear({.in = 64, .out = 10})),
        normal({48, 32}, 0, 1));
}

void cnn() {
  train(nn::Sequential(nn::Conv2d({.in = 3, .out = 8, .padding = 1}), nn::ReLU(), nn::MaxPool2d({.kernel = 2}),
                       nn::Conv2d({.in = 8, .out = 16, .padding = 1}), nn::ReLU(), nn::MaxPool2d({.kernel = 2}),
                       nn::Flatten(), nn::Linear({.in = 64, .out = 10})),
        normal({4, 3, 8, 8}, 0, 1));
}

void batch_norm_cnn() {
  train(nn::Sequential(nn::Conv2d({.in = 3, .out = 8, .padding = 1}), nn::BatchNorm2d({.features = 8}), nn::ReLU(),
                       nn::Conv2d({.in = 8, .out = 8, .padding = 1}), nn::BatchNorm2d({.features = 8}), nn::ReLU(),
                       nn::Flatten(), nn::Linear({.in = 512, .out = 10})),
        normal({4, 3, 8, 8}, 0, 1));
}

void transformer() {
  constexpr int kWidth = 16;
  nn::Embedding embedding({.count = 50, .width = kWidth});
  nn::LayerNorm before({.features = kWidth});
  nn::LayerNorm between({.features = kWidth});
  nn::Linear qkv({.in = kWidth, .out = 3 * kWidth});
  nn::Linear out({.in = kWidth, .out = kWidth});
  nn::Sequential mlp(nn::Linear({.in = kWidth, .out = 64}), nn::GELU(), nn::Linear({.in = 64, .out = kWidth}));
  nn::Linear head({.in = kWidth, .out = 50});
  std::vector<Parameter> parameters;
  for (nn::Module* module : std::vector<nn::Module*>{&embedding, &before, &between, &qkv, &out, &mlp, &head}) {
    for (const Parameter& parameter : module->parameters()) parameters.push_back(parameter);
  }
  optim::AdamW optimizer(parameters);
  const Tensor tokens = zeros({2, 12}, i32);
  const Tensor next = zeros({24}, i32);
  for (int i = 0; i < kSteps; ++i) {
    Tensor h = embedding(tokens);
    h = h + out(causal_self_attention(qkv(before(h)), 2));
    h = h + mlp(between(h));
    cross_entropy(reshape(head(h), {24, 50}), next).backward();
    optimizer.step();
    optimizer.zero_grad();
  }
}

void recurrent() {
  nn::Linear input({.in = 8, .out = 32});
  nn::Linear hidden({.in = 32, .out = 32});
  nn::Linear output({.in = 32, .out = 10});
  std::vector<Parameter> parameters;
  for (nn::Linear* layer : {&input, &hidden, &output}) {
    for (const Parameter& parameter : layer->parameters()) parameters.push_back(parameter);
  }
  optim::SGD optimizer(parameters, {.momentum = 0.9f});
  const Tensor x = normal({16, 8}, 0, 1);
  const Tensor y = zeros({16}, i32);
  Tensor state = zeros({16, 32});
  for (int i = 0; i < kSteps; ++i) {
    Tensor sum = zeros({});
    for (int t = 0; t < 4; ++t) {
      state = relu(input(x) + hidden(state));
      sum = sum + cross_entropy(output(state), y);
    }
    sum.backward();
    state = state.detach();
    optimizer.step();
    optimizer.zero_grad();
  }
}

struct Edge {
  const char* name;
  void (*program)();
  int threads;
};
void PrintTo(const Edge& edge, std::ostream* out) { *out << edge.name << " on " << edge.threads; }

class EdgeTest : public testing::TestWithParam<Edge> {
 protected:
  static SessionOptions options(bool dry_run) { return {.threads = GetParam().threads, .dry_run = dry_run}; }
  // Whether the program runs; never with more bytes than the budget.
  static bool runs(std::int64_t budget, bool dry_run) {
    SessionOptions with_budget = options(dry_run);
    with_budget.budget = budget;
    const Session session(with_budget);
    try {
      GetParam().program();
    } catch (const BudgetError&) {
      return false;
    }
    EXPECT_LE(session.report().peak_bytes, budget);
    EXPECT_LE(session.report().reserved_bytes, budget);
    return true;
  }
};

TEST_P(EdgeTest, IsSharp) {
  const char* wish = std::getenv("TIDEMARK_EDGE_STEPS");
  const std::int64_t steps = wish == nullptr ? 3 : std::atoll(wish);
  const std::int64_t smallest = smallest_budget(options(false), GetParam().program);
  EXPECT_TRUE(runs(smallest, false));
  EXPECT_FALSE(runs(smallest - 1, false));
  for (std::int64_t i = 1; i <= steps; ++i) {
    EXPECT_FALSE(runs(smallest - 64 * i, true)) << smallest << " - " << 64 * i;
    EXPECT_TRUE(runs(smallest + 64 * i, true)) << smallest << " + " << 64 * i;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EdgeTest,
                         testing::Values(Edge{"mlp", mlp, 1}, Edge{"mlp", mlp, 2}, Edge{"cnn", cnn, 1},
                                         Edge{"cnn", cnn, 2}, Edge{"batch_norm", batch_norm_cnn, 1},
                                         Edge{"batch_norm", batch_norm_cnn, 2}, Edge{"transformer", transformer, 1},
                                         Edge{"transformer", transformer, 2}, Edge{"recurrent", recurrent, 1},
                                         Edge{"recurrent", recurrent, 2}),
                         [](const auto& edge) {
                           return std::string(edge.param.name) + "_" + std::to_string(edge.param.threads);
                         });

}  // namespace
}  // namespace tidemark::test
