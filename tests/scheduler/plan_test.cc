// Plans of random graphs pass the simulation, stay above the bound, and are compared with the exact optimum.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bench/generated_graphs.h"
#include "scheduler/bound/instant_bound.h"
#include "scheduler/bound/lower_bound.h"
#include "scheduler/bound/several_instants.h"
#include "scheduler/bound/whole_buffers.h"
#include "scheduler/program.h"
#include "tests/scheduler/graphs.h"
#include "tests/scheduler/oracle.h"
#include "tidemark/error.h"

namespace tidemark::scheduler::testing {
namespace {

std::int64_t part(std::int64_t bytes, double fraction) {
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(bytes) * fraction));
}

bool same(const Plan& a, const Plan& b) {
  const auto equal_places = [](const auto& x, const auto& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const Placement& p, const Placement& q) {
      return p.buffer == q.buffer && p.offset == q.offset;
    });
  };
  return a.cost == b.cost && equal_places(a.inputs, b.inputs) &&
         std::equal(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(), [&](const Step& s, const Step& t) {
           return s.kind == t.kind && s.id == t.id && s.offset == t.offset && equal_places(s.places, t.places) &&
                  s.overwrites == t.overwrites;
         });
}

// What a plan says of itself is what the simulation finds.
void expect_true_figures(const Graph& graph, const Plan& plan, const std::optional<Start>& start = {}) {
  const Simulation s = simulate(graph, plan, start);
  EXPECT_EQ(s.live_peak, plan.live_peak);
  EXPECT_EQ(s.reserved_peak, plan.reserved_peak);
  EXPECT_EQ(s.moved_bytes, plan.moved_bytes);
  EXPECT_DOUBLE_EQ(s.cost, plan.cost);
  EXPECT_LE(plan.reserved_peak, plan.budget);
  EXPECT_LE(plan.lower_bound, plan.cost * (1 + 1e-9));
}

TEST(Plan, ChainWithoutPressureComputesNothingTwice) {
  const Graph graph = chain(10);
  const Plan p = plan(graph, peak_without_recomputation(graph));
  expect_true_figures(graph, p);
  EXPECT_EQ(p.cost, p.base_cost);
}

TEST(Plan, ChainUnderPressure) {
  const Graph graph = chain(30);
  const std::int64_t peak = peak_without_recomputation(graph);
  double cost = 0;
  for (double fraction : {0.3, 0.5, 0.7, 0.9}) {
    const Plan p = plan(graph, part(peak, fraction));
    expect_true_figures(graph, p);
    EXPECT_TRUE(cost == 0 || p.cost <= cost);
    cost = p.cost;
  }
}

TEST(Plan, RandomGraphsPassTheSimulation) {
  std::mt19937_64 rng(7);
  int planned = 0;
  for (int i = 0; i < 60; ++i) {
    const Graph graph = random_graph(rng, {.ops = 10 + static_cast<int>(rng() % 50)});
    const std::int64_t peak = peak_without_recomputation(graph);
    for (double fraction : {1.0, 0.8, 0.6}) {
      for (bool place : {true, false}) {
        try {
          expect_true_figures(graph, plan(graph, part(peak, fraction), {.place = place}));
          ++planned;
        } catch (const BudgetError& error) {
          EXPECT_LT(fraction, 1.0) << error.what();
          EXPECT_GT(error.needed_bytes(), part(peak, fraction));
          expect_true_figures(graph, plan(graph, error.needed_bytes(), {.place = place}));
        }
      }
    }
  }
  EXPECT_GT(planned, 150);
}

TEST(Plan, TrainingGraphsWithUpdates) {
  std::mt19937_64 rng(11);
  for (int layers : {5, 20, 60}) {
    const Graph graph = training_graph(rng, layers);
    const std::int64_t peak = peak_without_recomputation(graph);
    for (double fraction : {0.9, 0.8, 0.7}) {
      const Plan p = plan(graph, part(peak, fraction));
      expect_true_figures(graph, p);
      EXPECT_LT(p.cost, 1.5 * p.base_cost);
    }
  }
}

