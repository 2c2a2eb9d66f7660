// The online policy: its steps obey the rules, the budget is never passed, and what fits in bytes runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "tests/scheduler/graphs.h"
#include "tidemark/error.h"

namespace tidemark::scheduler::testing {
namespace {

std::int64_t whole_units(double bytes) { return static_cast<std::int64_t>(std::ceil(bytes / kUnit)) * kUnit; }

TEST(Online, RandomGraphsPassTheSimulation) {
  std::mt19937_64 rng(21);
  int ran = 0;
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    const Graph graph = random_graph(rng, {.ops = 10 + static_cast<int>(rng() % 60), .releases = i % 2 == 0});
    const auto peak = static_cast<double>(peak_without_recomputation(graph));
    for (double fraction : {1.0, 0.8, 0.6}) {
      const std::int64_t budget = whole_units(peak * fraction);
      try {
        const Plan plan = run_online(graph, budget);
        EXPECT_LE(simulate(graph, plan).reserved_peak, budget);
        ++ran;
      } catch (const BudgetError& error) {
        EXPECT_GT(error.needed_bytes(), budget);
        ++refused;
      }
    }
  }
  EXPECT_GT(ran, 400);
  EXPECT_GT(refused, 0);
}

TEST(Online, EverythingFitsWithoutALimit) {
  std::mt19937_64 rng(22);
  const Graph graph = training_graph(rng, 50);
  EXPECT_EQ(simulate(graph, run_online(graph, kUnlimited)).recomputed_ops, 0);
}

TEST(Online, InputsThatNothingReadsAreLetGo) {
  Graph graph;
  const BufferId unread = add_buffer(graph, 4);
  const BufferId large = add_buffer(graph, 8);
  add_op(graph, 1, {}, {large});
  const Plan plan = run_online(graph, 8 * kUnit);
  ASSERT_FALSE(plan.steps.empty());
  EXPECT_EQ(plan.steps[0].kind, Step::Kind::kDrop);
  graph.ops[0].releases = {unread, large};  // it is held until then
  EXPECT_THROW((void)run_online(graph, 8 * kUnit), BudgetError);
  graph.ops[0].releases = {large};
  graph.keep = {unread};
  EXPECT_THROW((void)run_online(graph, 8 * kUnit), BudgetError);
}

TEST(Online, TrainingGraphs) {
  std::mt19937_64 rng(23);
  for (int i = 0; i < 20; ++i) {
    const Graph graph = training_graph(rng, 10 + 5 * i);
    const std::int64_t budget = whole_units(0.75 * static_cast<double>(peak_without_recomputation(graph)));
    EXPECT_LE(simulate(graph, run_online(graph, budget)).reserved_peak, budget);
  }
}

TEST(Online, DeepChainIsBroughtBackWithoutRecursion) {
  Graph graph;
  constexpr int kDepth = 20000;
  BufferId x = add_buffer(graph, 1, true);
  std::vector<BufferId> all;
  for (int i = 0; i < kDepth; ++i) {
    const BufferId y = add_buffer(graph, 1);
    add_op(graph, 1, {x}, {y});
    all.push_back(y);
    x = y;
  }
  Online online(graph, 4 * kUnit, {.next_op = 0, .resident = {{0, 0}}});
  std::vector<Step> steps;
  for (int i = 0; i < kDepth; ++i) ASSERT_FALSE(online.admit(i, steps));
  steps.clear();
  ASSERT_FALSE(online.restore(all[kDepth / 2], steps));
  EXPECT_LT(steps.size(), 4U * kDepth);
}

// Free bytes in pieces, none large enough, and nothing that may be discarded: buffers move.
TEST(Online, FragmentsAreJoined) {
  Graph graph;
  const BufferId in = add_buffer(graph, 1, true);
  std::vector<BufferId> small;
  for (int i = 0; i < 8; ++i) {
    small.push_back(add_buffer(graph, 1));
    add_op(graph, 1, {in}, {small.back()});
    graph.ops.back().once = true;
  }
  const BufferId large = add_buffer(graph, 4);
  const OpId op = add_op(graph, 1, {small[1], small[7]}, {large});
  Online online(graph, 9 * kUnit, {.next_op = 0, .resident = {{in, 0}}});
  Plan plan;
  plan.budget = 9 * kUnit;
  plan.placed = true;
  plan.inputs = {{in, 0}};
  for (OpId i = 0; i < op; ++i) ASSERT_FALSE(online.admit(i, plan.steps));
  for (int i = 0; i < 8; i += 2) online.release(small[static_cast<std::size_t>(i)], plan.steps);
  ASSERT_FALSE(online.admit(op, plan.steps));
  simulate(graph, plan);
  const auto moves =
      std::count_if(plan.steps.begin(), plan.steps.end(), [](const Step& s) { return s.kind == Step::Kind::kMove; });
  EXPECT_GT(moves, 0);
}

TEST(Online, NeedlessVictimsStay) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId small = add_buffer(graph, 1);
  const BufferId large = add_buffer(graph, 8);
  const BufferId next = add_buffer(graph, 8);
  add_op(graph, 1, {x}, {small});
  add_op(graph, 100, {x}, {large});
  add_op(graph, 1, {x}, {next});
  Online online(graph, 16 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  for (OpId op = 0; op < 2; ++op) ASSERT_FALSE(online.admit(op, steps));
  steps.clear();
  ASSERT_FALSE(online.admit(2, steps));  // the small one is the cheaper victim, but the large one is enough
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].kind, Step::Kind::kDrop);
  EXPECT_EQ(steps[0].id, large);
}

