// What is said while a loop runs, by a clock that the test sets.
#include "tidemark/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tidemark/session.h"
#include "tidemark/tensor.h"

namespace tidemark {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::chrono::steady_clock::time_point clock_now;

// A stream that ends as a string.
class Written {
 public:
  Written() : out_(open_memstream(&text_, &size_)) {}
  Written(const Written&) = delete;
  Written& operator=(const Written&) = delete;
  ~Written() {
    std::fclose(out_);
    std::free(text_);
  }
  std::FILE* out() const { return out_; }
  std::string text() const {
    std::fflush(out_);
    return {text_, size_};
  }
  std::ptrdiff_t count(char c) const {
    const std::string all = text();
    return std::count(all.begin(), all.end(), c);
  }
  // What was drawn or written last.
  std::string last() const {
    std::string all = text();
    while (!all.empty() && all.back() == '\n') all.pop_back();
    return all.substr(all.find_last_of("\r\n") + 1);
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* out_;
};

class ProgressTest : public ::testing::Test {
 protected:
  static ProgressOptions plain(const Written& written) {
    return {.out = written.out(), .terminal = false, .now = [] { return clock_now; }};
  }
  static ProgressOptions terminal(const Written& written, int width) {
    return {.out = written.out(), .terminal = true, .width = width, .now = [] { return clock_now; }};
  }
};

TEST_F(ProgressTest, PlainLines) {
  const Written written;
  Progress progress(100, plain(written));
  for (int i = 1; i <= 100; ++i) {
    clock_now += i == 1 ? 60s : 500ms;  // the first step is planned
    progress.update(i, {{"loss", 1.5f}, {"recomputed", 7}});
  }
  EXPECT_THAT(written.text(), AllOf(StartsWith("step 1/100  loss 1.5000  recomputed 7  0.0 steps/s  eta 1:39:00\n"),
                                    HasSubstr("\nstep 50/100  loss 1.5000  recomputed 7  2.0 steps/s  eta 0:25\n"),
                                    EndsWith("\nstep 100/100  loss 1.5000  recomputed 7  2.0 steps/s  in 1:50\n"),
                                    Not(HasSubstr("\r"))));
  EXPECT_EQ(written.count('\n'), 21);
}

// About twenty lines, whatever the steps are and however far apart the updates.
TEST_F(ProgressTest, PlainLinesAreFew) {
  for (const int steps : {39, 59, 100, 1000}) {
    for (const int stride : {1, 2, 3}) {
      const Written written;
      Progress progress(steps, plain(written));
      for (int i = 1; i <= steps; i += stride) progress.update(i);
      EXPECT_GE(written.count('\n'), steps / stride < 20 ? steps / stride : 15) << steps << " by " << stride;
      EXPECT_LE(written.count('\n'), 22) << steps << " by " << stride;
    }
  }
}

TEST_F(ProgressTest, RateInUnitsOverSeveralSteps) {
  const Written written;
  ProgressOptions options = plain(written);
  options.unit = "samples";
  options.units_per_step = 64;
  Progress progress(40, options);
  for (int i = 10; i <= 40; i += 10) {
    clock_now += 1s;
    progress.update(i);
  }
  EXPECT_EQ(written.last(), "step 40/40  640.0 samples/s  in 0:04");
}

TEST_F(ProgressTest, BarOnATerminal) {
  const Written written;
  {
    Progress progress(10, terminal(written, 80));
    for (int i = 1; i <= 10; ++i) {
      clock_now += 1s;
      progress.update(i);
      if (i == 5) {
        EXPECT_EQ(written.last(), "[##########..........] step 5/10  1.0 steps/s  eta 0:05");
      }
    }
  }
  EXPECT_THAT(written.text(), AllOf(StartsWith("\r[##......"), EndsWith("10  1.0 steps/s  in 0:10\n")));
  EXPECT_EQ(written.count('\n'), 1);
}

TEST_F(ProgressTest, ATerminalIsDrawnTenTimesASecond) {
  const Written written;
  Progress progress(1000, terminal(written, 80));
  for (int i = 1; i <= 1000; ++i) {
    clock_now += 1ms;
    progress.update(i);
  }
  EXPECT_EQ(written.count('\r'), 11);
}

TEST_F(ProgressTest, LinesFitTheTerminal) {
  for (const int width : {1, 2, 10, 30, 50}) {
    const Written written;
    Progress progress(3, terminal(written, width));
    clock_now += 1s;
    progress.update(1, {{"a long name", 1}, {"another", 2}});
    EXPECT_LE(written.last().size(), static_cast<std::size_t>(width - 1)) << width;
    clock_now += 1s;
    progress.update(2);  // blanks over the longer line, and no further
    EXPECT_LE(written.last().size(), static_cast<std::size_t>(width - 1)) << width;
  }
}

TEST_F(ProgressTest, StepsThatNobodyCounted) {
  const Written written;
  Progress progress(0, plain(written));
  for (int i = 1; i <= 30; ++i) {
    clock_now += 1s;
    progress.update(i);
  }
  EXPECT_EQ(written.text(), "step 1  1.0 steps/s\nstep 11  1.0 steps/s\nstep 21  1.0 steps/s\n");
  const Written bar;
  Progress drawn(0, terminal(bar, 80));
  drawn.update(5);
  EXPECT_EQ(bar.last(), "step 5");
}

TEST_F(ProgressTest, StepsBeyondTheLastAndBack) {
  const Written written;
  Progress progress(2, terminal(written, 80));
  for (const int step : {1, 2, 3, 1}) {
    clock_now += 1s;
    progress.update(step);
  }
  EXPECT_THAT(written.text(), HasSubstr("\r[####################] step 3/2"));
  EXPECT_THAT(written.last(), StartsWith("[##########..........] step 1/2"));
}

TEST_F(ProgressTest, ValuesOfEveryType) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::pair<FieldValue, std::string_view> kCases[] = {{0.0, "0.0000"},
                                                            {3e-4, "0.0003"},
                                                            {-1234.5, "-1234.5000"},
                                                            {2.5e7, "2.5e+07"},
                                                            {1e-300, "1e-300"},
                                                            {nan, "nan"},
                                                            {true, "true"},
                                                            {nullptr, "-"},
                                                            {-3, "-3"},
                                                            {"a\x1b[2Jb", "a?[2Jb"},
                                                            {std::vector{0.5, 2.0}, "[0.5000, 2.0000]"}};
  for (const auto& [value, shown] : kCases) {
    const Written written;
    Progress progress(0, plain(written));
    progress.update(1, {{"x\n\x9b", value}});
    EXPECT_EQ(written.last(), "step 1  x?\x9b " + std::string(shown));
  }
}

TEST_F(ProgressTest, BytesOfTheSession) {
  Session session({.budget = 8 << 20, .threads = 1});
  const Tensor held = zeros({1 << 18});
  const Written bar, lines;
  ProgressOptions options = terminal(bar, 80);
  options.session = &session;
  Progress(10, options).update(1);
  EXPECT_THAT(bar.text(), HasSubstr("  live 1.0 MiB of 8.0 MiB"));
  options.out = lines.out();
  options.terminal = false;
  Progress(10, options).update(1);
  EXPECT_THAT(lines.text(), HasSubstr("  peak 0 B of 8.0 MiB\n"));
}

TEST_F(ProgressTest, APipeThatNobodyReadsEndsNothing) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  std::FILE* out = fdopen(ends[1], "w");
  for (const bool terminal : {false, true}) {
    Progress progress(3, {.out = out, .terminal = terminal});
    for (int i = 1; i <= 3; ++i) progress.update(i);
  }
  // Nothing is left that would bring the signal later, and the thread gets others as before.
  EXPECT_EQ(std::fclose(out), 0);
  sigset_t blocked, pending;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  sigpending(&pending);
  EXPECT_EQ(sigismember(&blocked, SIGPIPE), 0);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

TEST_F(ProgressTest, WrongOptions) {
  EXPECT_THAT(test::error_of([] { Progress(-1); }), HasSubstr("steps must be at least 0, but is -1"));
  EXPECT_THAT(test::error_of([] { Progress(1, {.out = nullptr}); }), HasSubstr(".out is null"));
  EXPECT_THAT(test::error_of([] { Progress(1, {.width = -1}); }), HasSubstr(".width must be at least 0"));
}

}  // namespace
}  // namespace tidemark