// Three units too many while op 2 runs: of b's two and a's ten, b and a part of a would do.
TEST(Bound, CountsWholeBuffers) {
  Graph graph;
  const BufferId a = add_buffer(graph, 10);
  const BufferId b = add_buffer(graph, 2);
  const BufferId c = add_buffer(graph, 5);
  add_op(graph, 7, {}, {a});
  add_op(graph, 1, {}, {b});
  const OpId full = add_op(graph, 1, {}, {c});
  const BufferId d = add_buffer(graph, 1);
  add_op(graph, 1, {a, b}, {d});
  const Program program = compile(graph);
  const std::int64_t budget = 14 * kUnit;
  InstantBound at_instant(program, full);
  EXPECT_NEAR(at_instant.bound(budget), 1 + 7 * 0.1, 1e-6);
  EXPECT_NEAR(whole_bound(at_instant, budget, 1'000'000), 7, 1e-6);
  EXPECT_NEAR(whole_bound(at_instant, budget, 0), 1 + 7 * 0.1, 1e-6) << "without work, the bound it begins with";
  EXPECT_NEAR(lower_bound(program, budget, 1'000'000).extra, 7, 1e-6);
}

// In random programs too large for the exact search, plans are judged too.
TEST(Bound, InWholeBuffersIsNeverLowerAndNeverAboveAPlan) {
  std::mt19937_64 rng(23);
  int higher = 0;
  for (int i = 0; i < 60; ++i) {
    const Graph graph = random_graph(rng, {.ops = 20 + static_cast<int>(rng() % 40)});
    const std::int64_t budget = part(peak_without_recomputation(graph), 0.8);
    const auto found = try_plan(graph, budget, {.place = false});
    if (!found) continue;
    const Program program = compile(graph);
    for (OpId t = 1; t < program.op_count; t += 7) {
      InstantBound at_instant(program, t);
      const double parts = at_instant.bound(budget);
      const double whole = whole_bound(at_instant, budget, 2'000'000);
      EXPECT_GE(whole, parts - 1e-6 * program.base_cost);
      EXPECT_LE(whole, found->cost - found->base_cost + 1e-6);
      higher += whole > parts + 1e-3;
    }
  }
  EXPECT_GT(higher, 20);
}

// Op 0 makes a (4 units) for the first full instant and for the end, op 2 makes b likewise; neither fits beside what
// the full instants need, so each runs twice. One instant alone sees one of the two reruns.
TEST(Bound, InstantsTogether) {
  Graph graph;
  const BufferId a = add_buffer(graph, 4);
  const BufferId b = add_buffer(graph, 4);
  const BufferId first = add_buffer(graph, 8);
  const BufferId second = add_buffer(graph, 8);
  const BufferId small = add_buffer(graph, 1);
  const BufferId end = add_buffer(graph, 1);
  add_op(graph, 3, {}, {a});
  const OpId full = add_op(graph, 1, {}, {first});
  add_op(graph, 1, {a}, {small});
  add_op(graph, 5, {}, {b});
  const OpId full_again = add_op(graph, 1, {}, {second});
  add_op(graph, 1, {a, b, small}, {end});
  graph.keep = {end};
  const Program program = compile(graph);
  const std::int64_t budget = 10 * kUnit;
  const auto best = cheapest_plan(graph, budget);
  ASSERT_TRUE(best.has_value());
  EXPECT_NEAR(*best - program.base_cost, 3 + 3 + 5, 1e-9);
  InstantBound alone(program, full_again);
  EXPECT_NEAR(whole_bound(alone, budget, 1'000'000), 3 + 5, 1e-6);
  EXPECT_NEAR(bound_of_several_instants(program, budget, full_again, 100, 10'000'000), 3 + 3 + 5, 0.1);
  EXPECT_NEAR(bound_of_several_instants(program, budget, full, 100, 10'000'000), 3 + 3 + 5, 0.1);
  EXPECT_LE(bound_of_several_instants(program, budget, full, 100, 0), 3 + 1e-6)
      << "without work, what one instant says";
}

