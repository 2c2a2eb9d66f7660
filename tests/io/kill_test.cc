// A run that is killed again and again, and goes on each time: TIDEMARK_KILLS times, 30 by default.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "tests/io/run.h"

namespace tidemark::io {
namespace {

// Processes are forked from one that has no session and so no threads.
pid_t start_run(const std::string& file, std::int64_t more_steps) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  try {
    TrainingRun run({.file = file, .keep = 3});
    (void)run.resume();
    run.train_to(run.session().step() + more_steps, true);
    ::_exit(0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    ::_exit(1);
  }
}

void finish(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(Checkpoint, KilledRunsGoOnToTheSameBits) {
  const char* text = std::getenv("TIDEMARK_KILLS");
  const int kills = text == nullptr ? 30 : std::atoi(text);
  const Folder folder;
  const std::string file = folder / "run";
  // Lives end before their first step or after some, whatever the machine takes for one.
  const auto began = std::chrono::steady_clock::now();
  finish(start_run(file, 5));
  const std::chrono::duration<double, std::micro> life = std::chrono::steady_clock::now() - began;
  std::mt19937 random(1);
  std::uniform_int_distribution<int> wait(0, static_cast<int>(std::min(2 * life.count(), 900'000.0)));
  int killed = 0;
  while (killed < kills) {
    const pid_t child = start_run(file, 1 << 20);
    ASSERT_GT(child, 0);
    ::usleep(static_cast<useconds_t>(wait(random)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself: an error above";
    ++killed;
  }
  finish(start_run(file, 5));
  TrainingRun run({.file = file, .keep = 3});
  const auto resumed = run.resume();
  ASSERT_TRUE(resumed);
  EXPECT_TRUE(resumed->warnings.empty());
  EXPECT_GT(resumed->step, 10) << "no life was long enough for a step";
  TrainingRun unbroken({});
  unbroken.train_to(resumed->step);
  EXPECT_EQ(run.hash(), unbroken.hash());
  std::printf("%d kills, %lld steps\n", kills, static_cast<long long>(resumed->step));
}

}  // namespace
}  // namespace tidemark::io
