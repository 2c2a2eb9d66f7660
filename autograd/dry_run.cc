#include "tidemark/dry_run.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "core/extents.h"

namespace tidemark {
namespace {

using core::Extents;

// Budgets from the smallest to the peak, evenly spaced, each planned from the one below.
std::vector<Explanation::Offer> offers_of(const scheduler::Graph& graph, std::int64_t smallest, std::int64_t peak,
                                          int count, std::uint64_t seed) {
  std::vector<Explanation::Offer> offers;
  std::optional<scheduler::Plan> smaller;
  for (int i = 0; i < count; ++i) {
    const std::int64_t budget =
        count == 1 ? smallest : Extents::round_up(smallest + (peak - smallest) * i / (count - 1));
    auto plan = scheduler::try_plan(graph, budget, {.seed = seed}, smaller ? &*smaller : nullptr);
    if (!plan) continue;
    offers.push_back(
        {budget, plan->cost / plan->base_cost - 1, std::max(plan->lower_bound / plan->base_cost - 1, 0.0)});
    smaller = std::move(plan);
  }
  return offers;
}

}  // namespace

DryRun dry_run(SessionOptions options, const std::function<void()>& program, const DryRunOptions& how) {
  if (!program) throw Error("[dry_run] there is no program: the function is empty");
  if (how.offers < 0 || how.offers > 1000) {
    throw Error(absl::StrCat("[dry_run] offers must be 0 to 1000, not ", how.offers));
  }
  options.dry_run = true;
  options.budget.reset();
  DryRun run;
  {
    const Session session(options);
    program();
    const Report report = session.report();
    const auto at_peak = [&](Category category) { return report.peak_by_category[static_cast<int>(category)]; };
    run.parameters = report.most_by_category[static_cast<int>(Category::kParameters)];
    run.gradients = report.most_by_category[static_cast<int>(Category::kGradients)];
    run.optimizer = report.most_by_category[static_cast<int>(Category::kOptimizer)];
    run.batches = at_peak(Category::kBatch);  // a leaf counts as one until it becomes a parameter
    run.activations = at_peak(Category::kActivations);
    run.scratch = at_peak(Category::kWorkspace) + at_peak(Category::kScratch);
    run.peak = report.peak_bytes;
    run.graph = session.graph();
  }
  if (run.graph.ops.empty()) throw Error("[dry_run] the program ran no op");
  if (!how.plan) return run;
  run.smallest = run.peak;
  try {
    (void)scheduler::plan(run.graph, 1, {.seed = options.seed});
  } catch (const BudgetError& error) {
    run.smallest = error.needed_bytes();
    run.smallest_is_exact = error.exact();
  }
  run.offers = offers_of(run.graph, run.smallest, std::max(run.smallest, run.peak), how.offers, options.seed);
  return run;
}

std::string DryRun::text() const {
  std::string text;
  const auto line = [&](const char* what, std::int64_t bytes) {
    const std::string words = format_bytes(bytes);
    char row[128];
    std::snprintf(row, sizeof row, "%-24s %12s %18lld\n", what, words.c_str(), static_cast<long long>(bytes));
    text += row;
  };
  line("parameters", parameters);
  line("gradients", gradients);
  line("optimizer state", optimizer);
  line("batches", batches);
  line("activations at the peak", activations);
  line("kernels at the peak", scratch);
  line("peak without a budget", peak);
  line(smallest_is_exact ? "smallest budget" : "smallest budget planned", smallest);
  if (offers.empty()) return text;
  char row[128];
  std::snprintf(row, sizeof row, "%18s %10s %10s\n", "budget", "extra %", "bound %");
  text += row;
  for (const Explanation::Offer& offer : offers) {
    std::snprintf(row, sizeof row, "%18lld %10.2f %10.2f\n", static_cast<long long>(offer.budget), 100 * offer.cost,
                  100 * offer.bound);
    text += row;
  }
  return text;
}

}  // namespace tidemark
