// Budgets that cannot hold what is asked: the message says what, where and what to do; nothing of the model changes;
// and the same session goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "tests/autograd/support.h"
#include "tests/autograd/training.h"
#include "tidemark/models.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"
#include "tidemark/units.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

struct Refusal {
  std::string text;
  std::int64_t needed = 0;
  bool planned = false;
};

std::optional<Refusal> refusal_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const BudgetError& error) {
    return Refusal{error.what(), error.needed_bytes(), error.planned()};
  }
  return std::nullopt;
}

constexpr const char* kForm =
    "[0-9.]+ [KMG]?i?B cannot hold [^\n]+ at refusal_test.cc:[0-9]+\n"
    "  it needs +[0-9.]+ [KMG]?i?B: [^\n]*output [^\n]*scratchpad [^\n]*\n"
    "  pinned +[0-9.]+ [KMG]?i?B: [^\n]+\n"
    "  help: [^\n]*[0-9.]+ [KMG]?i?B[^\n]*";

const Shape kMiB = {512, 512};

TEST(RefusalTest, NamesTheOpAndTheBytes) {
  Session session({.budget = 4_MiB, .threads = 2});
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const Tensor x = normal(kMiB, 0, 1);
  const Tensor y = normal(kMiB, 0, 1);
  const std::string line = next_line();
  const auto refusal = refusal_of([&] { (void)concat({x, y}, 0); });
  ASSERT_TRUE(refusal);
  EXPECT_THAT(refusal->text, MatchesRegex(kForm));
  EXPECT_THAT(refusal->text, HasSubstr("4.0 MiB cannot hold concat at " + line));
  EXPECT_THAT(refusal->text, AllOf(HasSubstr("output 2.0 MiB"), HasSubstr("parameters 1.0 MiB")));
  EXPECT_EQ(refusal->needed, 5_MiB) << "three leaves and the output";
  EXPECT_FALSE(refusal->planned) << "nobody knows the rest of the step yet";
  EXPECT_THAT(refusal->text, AllOf(HasSubstr("at least"), HasSubstr(format_bytes(refusal->needed))));
  // A budget of just that is enough for this call.
  Session larger({.budget = refusal->needed, .threads = 2});
  const Tensor w2 = parameter(normal(kMiB, 0, 0.05f), "w");
  const Tensor both[] = {normal(kMiB, 0, 1), normal(kMiB, 0, 1)};
  EXPECT_EQ(concat(both, 0).shape(), Shape({1024, 512}));
  EXPECT_EQ(larger.report().peak_bytes, 5_MiB);
}

TEST(RefusalTest, LeavesAndState) {
  Session session({.budget = 4_MiB, .threads = 2});
  Tensor w = parameter(normal({1024, 512}, 0, 0.05f), "w");
  const std::string line = next_line();
  auto refusal = refusal_of([&] { (void)zeros({2048, 512}); });
  ASSERT_TRUE(refusal);
  EXPECT_THAT(refusal->text, AllOf(MatchesRegex(kForm), HasSubstr(line)));
  EXPECT_EQ(refusal->needed, 6_MiB);
  const std::vector<std::uint8_t> before = bits(w);
  refusal = refusal_of([&] { optim::AdamW optimizer({w}, {.state = f32}); });
  ASSERT_TRUE(refusal);
  EXPECT_GT(refusal->needed, 4_MiB);
  EXPECT_EQ(before, bits(w));
  EXPECT_EQ(session.report().live_bytes, 2_MiB);
  // Half the moments fit.
  optim::SGD optimizer({w}, {.lr = 0.1f, .momentum = 0.9f});
  EXPECT_LE(session.report().live_bytes, 4_MiB);
}

