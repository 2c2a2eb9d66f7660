// Ops from outside the library: the one that op.h shows, and what Ctx gives to their kernels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "compute/machine.h"
#include "tests/ops/scale_op.h"

namespace tidemark::testing {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(std::string(TIDEMARK_SOURCE_DIR "/") + path);
  std::vector<std::string> out;
  for (std::string line; std::getline(file, line);) out.push_back(line);
  return out;
}

TEST(OwnOp, TheHeaderShowsAnOpThatCompiles) {
  std::vector<std::string> shown;
  for (const std::string& line : lines_of("include/tidemark/op.h")) {
    if (!line.starts_with("//")) break;
    shown.push_back(line);
  }
  std::vector<std::string> expected;
  for (const std::string& line : lines_of("tests/ops/scale_op.h")) {
    if (expected.empty() && line != "struct Scale {") continue;
    expected.push_back(line.empty() ? "//" : "//   " + line);
  }
  ASSERT_FALSE(expected.empty());
  expected.insert(expected.end(), {"//", "//   td::Tensor y = td::apply(Scale{2}, {x});"});
  EXPECT_NE(std::search(shown.begin(), shown.end(), expected.begin(), expected.end()), shown.end());
}

TEST(OwnOp, TheShownOpWorks) {
  const Session session({.threads = 2, .verify_replay = true});
  Tensor x = normal({3, 1000}, 0, 1);
  x.set_requires_grad(true);
  td::Tensor y = td::apply(Scale{2}, {x});
  const std::vector<float> before = x.to_vector();
  const std::vector<float> after = y.to_vector();
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i], 2 * before[i]);
  sum(y).backward();
  EXPECT_THAT(x.grad().to_vector(), ::testing::Each(2.0f));
}

class ParallelFor : public ::testing::Test {
 protected:
  Ctx ctx(compute::Machine& machine) { return Ctx(machine, nullptr, nullptr, {}, false); }
  compute::Machine three_{3};
};

TEST_F(ParallelFor, PartsFollowFromCountGrainAndThreads) {
  const auto parts = [&](compute::Machine& machine, std::int64_t count, std::int64_t grain) {
    std::set<std::pair<std::int64_t, std::int64_t>> out;
    std::mutex mutex;
    ctx(machine).parallel_for(count, grain, [&](std::int64_t first, std::int64_t last) {
      const std::lock_guard lock(mutex);
      out.emplace(first, last);
    });
    return out;
  };
  using Parts = std::set<std::pair<std::int64_t, std::int64_t>>;
  EXPECT_EQ(parts(three_, 100, 16), (Parts{{0, 48}, {48, 96}, {96, 100}}));
  EXPECT_EQ(parts(three_, 100, 64), (Parts{{0, 64}, {64, 100}}));
  EXPECT_EQ(parts(three_, 100, 100), (Parts{{0, 100}}));
  EXPECT_EQ(parts(three_, 1, 1), (Parts{{0, 1}}));
  EXPECT_EQ(parts(three_, 0, 1), Parts{});
  EXPECT_EQ(parts(three_, -5, 1), Parts{});
  compute::Machine one(1);
  EXPECT_EQ(parts(one, 100, 16), (Parts{{0, 100}}));
}

TEST_F(ParallelFor, CarriesTheFirstPartsException) {
  std::atomic<int> calls = 0;
  for (int i = 0; i < 20; ++i) {
    try {
      ctx(three_).parallel_for(3, 1, [&](std::int64_t first, std::int64_t) {
        ++calls;
        if (first > 0) throw std::runtime_error("part " + std::to_string(first));
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "part 1");
    }
  }
  EXPECT_EQ(calls, 60);
}

TEST_F(ParallelFor, RefusesAGrainOfNothing) {
  for (const std::int64_t grain : {0, -3}) {
    try {
      ctx(three_).parallel_for(10, grain, [](std::int64_t, std::int64_t) {});
      ADD_FAILURE() << grain;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("the grain is " + std::to_string(grain)));
    }
  }
}

// A function object that may change is called as it is, not as a copy.
TEST_F(ParallelFor, TakesFunctionsOfAnyKind) {
  struct Counter {
    std::int64_t sum = 0;
    void operator()(std::int64_t first, std::int64_t last) { sum += last - first; }
  } counter;
  ctx(three_).parallel_for(1000, 1000, counter);
  EXPECT_EQ(counter.sum, 1000);
  const auto constant = [&](std::int64_t, std::int64_t) {};
  ctx(three_).parallel_for(1000, 1, constant);
}

}  // namespace
}  // namespace tidemark::testing
