// The online policy: its steps obey the rules, the budget is never passed, and what fits in bytes runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "tests/scheduler/graphs.h"
#include "tests/scheduler/oracle.h"
#include "tidemark/error.h"

namespace tidemark::scheduler::testing {
namespace {

std::int64_t whole_units(double bytes) { return static_cast<std::int64_t>(std::ceil(bytes / kUnit)) * kUnit; }

TEST(Online, RandomGraphsPassTheSimulation) {
  std::mt19937_64 rng(21);
  int ran = 0;
  int short_of = 0;
  for (int i = 0; i < 400; ++i) {
    const Graph graph = random_graph(rng, {.ops = 10 + static_cast<int>(rng() % 60), .releases = i % 2 == 0});
    const auto peak = static_cast<double>(peak_without_recomputation(graph));
    for (double fraction : {1.0, 0.8, 0.6}) {
      Plan plan;
      Shortage shortage;
      if (run_online(graph, whole_units(peak * fraction), plan, &shortage)) {
        const Simulation s = simulate(graph, plan);
        EXPECT_LE(s.reserved_peak, plan.budget);
        ++ran;
      } else {
        ++short_of;
        EXPECT_GE(shortage.needed, 0);
      }
    }
  }
  EXPECT_GT(ran, 400);
  RecordProperty("short", short_of);
}

TEST(Online, EverythingFitsWithoutALimit) {
  std::mt19937_64 rng(22);
  const Graph graph = training_graph(rng, 50);
  Plan plan;
  ASSERT_TRUE(run_online(graph, kUnlimited, plan));
  EXPECT_EQ(simulate(graph, plan).recomputed_ops, 0);
}

TEST(Online, TrainingGraphs) {
  std::mt19937_64 rng(23);
  for (int i = 0; i < 20; ++i) {
    const Graph graph = training_graph(rng, 10 + 5 * i);
    Plan plan;
    ASSERT_TRUE(run_online(graph, whole_units(0.75 * static_cast<double>(peak_without_recomputation(graph))), plan));
    simulate(graph, plan);
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

TEST(Online, ShortageChangesNothing) {
  Graph graph;
  const BufferId in = add_buffer(graph, 2, true);
  const BufferId a = add_buffer(graph, 4);
  const BufferId b = add_buffer(graph, 4);
  const BufferId large = add_buffer(graph, 9);
  add_op(graph, 1, {in}, {a});
  add_op(graph, 1, {in}, {b});
  const OpId op = add_op(graph, 1, {a}, {large});
  graph.ops[static_cast<std::size_t>(op)].scratch = kUnit;
  Online online(graph, 11 * kUnit, {.next_op = 0, .resident = {{in, 0}}});
  std::vector<Step> steps;
  ASSERT_FALSE(online.admit(0, steps));
  ASSERT_FALSE(online.admit(1, steps));
  const std::size_t before = steps.size();
  const auto shortage = online.admit(op, steps);
  ASSERT_TRUE(shortage.has_value());
  EXPECT_EQ(steps.size(), before);
  EXPECT_EQ(shortage->op, op);
  EXPECT_EQ(shortage->needed, 16 * kUnit);
  EXPECT_EQ(shortage->pinned, 2 * kUnit);
  EXPECT_EQ(shortage->inputs, 4 * kUnit);
  EXPECT_EQ(shortage->outputs, 9 * kUnit);
  EXPECT_EQ(shortage->scratch, kUnit);
  // b is still there: bringing it back takes no step.
  EXPECT_FALSE(online.restore(b, steps));
  EXPECT_EQ(steps.size(), before);
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
    return std::count_if(steps.begin(), steps.end(), [](const Step& s) { return s.kind == Step::Kind::kRun; });
  };
  EXPECT_EQ(runs(first), 11);
  EXPECT_EQ(runs(second), 1);
}

TEST(Online, OverwritesWhatTheOpReleases) {
  Graph graph;
  const BufferId in = add_buffer(graph, 4, true);
  const BufferId a = add_buffer(graph, 4);
  const BufferId b = add_buffer(graph, 4);
  add_op(graph, 1, {in}, {a});
  add_op(graph, 1, {a}, {b});
  graph.ops[1].overwrites = {{a, b}};
  graph.ops[1].releases = {{a}};
  Plan plan;
  ASSERT_TRUE(run_online(graph, 8 * kUnit, plan));
  EXPECT_EQ(simulate(graph, plan).live_peak, 8 * kUnit);
}

TEST(Online, ReserveAndPin) {
  Graph graph;
  Online online(graph, 10 * kUnit);
  std::vector<Step> steps;
  std::int64_t offset = -1;
  const BufferId in = add_buffer(graph, 3);
  ASSERT_FALSE(online.reserve(in, steps, offset));
  EXPECT_EQ(offset, 0);
  const BufferId a = add_buffer(graph, 3);
  const BufferId b = add_buffer(graph, 3);
  add_op(graph, 1, {in}, {a});
  add_op(graph, 1, {a}, {b});
  ASSERT_FALSE(online.admit(0, steps));
  online.pin(a);
  ASSERT_FALSE(online.admit(1, steps));
  const BufferId more = add_buffer(graph, 4);
  ASSERT_FALSE(online.reserve(more, steps, offset));
  for (const Step& s : steps) EXPECT_FALSE(s.kind == Step::Kind::kDrop && s.id == a);
  const BufferId too_much = add_buffer(graph, 1);
  const auto shortage = online.reserve(too_much, steps, offset);
  ASSERT_TRUE(shortage.has_value());
  EXPECT_EQ(shortage->op, -1);
  EXPECT_EQ(shortage->needed, 11 * kUnit);
}

// A trace may say that a handle went before the tape had read the value for the last time.
TEST(Online, ReleasesBeforeTheLastReadWaitForIt) {
  Graph graph;
  const BufferId a = add_buffer(graph, 2);
  const BufferId b = add_buffer(graph, 2);
  const BufferId c = add_buffer(graph, 2);
  add_op(graph, 1, {}, {a});
  add_op(graph, 1, {a}, {b});
  add_op(graph, 1, {a, b}, {c});
  graph.ops[0].releases = {b};
  graph.ops[1].releases = {a};
  const Plan p = run_online(graph, 6 * kUnit);
  EXPECT_EQ(p.cost, p.base_cost);
  EXPECT_LE(simulate(graph, p).live_peak, 6 * kUnit);
}

TEST(Online, LastReadsAreOverwrittenWhereNothingIsReleased) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId a = add_buffer(graph, 4);
  const BufferId b = add_buffer(graph, 4);
  add_op(graph, 1, {x}, {a});
  add_op(graph, 1, {a}, {b});
  graph.ops.back().overwrites = {{a, b}};
  graph.keep = {b};
  const Plan p = run_online(graph, 5 * kUnit);
  EXPECT_EQ(p.steps.back().overwrites.size(), 1U);
  graph.keep = {a, b};
  EXPECT_THROW(run_online(graph, 5 * kUnit), BudgetError);
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
  EXPECT_EQ(std::count_if(steps.begin(), steps.end(), [](const Step& s) { return s.kind == Step::Kind::kRun; }), 1);
  online.release(x, steps);
  EXPECT_EQ(steps.back().kind, Step::Kind::kDrop);  // nothing needs it any more
  EXPECT_EQ(steps.back().id, way.back());
}

TEST(Online, RefusedCallsLoseNoInput) {
  Graph graph;
  const BufferId in = add_buffer(graph, 2);
  const BufferId value = add_buffer(graph, 4);
  const BufferId large = add_buffer(graph, 7);
  const BufferId too_large = add_buffer(graph, 6);
  add_op(graph, 1, {in}, {value});
  add_op(graph, 1, {}, {large});
  add_op(graph, 1, {value}, {too_large});
  Online online(graph, 9 * kUnit, {.next_op = 0, .resident = {{in, 0}}});
  std::vector<Step> steps;
  ASSERT_FALSE(online.admit(0, steps));
  ASSERT_FALSE(online.admit(1, steps));  // the value goes
  online.release(in, steps);
  online.release(large, steps);
  steps.clear();
  EXPECT_TRUE(online.admit(2, steps).has_value());  // with the value there is no room for its output
  EXPECT_TRUE(steps.empty());
  EXPECT_FALSE(online.restore(value, steps));
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_EQ(steps[0].kind, Step::Kind::kRun);
  EXPECT_EQ(steps[1].kind, Step::Kind::kDrop);  // nothing needs the input any more
  EXPECT_EQ(steps[1].id, in);
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
  EXPECT_EQ(std::count_if(plan.steps.begin() + static_cast<std::ptrdiff_t>(before), plan.steps.end(),
                          [](const Step& s) { return s.kind == Step::Kind::kRun; }),
            5);
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
  EXPECT_EQ(std::count_if(steps.begin(), steps.end(), [](const Step& s) { return s.kind == Step::Kind::kRun; }), 2);
}

// The value that was computed from `in` is gone for good: its op read what an update has overwritten.
TEST(Online, WhatCannotComeBackNeedsNothing) {
  Graph graph;
  const BufferId weight = add_buffer(graph, 1);
  const BufferId in = add_buffer(graph, 1);
  add_op(graph, 1, {weight, in}, {add_buffer(graph, 1)});
  add_op(graph, 1, {}, {});
  graph.ops.back().updates = {weight};
  Online online(graph, 4 * kUnit, {.next_op = 2, .resident = {{weight, 0}, {in, kUnit}}});
  std::vector<Step> steps;
  online.release(in, steps);
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_EQ(steps[0].kind, Step::Kind::kDrop);
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

std::int64_t count_runs(std::span<const Step> steps) {
  return std::count_if(steps.begin(), steps.end(), [](const Step& s) { return s.kind == Step::Kind::kRun; });
}

// An op takes the place of `read`, which cannot be computed again afterwards, though `held` is computed from it.
struct Overwriting {
  Graph graph;
  BufferId x, read, held, large, write;
  Plan plan;

  Overwriting(bool updates, std::int64_t held_units, std::int64_t large_units, std::int64_t scratch_units) {
    x = add_buffer(graph, 1, updates);
    read = add_buffer(graph, 1);
    held = add_buffer(graph, held_units);
    large = add_buffer(graph, large_units);
    write = add_buffer(graph, 1);
    add_op(graph, 1, {x}, {read});
    add_op(graph, 1, {read}, {held});
    add_op(graph, 1, {}, {large});
    add_op(graph, 1, {read}, {write});
    Op& op = graph.ops.back();
    op.overwrites = {{read, write}};
    op.releases = {read};
    op.scratch = scratch_units * kUnit;
    if (updates) {
      op.updates = {x};
    } else {
      op.reads.push_back(x);
      op.writes.push_back(add_buffer(graph, 1));
      op.overwrites.emplace_back(x, op.writes.back());
      op.releases->push_back(x);
    }
    plan.placed = true;
    plan.inputs = {{x, 0}};
  }

  void run(std::int64_t units) {
    plan.budget = units * kUnit;
    Online online(graph, plan.budget, {.next_op = 0, .resident = plan.inputs});
    for (OpId op = 0; op < 4; ++op) {
      ASSERT_FALSE(online.admit(op, plan.steps));
      if (op == 2) online.release(large, plan.steps);
    }
    ASSERT_FALSE(online.restore(held, plan.steps));
    simulate(graph, plan);
  }
};

TEST(Online, WhatIsOverwrittenForGoodIsNotNeeded) {
  for (const bool updates : {true, false}) {
    Overwriting program(updates, 2, 4, 0);
    program.run(6);
    EXPECT_EQ(count_runs(program.plan.steps), 5) << updates;
  }
}

TEST(Online, WhatStaysBecauseOfAnOverwriteIsNoVictim) {
  Overwriting roomy(true, 3, 1, 2);
  roomy.run(7);  // op 3: x, read or write in one place, held, scratch
  EXPECT_EQ(roomy.plan.steps.back().id, 3);
  EXPECT_EQ(roomy.plan.steps.back().overwrites.size(), 1U);
  Overwriting tight(true, 3, 1, 2);
  tight.run(6);  // fits only where held goes, so that read has to stay
  EXPECT_EQ(tight.plan.steps.back().id, 1);
}

// Another op may take the place of a refused one, and later choices are as if there had been none.
TEST(Online, RefusedCallsLeaveNoTrace) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  std::vector<BufferId> way{x};
  for (int i = 0; i < 5; ++i) {
    way.push_back(add_buffer(graph, 1));
    add_op(graph, 1, {way[way.size() - 2]}, {way.back()});
  }
  const BufferId large = add_buffer(graph, 6);
  add_op(graph, 1, {x}, {large});
  const BufferId dear = add_buffer(graph, 2);
  const OpId dear_op = add_op(graph, 25, {x}, {dear});
  for (int i = 0; i < 8; ++i) add_op(graph, 0, {x}, {});
  const BufferId cheap = add_buffer(graph, 2);
  const OpId cheap_op = add_op(graph, 10, {x}, {cheap});
  const auto with = [&](bool refused, const Graph& other) {
    Graph program = graph;
    Online online(program, 7 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
    std::vector<Step> steps;
    for (OpId op = 0; op <= cheap_op; ++op) {
      EXPECT_FALSE(online.admit(op, steps));
      if (op == dear_op) online.release(large, steps);
    }
    const std::size_t before = steps.size();
    if (refused) {
      const BufferId huge = add_buffer(program, 9);
      add_op(program, 1, {way.back()}, {huge});
      EXPECT_TRUE(online.admit(cheap_op + 1, steps).has_value());
      EXPECT_EQ(steps.size(), before);
      program = graph;
    }
    program = other;
    if (program.ops.size() > graph.ops.size()) {
      EXPECT_FALSE(online.admit(cheap_op + 1, steps));
    } else {
      std::int64_t offset = 0;
      EXPECT_FALSE(online.reserve(static_cast<BufferId>(graph.buffers.size()), steps, offset));
    }
    std::vector<std::pair<Step::Kind, std::int32_t>> chosen;
    for (std::size_t i = before; i < steps.size(); ++i) chosen.emplace_back(steps[i].kind, steps[i].id);
    return chosen;
  };
  Graph reserving = graph;
  add_buffer(reserving, 4);
  EXPECT_EQ(with(true, reserving), with(false, reserving));
  Graph another = graph;
  add_op(another, 1, {way[3]}, {add_buffer(another, 1)});
  EXPECT_EQ(with(true, another), with(false, another));
  EXPECT_GE(with(true, another).size(), 4U);  // at least what is read and its two ancestors are computed again
}

// On the way to `last` the refused call discards `first` for `wide` and computes it again.
TEST(Online, RefusedCallsMakeNothingYoung) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId first = add_buffer(graph, 4);
  const BufferId wide = add_buffer(graph, 6);
  const BufferId narrow = add_buffer(graph, 1);
  const BufferId last = add_buffer(graph, 1);
  const BufferId large = add_buffer(graph, 4);
  add_op(graph, 50, {x}, {first});
  add_op(graph, 1, {x}, {wide});
  add_op(graph, 1, {wide}, {narrow});
  add_op(graph, 1, {first, narrow}, {last});
  const OpId large_op = add_op(graph, 1, {x}, {large});
  for (int i = 0; i < 10; ++i) add_op(graph, 0, {x}, {});
  const BufferId other = add_buffer(graph, 2);
  add_op(graph, 12, {x}, {other});
  const BufferId huge = add_buffer(graph, 8);
  const OpId refused = add_op(graph, 1, {last}, {huge});
  Online online(graph, 9 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  for (OpId op = 0; op < refused; ++op) {
    ASSERT_FALSE(online.admit(op, steps));
    if (op == 2) online.release(wide, steps);
    if (op == large_op) online.release(large, steps);
  }
  const std::size_t before = steps.size();
  ASSERT_TRUE(online.admit(refused, steps).has_value());
  ASSERT_EQ(steps.size(), before);
  const BufferId more = add_buffer(graph, 4);
  std::int64_t offset = 0;
  ASSERT_FALSE(online.reserve(more, steps, offset));
  ASSERT_GT(steps.size(), before);
  EXPECT_EQ(steps[before].kind, Step::Kind::kDrop);
  EXPECT_EQ(steps[before].id, first);  // the oldest
}

TEST(Online, WhatIsReleasedAndKeptStays) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1);
  const BufferId y = add_buffer(graph, 1);
  add_op(graph, 1, {x}, {y});
  graph.ops[0].releases = {x, y};
  graph.keep = {x, y};
  EXPECT_EQ(run_online(graph, 2 * kUnit).steps.size(), 1U);
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

TEST(Online, WhatIsGoneIsNamed) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1);
  const BufferId y = add_buffer(graph, 1);
  graph.buffers[static_cast<std::size_t>(x)].name = "batch";
  add_op(graph, 1, {x}, {y});
  Online online(graph, 4 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  ASSERT_FALSE(online.admit(0, steps));
  online.release(x, steps);
  online.release(y, steps);
  const BufferId z = add_buffer(graph, 1);
  add_op(graph, 1, {x}, {z});
  graph.ops.back().once = true;
  const std::size_t before = steps.size();
  const auto message = [](const auto& call) -> std::string {
    try {
      (void)call();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message([&] { return online.admit(1, steps); }).find("batch"), std::string::npos);
  EXPECT_NE(message([&] { return online.restore(y, steps); }).find("cannot restore"), std::string::npos);
  EXPECT_EQ(steps.size(), before);
  graph.ops[1].reads.clear();
  graph.buffers.back().bytes = 4 * kUnit;
  EXPECT_FALSE(online.admit(1, steps));  // the same id again, of another op
  EXPECT_FALSE(online.restore(z, steps));
  std::int64_t offset = 0;
  EXPECT_TRUE(online.reserve(add_buffer(graph, 1), steps, offset).has_value());
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