// One model, batches of two sizes: the large one is refused, in forward or only in backward.
struct Trainer {
  explicit Trainer(std::optional<std::int64_t> budget)
      : session({.budget = budget, .threads = 2, .seed = 3, .verify_replay = true}),
        net(nn::Linear({.in = 256, .out = 512}), nn::BatchNorm2d({.features = 512}), nn::ReLU(),
            nn::Linear({.in = 512, .out = 512}), nn::BatchNorm2d({.features = 512}), nn::ReLU(),
            nn::Linear({.in = 512, .out = 10})),
        optimizer(net.parameters(), {.lr = 0.01f}) {}

  Tensor forward(std::int64_t rows) {
    std::vector<float> x(static_cast<std::size_t>(rows * 256));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 2654435761u >> 7) % 101) / 50 - 1;
    std::vector<std::int32_t> classes(static_cast<std::size_t>(rows));
    for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<std::int32_t>(i * i % 10);
    return cross_entropy(net(tensor(x, {rows, 256})), tensor(classes, {rows}));
  }
  void step(std::int64_t rows) {
    forward(rows).backward();
    optimizer.step();
    optimizer.zero_grad();
  }
  Trace model() {
    Trace trace;
    for (const auto& list : {net.parameters(), net.state(), optimizer.state()}) {
      for (const Parameter& tensor : list) trace.emplace_back(tensor.name(), bits(tensor));
    }
    return trace;
  }

  Session session;
  nn::Sequential net;
  optim::AdamW optimizer;
};

constexpr std::int64_t kRows = 64;

std::int64_t peak_of(std::int64_t rows) {
  Trainer trainer(std::nullopt);
  for (int step = 0; step < 3; ++step) trainer.step(rows);
  return trainer.session.report().peak_bytes;
}

TEST(RefusalTest, AStepThatWasRefusedLeavesNoTrace) {
  // What the model becomes without any refusal, whatever the budget.
  Trainer undisturbed(std::nullopt);
  undisturbed.step(kRows);
  const Trace after_one = undisturbed.model();
  undisturbed.step(kRows);
  undisturbed.step(kRows);
  const Trace after_three = undisturbed.model();

  const std::int64_t budget = peak_of(kRows) + 256_KiB;
  bool in_forward = false;
  bool in_backward = false;
  for (std::int64_t rows = 2 * kRows; rows <= 4096; rows += rows / 4) {
    SCOPED_TRACE(std::to_string(rows) + " rows in " + format_bytes(budget));
    Trainer trainer(budget);
    trainer.step(kRows);
    ASSERT_EQ(first_difference(after_one, trainer.model()), std::nullopt);
    bool forward_fits = false;
    const auto refusal = refusal_of([&] {
      const Tensor loss = trainer.forward(rows);
      forward_fits = true;
      loss.backward();
    });
    if (!refusal) continue;
    (forward_fits ? in_backward : in_forward) = true;
    EXPECT_GT(refusal->needed, budget);
    EXPECT_EQ(first_difference(after_one, trainer.model()), std::nullopt);
    for (const Parameter& parameter : trainer.net.parameters()) EXPECT_FALSE(parameter.grad().defined());
    EXPECT_EQ(trainer.session.step(), 1);
    trainer.step(kRows);
    trainer.step(kRows);
    EXPECT_EQ(first_difference(after_three, trainer.model()), std::nullopt);
    EXPECT_LE(trainer.session.report().reserved_bytes, budget);
  }
  EXPECT_TRUE(in_forward);
  EXPECT_TRUE(in_backward);
}

