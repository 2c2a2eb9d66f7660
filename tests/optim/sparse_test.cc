// Gradients of some of a table's rows: what they are and take, what optimizers make of them, and who refuses them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/autograd/support.h"
#include "tidemark/clip.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"
#include "tidemark/sparse_grad.h"

namespace tidemark::test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Floats = std::vector<float>;
using Indices = std::vector<std::int32_t>;
using Make = std::function<std::unique_ptr<optim::Optimizer>(const std::vector<Parameter>&)>;

constexpr std::int64_t kRows = 40;
constexpr std::int64_t kWidth = 6;
constexpr std::int64_t kSamples = 8;

// Numbers that PyTorch made the same way for kTorch. Ten of the rows are never read, others twice in a step.
Floats first_table() {
  Floats table;
  for (int r = 0; r < kRows; ++r) {
    for (int k = 0; k < kWidth; ++k) table.push_back(static_cast<float>((r * 5 + k * 3) % 17 - 8) / 8);
  }
  return table;
}
Indices indices_of(int t) {
  Indices indices;
  for (int i = 0; i < kSamples; ++i) indices.push_back((t * t * 7 + i * i * 3 + t * i) % kRows);
  return indices;
}
Floats factors_of(int t) {
  Floats factors;
  for (int i = 0; i < kSamples; ++i) {
    for (int k = 0; k < kWidth; ++k) factors.push_back(static_cast<float>((t * 31 + i * 17 + k * 7) % 13 - 6) / 8);
  }
  return factors;
}
Tensor loss_of(const Tensor& table, int t) {
  return sum(embedding(tensor(indices_of(t), {kSamples}), table, {.sparse = true}) *
             tensor(std::span<const float>(factors_of(t)), {kSamples, kWidth}));
}

enum class Rule { kSgd, kAdam, kAdagrad };

std::unique_ptr<optim::Optimizer> make(Rule rule, const std::vector<Parameter>& parameters, DType state) {
  switch (rule) {
    case Rule::kSgd:
      return std::make_unique<optim::SGD>(parameters, optim::SGDOptions{.lr = 0.05f, .state = state});
    case Rule::kAdam:
      return std::make_unique<optim::Adam>(parameters, optim::AdamOptions{.lr = 1e-2f, .state = state});
    case Rule::kAdagrad:
      return std::make_unique<optim::Adagrad>(parameters,
                                              optim::AdagradOptions{.lr = 0.05f, .lr_decay = 0.01f, .state = state});
  }
  return nullptr;
}

// The same steps in double: rows that are read, and no others.
std::vector<double> reference(Rule rule, int steps) {
  const Floats first = first_table();
  std::vector<double> table(first.begin(), first.end());
  std::vector<double> m(table.size());
  std::vector<double> v(table.size());
  for (int t = 0; t < steps; ++t) {
    std::vector<double> gradient(table.size());
    std::set<std::int32_t> rows;
    const Indices indices = indices_of(t);
    const Floats factors = factors_of(t);
    for (std::size_t i = 0; i < kSamples; ++i) {
      rows.insert(indices[i]);
      for (std::size_t k = 0; k < kWidth; ++k) {
        gradient[static_cast<std::size_t>(indices[i]) * kWidth + k] += factors[i * kWidth + k];
      }
    }
    for (const std::int32_t row : rows) {
      for (std::size_t k = 0; k < kWidth; ++k) {
        const std::size_t at = static_cast<std::size_t>(row) * kWidth + k;
        const double g = gradient[at];
        if (rule == Rule::kSgd) table[at] -= 0.05 * g;
        if (rule == Rule::kAdam) {
          m[at] = 0.9 * m[at] + 0.1 * g;
          v[at] = 0.999 * v[at] + 0.001 * g * g;
          table[at] -=
              1e-2 * (m[at] / (1 - std::pow(0.9, t + 1))) / (std::sqrt(v[at] / (1 - std::pow(0.999, t + 1))) + 1e-8);
        }
        if (rule == Rule::kAdagrad) {
          v[at] += g * g;
          if (g != 0) table[at] -= 0.05 / (1 + t * 0.01) * g / (std::sqrt(v[at]) + 1e-10);
        }
      }
    }
  }
  return table;
}

