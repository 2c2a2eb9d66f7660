#include "scheduler/cycle.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "core/round_up.h"

namespace tidemark::scheduler {
namespace {

constexpr std::size_t kEveryChoice = 10;
constexpr int kMostPlans = 24;  // with more sources than that
constexpr std::int64_t kUnit = 64;

struct Source {
  OpId op = 0;  // of the program with sources in front
  std::vector<BufferId> writes;
  std::int64_t bytes = 0;
  double cost = 0;
};

class Search {
 public:
  Search(const Graph& graph, std::int64_t budget, const PlanOptions& options)
      : graph_(graph), budget_(budget), options_(options) {
    // In front, sources have had their first run, as it were: what is not resident is produced again when it is needed.
    std::stable_partition(graph_.ops.begin(), graph_.ops.end(), is_source);
    std::vector<bool> written(graph_.buffers.size(), false);
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      for (const BufferId b : op.writes) written[static_cast<std::size_t>(b)] = true;
      if (!is_source(op)) continue;
      Source source{.op = static_cast<OpId>(i), .writes = op.writes, .cost = op.cost};
      for (const BufferId b : op.writes) {
        source.bytes += core::round_up(graph_.buffers[static_cast<std::size_t>(b)].bytes, kUnit);
      }
      sources_.push_back(source);
    }
    for (std::size_t b = 0; b < written.size(); ++b) {
      if (!written[b]) inputs_.push_back({static_cast<BufferId>(b), kAnywhere});
    }
  }

  std::optional<Cycle> run() {
    if (sources_.size() <= kEveryChoice) {
      try_all();
    } else {
      try_some();
    }
    return best_;
  }

 private:
  // Of a run with these resident at its start and end; nothing where no plan was found.
  std::optional<double> cost_of(const std::vector<std::size_t>& chosen) {
    Graph graph = graph_;
    Start start{static_cast<OpId>(sources_.size()), inputs_};
    Cycle cycle;
    for (const std::size_t s : chosen) {
      for (const BufferId b : sources_[s].writes) {
        cycle.resident.push_back(b);
        start.resident.push_back({b, kAnywhere});
        if (std::find(graph.keep.begin(), graph.keep.end(), b) == graph.keep.end()) graph.keep.push_back(b);
      }
    }
    PlanOptions options = options_;
    options.start = std::move(start);
    const std::optional<Plan> plan = try_plan(graph, budget_, options);
    if (!plan) return std::nullopt;
    cycle.cost = plan->cost;
    if (!best_ || cycle.cost < best_->cost) best_ = std::move(cycle);
    return plan->cost;
  }

  // What a run costs at least: each source that is not resident runs once.
  double least_cost(const std::vector<std::size_t>& chosen) const {
    double cost = 0;
    for (std::size_t i = sources_.size(); i < graph_.ops.size(); ++i) cost += graph_.ops[i].cost;
    for (const Source& source : sources_) cost += source.cost;
    for (const std::size_t s : chosen) cost -= sources_[s].cost;
    return cost;
  }

  void try_all() {
    struct Choice {
      std::vector<std::size_t> chosen;
      double least = 0;
    };
    std::vector<Choice> choices;
    for (std::size_t set = 0; set < std::size_t{1} << sources_.size(); ++set) {
      Choice choice;
      std::int64_t bytes = 0;
      for (std::size_t s = 0; s < sources_.size(); ++s) {
        if ((set >> s & 1) == 0) continue;
        choice.chosen.push_back(s);
        bytes += sources_[s].bytes;
      }
      if (bytes > budget_) continue;
      choice.least = least_cost(choice.chosen);
      choices.push_back(std::move(choice));
    }
    std::stable_sort(choices.begin(), choices.end(),
                     [](const Choice& a, const Choice& b) { return a.least < b.least; });
    for (const Choice& choice : choices) {
      if (best_ && choice.least >= best_->cost) break;
      (void)cost_of(choice.chosen);
    }
  }

  void try_some() {
    std::vector<std::size_t> order(sources_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // Cost a byte, the largest first; of equal ones the larger, as smaller ones fill what is left.
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const double left = sources_[a].cost * static_cast<double>(sources_[b].bytes);
      const double right = sources_[b].cost * static_cast<double>(sources_[a].bytes);
      return left != right ? left > right : sources_[a].bytes > sources_[b].bytes;
    });
    const auto first = [&](std::size_t count) {
      return std::vector<std::size_t>(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count));
    };
    int plans = 0;
    // The most that fit. What fits need not be cheapest: values that are computed want room, too.
    std::size_t fits = 0;
    std::size_t fails = order.size() + 1;
    double cost = cost_of({}).value_or(0);
    while (fails - fits > 1 && plans < kMostPlans / 2) {
      const std::size_t middle = fits + (fails - fits) / 2;
      ++plans;
      const auto found = cost_of(first(middle));
      if (found && (*found <= cost || fits == 0)) {
        fits = middle;
        cost = *found;
      } else {
        fails = middle;
      }
    }
    // Then others behind them, one by one.
    std::vector<std::size_t> chosen = first(fits);
    for (std::size_t i = fits; i < order.size() && plans < kMostPlans; ++i) {
      std::vector<std::size_t> more = chosen;
      more.push_back(order[i]);
      if (least_cost(more) >= cost) continue;
      ++plans;
      const auto found = cost_of(more);
      if (!found || *found >= cost) continue;
      chosen = std::move(more);
      cost = *found;
    }
  }

  Graph graph_;
  std::int64_t budget_;
  PlanOptions options_;
  std::vector<Source> sources_;
  std::vector<Placement> inputs_;
  std::optional<Cycle> best_;
};

}  // namespace

bool is_source(const Op& op) { return op.reads.empty() && op.updates.empty() && !op.writes.empty() && !op.once; }

std::optional<Cycle> choose_residents(const Graph& graph, std::int64_t budget, const PlanOptions& options) {
  return Search(graph, budget, options).run();
}

}  // namespace tidemark::scheduler
