// The log of a run: what a line says, and what is under its name at every moment.
#include "tidemark/log.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tests/core/temporary_folder.h"
#include "tidemark/error.h"

namespace tidemark {
namespace {

using test::error_of;
using test::next_line;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::string written(std::initializer_list<Field> fields) {
  const test::TemporaryFolder folder;
  JsonLog log(folder / "log");
  log.write(fields);
  return folder.read("log");
}

TEST(JsonLogTest, ValuesOfEveryType) {
  EXPECT_EQ(written({{"a", 1}, {"b", -2L}, {"c", std::uint64_t{18446744073709551615U}}, {"d", 0.1}, {"e", true}}),
            "{\"a\":1,\"b\":-2,\"c\":18446744073709551615,\"d\":0.1,\"e\":true}\n");
  EXPECT_EQ(written({{"t", "x\"\n\x1b"}, {"s", std::string("y")}, {"v", std::string_view("z")}, {"n", nullptr}}),
            "{\"t\":\"x\\\"\\n\\u001b\",\"s\":\"y\",\"v\":\"z\",\"n\":null}\n");
  EXPECT_EQ(
      written({{"i", std::vector<std::int64_t>{1, 2}}, {"f", std::vector{0.5, 1.0}}, {"e", std::vector<double>{}}}),
      "{\"i\":[1,2],\"f\":[0.5,1.0],\"e\":[]}\n");
  EXPECT_EQ(written({{"some", std::optional<int>(3)}, {"none", std::optional<int>()}}), "{\"some\":3,\"none\":null}\n");
  EXPECT_EQ(written({}), "{}\n");
}

TEST(JsonLogTest, NumbersComeBackAsTheyWere) {
  for (const double number : {1.0 / 3, 5e-324, 1.7976931348623157e308, static_cast<double>(0.1f)}) {
    EXPECT_EQ(nlohmann::json::parse(written({{"x", number}}))["x"], number);
  }
}

TEST(JsonLogTest, WhatJsonDoesNotHave) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(written({{"nan", std::nan("")}, {"inf", inf}, {"list", std::vector{1.5, -inf}}}),
            "{\"nan\":null,\"inf\":null,\"list\":[1.5,null]}\n");
  EXPECT_EQ(written({{"bad\xff", "\xc3"}}), "{\"bad\xef\xbf\xbd\":\"\xef\xbf\xbd\"}\n");
}

TEST(JsonLogTest, ANameThatIsThereTwice) {
  const test::TemporaryFolder folder;
  JsonLog log(folder / "log");
  std::string line;
  const std::string error = error_of([&] {
    line = next_line();
    log.write({{"loss", 1}, {"loss", 2}});
  });
  EXPECT_THAT(error, AllOf(HasSubstr("the name 'loss' is there twice"), HasSubstr(line)));
  EXPECT_EQ(folder.count(), 0);
}

TEST(JsonLogTest, TheOldLogStaysUntilTheFirstLine) {
  const test::TemporaryFolder folder;
  folder.write("log", "old\n");
  { const JsonLog log(folder / "log"); }
  EXPECT_EQ(folder.read("log"), "old\n");
  JsonLog log(folder / "log");
  EXPECT_TRUE(log.enabled());
  log.write({{"step", 1}});
  EXPECT_EQ(folder.read("log"), "{\"step\":1}\n");  // while the run goes on
  JsonLog moved = std::move(log);
  moved.write({{"step", 2}});
  EXPECT_EQ(folder.read("log"), "{\"step\":1}\n{\"step\":2}\n");
  moved.finish();
  EXPECT_EQ(folder.count(), 1);
}

TEST(JsonLogTest, OnAFullDiskLinesAreWholeAndTheOldLogStays) {
  const test::TemporaryFolder folder;
  const test::FullDisk full(25);
  folder.write("log", "old\n");
  const auto expect_full = [](JsonLog& log, const FieldValue& value) {
    EXPECT_THAT([&] { log.write({{"step", value}}); }, ThrowsMessage<FileError>(HasSubstr("log: cannot be written: ")));
  };
  {
    JsonLog log(folder / "log");
    expect_full(log, "a line that is longer than the disk");
  }
  EXPECT_EQ(folder.read("log"), "old\n");
  JsonLog log(folder / "log");
  log.write({{"step", 1}});
  log.write({{"step", 2}});
  expect_full(log, 3);
  EXPECT_EQ(folder.read("log"), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(JsonLogTest, WhereNoFileCanBeIsSaidAtOnce) {
  const test::TemporaryFolder folder;
  EXPECT_THROW(JsonLog(folder / "none/log"), FileError);
  EXPECT_THROW(JsonLog(folder.path().string()), FileError);
  EXPECT_EQ(folder.count(), 0);
}

TEST(JsonLogTest, WithoutANameNothingIsWritten) {
  JsonLog log("");
  EXPECT_FALSE(log.enabled());
  log.write({{"step", 1}});
  log.finish();
}

}  // namespace
}  // namespace tidemark
