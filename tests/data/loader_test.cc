// Loaders: epochs, order, the last batch, the thread, and what they take from the budget.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tidemark/data.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Example i is x = (i, epoch) and y = i.
class Counting final : public Source {
 public:
  explicit Counting(std::int64_t size, std::int64_t bad = -1) : size_(size), bad_(bad) {}
  std::int64_t size() const override { return size_; }
  Shape x_shape() const override { return {2}; }
  Shape y_shape() const override { return {}; }
  void write(std::int64_t index, std::int64_t epoch, void* x, void* y) const override {
    if (index == bad_) throw FileError("a file: byte 7: bad");
    static_cast<float*>(x)[0] = static_cast<float>(index);
    static_cast<float*>(x)[1] = static_cast<float>(epoch);
    *static_cast<std::int32_t*>(y) = static_cast<std::int32_t>(index);
  }

 private:
  std::int64_t size_, bad_;
};

class LoaderTest : public ::testing::Test {
 protected:
  // One epoch's y, checked against x.
  static std::vector<std::int32_t> epoch(Loader& loader, int expected_epoch) {
    std::vector<std::int32_t> all;
    for (const auto& [x, y] : loader) {
      const std::vector<float> xs = x.to_vector();
      const std::vector<std::int32_t> ys = y.to_vector<std::int32_t>();
      for (std::size_t i = 0; i < ys.size(); ++i) {
        EXPECT_EQ(static_cast<std::int32_t>(xs[2 * i]), ys[i]);
        EXPECT_EQ(static_cast<int>(xs[2 * i + 1]), expected_epoch);
      }
      all.insert(all.end(), ys.begin(), ys.end());
    }
    return all;
  }
  Session session_{{.threads = 1}};
};

TEST_F(LoaderTest, InOrderWithASmallerLastBatch) {
  Loader loader(std::make_shared<Counting>(10), {.batch = 4});
  EXPECT_EQ(loader.batches(), 3);
  std::vector<std::int32_t> expected(10);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(epoch(loader, 0), expected);
  EXPECT_EQ(epoch(loader, 1), expected);
}

TEST_F(LoaderTest, DropLast) {
  Loader loader(std::make_shared<Counting>(10), {.batch = 4, .drop_last = true});
  EXPECT_EQ(loader.batches(), 2);
  EXPECT_EQ(epoch(loader, 0).size(), 8u);
  EXPECT_THAT([] { Loader(std::make_shared<Counting>(3), {.batch = 4, .drop_last = true}); },
              ThrowsMessage<Error>(HasSubstr("3 examples fill no batch of 4")));
  EXPECT_THAT([] { Loader(std::make_shared<Counting>(3), {.batch = 0}); },
              ThrowsMessage<Error>(HasSubstr("loader_test.cc")));
}

TEST_F(LoaderTest, ShuffledBySeedAndEpoch) {
  Loader a(std::make_shared<Counting>(50), {.batch = 8, .shuffle = true, .seed = 5});
  Loader b(std::make_shared<Counting>(50), {.batch = 8, .shuffle = true, .seed = 5});
  Loader c(std::make_shared<Counting>(50), {.batch = 8, .shuffle = true, .seed = 6});
  const std::vector<std::int32_t> first = epoch(a, 0);
  EXPECT_EQ(std::set<std::int32_t>(first.begin(), first.end()).size(), 50u);
  EXPECT_EQ(first, epoch(b, 0));
  EXPECT_NE(first, epoch(c, 0));
  EXPECT_NE(first, epoch(a, 1));
}

TEST_F(LoaderTest, LeavingAnEpochEarlyStartsTheNext) {
  Loader loader(std::make_shared<Counting>(20), {.batch = 2});
  for (const auto& [x, y] : loader) {
    if (y.to_vector<std::int32_t>()[0] == 6) break;
  }
  EXPECT_EQ(epoch(loader, 1).size(), 20u);
}

TEST_F(LoaderTest, WhatTheThreadThrowsArrives) {
  Loader loader(std::make_shared<Counting>(20, 11), {.batch = 4});
  EXPECT_THAT([&] { epoch(loader, 0); }, ThrowsMessage<FileError>(HasSubstr("byte 7")));
}

TEST_F(LoaderTest, TwoBatchesComeFromTheBudgetDuringAPass) {
  const auto batch_bytes = [&] { return session_.report().live_by_category[static_cast<int>(Category::kBatch)]; };
  const std::int64_t before = batch_bytes();
  {
    Loader loader(synthetic_images({.channels = 1, .image = 16}), {.batch = 64});
    const std::int64_t two = 2 * 64 * (16 * 16 * 4 + 4);
    EXPECT_EQ(batch_bytes(), before) << "a pass takes them, and gives them back";
    for (const auto& [x, y] : loader) {
      (void)sum(x).item();
      EXPECT_GE(batch_bytes() - before, two);
      EXPECT_LE(batch_bytes() - before, two + 4 * 64);
    }
    EXPECT_EQ(batch_bytes(), before);
    (void)loader.begin();
    EXPECT_GE(batch_bytes() - before, two);
  }
  EXPECT_EQ(batch_bytes(), before);
}

