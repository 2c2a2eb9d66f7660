// The command line: what is accepted, and what a mistake is answered with.
#include "tools/options.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/progress.h"

namespace tidemark::tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

class OptionsTest : public ::testing::Test {
 protected:
  OptionsTest() : table_("tidemark try", "Tries.") {
    table_.heading("First");
    table_.choice("color", "the color", color_, {"red", "green"});
    table_.integer("count", "how many", count_, 1, 10);
    table_.number("rate", "how fast", rate_, 0, 1);
    table_.flag("loud", "say more", loud_);
    table_.text("file", "FILE", "where to", file_);
  }
  bool parse(const std::vector<const char*>& arguments) { return table_.parse(arguments); }
  void expect_usage_error(const std::vector<const char*>& arguments, const std::string& text) {
    EXPECT_THAT([&] { parse(arguments); }, ThrowsMessage<UsageError>(HasSubstr(text)));
  }

  std::string color_ = "red";
  std::int64_t count_ = 3;
  double rate_ = 0.5;
  bool loud_ = false;
  std::string file_;
  OptionTable table_;
};

TEST_F(OptionsTest, ReadsBothForms) {
  EXPECT_FALSE(parse({"--color", "green", "--count=7", "--rate", "1e-3", "--loud", "--file=a=b"}));
  EXPECT_EQ(color_, "green");
  EXPECT_EQ(count_, 7);
  EXPECT_DOUBLE_EQ(rate_, 1e-3);
  EXPECT_TRUE(loud_);
  EXPECT_EQ(file_, "a=b");
  EXPECT_TRUE(table_.given("count"));
  EXPECT_FALSE(parse({}));
  EXPECT_FALSE(table_.given("count"));
}

TEST_F(OptionsTest, MistakesSayWhatIsAllowed) {
  expect_usage_error({"--colour", "red"}, "no option --colour; it has: --color --count --rate --loud --file --help");
  expect_usage_error({"--color", "blue"}, "--color is 'blue', but can be: red, green");
  expect_usage_error({"--count", "0"}, "--count is '0', but must be a whole number from 1 to 10");
  expect_usage_error({"--count", "11"}, "from 1 to 10");
  expect_usage_error({"--count", "7x"}, "from 1 to 10");
  expect_usage_error({"--count", ""}, "from 1 to 10");
  expect_usage_error({"--count", "99999999999999999999"}, "from 1 to 10");
  expect_usage_error({"--rate", "nan"}, "must be a number from 0 to 1");
  expect_usage_error({"--rate", "2"}, "must be a number from 0 to 1");
  expect_usage_error({"--loud=yes"}, "--loud takes no value");
  expect_usage_error({"--file"}, "--file needs a value: FILE");
  expect_usage_error({"count"}, "'count' is not an option");
}

TEST_F(OptionsTest, HelpNamesEveryOptionAndDefault) {
  EXPECT_TRUE(parse({"--count", "2", "--help"}));
  EXPECT_THAT(table_.help(),
              AllOf(HasSubstr("usage: tidemark try"), HasSubstr("First:"), HasSubstr("--color red|green"),
                    HasSubstr("[red]"), HasSubstr("--count N"), HasSubstr("[3]"), HasSubstr("--rate X"),
                    HasSubstr("[0.5]"), HasSubstr("--loud"), HasSubstr("--file FILE")));
}

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
