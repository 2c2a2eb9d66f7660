// What the options accept, and what a mistake is answered with.
#include "tools/arguments.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tidemark::tools {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct Animal {
  std::string name;
  std::vector<NamedOption> options;
};

class ArgumentsTest : public ::testing::Test {
 protected:
  ArgumentsTest() {
    app_.option_defaults()->always_capture_default();
    add_whole(app_, "--count", count_, 1, 10, "how many");
    add_whole(app_, "--most", most_, "7", 0, 100, "at most");
    add_text(app_, "--file", "FILE", file_, "where to");
    add_choice(app_, "--color", color_, {"red", "green"}, "the color");
    add_named_options(app_, animals_, "Animals", given_);
  }
  void parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());
    app_.parse(arguments);
  }
  void expect_refused(const std::vector<std::string>& arguments, const std::string& text) {
    EXPECT_THAT([&] { parse(arguments); }, ThrowsMessage<CLI::ParseError>(HasSubstr(text)));
  }

  const std::vector<Animal> animals_ = {
      {"cat", {NamedOption::whole("legs", 4, 1, 8, "under it"), NamedOption::number("speed", 0.5, 0, 1, "of its run")}},
      {"fish", {NamedOption::number("speed", 0.25, 0, 1, "in water"), NamedOption::flag("shy", "hides")}},
  };
  CLI::App app_;
  std::int64_t count_ = 3;
  std::optional<std::int64_t> most_;
  std::string file_;
  std::string color_ = "red";
  NamedValues::Given given_;
};

TEST_F(ArgumentsTest, ReadsBothForms) {
  parse({"--count", "7", "--most=012", "--file=a=b", "--speed", "1e-1", "--shy"});
  EXPECT_EQ(count_, 7);
  EXPECT_EQ(most_, 12);
  EXPECT_EQ(file_, "a=b");
  EXPECT_EQ(given_, (NamedValues::Given{{"shy", 1}, {"speed", 0.1}}));
}

TEST_F(ArgumentsTest, WhatIsNotGivenStays) {
  parse({});
  EXPECT_EQ(count_, 3);
  EXPECT_EQ(most_, std::nullopt);
  EXPECT_TRUE(given_.empty());
}

TEST_F(ArgumentsTest, MistakesSayWhatIsAllowed) {
  expect_refused({"--count", "0"}, "--count: '0' is not a whole number from 1 to 10");
  for (const char* count : {"11", "7x", "", "1.5", "0x3", "99999999999999999999"}) {
    expect_refused({"--count", count}, "from 1 to 10");
  }
  expect_refused({"--file", ""}, "--file: is empty, but must be a FILE");
  expect_refused({"--file"}, "--file");
  expect_refused({"--color", "blue"}, "--color: blue not in {red,green}");
  expect_refused({"--speed", "fast"}, "Could not convert: --speed = fast");
}

TEST_F(ArgumentsTest, TheChosenEntryMustHaveWhatIsGiven) {
  const auto expect = [&](const NamedValues::Given& given, const std::string& text) {
    EXPECT_THAT([&] { check_named("--animal", animals_, "fish", given); }, ThrowsMessage<UsageError>(HasSubstr(text)));
  };
  check_named("--animal", animals_, "cat", {{"legs", 3}, {"speed", 1}});
  expect({{"legs", 3}}, "--legs is for --animal cat, not for fish");
  expect({{"speed", 2}}, "--speed is 2, but must be a number from 0 to 1");
  expect({{"speed", std::nan("")}}, "--speed is nan, but must be a number from 0 to 1");
}

TEST_F(ArgumentsTest, HelpHasTheDefaultsOfEveryEntry) {
  // CLI11 2.5 writes a default as " [3]", and older ones as "=3".
  EXPECT_THAT(app_.help(),
              AllOf(ContainsRegex("--color .red,green.( \\[red\\]|=red) "), ContainsRegex("--count N( \\[3\\]|=3) "),
                    ContainsRegex("--most N( \\[7\\]|=7) "), HasSubstr("Animals:\n  --legs N "),
                    HasSubstr("cat: under it [4]\n"), HasSubstr("cat: of its run [0.5]\n"),
                    HasSubstr("fish: in water [0.25]\n"), HasSubstr("fish: hides\n")));
}

TEST(GraphBudgetTest, IsBytesOrAPartOfThePeak) {
  EXPECT_EQ(budget_of("4096", 1000), 4096);
  EXPECT_EQ(budget_of("1.5KiB", 1000), 1536);
  EXPECT_EQ(budget_of("40%", 1001), 400);  // never above the part
  EXPECT_EQ(budget_of("0.0001%", 1000), 0);
  EXPECT_EQ(budget_of("60%", 0), 0);  // of an empty graph
  for (const char* text : {"", "lots", "0", "-5%", "0%", "1001%", "x%", "%"}) {
    EXPECT_THAT([&] { (void)budget_of(text, 1000); }, ThrowsMessage<UsageError>(HasSubstr("40% of the peak"))) << text;
  }
}

}  // namespace
}  // namespace tidemark::tools