// What takes no bytes frees none, and views cost nothing.
TEST(Bound, EmptyBuffersAndFreeOpsAreNoItems) {
  std::mt19937_64 rng(29);
  int planned = 0;
  for (int i = 0; i < 40; ++i) {
    Graph graph = chain(40);
    for (Op& op : graph.ops) {
      op.cost = rng() % 10 < 3 ? 0 : 1 + static_cast<double>(rng() % 10);
      for (BufferId b : op.writes) {
        if (rng() % 100 < 15) graph.buffers[static_cast<std::size_t>(b)].bytes = 0;
      }
    }
    const auto p = try_plan(graph, part(peak_without_recomputation(graph), 0.6), {.place = false});
    if (!p) continue;
    ++planned;
    expect_true_figures(graph, *p);
  }
  EXPECT_GT(planned, 20);
}

TEST(Plan, BoundsOfWholeCostsAreWhole) {
  std::mt19937_64 rng(53);
  int bounds = 0;
  for (int i = 0; i < 10; ++i) {
    Graph graph = training_graph(rng, 20);
    for (Op& op : graph.ops) op.cost = 3.0 * static_cast<double>(1 + rng() % 9);
    const auto p = try_plan(graph, peak_without_recomputation(graph) * 7 / 10, {.place = false});
    if (!p || p->lower_bound == p->base_cost) continue;
    ++bounds;
    EXPECT_EQ(std::fmod(p->lower_bound, 3.0), 0);
    EXPECT_LE(p->lower_bound, p->cost);
  }
  EXPECT_GE(bounds, 5);
}

// Not a byte is lost to the arena's unit of 64.
TEST(Plan, OddSizesArePlacedToTheByte) {
  std::mt19937_64 rng(37);
  int refused = 0;
  for (int i = 0; i < 40; ++i) {
    Graph graph = random_graph(rng, {.ops = 10 + static_cast<int>(rng() % 30)});
    for (Buffer& buffer : graph.buffers) {
      if (buffer.bytes > 0) buffer.bytes = 1 + buffer.bytes / 8 + static_cast<std::int64_t>(rng() % 3) * 8;
    }
    for (Op& op : graph.ops) {
      op.overwrites.clear();
      op.scratch = op.scratch / 8 + (op.scratch > 0 ? 1 : 0);
    }
    const std::int64_t peak = peak_without_recomputation(graph);
    const Plan p = plan(graph, peak);
    expect_true_figures(graph, p);
    EXPECT_EQ(p.cost, p.base_cost);
    try {
      EXPECT_LE(simulate(graph, run_online(graph, peak)).reserved_peak, peak);
    } catch (const BudgetError&) {  // roots take room, too
      ++refused;
      const std::int64_t above = peak + peak / 16;
      EXPECT_LE(simulate(graph, run_online(graph, above)).reserved_peak, above);
    }
    // Without roots: of what cannot be computed again, nothing is released.
    for (const Placement& input : p.inputs) graph.keep.push_back(input.buffer);
    for (Op& op : graph.ops) {
      op.once = false;
      op.updates.clear();
    }
    const Plan online = run_online(graph, peak_without_recomputation(graph));
    EXPECT_EQ(simulate(graph, online).cost, online.base_cost);
  }
  EXPECT_LE(refused, 1);
}

// The largest and the smallest budgets are numbers like others, with sizes that are and are not multiples of 64.
TEST(Plan, BudgetsOfAnySize) {
  for (const std::int64_t bytes : {std::int64_t{64}, std::int64_t{65}}) {
    Graph graph = chain(3);
    for (Buffer& buffer : graph.buffers) buffer.bytes = bytes;
    for (const bool place : {true, false}) {
      for (const std::int64_t budget : {INT64_MIN, INT64_MIN / 2, std::int64_t{-1}, std::int64_t{0}}) {
        EXPECT_THROW(plan(graph, budget, {.place = place}), BudgetError) << budget;
        EXPECT_FALSE(try_plan(graph, budget, {.place = place})) << budget;
        EXPECT_THROW(run_online(graph, budget), BudgetError) << budget;
      }
      for (Buffer& buffer : graph.buffers) buffer.bytes = 0;
      EXPECT_THROW(run_online(graph, -1), BudgetError);
      EXPECT_THROW(plan(graph, -1, {.place = place}), BudgetError);
      for (Buffer& buffer : graph.buffers) buffer.bytes = bytes;
      for (const std::int64_t budget : {kUnlimited, INT64_MAX}) {
        expect_true_figures(graph, plan(graph, budget, {.place = place}));
        EXPECT_EQ(simulate(graph, run_online(graph, budget)).recomputed_ops, 0) << budget;
      }
    }
  }
}

