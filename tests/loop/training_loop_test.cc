// The example of a whole loop runs, learns, and logs a line an epoch.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/temporary_folder.h"

namespace tidemark::test {
namespace {

using ::testing::HasSubstr;

TEST(TrainingLoopExample, LearnsAndLogs) {
  const TemporaryFolder folder;
  const std::string out = folder / "out";
  ASSERT_EQ(std::system((TIDEMARK_EXAMPLE " 3 " + (folder / "log") + " >" + out + " 2>&1").c_str()), 0)
      << folder.read("out");
  EXPECT_THAT(folder.read("out"), HasSubstr("step 87/87  loss "));
  EXPECT_THAT(folder.read("out"), HasSubstr("macro average "));
  std::vector<nlohmann::json> lines;
  std::istringstream log(folder.read("log"));
  for (std::string line; std::getline(log, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[2]["epoch"], 3);
  EXPECT_LT(lines[2]["loss"], lines[0]["loss"]);
  EXPECT_GT(lines[2]["validation_accuracy"], 0.5);  // 0.1 by chance
}

}  // namespace
}  // namespace tidemark::test
