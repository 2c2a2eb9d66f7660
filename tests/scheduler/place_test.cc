// Offsets: problems with a known solution without moves, plans without a budget, and starts that give offsets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "scheduler/place/first_fit.h"
#include "scheduler/place/place.h"
#include "scheduler/search/schedule.h"
#include "tests/scheduler/graphs.h"
#include "tests/scheduler/rectangles.h"
#include "tidemark/error.h"

namespace tidemark::scheduler::testing {
namespace {

std::int64_t count_moves(const Plan& plan) {
  return std::count_if(plan.steps.begin(), plan.steps.end(), [](const Step& s) { return s.kind == Step::Kind::kMove; });
}

void expect_valid(const Graph& graph, const Plan& plan, const std::optional<Start>& start = {}) {
  const Simulation s = simulate(graph, plan, start);
  EXPECT_EQ(s.reserved_peak, plan.reserved_peak);
  EXPECT_EQ(s.moved_bytes, plan.moved_bytes);
  EXPECT_EQ(plan.moved_bytes > 0, count_moves(plan) > 0);
}

// How many of `problems` are planned without a move; `spare` is a part of the rectangle.
int without_moves(int problems, int buffers, Cuts cuts, double spare) {
  constexpr std::int64_t kUnits = 5000;
  std::mt19937_64 rng(3);
  int still = 0;
  for (int i = 0; i < problems; ++i) {
    const Graph graph = cut_rectangle(rng, buffers, buffers / 2, kUnits, cuts);
    EXPECT_EQ(peak_without_recomputation(graph), kUnits * kUnit);
    const Plan p = plan(graph, static_cast<std::int64_t>(static_cast<double>(kUnits * kUnit) * (1 + spare)));
    expect_valid(graph, p);
    EXPECT_EQ(p.cost, p.base_cost);
    still += count_moves(p) == 0 ? 1 : 0;
  }
  return still;
}

TEST(Place, CutRectanglesNeedNoMoves) {
  EXPECT_EQ(without_moves(20, 30, Cuts::kGuillotine, 0), 20);
  EXPECT_EQ(without_moves(20, 30, Cuts::kPinwheel, 0), 20);
  EXPECT_GE(without_moves(10, 100, Cuts::kGuillotine, 0), 8);
  EXPECT_GE(without_moves(10, 100, Cuts::kGuillotine, 0.06), 9);
  EXPECT_GE(without_moves(10, 100, Cuts::kPinwheel, 0), 4);
  EXPECT_GE(without_moves(10, 100, Cuts::kPinwheel, 0.06), 8);
}

TEST(Place, LargeCutRectanglesMoveLittle) {
  std::mt19937_64 rng(5);
  for (const double spare : {0.0, 0.06}) {
    for (const Cuts cuts : {Cuts::kGuillotine, Cuts::kPinwheel}) {
      const Graph graph = cut_rectangle(rng, 200, 100, 5000, cuts);
      const Plan p = plan(graph, static_cast<std::int64_t>(5000.0 * kUnit * (1 + spare)));
      expect_valid(graph, p);
      EXPECT_LE(count_moves(p), spare > 0 ? 150 : 250);
    }
  }
}

TEST(Place, FirstFitInPieces) {
  std::mt19937_64 rng(7);
  int moved = 0;
  for (int i = 0; i < 40; ++i) {
    const Graph graph = random_graph(rng, {.ops = 60});
    const Program program = compile(graph);
    const Schedule schedule(program, 1e18);
    const std::vector<Step> steps = emit(program, schedule);
    const Lifetimes lifetimes = lifetimes_of(program, steps, places_at_start(program, {}));
    FirstFit first_fit(lifetimes);
    std::int64_t work = 10'000'000;
    const std::int64_t limit = lifetimes.live_peak + lifetimes.live_peak / 20 / kUnit * kUnit;
    const auto pieces = first_fit.in_pieces(limit, 20, work);
    if (!pieces) continue;
    EXPECT_LE(pieces->peak, limit);
    moved += pieces->moves.empty() ? 0 : 1;
    EXPECT_EQ(pieces->moved_bytes > 0, !pieces->moves.empty());
  }
  EXPECT_GT(moved, 3);
}

// A plan in a room that begins at 0: without a start, the plan says where it wants each input, also one that it drops.
TEST(Room, PlansSayWhereTheyWantEveryInput) {
  std::mt19937_64 rng(19);
  int planned = 0;
  for (int i = 0; i < 40; ++i) {
    Graph graph = i % 2 == 0 ? training_graph(rng, 10 + i) : random_graph(rng, {.ops = 40});
    add_buffer(graph, 3);  // read by nothing, and dropped
    const std::int64_t unread = static_cast<std::int64_t>(graph.buffers.size()) - 1;
    const std::int64_t budget = peak_without_recomputation(graph) * (i % 3 == 0 ? 10 : 8) / 10 / kUnit * kUnit;
    const auto p = try_plan(graph, budget);
    if (!p) continue;
    ++planned;
    expect_valid(graph, *p);
    const std::vector<Placement> inputs = everything_at_start(graph).resident;
    ASSERT_EQ(p->inputs.size(), inputs.size());
    std::int64_t pinned_end = 0;
    for (const Placement& input : p->inputs) {
      EXPECT_GE(input.offset, 0);
      const Buffer& buffer = graph.buffers[static_cast<std::size_t>(input.buffer)];
      if (buffer.pinned) pinned_end = std::max(pinned_end, input.offset + buffer.bytes);
    }
    EXPECT_EQ(pinned_end, compile(graph).pinned_bytes) << "pinned inputs lie together at the low end";
    EXPECT_TRUE(std::any_of(p->steps.begin(), p->steps.end(),
                            [&](const Step& s) { return s.kind == Step::Kind::kDrop && s.id == unread; }));
    // What the engine then does: brings the inputs there, and starts.
    const Start brought{0, p->inputs};
    expect_valid(graph, *p, brought);
    Start open = brought;
    for (Placement& input : open.resident) input.offset = kAnywhere;
    expect_valid(graph, *p, open);
    const auto again = try_plan(graph, budget, {.start = open});
    ASSERT_TRUE(again);
    EXPECT_EQ(again->cost, p->cost);
    expect_valid(graph, *again, open);
  }
  EXPECT_GT(planned, 20);
}

// Inputs come one after the other, as the program makes them.
TEST(Room, OnlineWithoutAStartReservesItsInputs) {
  std::mt19937_64 rng(23);
  for (int i = 0; i < 20; ++i) {
    const Graph graph = training_graph(rng, 5 + i);
    Online online(graph, kUnlimited);
    Plan plan;
    plan.budget = kUnlimited;
    plan.placed = true;
    for (const Placement& input : everything_at_start(graph).resident) {
      std::int64_t offset = -1;
      ASSERT_FALSE(online.reserve(input.buffer, plan.steps, offset));
      plan.inputs.push_back({input.buffer, offset});
    }
    EXPECT_TRUE(plan.steps.empty());
    for (OpId op = 0; op < static_cast<OpId>(graph.ops.size()); ++op) ASSERT_FALSE(online.admit(op, plan.steps));
    EXPECT_EQ(simulate(graph, plan).recomputed_ops, 0);
  }
  Graph graph = chain(2);
  std::vector<Step> steps;
  EXPECT_THROW((void)Online(graph, kUnlimited).admit(0, steps), Error) << "its input is not in memory";
}

TEST(Room, WhatIsKeptEndsAnywhere) {
  Graph graph = chain(12);
  for (const Op& op : graph.ops) {
    if (op.writes[0] % 3 == 0) graph.keep.push_back(op.writes[0]);
  }
  const Plan p = plan_without_recomputation(graph);
  expect_valid(graph, p);
  EXPECT_EQ(count_moves(p), 0);
  EXPECT_LE(p.reserved_peak, p.live_peak + p.live_peak / 50);
}

TEST(WithoutBudget, EveryOpRunsOnceInLittleMoreThanIsLive) {
  std::mt19937_64 rng(11);
  int still = 0;
  for (int i = 0; i < 60; ++i) {
    const Graph graph =
        i % 2 == 0 ? training_graph(rng, 5 + 3 * i) : random_graph(rng, {.ops = 20 + static_cast<int>(rng() % 200)});
    const Plan p = plan_without_recomputation(graph);
    expect_valid(graph, p);
    EXPECT_EQ(simulate(graph, p).recomputed_ops, 0);
    EXPECT_EQ(p.cost, p.base_cost);
    EXPECT_EQ(p.lower_bound, p.cost);
    EXPECT_EQ(p.budget, p.reserved_peak);
    EXPECT_LE(p.reserved_peak, p.live_peak + p.live_peak / 50);
    still += count_moves(p) == 0 ? 1 : 0;
  }
  EXPECT_GE(still, 55);
}

TEST(WithoutBudget, ThousandsOfOps) {
  std::mt19937_64 rng(13);
  const Graph graph = training_graph(rng, 1300);
  ASSERT_GT(graph.ops.size(), 5000U);
  const Plan p = plan_without_recomputation(graph);
  expect_valid(graph, p);
  EXPECT_EQ(count_moves(p), 0);
  EXPECT_LE(p.reserved_peak, p.live_peak + p.live_peak / 50);
}

TEST(WithoutBudget, OddSizesArePlacedToTheByte) {
  Graph graph = chain(20);
  for (Buffer& buffer : graph.buffers) buffer.bytes = 37;
  const Plan p = plan_without_recomputation(graph);
  expect_valid(graph, p);
  EXPECT_EQ(p.reserved_peak, peak_without_recomputation(graph));
}

// Every second input lies where the start says, with gaps; the others go where the plan wants them.
TEST(WithoutBudget, StartsGiveOffsetsOrLeaveThemOpen) {
  std::mt19937_64 rng(17);
  for (int i = 0; i < 30; ++i) {
    const Graph graph = i % 2 == 0 ? training_graph(rng, 10 + i) : random_graph(rng, {.ops = 40});
    Start start;
    std::int64_t end = 2 * kUnit;
    for (const Placement& p : everything_at_start(graph).resident) {
      const bool given = rng() % 2 == 0;
      start.resident.push_back({p.buffer, given ? end : kAnywhere});
      if (given) end += graph.buffers[static_cast<std::size_t>(p.buffer)].bytes + kUnit * static_cast<int>(rng() % 3);
    }
    const Plan p = plan_without_recomputation(graph, start);
    expect_valid(graph, p, start);
    EXPECT_EQ(p.cost, p.base_cost);
    ASSERT_EQ(p.inputs.size(), start.resident.size());
    for (const Placement& given : start.resident) {
      const auto found =
          std::find_if(p.inputs.begin(), p.inputs.end(), [&](const Placement& q) { return q.buffer == given.buffer; });
      ASSERT_NE(found, p.inputs.end());
      EXPECT_GE(found->offset, 0);
      EXPECT_TRUE(given.offset == kAnywhere || found->offset == given.offset);
    }
  }
}

TEST(WithoutBudget, ImpossibleStartsAreErrors) {
  Graph graph = chain(3);
  const BufferId other = add_buffer(graph, 2);
  EXPECT_THROW(plan_without_recomputation(graph, Start{0, {{0, 0}, {other, kUnit}}}), Error);
  EXPECT_THROW(plan_without_recomputation(graph, Start{0, {{0, 0}, {other, 4 * kUnit + 1}}}), Error);
  EXPECT_THROW(plan_without_recomputation(graph, Start{2, {{0, 0}}}), Error) << "op 2 reads what op 1 wrote";
  EXPECT_NO_THROW(plan_without_recomputation(graph, Start{0, {{0, 0}, {other, 4 * kUnit}}}));
}

}  // namespace
}  // namespace tidemark::scheduler::testing
