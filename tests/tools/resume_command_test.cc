// tidemark train --save and --resume, and signals in the middle.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/temporary_folder.h"
#include "tests/tools/command.h"

namespace tidemark {
namespace {

using test::Outcome;
using test::run_command;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kConstant = "train --model small-cnn --image 12 --width 4 --batch 16 --threads 2 ";
const std::string kRun = kConstant + "--schedule cosine --warmup 3 ";

class ResumeCommand : public ::testing::Test {
 protected:
  // Of the last step that the log has.
  std::string weights(const std::string& log) const {
    const std::string text = folder_.read(log);
    const std::size_t at = text.rfind("\"weight_hash\"");
    return at == std::string::npos ? "no step in " + text : text.substr(at, 40);
  }
  std::string file(const std::string& name) const { return folder_ / name; }
  const test::TemporaryFolder folder_;
};

TEST_F(ResumeCommand, GoesOnToTheSameBitsUnderAnotherBudget) {
  ASSERT_EQ(run_command(kRun + "--steps 30 --json " + file("whole")).code, 0);
  const std::string save = "--save " + file("run") + " ";
  const Outcome first = run_command(kRun + save + "--steps 30 --save-every 4");
  ASSERT_EQ(first.code, 0) << first.output;
  EXPECT_THAT(first.output, HasSubstr("run is of step 30"));
  // FILE.1 is of step 28: from there on.
  const Outcome second =
      run_command(kRun + "--steps 30 --budget 2MiB --json " + file("rest") + " --resume " + file("run.1"));
  ASSERT_EQ(second.code, 0) << second.output;
  EXPECT_THAT(second.output, HasSubstr("resumed from " + file("run.1") + ": step 28"));
  EXPECT_EQ(weights("rest"), weights("whole"));
}

TEST_F(ResumeCommand, BeginsWhereThereIsNothingToResume) {
  const std::string both = "--save " + file("run") + " --resume " + file("run");
  const Outcome first = run_command(kRun + "--steps 4 " + both);
  ASSERT_EQ(first.code, 0) << first.output;
  const Outcome second = run_command(kRun + "--steps 6 " + both);
  ASSERT_EQ(second.code, 0) << second.output;
  EXPECT_THAT(second.output, HasSubstr("step 4"));
  const Outcome missing = run_command(kRun + "--steps 6 --resume " + file("other"));
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.output, AllOf(HasSubstr("FileError"), HasSubstr("other")));
  const Outcome misfit = run_command(kRun + "--steps 6 --seed 9 " + both);
  EXPECT_EQ(misfit.code, 1);
  EXPECT_THAT(misfit.output, HasSubstr("the session's seed is 9, and the run's was 1"));
  EXPECT_EQ(run_command(kRun + "--save-every 3").code, 64);
}

// Files of other runs, and of the same one, stay.
TEST_F(ResumeCommand, NoOutputTakesThePlaceOfAnother) {
  const std::string save = "--steps 6 --save " + file("run") + " ";
  for (const std::string& other : {std::string("--trace "), std::string("--json ")}) {
    for (const char* kept : {"", ".1", ".new", ".best"}) {
      const Outcome outcome = run_command(kRun + save + other + file("run") + kept);
      EXPECT_EQ(outcome.code, 64) << other << kept;
      EXPECT_THAT(outcome.output, HasSubstr("would both write"));
    }
  }
  ASSERT_EQ(run_command(kRun + save).code, 0);
  const std::string before = folder_.read("run");
  const Outcome again = run_command(kRun + save);
  EXPECT_EQ(again.code, 64);
  EXPECT_THAT(again.output, HasSubstr("go on from it with --resume"));
  EXPECT_EQ(folder_.read("run"), before);
}

TEST_F(ResumeCommand, SignalsEndTheStepAndSave) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string name = "run" + std::to_string(signal);
    int output[2];
    ASSERT_EQ(::pipe(output), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(output[1], STDOUT_FILENO);
      ::close(output[0]);
      const std::string line = std::string("exec ") + TIDEMARK_COMMAND + " " + kConstant + "--steps 1000000 --save " +
                               file(name) + " --save-every 1000";
      ::execl("/bin/bash", "bash", "-c", line.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(output[1]);
    std::string text;
    char buffer[4096];
    bool sent = false;
    while (const ssize_t got = ::read(output[0], buffer, sizeof buffer)) {
      if (got < 0) break;
      text.append(buffer, static_cast<std::size_t>(got));
      // From the first line on: the run is set up, and one step or none is done.
      if (!sent && text.find('\n') != std::string::npos) {
        ::usleep(200'000);
        ::kill(child, signal);
        sent = true;
      }
    }
    ::close(output[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << text;
    const std::string said = "interrupted: " + file(name) + " is of step ";
    ASSERT_THAT(text, HasSubstr(said));
    const std::int64_t steps = std::stoll(text.substr(text.find(said) + said.size())) + 2;
    const std::string more = kConstant + "--steps " + std::to_string(steps) + " --json ";
    ASSERT_EQ(run_command(more + file("rest") + " --resume " + file(name)).code, 0);
    ASSERT_EQ(run_command(more + file("whole")).code, 0);
    EXPECT_EQ(weights("rest"), weights("whole"));
  }
}

}  // namespace
}  // namespace tidemark
