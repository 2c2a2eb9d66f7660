// Random programs at four budgets each: every bit of loss, gradients, statistics and weights is that of the run
// without a budget, and the high-water mark never passes the budget.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "tests/autograd/random_program.h"
#include "tidemark/error.h"
#include "tidemark/units.h"

namespace tidemark::test {
namespace {

constexpr int kSteps = 4;  // online, then recorded, then planned

std::int64_t from_environment(const char* name, std::int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

void expect_same_bits(const ProgramResult& expected, const ProgramResult& actual, std::uint64_t seed,
                      std::int64_t budget) {
  ASSERT_EQ(expected.values.size(), actual.values.size());
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    ASSERT_EQ(expected.values[i].size(), actual.values[i].size());
    ASSERT_EQ(0, std::memcmp(expected.values[i].data(), actual.values[i].data(), expected.values[i].size() * 4))
        << "program " << seed << " at " << format_bytes(budget) << ": value " << i << " differs";
  }
}

TEST(RandomPrograms, BudgetNeverChangesTheNumbers) {
  const std::int64_t first = from_environment("TIDEMARK_FUZZ_FIRST", 1);
  const std::int64_t programs = from_environment("TIDEMARK_FUZZ_PROGRAMS", 100);
  Histogram histogram;
  std::int64_t runs = 0;
  std::int64_t recomputing = 0;
  std::int64_t planned_steps = 0;
  for (std::int64_t program = first; program < first + programs; ++program) {
    const auto seed = static_cast<std::uint64_t>(program);
    const ProgramResult unlimited = run_program(seed, kSteps, std::nullopt, nullptr);
    // From the peak without a budget down to the smallest that works; what lies between may be refused only below that.
    const ProgramResult least = run_at_smallest_budget(seed, kSteps, unlimited, &histogram);
    const std::int64_t smallest = *least.report.budget;
    const std::int64_t peak = std::max(smallest, unlimited.report.peak_bytes);
    for (const std::int64_t percent : {0, 25, 60, 100}) {
      const std::int64_t budget = smallest + (peak - smallest) * percent / 100;
      SCOPED_TRACE("program " + std::to_string(seed) + " at " + std::to_string(budget) + " bytes");
      const ProgramResult limited = percent == 0 ? least : run_program(seed, kSteps, budget, &histogram);
      ++runs;
      expect_same_bits(unlimited, limited, seed, budget);
      if (HasFatalFailure()) return;
      ASSERT_LE(limited.report.peak_bytes, budget);
      ASSERT_LE(limited.report.reserved_bytes, budget);
      if (limited.recomputed_ops > 0) ++recomputing;
      planned_steps += limited.planned_steps;
    }
  }
  std::printf("%lld runs under a budget, %lld of them recompute, %lld steps planned\nops:",
              static_cast<long long>(runs), static_cast<long long>(recomputing), static_cast<long long>(planned_steps));
  for (const auto& [name, count] : histogram.ops) std::printf(" %s %lld", name.c_str(), static_cast<long long>(count));
  std::printf("\nviews %lld, shared inputs %lld\nreplays a step:", static_cast<long long>(histogram.views),
              static_cast<long long>(histogram.shared_inputs));
  for (const auto& [bits, count] : histogram.recompute_depth) {
    std::printf(" <%lld: %lld", 1LL << bits, static_cast<long long>(count));
  }
  std::printf("\n");
  EXPECT_GT(recomputing, runs / 4);
  EXPECT_GT(planned_steps, 0);
}

}  // namespace
}  // namespace tidemark::test
