// The log of a run: what is under its name at every moment.
#include "tools/json_log.h"

#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/temporary_folder.h"
#include "tidemark/error.h"

namespace tidemark::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Json = nlohmann::ordered_json;

TEST(JsonLogTest, TheOldLogStaysUntilTheFirstLine) {
  const test::TemporaryFolder folder;
  folder.write("log", "old\n");
  { const JsonLog log(folder / "log"); }
  EXPECT_EQ(folder.read("log"), "old\n");
  JsonLog log(folder / "log");
  EXPECT_TRUE(log.enabled());
  log.write(Json{{"step", 1}});
  EXPECT_EQ(folder.read("log"), "{\"step\":1}\n");  // while the run goes on
  log.write(Json{{"step", 2}});
  EXPECT_EQ(folder.read("log"), "{\"step\":1}\n{\"step\":2}\n");
  log.finish();
  EXPECT_EQ(folder.count(), 1);
}

TEST(JsonLogTest, OnAFullDiskLinesAreWholeAndTheOldLogStays) {
  const test::TemporaryFolder folder;
  const test::FullDisk full(25);
  folder.write("log", "old\n");
  const auto expect_full = [](JsonLog& log, const Json& line) {
    EXPECT_THAT([&] { log.write(line); }, ThrowsMessage<FileError>(HasSubstr("log: cannot be written: ")));
  };
  {
    JsonLog log(folder / "log");
    expect_full(log, Json{{"step", "a line that is longer than the disk"}});
  }
  EXPECT_EQ(folder.read("log"), "old\n");
  JsonLog log(folder / "log");
  log.write(Json{{"step", 1}});
  log.write(Json{{"step", 2}});
  expect_full(log, Json{{"step", 3}});
  EXPECT_EQ(folder.read("log"), "{\"step\":1}\n{\"step\":2}\n");
}

TEST(JsonLogTest, WithoutANameNothingIsWritten) {
  JsonLog log("");
  EXPECT_FALSE(log.enabled());
  log.write(Json{{"step", 1}});
  log.finish();
}

}  // namespace
}  // namespace tidemark::tools