TEST(Online, RoomBetweenWhatCannotMove) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId y = add_buffer(graph, 1, true);
  for (int i = 0; i < 3; ++i) add_op(graph, 1 + i, {x}, {add_buffer(graph, 2)});
  add_op(graph, 1, {y}, {add_buffer(graph, 3)});
  Online online(graph, 11 * kUnit, {.next_op = 0, .resident = {{x, 3 * kUnit}, {y, 7 * kUnit}}});
  std::vector<Step> steps;
  for (OpId op = 0; op < 3; ++op) ASSERT_FALSE(online.admit(op, steps));
  steps.clear();
  ASSERT_FALSE(online.admit(3, steps));  // three parts of one unit each are free, and no part can grow but by a victim
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].kind, Step::Kind::kDrop);
}

TEST(Online, WhatIsComputedOnTheWayStaysForOthers) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  std::vector<BufferId> way{x};
  for (int i = 0; i < 10; ++i) {
    way.push_back(add_buffer(graph, 1));
    add_op(graph, 1, {way[way.size() - 2]}, {way.back()});
  }
  const BufferId first = add_buffer(graph, 1);
  const BufferId second = add_buffer(graph, 1);
  const BufferId large = add_buffer(graph, 12);
  add_op(graph, 1, {way.back()}, {first});
  add_op(graph, 1, {way.back()}, {second});
  add_op(graph, 1, {x}, {large});
  Online online(graph, 13 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  for (OpId op = 0; op < 12; ++op) ASSERT_FALSE(online.admit(op, steps));
  for (std::size_t i = 1; i < way.size(); ++i) online.release(way[i], steps);
  ASSERT_FALSE(online.admit(12, steps));  // everything else goes
  online.release(large, steps);
  const auto runs = [&](BufferId b) {
    steps.clear();
    EXPECT_FALSE(online.restore(b, steps));
    return count_runs(steps);
  };
  EXPECT_EQ(runs(first), 11);
  EXPECT_EQ(runs(second), 1);
}

// A released value stays while something discarded needs it, however much else was computed from it and is gone.
TEST(Online, WhatIsNeededStaysAmongManyReaders) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  std::vector<BufferId> way{x};
  for (int i = 0; i < 50; ++i) {
    way.push_back(add_buffer(graph, 1));
    add_op(graph, 1, {way[way.size() - 2]}, {way.back()});
  }
  const BufferId held = add_buffer(graph, 8);
  add_op(graph, 1, {way.back()}, {held});
  std::vector<BufferId> gone;
  for (int i = 0; i < 100; ++i) {
    gone.push_back(add_buffer(graph, 1));
    add_op(graph, 1, {way.back()}, {gone.back()});
  }
  const BufferId large = add_buffer(graph, 10);
  add_op(graph, 1, {x}, {large});
  Online online(graph, 16 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  OpId op = 0;
  for (; op < 50; ++op) {
    ASSERT_FALSE(online.admit(op, steps));
    if (op > 0) online.release(way[static_cast<std::size_t>(op)], steps);
  }
  ASSERT_FALSE(online.admit(op++, steps));
  for (const BufferId b : gone) {
    ASSERT_FALSE(online.admit(op++, steps));
    online.release(b, steps);
  }
  ASSERT_FALSE(online.admit(op++, steps));  // discards what is large
  online.release(way.back(), steps);
  online.release(large, steps);
  steps.clear();
  ASSERT_FALSE(online.restore(held, steps));
  EXPECT_EQ(count_runs(steps), 1);
  online.release(x, steps);
  EXPECT_EQ(steps.back().kind, Step::Kind::kDrop);  // nothing needs it any more
  EXPECT_EQ(steps.back().id, way.back());
}

