// What stays in memory from one run of a program to the next.
#include "scheduler/cycle.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <queue>
#include <random>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tidemark/error.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler {
namespace {

using ::testing::UnorderedElementsAre;

constexpr std::int64_t kUnit = 64;

struct Weight {
  std::int64_t units = 0;
  double cost = 0;
};

// Reads each weight right before the op that uses it, which leaves a unit for the next one.
Graph chain(const std::vector<Weight>& weights, double op_cost = 1) {
  Graph graph;
  graph.name = "chain";
  BufferId last = -1;
  for (const Weight& weight : weights) {
    const auto w = static_cast<BufferId>(graph.buffers.size());
    graph.buffers.push_back({weight.units * kUnit, "", false});
    Op read;
    read.name = "read";
    read.cost = weight.cost;
    read.writes = {w};
    graph.ops.push_back(read);
    const auto out = static_cast<BufferId>(graph.buffers.size());
    graph.buffers.push_back({kUnit, "", false});
    Op op;
    op.name = "use";
    op.cost = op_cost;
    op.reads = {w};
    op.writes = {out};
    if (last >= 0) op.reads.push_back(last);
    graph.ops.push_back(op);
    last = out;
  }
  graph.keep = {last};
  return graph;
}

TEST(Cycle, ReadsAgainWhatIsCheapest) {
  const Graph graph = chain({{4, 5}, {3, 4}, {3, 4}});
  const auto residents = [&](std::int64_t units) {
    auto cycle = choose_residents(graph, units * kUnit);
    EXPECT_TRUE(cycle);
    std::vector<std::int64_t> sizes;
    for (const BufferId b : cycle->resident) sizes.push_back(graph.buffers[static_cast<std::size_t>(b)].bytes / kUnit);
    return std::pair(sizes, cycle->cost);
  };
  // An op has its weight, the value before it and its own: two units beside the weights, and the first op one.
  EXPECT_EQ(residents(6).second, 3 + 13);  // nothing fits beside 4 and 1, or 3 and 2, for the whole time
  EXPECT_EQ(residents(9).second, 3 + 8);   // 4 beside 3 and 2
  EXPECT_EQ(residents(11).second, 3 + 5);  // both of 3 beside 4 and 1
  EXPECT_THAT(residents(12).first, UnorderedElementsAre(4, 3, 3));
  EXPECT_EQ(residents(12).second, 3);
}

TEST(Cycle, WhatIsUsedLastStaysForWhoNeedsItFirst) {
  // The table is used first and last, the others once. Two pass from one run to the next; in between the table makes
  // room, as it is the cheapest to read again.
  Graph graph = chain({{4, 4}, {4, 5}, {4, 5}, {4, 5}});
  const BufferId table = graph.ops[0].writes[0];
  const BufferId last = graph.ops[6].writes[0];
  graph.ops.back().reads.push_back(table);
  const auto cycle = choose_residents(graph, 10 * kUnit);
  ASSERT_TRUE(cycle);
  EXPECT_THAT(cycle->resident, UnorderedElementsAre(table, last));
  EXPECT_EQ(cycle->cost, 4 + 5 + 5 + 4);
}

TEST(Cycle, MatchesAllChoicesOfRandomChains) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int> draw(1, 9);
  for (int round = 0; round < 40; ++round) {
    std::vector<Weight> weights(5);
    std::int64_t sum = 0;
    std::int64_t most = 0;
    for (Weight& weight : weights) {
      weight = {draw(random), static_cast<double>(draw(random))};
      sum += weight.units;
      most = std::max(most, weight.units);
    }
    const std::int64_t room = most + 2 + (sum - most) * (round % 10) / 10;
    double best = 1e9;
    for (int set = 0; set < 32; ++set) {
      std::int64_t resident = 0;
      std::int64_t passing = 0;
      double cost = 5;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        if ((set >> i & 1) != 0) {
          resident += weights[i].units;
        } else {
          passing = std::max(passing, weights[i].units + (i > 0 ? 2 : 1));
          cost += weights[i].cost;
        }
      }
      if (resident + std::max<std::int64_t>(passing, 2) <= room) best = std::min(best, cost);
    }
    const auto cycle = choose_residents(chain(weights), room * kUnit);
    ASSERT_TRUE(cycle) << round;
    // One that is not resident all the time may do better than these.
    EXPECT_LE(cycle->cost, best) << round;
  }
}

TEST(Cycle, ManySourcesArePlannedInTime) {
  std::vector<Weight> weights(100, {10, 10});
  for (std::size_t i = 0; i < weights.size(); i += 2) weights[i] = {1, 2};
  const auto cycle = choose_residents(chain(weights), 312 * kUnit);
  ASSERT_TRUE(cycle);
  // The fifty small ones, which cost most a byte, and 25 of the others: one passes through 12 units.
  EXPECT_LE(cycle->cost, 100 + 25 * 10);
}

