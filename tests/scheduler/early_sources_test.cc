// Reads that begin before they are wanted.
#include "scheduler/early_sources.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "tests/scheduler/graphs.h"
#include "tidemark/scheduler.h"

namespace tidemark::scheduler::testing {
namespace {

// Weights of four units, each read and used by an op that leaves one unit for the next. The sources are in front.
Graph chain_of_weights(int count, double read_cost, double op_cost) {
  Graph graph;
  for (int i = 0; i < count; ++i) add_op(graph, read_cost, {}, {add_buffer(graph, 4)});
  BufferId last = add_buffer(graph, 1, true);
  for (int i = 0; i < count; ++i) {
    const BufferId out = add_buffer(graph, 1);
    add_op(graph, op_cost, {static_cast<BufferId>(i), last}, {out});
    last = out;
  }
  graph.keep = {last};
  return graph;
}

Plan planned(const Graph& graph, int count, std::int64_t units) {
  PlanOptions options;
  options.start = Start{count, {{static_cast<BufferId>(count), kAnywhere}}};
  Plan made = plan(graph, units * kUnit, options);
  EXPECT_EQ(simulate(graph, made, options.start).cost, made.cost);
  return made;
}

std::ptrdiff_t place_of(const Plan& plan, OpId op) {
  return std::find_if(plan.steps.begin(), plan.steps.end(),
                      [&](const Step& step) { return step.kind == Step::Kind::kRun && step.id == op; }) -
         plan.steps.begin();
}

TEST(EarlySources, BeginWhileOthersRun) {
  const Graph graph = chain_of_weights(4, 2, 10);
  const Plan made = planned(graph, 4, 11);  // two weights, the input, and what an op reads and writes
  EXPECT_EQ(made.cost, 4 * 12);
  for (OpId i = 1; i < 4; ++i) {
    EXPECT_LT(place_of(made, i), place_of(made, 4 + i - 1)) << "the read of weight " << i;
    if (i > 1) EXPECT_GT(place_of(made, i), place_of(made, 4 + i - 2)) << "no earlier than needed, " << i;
  }
}

TEST(EarlySources, WaitForTheirRoom) {
  const Graph graph = chain_of_weights(4, 2, 10);
  const Plan made = planned(graph, 4, 7);
  for (OpId i = 1; i < 4; ++i) EXPECT_GT(place_of(made, i), place_of(made, 4 + i - 1));
}

TEST(EarlySources, BeginInTimeForAllThatFollow) {
  // Reads take three times as long as ops: all begin as early as there is room.
  const Graph graph = chain_of_weights(4, 30, 10);
  const Plan made = planned(graph, 4, 19);
  for (OpId i = 0; i < 4; ++i) EXPECT_LT(place_of(made, i), place_of(made, 4)) << i;
  for (OpId i = 1; i < 4; ++i) EXPECT_LT(place_of(made, i - 1), place_of(made, i)) << i;
}

TEST(EarlySources, KeepPlansOfRandomProgramsValid) {
  std::mt19937_64 random(3);
  int moved = 0;
  for (int round = 0; round < 100; ++round) {
    const int count = 2 + static_cast<int>(random() % 5);
    Graph graph;
    for (int i = 0; i < count; ++i) {
      add_op(graph, 1 + static_cast<double>(random() % 9), {},
             {add_buffer(graph, 1 + static_cast<std::int64_t>(random() % 5))});
    }
    std::vector<BufferId> values{add_buffer(graph, 1, true)};
    for (int i = 0; i < 3 * count; ++i) {
      const BufferId out = add_buffer(graph, 1 + static_cast<std::int64_t>(random() % 3));
      add_op(graph, 1 + static_cast<double>(random() % 9),
             {static_cast<BufferId>(random() % static_cast<std::size_t>(count)),
              values[values.size() - 1 - random() % std::min<std::size_t>(values.size(), 3)]},
             {out});
      values.push_back(out);
    }
    graph.keep = {values.back()};
    const std::int64_t room = 9 + static_cast<std::int64_t>(random() % 8);
    PlanOptions options;
    options.start = Start{count, {{static_cast<BufferId>(count), kAnywhere}}};
    const auto made = try_plan(graph, room * kUnit, options);
    if (!made) continue;
    const Simulation simulation = simulate(graph, *made, options.start);
    EXPECT_EQ(simulation.cost, made->cost);
    EXPECT_EQ(simulation.live_peak, made->live_peak);
    EXPECT_LE(simulation.reserved_peak, room * kUnit);
    for (std::size_t i = 0; i + 1 < made->steps.size(); ++i) {
      const Step& step = made->steps[i];
      const Step& next = made->steps[i + 1];
      if (step.kind != Step::Kind::kRun || step.id >= count || next.kind != Step::Kind::kRun) continue;
      const auto& reads = graph.ops[static_cast<std::size_t>(next.id)].reads;
      moved += std::find(reads.begin(), reads.end(), step.id) == reads.end() ? 1 : 0;
    }
  }
  EXPECT_GT(moved, 20);
}

}  // namespace
}  // namespace tidemark::scheduler::testing
