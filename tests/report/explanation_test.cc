// What explanation() says of a step is what the step did; hints change costs and no bit.
#include "tidemark/explanation.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tests/report/program.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

using Fate = Explanation::Fate;

struct Explained {
  Explanation explanation;
  Report report;
  std::vector<float> losses;
};

Explained explained(std::optional<std::int64_t> budget, const Chain::Touch& touch = {}, int offers = 0) {
  Session session({.budget = budget, .threads = 2});
  Chain chain;
  Explained result;
  for (int i = 0; i < 4; ++i) result.losses.push_back(chain.step(touch));
  result.explanation = session.explanation(offers);
  result.report = session.report();
  return result;
}

// The fate of what layer i gives, by its tanh.
const Explanation::Value& tanh_of(const Explanation& explanation, int layer) {
  for (const Explanation::Value& value : explanation.values) {
    if (value.op == "tanh" && layer-- == 0) return value;
  }
  throw Error("no such layer");
}

TEST(Explanation, FatesAreWhatHappened) {
  const ChainBytes bytes = bytes_of_chain();
  const auto [explanation, report, losses] = explained(bytes.at(0.4));
  ASSERT_GT(report.last_step.recomputed_ops, 0);
  std::int64_t again = 0;
  bool discarded = false;
  for (const Explanation::Value& value : explanation.values) {
    again += value.runs - 1;
    EXPECT_FALSE(value.why.empty()) << value.op;
    if (value.runs > 1 && value.fate == Fate::kDiscarded) {
      discarded = true;
      EXPECT_FALSE(value.discarded_after.empty());
      EXPECT_FALSE(value.recomputed_for.empty());
      EXPECT_NE(value.where.find("program.h:"), std::string::npos) << value.where;
    }
  }
  EXPECT_TRUE(discarded);
  // Every op here has one output.
  EXPECT_EQ(again, report.last_step.recomputed_ops);
  EXPECT_DOUBLE_EQ(explanation.cost, report.plan_cost);
  EXPECT_EQ(explanation.budget, report.budget);
}

TEST(Explanation, ThePeakIsTheReports) {
  const ChainBytes bytes = bytes_of_chain();
  for (const auto budget :
       {std::optional<std::int64_t>(), std::optional(bytes.at(0.6)), std::optional(bytes.at(0.4))}) {
    const auto [explanation, report, losses] = explained(budget);
    EXPECT_EQ(explanation.peak_bytes, report.last_step.peak_bytes);
    EXPECT_FALSE(explanation.peak_op.empty());
    ASSERT_FALSE(explanation.at_peak.empty());
    EXPECT_LE(explanation.at_peak.size(), 10u);
    for (std::size_t i = 1; i < explanation.at_peak.size(); ++i) {
      EXPECT_GE(explanation.at_peak[i - 1].bytes, explanation.at_peak[i].bytes);
    }
  }
}

TEST(Explanation, OffersCostLessWithMoreBytes) {
  const ChainBytes bytes = bytes_of_chain();
  const auto [explanation, report, losses] = explained(bytes.at(0.35), {}, 4);
  ASSERT_TRUE(explanation.here);
  EXPECT_EQ(explanation.here->budget, bytes.at(0.35));
  ASSERT_EQ(explanation.with_more.size(), 4u);
  double cost = explanation.here->cost;
  EXPECT_GT(cost, 0);
  for (const Explanation::Offer& offer : explanation.with_more) {
    EXPECT_LE(offer.cost, cost);
    EXPECT_LE(offer.bound, offer.cost + 1e-12);
    cost = offer.cost;
  }
  EXPECT_EQ(cost, 0);
  EXPECT_NE(explanation.text().find("more ("), std::string::npos);
}

TEST(Explanation, WithoutABudgetNothingIsDiscarded) {
  const auto [explanation, report, losses] = explained({});
  for (const Explanation::Value& value : explanation.values) EXPECT_NE(value.fate, Fate::kDiscarded);
  EXPECT_EQ(explanation.cost, 0);
  EXPECT_TRUE(explanation.with_more.empty());
}

TEST(Explanation, BeforeAnyStepItIsEmpty) {
  Session session({.threads = 1});
  EXPECT_TRUE(session.explanation().values.empty());
  EXPECT_FALSE(session.explain().empty());
  const std::string line = next_line();
  const std::string text = error_of([&] { (void)session.explanation(-1); });
  EXPECT_NE(text.find(line), std::string::npos) << text;
}

TEST(Hints, KeepAndRecomputeMoveTheChoiceAndNoBit) {
  const ChainBytes bytes = bytes_of_chain();
  const std::int64_t budget = bytes.at(0.5);
  const Explained plain = explained(budget);
  // Of layers whose values wait for long, so that the planner has a choice.
  for (int wanted = 1; wanted < 2 * Chain::kLayers / 3; wanted += 3) {
    const Explained kept = explained(budget, [&](int layer, Tensor& value) {
      if (layer == wanted) value.keep();
    });
    const Explained again = explained(budget, [&](int layer, Tensor& value) {
      if (layer == wanted) value.recompute();
    });
    EXPECT_EQ(tanh_of(kept.explanation, wanted).runs, 1) << wanted;
    EXPECT_GT(tanh_of(again.explanation, wanted).runs, 1) << wanted;
    EXPECT_NE(tanh_of(again.explanation, wanted).why.find("asked"), std::string::npos);
    EXPECT_TRUE(same_bits(plain.losses, kept.losses));
    EXPECT_TRUE(same_bits(plain.losses, again.losses));
    EXPECT_LE(kept.report.peak_bytes, budget);
    // Costs are told without the hints' weight.
    EXPECT_LT(kept.report.plan_cost, 1);
    EXPECT_GT(again.report.plan_cost, 0);
  }
}

TEST(Hints, OfOneStepEndWithIt) {
  const ChainBytes bytes = bytes_of_chain();
  Session session({.budget = bytes.at(0.5), .threads = 2});
  Chain chain;
  for (int i = 0; i < 3; ++i) chain.step();
  const std::int64_t before = tanh_of(session.explanation(0), 4).runs;
  for (int i = 0; i < 2; ++i) {
    chain.step([](int layer, Tensor& value) {
      if (layer == 4) value.keep();
      if (layer != 4) value.recompute();
    });
  }
  EXPECT_EQ(tanh_of(session.explanation(0), 4).runs, 1);
  for (int i = 0; i < 2; ++i) chain.step();
  EXPECT_EQ(tanh_of(session.explanation(0), 4).runs, before);
}

TEST(Hints, OnALeafOrAViewAreTaken) {
  Session session({.threads = 1});
  Tensor leaf = full({4, 4}, 1);
  leaf.recompute();
  leaf.set_requires_grad(true);
  Tensor view = reshape(tanh(leaf), {16});
  view.recompute();
  mean(view).backward();
  EXPECT_EQ(leaf.grad().numel(), 16);
  EXPECT_NE(error_of([] { Tensor().recompute(); }), "");
}

}  // namespace
}  // namespace tidemark::test