TEST(SparseGrad, TrajectoriesOfPyTorch) {
  constexpr int kSteps = 100;
  struct Case {
    Rule rule;
    double torch[4];  // what PyTorch 1.13 has in double: SparseAdam, SGD, Adagrad
  };
  const Case kCases[] = {{Rule::kAdam, {-0.975092396, 0.276294134, 0.609041760, 0.437275397}},
                         {Rule::kSgd, {-0.968750000, 0.231250000, 0.600000000, 0.481250000}},
                         {Rule::kAdagrad, {-0.956737014, 0.288969927, 0.585388230, 0.495502525}}};
  for (const Case& each : kCases) {
    const std::vector<double> expected = reference(each.rule, kSteps);
    const std::size_t places[] = {0, 7 * kWidth + 3, 20 * kWidth + 5, 39 * kWidth + 1};
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(expected[places[i]], each.torch[i], 2e-7);
    for (const DType state : {f32, f16}) {
      Session session({.threads = 2});
      const Tensor table = parameter(tensor(std::span<const float>(first_table()), {kRows, kWidth}), "table");
      const auto optimizer = make(each.rule, {table}, state);
      for (int t = 0; t < kSteps; ++t) {
        optimizer->zero_grad();
        loss_of(table, t).backward();
        optimizer->step();
      }
      const Floats actual = table.to_vector();
      const double tolerance = state == f32 || each.rule == Rule::kSgd ? 3e-6 : 1e-3;
      for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << i;
    }
  }
}

TEST(SparseGrad, HasTheRowsThatWereReadAndTheBitsOfTheOther) {
  Session session({.threads = 2});
  const Tensor indices = tensor({9, 2, 9, 9, 5, 0}, {2, 3});
  const Tensor factors = normal({2, 3, 37}, 0, 1);
  const Tensor initial = normal({12, 37}, 0, 1);
  Tensor all = parameter(initial, "all");
  sum(embedding(indices, all, {.padding = 2}) * factors).backward();
  const Floats dense = all.grad().to_vector();
  EXPECT_FALSE(grad_is_sparse(all));
  all.zero_grad();
  sum(embedding(indices, all, {.padding = 2, .sparse = true}) * factors).backward();
  EXPECT_TRUE(grad_is_sparse(all));
  const SparseGrad some = sparse_grad(all);
  EXPECT_THAT(some.indices, ElementsAre(0, 5, 9));
  ASSERT_EQ(some.rows.size(), 3u * 37u);
  for (std::size_t row = 0; row < 3; ++row) {
    EXPECT_EQ(std::memcmp(&some.rows[row * 37], &dense[static_cast<std::size_t>(some.indices[row]) * 37], 37 * 4), 0);
  }
  EXPECT_THAT(error_of([&] { (void)all.grad(); }),
              AllOf(HasSubstr("[grad] the gradient has some of the rows of [12, 37]"), HasSubstr("sparse_grad()")));
  all.zero_grad();
  EXPECT_FALSE(grad_is_sparse(all));
  EXPECT_FALSE(all.grad().defined());
  EXPECT_THAT(error_of([&] { (void)sparse_grad(all); }), HasSubstr("[sparse_grad] there is no gradient"));
}

// Several uses and several passes: the union of the rows.
TEST(SparseGrad, AddsUp) {
  Session session({.threads = 2});
  Tensor table = parameter(normal({9, 5}, 0, 1), "table");
  const auto use = [&](std::initializer_list<detail::Number> indices, float factor, bool sparse) {
    return sum(embedding(tensor(indices, {static_cast<std::int64_t>(indices.size())}), table, {.sparse = sparse})) *
           factor;
  };
  (use({1, 3}, 1, true) + use({3, 8}, 2, true)).backward();
  EXPECT_THAT(sparse_grad(table).indices, ElementsAre(1, 3, 8));
  use({0, 8, 0}, 4, true).backward();
  const SparseGrad sums = sparse_grad(table);
  EXPECT_THAT(sums.indices, ElementsAre(0, 1, 3, 8));
  const float expected[] = {8, 1, 3, 6};
  for (std::size_t i = 0; i < sums.rows.size(); ++i) EXPECT_EQ(sums.rows[i], expected[i / 5]);
  // With one of all rows it is one of all rows, whichever comes first.
  use({2}, 1, false).backward();
  EXPECT_FALSE(grad_is_sparse(table));
  EXPECT_THAT(error_of([&] { (void)sparse_grad(table); }), HasSubstr("read it with grad()"));
  use({2}, 1, true).backward();
  const float dense[] = {8, 1, 2, 3, 0, 0, 0, 0, 6};
  const Floats gradient = table.grad().to_vector();
  for (std::size_t i = 0; i < gradient.size(); ++i) EXPECT_EQ(gradient[i], dense[i / 5]);
}