// A refused micro-batch takes nothing half: the gradients of earlier ones stay as they were, or all of them are gone
// and the error says so.
TEST(RefusalTest, RefusedMicroBatch) {
  const std::int64_t budget = peak_of(kRows) + 2_MiB;
  int refusals = 0;
  int kept = 0;
  for (std::int64_t rows = 2 * kRows; rows <= 4096; rows += rows / 4) {
    SCOPED_TRACE(std::to_string(rows) + " rows in " + format_bytes(budget));
    Trainer trainer(budget);
    trainer.step(kRows);
    trainer.forward(kRows).backward();
    const auto gradients = [&] {
      Trace trace;
      for (const Parameter& parameter : trainer.net.parameters()) {
        if (parameter.grad().defined()) trace.emplace_back(parameter.name(), bits(parameter.grad()));
      }
      return trace;
    };
    const Trace before = gradients();
    ASSERT_EQ(before.size(), trainer.net.parameters().size());
    const auto refusal = refusal_of([&] { trainer.forward(rows).backward(); });
    if (!refusal) continue;
    ++refusals;
    const Trace after = gradients();
    EXPECT_TRUE(after.empty() || first_difference(before, after) == std::nullopt);
    EXPECT_EQ(after.empty(), refusal->text.find("are gone") != std::string::npos) << refusal->text;
    kept += after.empty() ? 0 : 1;
    trainer.optimizer.zero_grad();
    trainer.step(kRows);
  }
  EXPECT_GT(refusals, 2);
  EXPECT_GT(kept, 2);
}

// What was computed in a refused step is gone, and says so.
TEST(RefusalTest, ValuesOfARefusedStepSayWhy) {
  Session session({.budget = 6_MiB, .threads = 2});
  Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const Tensor x = normal(kMiB, 0, 1);
  const Tensor y = relu(linear(x, w));
  ASSERT_TRUE(refusal_of([&] { (void)concat({y, y, y, y, y}, 0); }));
  EXPECT_THAT(error_of([&] { (void)y.to_vector(); }), HasSubstr("refused"));
  EXPECT_EQ(x.to_vector().size(), 512u * 512u);
  mean(relu(linear(x, w))).backward();
  EXPECT_TRUE(w.grad().defined());
}

// needed_bytes() is a limit that holds: it never names more than a budget that works.
TEST(RefusalTest, NeededBytesAreNeeded) {
  const auto run = [](std::int64_t budget) {
    (void)train({.model = Model::kGpt, .steps = 2, .budget = budget, .verify_replay = false});
  };
  const std::int64_t peak = train({.model = Model::kGpt, .steps = 2}).report.peak_bytes;
  const std::int64_t smallest = smallest_budget(peak, peak / 200, run);
  int refusals = 0;
  for (std::int64_t budget = smallest / 4; budget < smallest; budget += smallest / 8) {
    const auto refusal = refusal_of([&] { run(budget); });
    if (!refusal) continue;
    ++refusals;
    EXPECT_LE(refusal->needed, smallest);
  }
  EXPECT_GT(refusals, 2);
}

// A refusal asks for more than there was, also where it is not the op itself that does not fit but the recomputation
// of what it reads.
// After backward() only updates were expected. An op that follows all the same may be followed by more.
TEST(RefusalTest, NothingIsPlannedAfterAnOpBehindBackward) {
  const Session session({.budget = 6_MiB, .threads = 1});
  const Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
  const Tensor x = normal(kMiB, 0, 1);
  mean(matmul(x, w)).backward();
  const Tensor y = matmul(x, x);
  const auto refusal = refusal_of([&] { (void)concat({x, y, x}, 0); });
  ASSERT_TRUE(refusal);
  EXPECT_FALSE(refusal->planned);
  EXPECT_THAT(refusal->text, HasSubstr("at least"));
}

TEST(RefusalTest, ARefusalAsksForMoreThanItHad) {
  int refusals = 0;
  for (std::int64_t budget = 4_MiB; budget < 8_MiB; budget += 256_KiB) {
    const auto refusal = refusal_of([&] {
      const Session session({.budget = budget, .threads = 2});
      Tensor w = parameter(normal(kMiB, 0, 0.05f), "w");
      Tensor y = normal(kMiB, 0, 1);
      for (int layer = 0; layer < 8; ++layer) y = gelu(linear(y, w));
      mean(y).backward();
    });
    if (!refusal) continue;
    ++refusals;
    EXPECT_GT(refusal->needed, budget) << refusal->text;
  }
  EXPECT_GT(refusals, 4);
}

}  // namespace
}  // namespace tidemark::test
