// Each rule of a plan, broken once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/scheduler/graphs.h"
#include "tidemark/error.h"

namespace tidemark::scheduler::testing {
namespace {

using ::testing::HasSubstr;

// in(0) -> a: b1, b: b2 over b1, c updates in(0) and reads b2.
Graph small() {
  Graph graph;
  const BufferId in = add_buffer(graph, 2);
  const BufferId one = add_buffer(graph, 3);
  const BufferId two = add_buffer(graph, 3);
  add_op(graph, 1, {in}, {one});
  add_op(graph, 2, {one}, {two});
  add_op(graph, 4, {two}, {});
  graph.ops[1].overwrites = {{one, two}};
  graph.ops[1].scratch = kUnit;
  graph.ops[2].updates = {in};
  graph.keep = {two};
  return graph;
}

Step run(OpId op, std::vector<Placement> places = {}) {
  Step step;
  step.id = op;
  step.places = std::move(places);
  return step;
}
Step drop(BufferId b) {
  Step step;
  step.kind = Step::Kind::kDrop;
  step.id = b;
  return step;
}
Step move(BufferId b, std::int64_t offset) {
  Step step;
  step.kind = Step::Kind::kMove;
  step.id = b;
  step.offset = offset;
  return step;
}

Plan unplaced(std::vector<Step> steps, std::int64_t units = 100) {
  Plan plan;
  plan.budget = units * kUnit;
  plan.steps = std::move(steps);
  return plan;
}

Plan placed(std::vector<Step> steps, std::int64_t units = 100) {
  Plan plan = unplaced(std::move(steps), units);
  plan.placed = true;
  plan.inputs = {{0, 0}};
  return plan;
}

void expect_error(const Graph& graph, const Plan& plan, const std::string& text,
                  const std::optional<Start>& start = {}) {
  try {
    simulate(graph, plan, start);
    ADD_FAILURE() << "no error; expected: " << text;
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

TEST(Simulate, CountsCostAndPeaks) {
  const Simulation s = simulate(small(), unplaced({run(0), run(1), drop(1), run(0), run(2)}));
  EXPECT_EQ(s.live_peak, 9 * kUnit);
  EXPECT_EQ(s.cost, 8);
  EXPECT_EQ(s.recomputed_ops, 1);
  EXPECT_EQ(s.reserved_peak, 0);
}

TEST(Simulate, OverwriteTakesThePlace) {
  Step over = run(1, {{2, 2 * kUnit}, {kScratch, 5 * kUnit}});
  over.overwrites = {{1, 2}};
  const Simulation s = simulate(small(), placed({run(0, {{1, 2 * kUnit}}), over, run(2)}, 6));
  EXPECT_EQ(s.live_peak, 6 * kUnit);
  EXPECT_EQ(s.reserved_peak, 6 * kUnit);
  over.places[0].offset = 3 * kUnit;
  expect_error(small(), placed({run(0, {{1, 2 * kUnit}}), over, run(2)}), "not at the offset");
}

// Beside cost: a copy of bytes is no run of an op. A move to where the buffer lies copies nothing.
TEST(Simulate, MovedBytesStandBesideCost) {
  const std::vector<Step> steps{run(0, {{1, 5 * kUnit}}), run(1, {{2, 2 * kUnit}, {kScratch, 8 * kUnit}}), run(2)};
  const Simulation still = simulate(small(), placed(steps));
  std::vector<Step> moving = steps;
  moving.insert(moving.begin() + 1, {move(1, 9 * kUnit), move(1, 9 * kUnit), move(1, 5 * kUnit)});
  const Simulation moved = simulate(small(), placed(moving));
  EXPECT_EQ(still.moved_bytes, 0);
  EXPECT_EQ(moved.moved_bytes, 2 * small().buffers[1].bytes);
  EXPECT_EQ(moved.cost, still.cost);
}

TEST(Simulate, RulesOfOrder) {
  expect_error(small(), unplaced({run(1)}), "before op 0 has run");
  expect_error(small(), unplaced({run(0), run(1)}), "ends before op 2");
  expect_error(small(), unplaced({run(0), drop(1), run(1)}), "not resident");
  expect_error(small(), unplaced({run(0), run(1), run(2), run(2)}), "updates in place");
  expect_error(small(), unplaced({run(0), run(1), run(2), run(0)}), "updated since");
  expect_error(small(), unplaced({run(0), run(1), run(2), drop(2)}), "to be kept");
  expect_error(small(), unplaced({run(0), drop(2)}), "not resident");
  expect_error(small(), unplaced({run(7)}), "unknown");
  Graph once = small();
  once.ops[0].once = true;
  expect_error(once, unplaced({run(0), run(0)}), "allowed once");
  Graph pinned = small();
  pinned.buffers[0].pinned = true;
  expect_error(pinned, unplaced({run(0), drop(0)}), "pinned");
}

TEST(Simulate, WhatIsUpdatedIsNotProducedAgain) {
  Graph graph;
  const BufferId in = add_buffer(graph, 1, true);
  const BufferId sum = add_buffer(graph, 1);
  add_op(graph, 1, {in}, {sum});
  add_op(graph, 1, {in}, {});
  graph.ops[1].updates = {sum};
  graph.keep = {sum};
  simulate(graph, unplaced({run(0), drop(sum), run(0), run(1)}));
  expect_error(graph, unplaced({run(0), run(1), run(0)}), "before its update");
}

TEST(Simulate, RulesOfMemory) {
  expect_error(small(), unplaced({run(0), run(1), run(2)}, 8), "above the budget");
  expect_error(small(), placed({run(0, {{1, kUnit}})}), "overlaps");
  expect_error(small(), placed({run(0, {{1, 98 * kUnit}})}), "not inside the budget");
  expect_error(small(), placed({run(0, {{1, -kUnit}})}), "not inside the budget");
  expect_error(small(), placed({run(0)}), "no place");
  expect_error(small(), placed({run(0, {{2, 4 * kUnit}})}), "does not newly write");
  expect_error(small(), placed({run(0, {{1, 2 * kUnit}}), run(1, {{2, 5 * kUnit}})}), "no place to scratch");
  expect_error(small(), placed({run(0, {{1, 2 * kUnit}}), move(1, kUnit)}), "overlaps");
  expect_error(small(), unplaced({run(0), move(1, kUnit)}), "without places");
  Plan lacking = placed({});
  lacking.inputs.clear();
  expect_error(small(), lacking, "no place at the start");
  simulate(small(), placed({run(0, {{1, 4 * kUnit}}), move(1, 2 * kUnit),
                            run(1, {{2, 5 * kUnit}, {kScratch, 8 * kUnit}}), run(2)}));
}

TEST(Simulate, OverwritesMustBeAllowed) {
  Step over = run(1);
  over.overwrites = {{0, 2}};
  expect_error(small(), unplaced({run(0), over}), "may not overwrite");
}

TEST(Simulate, Start) {
  Start start;
  start.next_op = 1;
  start.resident = {{0, 0}};
  expect_error(small(), unplaced({run(1)}), "before op 0 has run");
  expect_error(small(), unplaced({run(1)}), "not resident", start);
  const Simulation s = simulate(small(), unplaced({run(0), run(1), run(2)}), start);
  EXPECT_EQ(s.recomputed_ops, 1);
  EXPECT_EQ(s.cost, 7);
  start.resident = {};
  expect_error(small(), unplaced({run(0)}), "cannot be computed again", start);
}

// Buffers 0 and 1 from sources, 2 from both.
Graph with_sources() {
  Graph graph;
  for (int i = 0; i < 3; ++i) add_buffer(graph, 1);
  add_op(graph, 5, {}, {0});
  add_op(graph, 7, {}, {1});
  add_op(graph, 1, {0, 1}, {2});
  graph.keep = {2};
  return graph;
}

TEST(Simulate, SourcesRunWheneverTheyAreWanted) {
  const Simulation backwards = simulate(with_sources(), unplaced({run(1), run(0), run(2)}));
  EXPECT_EQ(backwards.cost, 13);
  EXPECT_EQ(backwards.recomputed_ops, 0);
  EXPECT_EQ(simulate(with_sources(), unplaced({run(1), run(0), run(1), run(2)})).recomputed_ops, 1);
  expect_error(with_sources(), unplaced({run(1), run(2)}), "not resident");
}

TEST(Simulate, ResidentsAreThereAtBothEnds) {
  Plan plan = unplaced({run(1), run(2)});
  plan.residents = {0};
  EXPECT_EQ(simulate(with_sources(), plan).cost, 8);
  plan.residents = {2};
  expect_error(with_sources(), plan, "which no source writes");
  plan.residents = {3};
  expect_error(with_sources(), plan, "unknown");
  plan.residents = {0, 0};
  expect_error(with_sources(), plan, "twice");
  plan = unplaced({run(1), run(2), drop(0)});
  plan.residents = {0};
  expect_error(with_sources(), plan, "is resident at the start and not at the end");
}

TEST(GraphRules, EachBroken) {
  const auto broken = [](auto change, const std::string& text) {
    Graph graph = small();
    change(graph);
    expect_error(graph, unplaced({}), text);
  };
  broken([](Graph& g) { g.buffers[1].bytes = -1; }, "buffer 1 has negative bytes");
  broken([](Graph& g) { g.buffers[1].bytes = std::int64_t{1} << 60; }, "above 2^52");
  broken([](Graph& g) { g.ops[0].cost = -1; }, "op 0 has a cost");
  broken([](Graph& g) { g.ops[0].scratch = -1; }, "scratch");
  broken([](Graph& g) { g.ops[0].reads = {9}; }, "names buffer 9 of 3");
  broken([](Graph& g) { g.ops[0].writes = {-1}; }, "names buffer -1");
  broken([](Graph& g) { g.ops[0].reads = {2}; }, "before op 1 writes it");
  broken([](Graph& g) { g.ops[2].writes = {1}; }, "written by op 0 and by op 2");
  broken([](Graph& g) { g.buffers[1].pinned = true; }, "only inputs may be pinned");
  broken([](Graph& g) { g.keep = {3}; }, "keep names buffer 3");
  broken([](Graph& g) { g.ops[1].overwrites = {{0, 2}}; }, "not a pair");
  broken([](Graph& g) { g.buffers[2].bytes *= 2; }, "larger");
  broken([](Graph& g) { g.ops[1].releases = {{5}}; }, "releases, names buffer 5");
}

}  // namespace
}  // namespace tidemark::scheduler::testing