TEST(SparseGrad, OfATableThatAnotherOpReadsIsDense) {
  for (const bool first : {false, true}) {
    Session session({.threads = 2});
    const Tensor table = parameter(normal({9, 5}, 0, 1), "table");
    const Tensor indices = tensor({1, 3, 3}, {3});
    const auto loss = [&](bool sparse) {
      const Tensor rows = embedding(indices, table, {.sparse = sparse});
      return first ? sum(linear(rows, table)) : sum(square(table)) + sum(rows);
    };
    loss(false).backward();
    const Floats expected = table.grad().to_vector();
    Tensor(table).zero_grad();
    loss(true).backward();
    EXPECT_FALSE(grad_is_sparse(table));
    const Floats actual = table.grad().to_vector();
    for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-6);
  }
}

TEST(SparseGrad, GoesThroughAValueThatIsNoLeaf) {
  Session session({.threads = 2});
  const Tensor table = parameter(normal({6, 3}, 0, 1), "table");
  sum(embedding(tensor({4, 4, 1}, {3}), table * 2.0f, {.sparse = true})).backward();
  EXPECT_FALSE(grad_is_sparse(table));
  EXPECT_THAT(table.grad().to_vector(), ElementsAre(0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0, 4, 4, 4, 0, 0, 0));
}

