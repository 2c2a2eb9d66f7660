// The budget is a limit and never changes the numbers: mlp, vgg16 and gpt, from the peak that they have without a
// budget down to the smallest that works.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "tests/autograd/training.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::test {
namespace {

struct Case {
  Model model;
  Rule rule;
};

class Budget : public ::testing::TestWithParam<Case> {};

TEST_P(Budget, IsALimitAndNeverChangesTheNumbers) {
  const Model model = GetParam().model;
  const Rule rule = GetParam().rule;
  const TrainingResult unlimited = train({.model = model, .rule = rule});
  EXPECT_EQ(unlimited.report.recomputed_ops, 0);
  const std::int64_t peak = unlimited.report.peak_bytes;
  const std::int64_t smallest = smallest_budget(peak, peak / 100, [&](std::int64_t budget) {
    (void)train({.model = model, .rule = rule, .budget = budget, .verify_replay = false});
  });
  ASSERT_LT(smallest, peak * 9 / 10) << "the model is too small to be put under pressure";

  constexpr int kBudgets = 6;
  for (int i = 0; i < kBudgets; ++i) {
    const std::int64_t budget = peak - (peak - smallest) * i / (kBudgets - 1);
    const std::string trace = name(model, rule) + " in " + format_bytes(budget) + " of " + format_bytes(peak);
    SCOPED_TRACE(trace);
    const TrainingResult limited = train({.model = model, .rule = rule, .budget = budget});
    EXPECT_EQ(first_difference(unlimited.trace, limited.trace), std::nullopt);
    for (std::size_t s = 0; s < limited.steps.size(); ++s) {
      EXPECT_LE(limited.steps[s].peak_bytes, budget) << "step " << s;
      EXPECT_LE(limited.reserved[s], budget) << "step " << s;
      if (i == kBudgets - 1) {
        EXPECT_GT(limited.steps[s].recomputed_ops, 0) << "step " << s;
      }
    }
    if (i > 0) {
      EXPECT_GT(limited.report.recomputed_ops, 0);
    }
    EXPECT_LE(limited.report.peak_bytes, budget);
    std::printf("%s: %lld ops recomputed in %zu steps\n", trace.c_str(),
                static_cast<long long>(limited.report.recomputed_ops), limited.steps.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Budget,
                         ::testing::Values(Case{Model::kMlp, Rule::kAdamW}, Case{Model::kMlp, Rule::kSgd},
                                           Case{Model::kVgg16, Rule::kAdamW}, Case{Model::kVgg16, Rule::kSgd},
                                           Case{Model::kGpt, Rule::kAdamW}, Case{Model::kGpt, Rule::kSgd}),
                         [](const auto& one) { return name(one.param.model, one.param.rule); });

}  // namespace
}  // namespace tidemark::test
