// What stays in memory from one run of a program to the next.
#include "scheduler/cycle.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
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

TEST(Cycle, NothingWhereNothingFits) { EXPECT_FALSE(choose_residents(chain({{4, 1}, {2, 1}}), 4 * kUnit)); }

}  // namespace
}  // namespace tidemark::scheduler
