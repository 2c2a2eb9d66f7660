// The calls of the online policy: what is refused leaves no trace, and nothing that the program holds is ever lost.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/scheduler/graphs.h"
#include "tidemark/error.h"

namespace tidemark::scheduler::testing {
namespace {

template <typename Call>
std::string message_of(const Call& call) {
  try {
    (void)call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
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

// relu(relu(x)), with x and both results held: neither op may write over what it reads, so that all three are there.
TEST(Online, ShortageCountsOnlyOverwritesThatAreAllowed) {
  constexpr std::int64_t kBytes = 102'400;
  const auto needed_by_the_second = [](std::int64_t budget, bool released) {
    Graph graph;
    for (int i = 0; i < 3; ++i) graph.buffers.push_back({kBytes, "", false});
    add_op(graph, 1, {0}, {1});
    add_op(graph, 1, {1}, {2});
    graph.ops[0].overwrites = {{0, 1}};
    graph.ops[1].overwrites = {{1, 2}};
    if (released) graph.ops[1].releases = {{1}};
    Online online(graph, budget);
    std::vector<Step> steps;
    std::int64_t offset = 0;
    EXPECT_FALSE(online.reserve(0, steps, offset));
    EXPECT_FALSE(online.admit(0, steps));
    const auto shortage = online.admit(1, steps);
    return shortage ? shortage->needed : 0;
  };
  EXPECT_EQ(needed_by_the_second(2 * kBytes + 64, false), 3 * kBytes);
  EXPECT_EQ(needed_by_the_second(3 * kBytes - 64, false), 3 * kBytes);
  EXPECT_EQ(needed_by_the_second(3 * kBytes, false), 0);
  EXPECT_EQ(needed_by_the_second(2 * kBytes, true), 0);
}

// The second op updates what the first read, and the program holds what the first wrote: both stay while it runs.
TEST(Online, ShortageCountsWhatAnUpdateMakesUnrepeatable) {
  Graph graph;
  const BufferId in = add_buffer(graph, 4, true);
  const BufferId held = add_buffer(graph, 5);
  const BufferId other = add_buffer(graph, 6);
  add_op(graph, 1, {in}, {held});
  const OpId op = add_op(graph, 1, {}, {other});
  graph.ops[static_cast<std::size_t>(op)].updates = {in};
  Online online(graph, 10 * kUnit, {.next_op = 0, .resident = {{in, 0}}});
  std::vector<Step> steps;
  ASSERT_FALSE(online.admit(0, steps));
  const auto shortage = online.admit(op, steps);
  ASSERT_TRUE(shortage);
  EXPECT_EQ(shortage->needed, 15 * kUnit);
  EXPECT_EQ(shortage->pinned, 5 * kUnit);
}

// Raised to what each refusal names, budgets arrive; and where that is more than the next unit, it is seldom too much.
TEST(Online, WhatRefusalsNameIsALowerLimit) {
  std::mt19937_64 rng(29);
  int refusals = 0;
  int named = 0;
  int fits_below = 0;
  const auto needed = [](const Graph& graph, std::int64_t budget) {
    try {
      (void)run_online(graph, budget);
      return std::int64_t{0};
    } catch (const BudgetError& error) {
      return static_cast<std::int64_t>(error.needed_bytes());
    }
  };
  for (int i = 0; i < 100; ++i) {
    const Graph graph = i % 2 == 0 ? training_graph(rng, 3 + i / 5) : random_graph(rng, {.ops = 30, .releases = true});
    std::int64_t budget = peak_without_recomputation(graph) / 2 / kUnit * kUnit;
    while (const std::int64_t next = needed(graph, budget)) {
      ASSERT_GT(next, budget);
      ++refusals;
      if (next > budget + kUnit) {
        ++named;
        fits_below += needed(graph, next - kUnit) == 0 ? 1 : 0;
      }
      budget = next;
    }
  }
  EXPECT_GT(named, 100);
  EXPECT_LE(fits_below, 2);
  EXPECT_LE(refusals, 900);
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
  EXPECT_EQ(simulate(graph, run_online(graph, 8 * kUnit)).live_peak, 8 * kUnit);
}

TEST(Online, AnObjectThatWasMovedFromSaysSo) {
  const Graph graph;
  Online from(graph, 64);
  Online to(std::move(from));
  std::vector<Step> steps;
  EXPECT_THROW((void)from.admit(0, steps), Error);  // NOLINT(bugprone-use-after-move)
  EXPECT_THROW((void)from.pin(0), Error);
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
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_EQ(steps[0].kind, Step::Kind::kRun);
  online.release(value, steps);
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_EQ(steps[1].id, value);
  EXPECT_EQ(steps[2].kind, Step::Kind::kDrop);  // nothing needs the input any more
  EXPECT_EQ(steps[2].id, in);
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

// `a` and `b` are cheap and needed together, and each is the cheapest to discard for the other.
TEST(Online, WhatIsComputedTogetherIsNotDiscardedInTurns) {
  for (const bool deep : {false, true}) {
    Graph graph;
    const BufferId x = add_buffer(graph, 1, true);
    const BufferId a = add_buffer(graph, 2);
    const BufferId b = add_buffer(graph, 2);
    const BufferId dear = add_buffer(graph, 7);
    std::vector<BufferId> reads{a, b};
    add_op(graph, 1, {x}, {a});
    add_op(graph, 1, {x}, {b});
    if (deep) {
      reads = {add_buffer(graph, 3)};
      add_op(graph, 1, {a, b}, reads);
      graph.ops.back().releases = {a, b};
    }
    add_op(graph, 1000, {x}, {dear});
    add_op(graph, 1, reads, {});
    graph.keep = {dear};
    EXPECT_LE(count_runs(run_online(graph, 10 * kUnit).steps), static_cast<std::int64_t>(graph.ops.size()) + 5) << deep;
  }
}

// Holes far apart: another victim would make the moves short, but not one that the call has just computed.
TEST(Online, WhatIsWaitedForIsNotDiscardedToShortenMoves) {
  constexpr int kFill = 399;
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId a = add_buffer(graph, 2);
  const BufferId b = add_buffer(graph, 2);
  add_op(graph, 1, {x}, {a});
  add_op(graph, 1, {x}, {b});
  for (int i = 0; i < kFill; ++i) add_op(graph, 1000, {x}, {add_buffer(graph, 1)});
  add_op(graph, 1, {a, b}, {add_buffer(graph, 1)});
  Online online(graph, (kFill + 1) * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  const auto last = static_cast<OpId>(graph.ops.size()) - 1;
  for (OpId op = 0; op < last; ++op) ASSERT_FALSE(online.admit(op, steps));
  for (BufferId hole = 40; hole < 240; hole += 40) online.release(hole, steps);
  steps.clear();
  ASSERT_FALSE(online.admit(last, steps));
  EXPECT_EQ(count_runs(steps), 3);
}

// Before each op, calls that read what was discarded, and are refused because nothing holds what they write.
TEST(Online, RefusedCallsChangeNoLaterStep) {
  const auto run = [](Graph graph, std::int64_t budget, bool refused, int& refusals) {
    std::mt19937_64 rng(7);
    const BufferId huge = add_buffer(graph, budget / kUnit);
    Start start = everything_at_start(graph);
    std::erase_if(start.resident, [&](const Placement& p) { return p.buffer == huge; });
    Online online(graph, budget, start);
    std::vector<Step> steps;
    for (OpId id = 0; id < static_cast<OpId>(graph.ops.size()); ++id) {
      Op& op = graph.ops[static_cast<std::size_t>(id)];
      const Op good = op;
      for (int i = 0; refused && i < 3 && id > 0; ++i) {
        const Op& other = graph.ops[rng() % static_cast<std::size_t>(id)];
        op.reads = good.reads;
        op.reads.insert(op.reads.end(), other.writes.begin(), other.writes.end());
        op.writes = {huge};
        op.overwrites.clear();
        const std::size_t before = steps.size();
        try {
          refusals += online.admit(id, steps).has_value();
        } catch (const Error&) {  // the other op's outputs are gone
        }
        EXPECT_EQ(steps.size(), before);
      }
      op = good;
      if (online.admit(id, steps)) break;
    }
    return steps;
  };
  std::mt19937_64 rng(5);
  int refusals = 0;
  for (int i = 0; i < 60; ++i) {
    const Graph graph = random_graph(rng, {.ops = 150, .releases = true});
    const std::int64_t budget = peak_without_recomputation(graph) * (5 + i % 4) / 10 / kUnit * kUnit;
    if (budget < least_budget(graph)) continue;
    const std::vector<Step> plain = run(graph, budget, false, refusals);
    const std::vector<Step> tried = run(graph, budget, true, refusals);
    ASSERT_EQ(tried.size(), plain.size()) << i;
    for (std::size_t s = 0; s < plain.size(); ++s) {
      ASSERT_EQ(tried[s].kind, plain[s].kind) << i << ": step " << s;
      ASSERT_EQ(tried[s].id, plain[s].id) << i << ": step " << s;
      ASSERT_EQ(tried[s].offset, plain[s].offset) << i << ": step " << s;
    }
  }
  EXPECT_GT(refusals, 1000);
}

// `x` is released, but all that is computed from it could not be discarded any more without it.
TEST(Online, WhatIsReleasedAndKeptStays) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1);
  const BufferId y = add_buffer(graph, 1);
  add_op(graph, 1, {x}, {y});
  graph.ops[0].releases = {x, y};
  graph.keep = {x, y};
  EXPECT_EQ(run_online(graph, 2 * kUnit).steps.size(), 1U);
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
  online.release(y, steps);
  online.release(x, steps);
  const BufferId z = add_buffer(graph, 1);
  add_op(graph, 1, {x}, {z});
  graph.ops.back().once = true;
  const std::size_t before = steps.size();
  EXPECT_NE(message_of([&] { return online.admit(1, steps); }).find("batch"), std::string::npos);
  EXPECT_NE(message_of([&] { return online.restore(y, steps); }).find("cannot restore"), std::string::npos);
  EXPECT_EQ(steps.size(), before);
  graph.ops[1].reads.clear();
  graph.buffers.back().bytes = 4 * kUnit;
  EXPECT_FALSE(online.admit(1, steps));  // the same id again, of another op
  EXPECT_FALSE(online.restore(z, steps));
  std::int64_t offset = 0;
  EXPECT_TRUE(online.reserve(add_buffer(graph, 1), steps, offset).has_value());
}

TEST(Online, BadProgramsAreRefused) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1, true);
  const BufferId y = add_buffer(graph, 1);
  const BufferId z = add_buffer(graph, 1);
  add_op(graph, 1, {x}, {y});
  Online online(graph, 4 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  ASSERT_FALSE(online.admit(0, steps));
  const std::size_t before = steps.size();
  const OpId next = add_op(graph, 1, {y}, {z});
  const Op good = graph.ops.back();
  const auto expect_refused = [&](const auto& spoil, const std::string& reason) {
    Op& op = graph.ops.back();
    op = good;
    spoil(op);
    EXPECT_NE(message_of([&] { return online.admit(next, steps); }).find(reason), std::string::npos) << reason;
    EXPECT_EQ(steps.size(), before);
  };
  expect_refused([](Op& op) { op.reads = {7}; }, "names buffer 7 of 3");
  expect_refused([](Op& op) { op.updates = {-1}; }, "names buffer -1 of 3");
  expect_refused([](Op& op) { op.writes = {3}; }, "names buffer 3 of 3");
  expect_refused([](Op& op) { op.releases = {3}; }, "releases, names buffer 3 of 3");
  expect_refused([&](Op& op) { op.writes = {z, z}; }, "already written");
  expect_refused([&](Op& op) { op.writes = {y}; }, "already written");
  expect_refused([&](Op& op) { op.writes = {x}; }, "already written");
  expect_refused([&](Op& op) { op.reads = {z}; }, "which is not in memory and no op writes");
  expect_refused([&](Op& op) { op.overwrites = {{x, z}}; }, "not a pair");
  expect_refused([&](Op& op) { op.overwrites = {{y, y}}; }, "not a pair");
  expect_refused([](Op& op) { op.scratch = -1; }, "out of range");
  expect_refused([](Op& op) { op.cost = -1; }, "cost");
  expect_refused([](Op& op) { op.cost = std::numeric_limits<double>::quiet_NaN(); }, "cost");
  expect_refused([](Op& op) { op.cost = std::numeric_limits<double>::infinity(); }, "cost");
  graph.buffers[static_cast<std::size_t>(z)].bytes = -1;
  expect_refused([](Op&) {}, "out of range");
  std::int64_t offset = 0;
  EXPECT_NE(message_of([&] { return online.reserve(z, steps, offset); }), "");
  graph.buffers[static_cast<std::size_t>(z)].bytes = kUnit;
  EXPECT_NE(message_of([&] { return online.admit(next + 1, steps); }), "");
  EXPECT_NE(message_of([&] { return online.reserve(3, steps, offset); }), "");
  EXPECT_NE(message_of([&] { return online.restore(-1, steps); }), "");
  EXPECT_NE(message_of([&] { return online.release(3, steps), 0; }), "");
  EXPECT_NE(message_of([&] { return online.pin(-1), 0; }), "");
  graph.ops.back() = good;
  EXPECT_FALSE(online.admit(next, steps));
  const auto start = [&](std::vector<Placement> resident) {
    return message_of([&] { return Online(graph, 4 * kUnit, {.next_op = 0, .resident = std::move(resident)}), 0; });
  };
  EXPECT_NE(start({{3, 0}}), "");
  EXPECT_NE(start({{x, 1}}), "");
  EXPECT_NE(start({{x, 4 * kUnit}}), "");
  EXPECT_NE(start({{x, 0}, {x, kUnit}}), "");
  EXPECT_NE(start({{x, 0}, {z, 0}}), "");
}

}  // namespace
}  // namespace tidemark::scheduler::testing