// The least cost of a run that ends with what it starts with, of all choices, by Dijkstra's algorithm over what has run
// and what is in memory. Live bytes alone, 30 buffers at most.
double least_of_all(const Graph& graph, std::int64_t budget) {
  using Set = std::uint32_t;
  const auto count = static_cast<int>(graph.buffers.size());
  const auto bit = [](BufferId b) { return Set{1} << b; };
  Set written = 0;
  Set free_to_stay = 0;
  for (const Op& op : graph.ops) {
    for (const BufferId b : op.writes) written |= bit(b);
    if (is_source(op)) free_to_stay |= bit(op.writes[0]);
  }
  const Set inputs = ((Set{1} << count) - 1) & ~written;
  std::vector<OpId> program;  // without sources
  for (std::size_t op = 0; op < graph.ops.size(); ++op) {
    if (!is_source(graph.ops[op])) program.push_back(static_cast<OpId>(op));
  }
  const auto bytes = [&](Set set) {
    std::int64_t sum = 0;
    for (BufferId b = 0; b < count; ++b)
      sum += (set & bit(b)) != 0 ? graph.buffers[static_cast<std::size_t>(b)].bytes : 0;
    return sum;
  };
  Set keep = 0;
  for (const BufferId b : graph.keep) keep |= bit(b);
  double best = 1e9;
  for (Set stay = free_to_stay;; stay = (stay - 1) & free_to_stay) {
    using State = std::pair<std::size_t, Set>;
    std::map<State, double> done;
    std::priority_queue<std::pair<double, State>, std::vector<std::pair<double, State>>, std::greater<>> open;
    if (bytes(stay | inputs) <= budget) open.push({0, {0, stay | inputs}});
    while (!open.empty()) {
      const auto [cost, state] = open.top();
      open.pop();
      if (cost >= best || !done.try_emplace(state, cost).second) continue;
      const auto [at, set] = state;
      if (at == program.size() && (set & (stay | keep)) == (stay | keep)) {
        best = cost;
        break;
      }
      for (BufferId b = 0; b < count; ++b) {
        const bool pinned = graph.buffers[static_cast<std::size_t>(b)].pinned;
        if ((set & bit(b)) != 0 && !pinned) open.push({cost, {at, set & ~bit(b)}});
      }
      for (std::size_t id = 0; id < graph.ops.size(); ++id) {
        const Op& op = graph.ops[id];
        const bool next = at < program.size() && program[at] == static_cast<OpId>(id);
        const auto place = std::find(program.begin(), program.end(), static_cast<OpId>(id)) - program.begin();
        if (!is_source(op) && !next && static_cast<std::size_t>(place) >= at) continue;
        Set reads = 0;
        for (const BufferId b : op.reads) reads |= bit(b);
        const Set with = set | bit(op.writes[0]);
        if ((set & reads) != reads || bytes(with) > budget || (with == set && !next)) continue;
        open.push({cost + op.cost, {at + (next ? 1 : 0), with}});
      }
    }
    if (stay == 0) break;
  }
  return best;
}

TEST(Cycle, PlansOfRandomProgramsAreTheCheapest) {
  std::mt19937 random(7);
  const auto draw = [&](int most) { return std::uniform_int_distribution<int>(1, most)(random); };
  int with_residents = 0;
  for (int round = 0; round < 60; ++round) {
    Graph graph;
    graph.buffers.push_back({1, "input", true});
    std::vector<BufferId> sources;
    for (int i = 0; i < 3; ++i) {
      sources.push_back(static_cast<BufferId>(graph.buffers.size()));
      graph.buffers.push_back({draw(5), "", false});
    }
    std::vector<bool> read(3, false);
    BufferId last = 0;
    std::int64_t sum = 0;
    for (int i = 0; i < 5; ++i) {
      const auto s = static_cast<std::size_t>(draw(3) - 1);
      if (!read[s]) {  // somewhere before its first reader
        Op op;
        op.cost = draw(9);
        op.writes = {sources[s]};
        graph.ops.insert(graph.ops.begin() + draw(static_cast<int>(graph.ops.size()) + 1) - 1, op);
      }
      read[s] = true;
      Op op;
      op.cost = draw(3);
      op.reads = {last, sources[s]};
      last = static_cast<BufferId>(graph.buffers.size());
      graph.buffers.push_back({draw(3), "", false});
      op.writes = {last};
      graph.ops.push_back(op);
    }
    graph.keep = {last};
    for (std::size_t s = 0; s < 3; ++s) {
      if (!read[s]) graph.buffers[static_cast<std::size_t>(sources[s])] = {0, "unused", false};
    }
    for (const Buffer& buffer : graph.buffers) sum += buffer.bytes;
    std::optional<Plan> smaller;
    for (std::int64_t budget = 4; budget <= sum; ++budget) {
      const double best = least_of_all(graph, budget);
      const PlanOptions options = {.place = false, .repeated = true};
      auto made = try_plan(graph, budget, options, smaller ? &*smaller : nullptr);
      ASSERT_EQ(made.has_value(), best < 1e9) << "round " << round << ", budget " << budget;
      if (!made) {
        EXPECT_THROW((void)plan(graph, budget, options), BudgetError);
        continue;
      }
      EXPECT_EQ(made->cost, best) << "round " << round << ", budget " << budget;
      EXPECT_LE(made->lower_bound, best);
      EXPECT_EQ(simulate(graph, *made).cost, best);
      with_residents += made->residents.empty() ? 0 : 1;
      const Plan placed = plan(graph, 2 * budget, {.repeated = true});  // sizes that are no multiples of 64
      EXPECT_LE(simulate(graph, placed).cost, best);
      smaller = std::move(made);
    }
  }
  EXPECT_GT(with_residents, 100);
}

// What stays is another value at the end where an op has changed it.
TEST(Cycle, WhatIsUpdatedDoesNotStay) {
  Graph graph = chain({{4, 5}, {3, 4}});
  const BufferId changed = graph.ops[0].writes[0];
  Op update;
  update.cost = 1;
  update.reads = {graph.keep[0]};
  update.updates = {changed};
  graph.ops.push_back(update);
  const Plan made = plan(graph, 20 * kUnit, {.repeated = true});
  EXPECT_THAT(made.residents, UnorderedElementsAre(graph.ops[2].writes[0]));
  EXPECT_EQ(made.cost, 1 + 1 + 1 + 5);
}

TEST(Cycle, NothingWhereNothingFits) { EXPECT_FALSE(choose_residents(chain({{4, 1}, {2, 1}}), 4 * kUnit)); }

}  // namespace
}  // namespace tidemark::scheduler