TEST(Plan, OffsetsOfAStart) {
  const Graph graph = chain(3);
  const auto planned = [&](std::vector<Placement> resident, bool place) {
    return plan(graph, 4096, {.place = place, .start = Start{0, std::move(resident)}}).placed;
  };
  EXPECT_TRUE(planned({{0, 64}}, true));
  for (const std::int64_t wrong : {std::int64_t{10}, std::int64_t{-64}, INT64_MAX - 63}) {
    EXPECT_THROW(planned({{0, wrong}}, true), Error) << wrong;
    EXPECT_FALSE(planned({{0, wrong}}, false)) << "offsets say nothing there";
  }
  EXPECT_THROW(planned({{0, 0}, {0, 1024}}, true), Error);
}

// Costs so small that the bound's scale would be infinite.
TEST(Bound, OfTinyCosts) {
  Graph graph = chain(4, 4, 5e-324);
  const std::int64_t least = least_budget(graph);
  const Plan p = plan(graph, least);
  expect_true_figures(graph, p);
  EXPECT_LE(p.lower_bound, p.cost);
}

TEST(Plan, WhatARefusalNamesIsPlannedWhateverWasAskedFor) {
  std::mt19937_64 rng(41);
  for (int i = 0; i < 6; ++i) {
    const Graph graph = i % 2 == 0 ? training_graph(rng, 20 + 10 * i) : random_graph(rng, {.ops = 60});
    std::int64_t named = 0;
    for (const std::int64_t asked : {std::int64_t{1}, least_budget(graph) - 1}) {
      try {
        plan(graph, asked);
        ADD_FAILURE() << "planned below the least budget";
      } catch (const BudgetError& error) {
        EXPECT_TRUE(named == 0 || named == error.needed_bytes());
        named = error.needed_bytes();
      }
    }
    EXPECT_LE(named, peak_without_recomputation(graph) * 21 / 20);
    for (const std::int64_t more : {std::int64_t{0}, kUnit, named / 10}) {
      expect_true_figures(graph, plan(graph, named + more));
      EXPECT_TRUE(try_plan(graph, named + more));
    }
  }
}

