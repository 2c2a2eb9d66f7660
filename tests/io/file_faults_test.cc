// Checkpoints on a file system of which each call fails once, or from some moment on.
#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/io/failing_files.h"
#include "tests/io/run.h"
#include "tidemark/tidemark.h"

namespace tidemark::io {
namespace {

// Where a save fails, a checkpoint is there all the same: the new one or the one before, and from both the run goes on.
void fail_each_call(bool all_after) {
  std::map<std::string, int> failures;
  std::string expected;
  {
    TrainingRun run({});
    run.train_to(6);
    expected = run.hash();
  }
  int saves_that_failed = 0;
  for (int number = 0;; ++number) {
    const Folder folder;
    const std::string file = folder / "run";
    TrainingRun run({.file = file, .keep = 3});
    for (int step = 1; step <= 3; ++step) {
      run.train_to(step);
      run.save();
    }
    run.train_to(4);
    fail_file_call(number, all_after);
    bool failed = false;
    try {
      run.checkpoints().save(1.0);
    } catch (const FileError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(file));
      failed = true;
    }
    const int calls = file_calls();
    const std::string what = failed_file_call();
    fail_file_call(-1, false);
    if (number >= calls) break;
    ++failures[what];
    saves_that_failed += failed ? 1 : 0;

    TrainingRun resumed_run({.file = file, .keep = 3});
    const auto resumed = resumed_run.resume();
    ASSERT_TRUE(resumed) << what << " " << number;
    EXPECT_TRUE(resumed->warnings.empty()) << what << " " << number;
    if (failed) {
      EXPECT_GE(resumed->step, 3);
    } else {
      EXPECT_EQ(resumed->step, 4);
    }
    resumed_run.train_to(6);
    EXPECT_EQ(resumed_run.hash(), expected) << what << " " << number;
    // And the run itself goes on, with saves that succeed.
    run.train_to(6);
    EXPECT_EQ(run.hash(), expected);
    run.save();
    EXPECT_EQ(run.resume()->step, 6);
  }
  EXPECT_GT(failures["write"], 0);
  EXPECT_GT(failures["fsync"], 0);
  EXPECT_GT(failures["rename"], 0);
  if (!all_after) EXPECT_GT(failures["link"], 0);
  EXPECT_GT(saves_that_failed, 3);
}

TEST(Checkpoint, EachCallOfTheFileSystemFailsOnce) { fail_each_call(false); }
TEST(Checkpoint, AllCallsFailFromEachMomentOn) { fail_each_call(true); }

}  // namespace
}  // namespace tidemark::io
