#include "scheduler/cycle.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>

namespace tidemark::scheduler {
namespace {

constexpr std::size_t kEveryChoice = 10;
constexpr int kMostPlans = 24;  // with more sources than that

struct Source {
  std::vector<BufferId> writes;
  std::int64_t bytes = 0;
  double cost = 0;
};

class Search {
 public:
  Search(const SourcesInFront& program, std::int64_t budget, const PlanOptions& options, const FindPlan& find)
      : program_(program), graph_(program.graph), budget_(budget), options_(options), find_(find) {
    for (OpId op = 0; op < program.start.next_op; ++op) {
      const Op& each = graph_.ops[static_cast<std::size_t>(op)];
      Source source{.writes = each.writes, .bytes = 0, .cost = each.cost};
      for (const BufferId b : each.writes) {
        source.bytes += graph_.buffers[static_cast<std::size_t>(b)].bytes;
      }
      sources_.push_back(source);
    }
  }

  std::optional<Cycle> run() {
    if (sources_.size() <= kEveryChoice) {
      try_all();
    } else {
      try_some();
    }
    if (best_) best_->lower_bound = std::min(lower_bound_, best_->cost);
    return best_;
  }

 private:
  // Of a run with these resident at its start and end; nothing where no plan was found.
  std::optional<double> cost_of(const std::vector<std::size_t>& chosen) {
    Graph graph = graph_;
    Start start = program_.start;
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
    std::optional<Plan> plan = find_(graph, options);
    // Where none was found there may be one all the same.
    if (sources_.size() <= kEveryChoice) {
      lower_bound_ =
          std::min(lower_bound_, plan ? std::max(plan->lower_bound, least_cost(chosen)) : least_cost(chosen));
    }
    if (!plan) return std::nullopt;
    const double cost = plan->cost;
    if (best_ && cost >= best_->cost) return cost;
    cycle.cost = cost;
    cycle.plan = *std::move(plan);
    best_ = std::move(cycle);
    return cost;
  }

  // What a run costs at least: each source that is not resident runs once.
  double least_cost(const std::vector<std::size_t>& chosen) const {
    double cost = 0;
    for (std::size_t i = sources_.size(); i < graph_.ops.size(); ++i) cost += graph_.ops[i].cost;
    for (const Source& source : sources_) cost += source.cost;
    for (const std::size_t s : chosen) cost -= sources_[s].cost;
    return cost;
  }

  // What a run costs at least, whatever is chosen: what stays must fit in the budget, in parts if need be.
  double least_cost_of_any() const {
    std::vector<const Source*> order;
    for (const Source& source : sources_) order.push_back(&source);
    std::sort(order.begin(), order.end(), [](const Source* a, const Source* b) {
      return a->cost * static_cast<double>(b->bytes) > b->cost * static_cast<double>(a->bytes);
    });
    double cost = least_cost({});
    std::int64_t room = budget_;
    for (const Source* source : order) {
      const double part = source->bytes <= room ? 1 : static_cast<double>(room) / static_cast<double>(source->bytes);
      cost -= part * source->cost;
      room -= std::min(room, source->bytes);
    }
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
    lower_bound_ = least_cost_of_any();
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

  const SourcesInFront& program_;
  const Graph& graph_;
  std::int64_t budget_;
  const PlanOptions& options_;
  const FindPlan& find_;
  std::vector<Source> sources_;
  std::optional<Cycle> best_;
  double lower_bound_ = std::numeric_limits<double>::infinity();
};

}  // namespace

bool is_source(const Op& op) { return op.reads.empty() && op.updates.empty() && !op.writes.empty() && !op.once; }

SourcesInFront::SourcesInFront(const Graph& program) : graph(program), original(program.ops.size()) {
  std::iota(original.begin(), original.end(), OpId{0});
  // What is changed later is another value at the end than at the start.
  std::vector<bool> changed(graph.buffers.size(), false);
  for (const Op& op : program.ops) {
    for (const BufferId b : op.updates) changed[static_cast<std::size_t>(b)] = true;
  }
  const auto source = [&](OpId id) {
    const Op& op = program.ops[static_cast<std::size_t>(id)];
    const auto stays = [&](BufferId b) { return !changed[static_cast<std::size_t>(b)]; };
    return is_source(op) && std::all_of(op.writes.begin(), op.writes.end(), stays);
  };
  std::stable_partition(original.begin(), original.end(), source);
  std::vector<bool> written(graph.buffers.size(), false);
  for (std::size_t i = 0; i < original.size(); ++i) {
    graph.ops[i] = program.ops[static_cast<std::size_t>(original[i])];
    for (const BufferId b : graph.ops[i].writes) written[static_cast<std::size_t>(b)] = true;
    if (source(original[i])) ++start.next_op;
  }
  for (std::size_t b = 0; b < written.size(); ++b) {
    if (!written[b]) start.resident.push_back({static_cast<BufferId>(b), kAnywhere});
  }
}

Plan SourcesInFront::in_order_of_program(Plan plan) const {
  for (Step& step : plan.steps) {
    if (step.kind == Step::Kind::kRun) step.id = original[static_cast<std::size_t>(step.id)];
  }
  return plan;
}

std::optional<Cycle> choose_residents(const SourcesInFront& program, std::int64_t budget, const PlanOptions& options,
                                      const FindPlan& find) {
  return Search(program, budget, options, find).run();
}

}  // namespace tidemark::scheduler