// Bytes, not times: 256 rows of 100,000, and the numbers of the rows.
TEST(SparseGrad, TakesTheBytesOfItsRows) {
  constexpr std::int64_t kTable = 100'000 * 64 * 4;
  constexpr std::int64_t kRow = 64 * 4;
  Indices indices;
  for (std::int32_t i = 0; i < 256; ++i) indices.push_back(i * 389 % 100'000);
  const auto peak_over = [&](bool sparse, bool minimize) {
    Session session({.threads = 2});
    nn::Embedding layer({.count = 100'000, .width = 64, .sparse = sparse});
    optim::SGD optimizer(layer.parameters());
    const Tensor loss = mean(layer(tensor(indices, {256})));
    if (minimize) {
      optimizer.minimize(loss);
    } else {
      loss.backward();
      optimizer.step();
      const std::int64_t gradients = session.report().live_by_category[static_cast<int>(Category::kGradients)];
      EXPECT_LE(gradients, sparse ? 257 * kRow + 256 * 4 + 64 : kTable);
    }
    return session.report().peak_bytes - kTable;
  };
  for (const bool minimize : {false, true}) {
    EXPECT_LT(peak_over(true, minimize), 4 * 257 * kRow);
    EXPECT_GT(peak_over(false, minimize), kTable);
  }
}

TEST(SparseGrad, LeavesOtherRowsAndTheirStateAlone) {
  constexpr std::int64_t kTableRows = 30;
  for (const std::int64_t width : {6, 64, 256, 300}) {
    for (const Rule rule : {Rule::kSgd, Rule::kAdam, Rule::kAdagrad}) {
      for (const DType format : {f16, f32}) {
        Session session({.threads = 2});
        nn::Embedding layer({.count = kTableRows, .width = width, .sparse = true});
        const auto optimizer = make(rule, layer.parameters(), format);
        const std::int64_t moments = rule == Rule::kAdam ? 2 : rule == Rule::kAdagrad ? 1 : 0;
        const auto step = [&](std::initializer_list<detail::Number> read) {
          const std::int64_t count = static_cast<std::int64_t>(read.size());
          optimizer->minimize(sum(square(layer(tensor(read, {count})))));
        };
        step({0, 3, 4, 7, 8, 12, 29});
        const Floats table = layer.weight.to_vector();
        std::vector<std::uint8_t> state;
        if (moments > 0) state = optimizer->state()[0].to_vector<std::uint8_t>();
        step({12, 3, 3, 28});
        const Floats table_now = layer.weight.to_vector();
        std::vector<std::uint8_t> state_now;
        if (moments > 0) state_now = optimizer->state()[0].to_vector<std::uint8_t>();
        const std::int64_t each = format == f16 ? 2 : 4;
        const std::int64_t blocks = (width + 255) / 256;
        EXPECT_EQ(static_cast<std::int64_t>(state.size()),
                  moments * kTableRows * (width * each + (format == f16 ? blocks : 0)));
        const auto same = [&](const auto& a, const auto& b, std::int64_t from, std::int64_t count) {
          return std::equal(a.begin() + from, a.begin() + from + count, b.begin() + from);
        };
        for (std::int64_t row = 0; row < kTableRows; ++row) {
          const bool read = row == 3 || row == 12 || row == 28;
          EXPECT_EQ(same(table, table_now, row * width, width), !read) << row;
          for (std::int64_t k = 0; k < moments; ++k) {
            EXPECT_EQ(same(state, state_now, (k * kTableRows + row) * width * each, width * each), !read) << row;
            const std::int64_t exponents = moments * kTableRows * width * each + (k * kTableRows + row) * blocks;
            EXPECT_TRUE(format == f32 || read || same(state, state_now, exponents, blocks)) << row;
          }
        }
      }
    }
  }
}

// A step that reads all rows is the step of all rows.
TEST(SparseGrad, OfAllRowsGivesTheBitsOfTheOther) {
  for (const Rule rule : {Rule::kSgd, Rule::kAdam, Rule::kAdagrad}) {
    std::vector<Floats> results;
    for (const bool sparse : {true, false}) {
      Session session({.threads = 2});
      nn::Embedding layer({.count = 5, .width = 512, .sparse = sparse});
      const auto optimizer = make(rule, layer.parameters(), f16);
      for (int t = 0; t < 5; ++t) {
        optimizer->minimize(sum(square(layer(tensor({4, 0, 1, 3, 2}, {5})))));
      }
      results.push_back(layer.weight.to_vector());
    }
    EXPECT_TRUE(same_bits(results[0], results[1]));
  }
}

// A model with such a table, and one that is tied to its head; everything that it computed.
Floats train_here(bool tied, int way) {
  nn::Embedding tokens({.count = 300, .width = 48, .padding = 0, .sparse = true});
  nn::EmbeddingBag bags({.count = 90, .width = 48, .sparse = true});
  nn::Linear middle({.in = 48, .out = 48});
  std::vector<Parameter> parameters = {{tokens.weight, "tokens"}, {bags.weight, "bags"}};
  for (const Parameter& parameter : middle.parameters()) parameters.push_back(parameter);
  optim::Adam optimizer(parameters);
  Floats seen;
  for (int t = 0; t < 4; ++t) {
    Indices indices;
    for (int i = 0; i < 64; ++i) indices.push_back((i * i * 5 + t * 17 + i) % 90);
    const Tensor x = tensor(indices, {64});
    Tensor h = gelu(middle(tokens(x) + bags(reshape(x, {64, 1}))));
    h = gelu(middle(h + tokens(tensor(indices, {64}))));
    if (tied) h = linear(h, tokens.weight);
    const Tensor loss = mean(square(h));
    if (way == 0) {
      loss.backward();
      EXPECT_EQ(grad_is_sparse(tokens.weight), !tied);
      EXPECT_TRUE(grad_is_sparse(bags.weight));
      optimizer.step();
      optimizer.zero_grad();
    } else {
      using Check = optim::MinimizeOptions::Check;
      optimizer.minimize(loss, {.check = way == 1 ? Check::kEach : Check::kWhole});
    }
    seen.push_back(loss.item());
  }
  for (const Tensor& weight : parameters) {
    for (const float value : weight.to_vector()) seen.push_back(value);
  }
  return seen;
}
Floats train(const SessionOptions& options, bool tied, int way, std::int64_t* peak = nullptr) {
  Session session(options);
  Floats seen = train_here(tied, way);
  if (peak != nullptr) *peak = session.report().peak_bytes;
  return seen;
}

TEST(SparseGrad, BitsDependOnNeitherWayNorBudget) {
  for (const bool tied : {false, true}) {
    std::int64_t peak = 0;
    const Floats expected = train({.threads = 2}, tied, 0, &peak);
    for (const int way : {1, 2}) EXPECT_TRUE(same_bits(train({.threads = 2}, tied, way), expected)) << tied << way;
    for (const int way : {0, 1}) {
      const std::int64_t least = smallest_budget({.threads = 2}, [&] { (void)train_here(tied, way); });
      for (int i = 0; i < 5; ++i) {
        const std::int64_t budget = least + (peak - least) * i / 4;
        EXPECT_TRUE(same_bits(train({.budget = budget, .threads = 2, .verify_replay = true}, tied, way), expected))
            << budget;
      }
    }
  }
}

TEST(SparseGrad, BitsDependOnNoTeam) {
  std::vector<Floats> results;
  for (const int threads : {1, 2, 3}) {
    Session session({.threads = threads});
    nn::Embedding layer({.count = 2000, .width = 100, .sparse = true});
    optim::Adam optimizer(layer.parameters());
    Indices indices;
    for (int i = 0; i < 3000; ++i) indices.push_back(i % 7 == 0 ? 11 : i * 31 % 1500);
    for (int t = 0; t < 3; ++t) optimizer.minimize(sum(square(layer(tensor(indices, {3000})))));
    results.push_back(layer.weight.to_vector());
  }
  EXPECT_TRUE(same_bits(results[0], results[1]));
  EXPECT_TRUE(same_bits(results[0], results[2]));
}

TEST(SparseGrad, OptimizersThatChangeEveryRowRefuse) {
  struct Case {
    const char* text;
    Make make;
  };
  const auto of = []<class Optimizer>(const auto& options) -> Make {
    return [options](const std::vector<Parameter>& parameters) {
      return std::make_unique<Optimizer>(parameters, options);
    };
  };
  const Case kCases[] = {
      {"[AdamW] 'table' is a table", of.operator()<optim::AdamW>(optim::AdamWOptions{})},
      {"[RMSprop] 'table' is a table", of.operator()<optim::RMSprop>(optim::RMSpropOptions{})},
      {"[Lion] 'table' is a table", of.operator()<optim::Lion>(optim::LionOptions{})},
      {"momentum changes every row", of.operator()<optim::SGD>(optim::SGDOptions{.momentum = 0.9f})},
      {"weight decay changes every row", of.operator()<optim::SGD>(optim::SGDOptions{.weight_decay = 0.1f})},
      {"weight decay changes every row", of.operator()<optim::Adam>(optim::AdamOptions{.weight_decay = 0.1f})},
      {"weight decay changes every row", of.operator()<optim::Adagrad>(optim::AdagradOptions{.weight_decay = 0.1f})},
      {"initial_accumulator_value is that of every row",
       of.operator()<optim::Adagrad>(optim::AdagradOptions{.initial_accumulator_value = 0.1f})},
  };
  Session session({.threads = 2});
  for (const Case& each : kCases) {
    Tensor table = parameter(tensor(std::span<const float>(first_table()), {kRows, kWidth}), "table");
    const auto optimizer = each.make({{table, "table"}});
    const auto all = AllOf(HasSubstr(each.text), HasSubstr("optim::Adam, optim::Adagrad or optim::SGD"),
                           HasSubstr("sparse_test.cc"));
    EXPECT_THAT(error_of([&] { optimizer->minimize(loss_of(table, 1)); }), all);
    loss_of(table, 1).backward();
    EXPECT_THAT(error_of([&] { optimizer->step(); }), all);
    EXPECT_EQ(table.to_vector(), first_table());
    EXPECT_EQ(optimizer->steps(), 0);
  }
}

// The state's form follows from how the table is read, also where the optimizer was there first.
TEST(SparseGrad, StateOfATableThatIsReadSoLater) {
  const auto run = [](bool before) {
    Session session({.threads = 2});
    const Tensor table = parameter(tensor(std::span<const float>(first_table()), {kRows, kWidth}), "table");
    if (!before) (void)loss_of(table, 0);
    optim::Adam optimizer({table});
    for (int t = 0; t < 5; ++t) optimizer.minimize(loss_of(table, t));
    EXPECT_EQ(optimizer.state()[0].numel(), 2 * kRows * (2 * kWidth + 1));
    return table.to_vector();
  };
  EXPECT_TRUE(same_bits(run(true), run(false)));
  Session session({.threads = 2});
  const Tensor table = parameter(tensor(std::span<const float>(first_table()), {kRows, kWidth}), "table");
  optim::Adam optimizer({{table, "table"}});
  optimizer.minimize(sum(square(table)));
  EXPECT_THAT(error_of([&] { optimizer.minimize(loss_of(table, 0)); }),
              HasSubstr("[Adam] 'table' is read with .sparse = true now, and its state of 1 steps"));
}

TEST(SparseGrad, Clipping) {
  Session session({.threads = 2});
  Tensor table = parameter(zeros({50, 3}), "table");
  const Tensor factors = tensor({3.0f, 0, 0, 0, 4, 0, 0, 0, 12}, {3, 3});
  const auto gradient = [&] {
    table.zero_grad();
    sum(embedding(tensor({7, 2, 7}, {3}), table, {.sparse = true}) * factors).backward();
  };
  gradient();
  EXPECT_FLOAT_EQ(optim::clip_grad_norm({table}, 1e9f), 13);
  EXPECT_THAT(sparse_grad(table).rows, ElementsAre(0, 4, 0, 3, 0, 12));
  EXPECT_FLOAT_EQ(optim::clip_grad_norm({table}, 6.5f), 13);
  EXPECT_NEAR(sparse_grad(table).rows[5], 6, 1e-6);
  gradient();
  optim::clip_grad_value({table}, 3.5f);
  EXPECT_THAT(sparse_grad(table).rows, ElementsAre(0, 3.5f, 0, 3, 0, 3.5f));
  optim::SGD optimizer({table}, {.lr = 1});
  table.zero_grad();
  optimizer.minimize(sum(embedding(tensor({7, 2, 7}, {3}), table, {.sparse = true}) * factors), {.clip_value = 2});
  EXPECT_EQ(table.to_vector()[7 * 3 + 2], -2);
}

TEST(SparseGrad, NotFiniteIsRefused) {
  for (const bool minimize : {false, true}) {
    Session session({.threads = 2});
    Tensor table = parameter(tensor(std::span<const float>(first_table()), {kRows, kWidth}), "table");
    optim::Adam optimizer({{table, "table"}});
    const Tensor loss = sum(embedding(tensor({8, 3}, {2}), table, {.sparse = true})) * 1e19f;
    EXPECT_THAT(error_of([&] {
                  if (minimize) {
                    optimizer.minimize(loss);
                  } else {
                    loss.backward();
                    optimizer.step();
                  }
                }),
                HasSubstr("not finite"));
    EXPECT_EQ(table.to_vector(), first_table());
  }
}

TEST(SparseGrad, FrozenThawedAndResumed) {
  Session session({.threads = 2});
  const auto run = [&](bool resumed) {
    Tensor table = parameter(tensor(std::span<const float>(first_table()), {kRows, kWidth}), "table");
    auto optimizer = std::make_unique<optim::Adam>(std::vector<Parameter>{{table, "table"}});
    for (int t = 0; t < 6; ++t) {
      if (t == 2) {
        table.set_requires_grad(false);
        EXPECT_FALSE(loss_of(table, t).requires_grad());
        table.set_requires_grad(true);
      }
      if (t == 3 && resumed) {
        const std::vector<std::uint8_t> state = optimizer->state()[0].to_vector<std::uint8_t>();
        const std::int64_t steps = optimizer->steps();
        optimizer = std::make_unique<optim::Adam>(std::vector<Parameter>{{table, "table"}});
        optimizer->set_steps(steps);
        optimizer->state()[0].assign(std::span<const std::uint8_t>(state));
      }
      optimizer->minimize(loss_of(table, t));
    }
    return table.to_vector();
  };
  EXPECT_TRUE(same_bits(run(false), run(true)));
}

}  // namespace
}  // namespace tidemark::test
