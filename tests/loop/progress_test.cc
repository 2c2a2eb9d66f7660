// What is said while training runs.
#include "tools/progress.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidemark::tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// What Progress writes, given states of `steps` steps.
std::string written(bool terminal, std::int64_t steps, std::optional<std::int64_t> budget) {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  {
    Progress progress(out, terminal, steps, budget);
    for (std::int64_t i = 1; i <= steps; ++i) {
      progress.update({.step = i,
                       .loss = 1.5f,
                       .samples_per_second = 123.4,
                       .live_bytes = 3 << 20,
                       .peak_bytes = 5 << 20,
                       .recomputed_ops = 7});
    }
  }
  std::fclose(out);
  std::string result(text, size);
  std::free(text);
  return result;
}

TEST(ProgressTest, PlainLines) {
  const std::string text = written(false, 100, 8 << 20);
  EXPECT_THAT(text,
              AllOf(HasSubstr("step 1/100  loss 1.5000  123.4 samples/s  peak 5.0 MiB of 8.0 MiB  7 recomputed\n"),
                    HasSubstr("step 100/100"), Not(HasSubstr("\r"))));
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 21);
}

TEST(ProgressTest, BarOnATerminal) {
  const std::string text = written(true, 10, std::nullopt);
  EXPECT_THAT(text,
              AllOf(HasSubstr("\r["), HasSubstr("[####################] step 10/10"), HasSubstr("live 3.0 MiB  7")));
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

}  // namespace
}  // namespace tidemark::tools