// In program order `first` would wait for `last` while `wide` is there.
TEST(Online, WhatWaitsIsGivenUpForRoom) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId first = add_buffer(graph, 4);
  const BufferId wide = add_buffer(graph, 6);
  const BufferId narrow = add_buffer(graph, 1);
  const BufferId last = add_buffer(graph, 1);
  const BufferId large = add_buffer(graph, 8);
  add_op(graph, 1, {x}, {first});
  add_op(graph, 1, {x}, {wide});
  add_op(graph, 1, {wide}, {narrow});
  add_op(graph, 1, {first, narrow}, {last});
  add_op(graph, 1, {x}, {large});
  Online online(graph, 9 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  Plan plan;
  plan.budget = 9 * kUnit;
  plan.placed = true;
  plan.inputs = {{x, 0}};
  for (OpId op = 0; op < 5; ++op) ASSERT_FALSE(online.admit(op, plan.steps));
  for (const BufferId b : {first, wide, narrow, large}) online.release(b, plan.steps);
  const std::size_t before = plan.steps.size();
  ASSERT_FALSE(online.restore(last, plan.steps));
  EXPECT_EQ(count_runs(std::span(plan.steps).subspan(before)), 5);
  simulate(graph, plan);
}

TEST(Online, WhatIsReadNextIsNotOld) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId old = add_buffer(graph, 4);
  const BufferId wide = add_buffer(graph, 4);
  const BufferId out = add_buffer(graph, 1);
  const BufferId large = add_buffer(graph, 5);
  const BufferId fresh = add_buffer(graph, 4);
  add_op(graph, 1, {x}, {old});
  add_op(graph, 1, {x}, {wide});
  add_op(graph, 1, {old, wide}, {out});
  add_op(graph, 1, {old}, {large});
  add_op(graph, 1, {x}, {fresh});
  add_op(graph, 1, {x}, {});
  Online online(graph, 10 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  for (OpId op = 0; op < 3; ++op) ASSERT_FALSE(online.admit(op, steps));
  online.release(wide, steps);
  ASSERT_FALSE(online.admit(3, steps));  // `out` goes
  online.release(large, steps);
  for (OpId op = 4; op < 6; ++op) ASSERT_FALSE(online.admit(op, steps));
  steps.clear();
  ASSERT_FALSE(online.restore(out, steps));
  EXPECT_EQ(count_runs(steps), 2);
}

// Two of one size and age, whatever their scores round to.
TEST(Online, TheCheaperOfTwoAlikeGoes) {
  for (int size = 1; size <= 8; ++size) {
    for (int wait = 0; wait < 12; ++wait) {
      Graph graph;
      const BufferId x = add_buffer(graph, 1, true);
      const BufferId dear = add_buffer(graph, size);
      const BufferId cheap = add_buffer(graph, size);
      std::vector<BufferId> way{x};
      add_op(graph, 1, {x}, {cheap});
      for (int i = 0; i < 5; ++i) {
        way.push_back(add_buffer(graph, 1));
        add_op(graph, 1, {way[way.size() - 2]}, {way.back()});
      }
      add_op(graph, 1, {way.back()}, {dear});
      add_op(graph, 1, {dear, cheap}, {});
      for (int i = 0; i < wait; ++i) add_op(graph, 1, {x}, {});
      add_op(graph, 1, {x}, {add_buffer(graph, size)});
      Online online(graph, (2 * size + 6) * kUnit, {.next_op = 0, .resident = {{x, 0}}});
      std::vector<Step> steps;
      const auto last = static_cast<OpId>(graph.ops.size()) - 1;
      for (OpId op = 0; op < last; ++op) ASSERT_FALSE(online.admit(op, steps));
      for (std::size_t i = 1; i < way.size(); ++i) online.release(way[i], steps);
      const BufferId filler = add_buffer(graph, 5);
      std::int64_t offset = 0;
      ASSERT_FALSE(online.reserve(filler, steps, offset));
      steps.clear();
      ASSERT_FALSE(online.admit(last, steps));
      ASSERT_EQ(steps.front().kind, Step::Kind::kDrop);
      EXPECT_EQ(steps.front().id, cheap) << size << " " << wait;
    }
  }
}