TEST(Plan, AgainstTheExactOptimum) {
  std::mt19937_64 rng(3);
  int optimal = 0;
  int missed = 0;
  int feasible = 0;
  double excess = 0;
  int judged = 0;
  int raised = 0;  // where several instants say more than one
  for (int i = 0; judged < 2000; ++i) {
    const Graph graph = random_graph(rng, {.ops = 4 + static_cast<int>(rng() % 9), .features = i % 2 == 0});
    if (graph.buffers.size() > 18) continue;
    ++judged;
    const std::int64_t peak = peak_without_recomputation(graph);
    const std::int64_t budget = part(peak, 0.7 + 0.1 * static_cast<double>(rng() % 3));
    const auto best = cheapest_plan(graph, budget);
    if (best) {
      const Program program = compile(graph);
      const Bound bound = lower_bound(program, budget, 1'000'000);
      EXPECT_LE(program.base_cost + bound.extra, *best + 1e-9);
      for (OpId t = program.first_op; t < program.op_count; t += 3) {
        const double joint = bound_of_several_instants(program, budget, t, program.base_cost, 300'000);
        EXPECT_LE(program.base_cost + joint, *best + 1e-6);
        raised += bound.instant >= 0 && joint > bound.extra * (1 + 1e-6) + 1e-6;
      }
    }
    try {
      const Plan p = plan(graph, budget, {.place = false});
      expect_true_figures(graph, p);
      ASSERT_TRUE(best.has_value());
      ++feasible;
      EXPECT_GE(p.cost, *best - 1e-9);
      EXPECT_LE(p.lower_bound, *best + 1e-9);
      optimal += p.cost <= *best + 1e-9;
      excess += p.cost / std::max(1.0, *best) - 1;
    } catch (const BudgetError& error) {
      missed += best.has_value();
      if (error.exact()) {
        EXPECT_FALSE(cheapest_plan(graph, error.needed_bytes() - 1).has_value());
      }
    }
  }
  EXPECT_EQ(missed, 0);
  EXPECT_GT(raised, 50);
  EXPECT_GT(feasible, 500);
  EXPECT_GE(optimal, feasible * 98 / 100);
  EXPECT_LE(excess / feasible, 0.001);
}

// Counted over generated graphs, of which a few are planned from the trace of the online policy.
TEST(Plan, NeverWorseThanTheOnlinePolicy) {
  int compared = 0;
  int worse = 0;
  const auto compare = [&](const Graph& graph, double fraction, bool place) {
    const std::int64_t budget = part(peak_without_recomputation(graph), fraction);
    std::optional<Plan> online;
    try {
      online = run_online(graph, budget);
    } catch (const BudgetError&) {
      return;
    }
    const auto p = try_plan(graph, budget, {.place = place});
    ASSERT_TRUE(p);
    expect_true_figures(graph, *p);
    ++compared;
    worse += p->cost > online->cost * (1 + 1e-9) ? 1 : 0;
  };
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    for (const char* family : {"tree", "eager", "attention", "random"}) {
      const Graph graph = bench::generate(family, 100, seed);
      for (const double fraction : {0.4, 0.6}) compare(graph, fraction, seed % 2 == 0);
    }
  }
  compare(bench::generate("attention", 300, 3), 0.4, false);
  compare(bench::generate("chain", 1000, 1), 0.4, false);
  EXPECT_GE(compared, 14);
  EXPECT_EQ(worse, 0);
}

TEST(Plan, SameSeedSamePlan) {
  std::mt19937_64 rng(5);
  const Graph graph = training_graph(rng, 40);
  const std::int64_t budget = part(peak_without_recomputation(graph), 0.75);
  EXPECT_TRUE(same(plan(graph, budget, {.seed = 4}), plan(graph, budget, {.seed = 4})));
}

// Part of the program has run under the online policy; the rest is planned from what it left in memory.
TEST(Plan, FromTheMiddle) {
  std::mt19937_64 rng(9);
  for (int i = 0; i < 60; ++i) {
    const Graph graph = i % 2 == 0 ? training_graph(rng, 6 + i / 2) : random_graph(rng, {.ops = 30});
    const std::int64_t peak = peak_without_recomputation(graph);
    const std::int64_t budget = (part(peak, 0.9) + kUnit - 1) / kUnit * kUnit;
    Graph half = graph;
    half.ops.resize(graph.ops.size() / 2);
    Online online(half, budget, everything_at_start(graph));
    std::vector<Step> steps;
    bool fits = true;
    for (OpId op = 0; op < static_cast<OpId>(half.ops.size()) && fits; ++op) fits = !online.admit(op, steps);
    if (!fits) continue;
    Start start;
    start.next_op = static_cast<OpId>(half.ops.size());
    std::vector<std::int64_t> offset(graph.buffers.size(), -1);
    for (const Placement& p : everything_at_start(graph).resident)
      offset[static_cast<std::size_t>(p.buffer)] = p.offset;
    for (const Step& s : steps) {
      if (s.kind != Step::Kind::kRun)
        offset[static_cast<std::size_t>(s.id)] = s.kind == Step::Kind::kDrop ? -1 : s.offset;
      for (const auto& pair : s.overwrites) offset[static_cast<std::size_t>(pair.first)] = -1;
      for (const Placement& p : s.places) {
        if (p.buffer != kScratch) offset[static_cast<std::size_t>(p.buffer)] = p.offset;
      }
    }
    for (std::size_t b = 0; b < offset.size(); ++b) {
      if (offset[b] >= 0) start.resident.push_back({static_cast<BufferId>(b), offset[b]});
    }
    try {
      const Plan p = plan(graph, budget, {.start = start});
      expect_true_figures(graph, p, start);
      for (const Step& s : p.steps) {
        EXPECT_FALSE(s.kind == Step::Kind::kMove && graph.buffers[static_cast<std::size_t>(s.id)].pinned);
      }
    } catch (const BudgetError& error) {
      EXPECT_GT(error.needed_bytes(), budget);
    }
  }
}

