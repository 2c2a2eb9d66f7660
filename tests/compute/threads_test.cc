#include "compute/threads.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace tidemark::compute {
namespace {

cpu_set_t affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  return set;
}

// One processor leaves nothing to share out. ctest unsets OMP_PROC_BIND, with which the user binds and nobody else.
class BoundThreads : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(std::getenv("OMP_PROC_BIND"), nullptr) << "unset it, as ctest does";
    if (allowed_cpus() < 2) GTEST_SKIP() << "this process has one processor";
  }
};

// Where each member of a team of `threads` may run.
std::vector<cpu_set_t> team(int threads) {
  std::vector<cpu_set_t> sets(static_cast<std::size_t>(threads));
#pragma omp parallel num_threads(threads)
  sets[static_cast<std::size_t>(omp_get_thread_num())] = affinity();
  return sets;
}

TEST(ThreadBinding, SetsTheTeamSizeAndGivesItBack) {
  const int before = omp_get_max_threads();
  {
    const ThreadBinding three(3);
    EXPECT_EQ(omp_get_max_threads(), 3);
    {
      const ThreadBinding one(1);
      EXPECT_EQ(omp_get_max_threads(), 1);
      EXPECT_FALSE(one.bound());
    }
    EXPECT_EQ(omp_get_max_threads(), 3);
  }
  EXPECT_EQ(omp_get_max_threads(), before);
}

TEST_F(BoundThreads, EachMemberHasAProcessorOfItsOwn) {
  const int threads = allowed_cpus();
  const cpu_set_t before = affinity();
  {
    const ThreadBinding binding(threads);
    EXPECT_TRUE(binding.bound());
    cpu_set_t together;
    CPU_ZERO(&together);
    for (const cpu_set_t& set : team(threads)) {
      EXPECT_EQ(CPU_COUNT(&set), 1);
      CPU_OR(&together, &together, &set);
    }
    EXPECT_EQ(CPU_COUNT(&together), threads);
  }
  const cpu_set_t after = affinity();
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
  for (const cpu_set_t& set : team(threads)) EXPECT_TRUE(CPU_EQUAL(&before, &set));
}

TEST(ThreadBinding, BindsNothingWhereThreadsAreMoreThanProcessors) {
  const int threads = allowed_cpus() + 1;
  const ThreadBinding binding(threads);
  EXPECT_FALSE(binding.bound());
  for (const cpu_set_t& set : team(threads)) EXPECT_EQ(CPU_COUNT(&set), allowed_cpus());
}

TEST_F(BoundThreads, ALargerTeamInsideABoundOneIsNotCrowdedOntoItsProcessors) {
  const int cpus = allowed_cpus();
  const ThreadBinding outer(cpus);
  {
    const ThreadBinding inner(cpus + 1);
    for (const cpu_set_t& set : team(cpus + 1)) EXPECT_EQ(CPU_COUNT(&set), cpus);
  }
  for (const cpu_set_t& set : team(cpus)) EXPECT_EQ(CPU_COUNT(&set), 1);
}

TEST_F(BoundThreads, TwoThreadsDoNotTakeTheSameProcessors) {
  const int cpus = allowed_cpus();
  const ThreadBinding first(cpus);
  bool second_bound = true;
  std::thread([&] { second_bound = ThreadBinding(cpus).bound(); }).join();
  EXPECT_TRUE(first.bound());
  EXPECT_FALSE(second_bound);
  EXPECT_TRUE(ThreadBinding(cpus).bound()) << "a nested binding of the same thread shares its processors";
}

TEST_F(BoundThreads, AThreadThatInheritsABindingCanUndoIt) {
  const int cpus = allowed_cpus();
  const ThreadBinding binding(cpus);
  int inherited = 0;
  int freed = 0;
  std::thread([&] {
    cpu_set_t set = affinity();
    inherited = CPU_COUNT(&set);
    unbind_current_thread();
    set = affinity();
    freed = CPU_COUNT(&set);
  }).join();
  EXPECT_EQ(inherited, 1);
  EXPECT_EQ(freed, cpus);
}

TEST(ParallelFor, PartsCoverTheRangeAndDependOnTheArgumentsAlone) {
  for (const std::int64_t n : {0, 1, 7, 256, 257, 1000, 4096}) {
    for (const std::int64_t grain : {1, 16, 256}) {
      for (const int threads : {1, 2, 3, 8}) {
        std::vector<int> hits(static_cast<std::size_t>(n));
        std::set<std::pair<std::int64_t, std::int64_t>> parts;
        std::set<std::pair<std::int64_t, std::int64_t>> nested;
        const auto collect = [&](auto& into) {
          return [&](std::int64_t first, std::int64_t last) {
#pragma omp critical
            into.emplace(first, last);
          };
        };
        parallel_for(n, grain, threads, collect(parts));
#pragma omp parallel num_threads(2)
        if (omp_get_thread_num() == 0) parallel_for(n, grain, threads, collect(nested));
        EXPECT_EQ(parts, nested);
        EXPECT_LE(std::ssize(parts), threads);
        for (const auto& [first, last] : parts) {
          EXPECT_EQ(first % grain, 0);
          for (std::int64_t i = first; i < last; ++i) ++hits[static_cast<std::size_t>(i)];
        }
        for (const int hit : hits) ASSERT_EQ(hit, 1);
      }
    }
  }
}

}  // namespace
}  // namespace tidemark::compute