TEST(LoaderBudgetTest, ABatchThatDoesNotFitIsABudgetError) {
  Session session({.budget = 1 << 20, .threads = 1});
  Loader loader(synthetic_images({.image = 64}), {.batch = 64});
  EXPECT_THROW(loader.begin(), BudgetError);
}

// Examples that take a while, and a count of those written.
class Slow final : public Source {
 public:
  explicit Slow(std::atomic<int>& written) : written_(written) {}
  std::int64_t size() const override { return 4096; }
  Shape x_shape() const override { return {1024}; }
  Shape y_shape() const override { return {}; }
  void write(std::int64_t, std::int64_t, void* x, void* y) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::fill_n(static_cast<float*>(x), 1024, 1.0f);
    *static_cast<std::int32_t*>(y) = 1;
    ++written_;
  }

 private:
  std::atomic<int>& written_;
};

// The thread stops before the memory goes, and the loader says why it is of no more use.
TEST(LoaderLifetimeTest, OutlivesItsSession) {
  std::atomic<int> written = 0;
  std::optional<Loader> loader;
  std::optional<Loader::Iterator> position;
  {
    Session session({.threads = 1});
    loader = Loader(std::make_shared<Slow>(written), {.batch = 256});
    position = loader->begin();
  }
  const int at_the_end = written;
  EXPECT_GE(at_the_end, 256);
  EXPECT_LT(at_the_end, 512) << "a batch under way is left";
  const auto refused = ThrowsMessage<Error>(AllOf(HasSubstr("has ended"), HasSubstr("loader_test.cc")));
  EXPECT_THAT([&] { ++*position; }, refused);
  EXPECT_THAT([&] { loader->begin(); }, refused);
  const Batch batch = **position;
  EXPECT_FALSE(batch.x.defined());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(written, at_the_end);
  {
    Session next({.threads = 1});
    EXPECT_THAT([&] { loader->begin(); }, refused);
    loader = Loader(std::make_shared<Counting>(4), {.batch = 4});
    EXPECT_TRUE((*loader->begin()).x.defined());
  }
  loader.reset();
}

TEST(LoaderLifetimeTest, AMovedLoaderOutlivesItsSession) {
  std::optional<Session> session(std::in_place, SessionOptions{.budget = 1 << 22, .threads = 1});
  Loader first(std::make_shared<Counting>(64), {.batch = 4});
  Loader second = std::move(first);
  (void)second.begin();
  session.reset();
  EXPECT_EQ(second.batches(), 16);
  EXPECT_THAT([&] { second.begin(); }, ThrowsMessage<Error>(HasSubstr("has ended")));
}

TEST_F(LoaderTest, ASourceMustHaveAsManyExamplesAsAnEpochCan) {
  for (const std::int64_t size : {std::int64_t{-1}, kMostExamples + 1, std::int64_t{1} << 40}) {
    EXPECT_THAT([&] { Loader(std::make_shared<Counting>(size), {.batch = 4, .shuffle = true}); },
                ThrowsMessage<Error>(AllOf(HasSubstr("the source's size() must be from 0 to 268435456"),
                                           HasSubstr("but is " + std::to_string(size)), HasSubstr("loader_test.cc"))));
  }
  Loader none(std::make_shared<Counting>(0), {.batch = 4});
  EXPECT_TRUE(epoch(none, 0).empty());
  EXPECT_THAT([] { Loader(std::shared_ptr<const Source>()); },
              ThrowsMessage<Error>(AllOf(HasSubstr("there is no source"), HasSubstr("loader_test.cc"))));
}

TEST_F(LoaderTest, AfterAMoveThereIsOneLoader) {
  Loader from(std::make_shared<Counting>(10), {.batch = 4});
  const Loader::Iterator pass = from.begin();
  Loader to = std::move(from);
  const auto moved = ThrowsMessage<Error>(HasSubstr("has been moved"));
  EXPECT_THAT([&] { from.begin(); }, moved);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_THAT([&] { (void)from.batches(); }, moved);
  EXPECT_THAT([&] { (void)from.source(); }, moved);
  EXPECT_THAT([&] { (void)*pass; }, moved);
  EXPECT_THAT([&] { (void)(pass == std::default_sentinel); }, moved);
  EXPECT_EQ(epoch(to, 1).size(), 10u);
}

TEST_F(LoaderTest, BatchesBeyondTheLimitNameTheLine) {
  for (const std::int64_t image : {std::int64_t{1} << 30, std::int64_t{1} << 24}) {
    try {
      const Loader loader(synthetic_images({.image = image}), {.batch = 64});
      ADD_FAILURE() << image;
    } catch (const ShapeError& error) {
      const std::string side = std::to_string(image);
      EXPECT_THAT(error.what(), AllOf(HasSubstr("[64, 3, " + side + ", " + side + "]"), HasSubstr("loader_test.cc")));
    }
  }
}

TEST(LoaderDryRunTest, YieldsShapesOnly) {
  Session session({.threads = 1, .dry_run = true});
  int batches = 0;
  for (const auto& [x, y] : synthetic(SyntheticTokensOptions{.count = 8, .context = 6}, {.batch = 4})) {
    EXPECT_EQ(x.shape(), Shape({4, 6}));
    EXPECT_EQ(y.dtype(), i32);
    ++batches;
  }
  EXPECT_EQ(batches, 2);
}

}  // namespace
}  // namespace tidemark::data