// Among many small buffers a little more is discarded, and no long run of neighbours moves for each hole.
TEST(Online, MovesStayShort) {
  std::mt19937_64 rng(44);
  Graph graph;
  std::vector<BufferId> values;
  for (int op = 0; op < 3000; ++op) {
    std::vector<BufferId> reads;
    if (op > 0) reads.push_back(values.back());
    if (op >= 1500) reads.push_back(values[static_cast<std::size_t>(2999 - op)]);
    values.push_back(add_buffer(graph, 1 + static_cast<std::int64_t>(rng() % 8)));
    add_op(graph, 1 + static_cast<double>(rng() % 8), reads, {values.back()});
  }
  const Plan p = run_online(graph, peak_without_recomputation(graph) / 2 / kUnit * kUnit);
  std::int64_t moved = 0;
  std::int64_t written = 0;
  for (const Step& s : p.steps) {
    if (s.kind == Step::Kind::kMove) moved += graph.buffers[static_cast<std::size_t>(s.id)].bytes;
    if (s.kind != Step::Kind::kRun) continue;
    for (const Placement& w : s.places) written += graph.buffers[static_cast<std::size_t>(w.buffer)].bytes;
  }
  EXPECT_GT(moved, 0);
  EXPECT_LT(moved, written);
}

TEST(Online, ASiblingThatIsWantedStays) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId first = add_buffer(graph, 1);
  const BufferId second = add_buffer(graph, 1);
  const BufferId held = add_buffer(graph, 1);
  const BufferId large = add_buffer(graph, 9);
  add_op(graph, 1, {x}, {first, second});
  add_op(graph, 1, {second}, {held});
  add_op(graph, 1, {x}, {large});
  Online online(graph, 10 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  for (OpId op = 0; op < 3; ++op) ASSERT_FALSE(online.admit(op, steps));
  online.release(second, steps);
  online.release(large, steps);
  steps.clear();
  ASSERT_FALSE(online.restore(first, steps));
  ASSERT_FALSE(online.restore(held, steps));
  EXPECT_EQ(count_runs(steps), 2);
}

TEST(Online, NothingLargeGoesToShortenMoves) {
  Graph graph;
  const BufferId large = add_buffer(graph, 200);
  add_op(graph, 1, {}, {large});
  std::vector<BufferId> small;
  for (int i = 0; i < 800; ++i) {
    small.push_back(add_buffer(graph, 1));
    add_op(graph, 1, {}, {small.back()});
    graph.ops.back().once = true;
  }
  Online online(graph, 1000 * kUnit);
  std::vector<Step> steps;
  for (OpId op = 0; op <= 800; ++op) ASSERT_FALSE(online.admit(op, steps));
  for (std::size_t i = 0; i < 4; ++i) online.release(small[50 + 100 * i], steps);
  steps.clear();
  const BufferId more = add_buffer(graph, 2);
  std::int64_t offset = 0;
  ASSERT_FALSE(online.reserve(more, steps, offset));
  EXPECT_FALSE(steps.empty());
  for (const Step& s : steps) EXPECT_EQ(s.kind, Step::Kind::kMove);
}

// Ops read a recent value and an old one. Were released values dropped at once, the ancestors of a discarded one would
// go one after the other, and bringing it back would take half of the program.
TEST(Online, IrregularGraphsDoNotThrash) {
  std::mt19937_64 rng(43);
  for (int i = 0; i < 3; ++i) {
    Graph graph;
    std::vector<BufferId> values;
    for (int op = 0; op < 400; ++op) {
      std::vector<BufferId> reads;
      if (op > 0) reads.push_back(values[values.size() - 1 - rng() % std::min<std::size_t>(values.size(), 8)]);
      if (op > 0) reads.push_back(values[values.size() - 1 - rng() % std::min<std::size_t>(values.size(), 120)]);
      values.push_back(add_buffer(graph, 1 + static_cast<std::int64_t>(rng() % 8)));
      add_op(graph, 1, reads, {values.back()});
    }
    const std::int64_t budget = peak_without_recomputation(graph) * 9 / 10 / kUnit * kUnit;
    const Plan p = run_online(graph, budget);
    EXPECT_LE(simulate(graph, p).reserved_peak, budget);
    EXPECT_GT(p.cost, p.base_cost);
    EXPECT_LT(p.cost, 1.1 * p.base_cost);
  }
}

}  // namespace
}  // namespace tidemark::scheduler::testing