TEST(Plan, OfEqualCostMovesTheFewestBytes) {
  const Graph graph = chain(6);
  const std::int64_t budget = 2 * peak_without_recomputation(graph);
  Plan moving = plan(graph, budget);
  ASSERT_EQ(moving.moved_bytes, 0);
  const BufferId input = moving.inputs[0].buffer;
  moving.steps.insert(moving.steps.begin(), move_step(input, budget - kUnit * 4));
  moving.moved_bytes = simulate(graph, moving).moved_bytes;
  ASSERT_GT(moving.moved_bytes, 0);
  EXPECT_EQ(try_plan(graph, budget, {}, &moving)->moved_bytes, 0);
}

// A program for whose smaller budget the exact search ends, and for whose larger one neither it nor the walks do.
TEST(Plan, WhatASmallerBudgetAllowsIsNotRefused) {
  constexpr std::int64_t kBytes[] = {189,  1568, 838,  1977, 1957, 439, 1276, 1815, 1719, 1366, 1681,
                                     1541, 1030, 1762, 1188, 699,  890, 852,  1897, 1676, 1219, 248};
  struct Line {
    double cost;
    std::vector<BufferId> reads;
  };
  const std::vector<Line> lines{{2, {0}},
                                {2, {3}},
                                {1, {4, 2, 1}},
                                {1, {5}},
                                {2.6436, {6}},
                                {3.9555, {7}},
                                {1, {8, 4, 2}},
                                {1, {9}},
                                {82, {10}},
                                {0, {11, 2}},
                                {53, {12, 0}},
                                {0, {13}},
                                {1, {14, 10}},
                                {5, {13, 14}},
                                {2, {12, 0, 13, 16}},
                                {5, {11, 2, 17}},
                                {23, {10, 18}},
                                {8.2712, {9, 10, 19}},
                                {1, {8, 4, 2, 9, 20}}};
  Graph graph;
  for (std::int64_t bytes : kBytes) graph.buffers.push_back({bytes, "", graph.buffers.size() < 2});
  BufferId written = 3;
  for (const Line& line : lines) add_op(graph, line.cost, line.reads, {written++});
  graph.keep = {7, 8};
  const Plan smaller = plan(graph, 9323);
  for (std::int64_t budget = 9323; budget < 9900; budget += 127) {
    const Plan larger = plan(graph, budget);
    expect_true_figures(graph, larger);
    EXPECT_LE(larger.cost, smaller.cost) << budget;
  }
}

TEST(Plan, InputsThatNothingReadsCountAtTheStart) {
  Graph graph = chain(4);
  add_buffer(graph, 100);
  EXPECT_EQ(peak_without_recomputation(graph), least_budget(graph));
  const std::int64_t start = least_budget(graph);
  for (const bool place : {true, false}) {
    expect_true_figures(graph, plan(graph, start, {.place = place}));
    try {
      plan(graph, start - kUnit, {.place = place});
      FAIL();
    } catch (const BudgetError& error) {
      EXPECT_EQ(error.needed_bytes(), start);
      EXPECT_TRUE(error.exact());
    }
  }
}

TEST(Plan, ImpossibleBudgetNamesTheSmallest) {
  const Graph graph = chain(10);
  try {
    plan(graph, 3 * kUnit);
    FAIL();
  } catch (const BudgetError& error) {
    EXPECT_EQ(error.needed_bytes(), 16 * kUnit);
    EXPECT_TRUE(error.exact());
  }
}

}  // namespace
}  // namespace tidemark::scheduler::testing
