#include "scheduler/search/annealer.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "scheduler/place/place.h"
#include "scheduler/program.h"
#include "tests/scheduler/graphs.h"

namespace tidemark::scheduler::testing {
namespace {

TEST(Profile, ForeseesTheOverflowOfAChange) {
  std::mt19937_64 rng(41);
  Profile profile;
  profile.clear(500);
  constexpr Profile::Key kEvents = 400;
  for (Profile::Key k = 1; k <= kEvents; ++k) profile.append(k, static_cast<double>(rng() % 700), 0);
  int changed = 0;
  for (int i = 0; i < 2000; ++i) {
    const Profile::Key from = 1 + rng() % (kEvents - 1);
    const Profile::Key to = from + 1 + rng() % (kEvents - from);
    const double bytes = static_cast<double>(rng() % 200) - 100;
    const double credit = i % 2 == 0 ? 0 : static_cast<double>(rng() % 100);
    profile.set_room(500 + credit);
    const double before = profile.overflow();
    profile.set_room(500);
    const double foreseen = profile.overflow_change(from, to, bytes, credit);
    profile.add_after(from, to, bytes);
    profile.set_room(500 + credit);
    EXPECT_EQ(foreseen, profile.overflow() - before);
    profile.set_room(500);
    if (i % 3 == 0) profile.add_after(from, to, -bytes);
    changed += foreseen != 0;
  }
  EXPECT_GT(changed, 1000);
}

TEST(Annealer, SqueezesToALowerPeak) {
  std::mt19937_64 rng(42);
  for (int i = 0; i < 20; ++i) {
    const Graph graph = training_graph(rng, 40 + 4 * i);
    const Program program = compile(graph);
    const std::int64_t least = least_budget(graph);
    const std::int64_t peak = peak_without_recomputation(graph);
    Annealer search(program, least, 1);
    search.squeeze(least, 0, 20'000'000);
    ASSERT_TRUE(search.feasible());
    search.load(search.best());
    const auto reached = static_cast<std::int64_t>(search.schedule().peak()) + program.pinned_bytes;
    EXPECT_EQ(reached, static_cast<std::int64_t>(search.schedule().room()) + program.pinned_bytes);
    EXPECT_GE(reached, least);
    EXPECT_LT(static_cast<double>(reached - least), 0.5 * static_cast<double>(peak - least)) << graph.ops.size();
    Plan plan;
    plan.budget = reached;
    plan.steps = emit(program, search.schedule());
    EXPECT_EQ(simulate(graph, plan).live_peak, reached);
    const std::int64_t enough = peak - (peak - least) / 4;
    Annealer brief(program, least, 1);
    brief.squeeze(least, enough, 20'000'000);
    const auto stopped = static_cast<std::int64_t>(brief.schedule().peak()) + program.pinned_bytes;
    EXPECT_LE(stopped, enough);
    EXPECT_GT(stopped, reached);
  }
}

}  // namespace
}  // namespace tidemark::scheduler::testing
