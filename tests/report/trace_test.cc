// The trace is what Chrome's format asks for: see "Trace Event Format", the JSON object form.
#include "tidemark/trace.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tests/core/temporary_folder.h"
#include "tests/report/program.h"

namespace tidemark::test {
namespace {

using Json = nlohmann::json;

Timeline of_chain() {
  const ChainBytes bytes = bytes_of_chain();
  Session session({.budget = bytes.at(0.4), .threads = 2});
  session.start_timeline();
  Chain chain;
  for (int i = 0; i < 2; ++i) chain.step();
  return session.stop_timeline();
}

TEST(Trace, KeepsTheFormatsRules) {
  const TemporaryFolder folder;
  const Timeline timeline = of_chain();
  write_trace(timeline, folder / "trace.json");
  const Json trace = Json::parse(folder.read("trace.json"));
  std::map<int, std::string> names;                            // of threads
  std::map<int, std::vector<std::pair<double, double>>> busy;  // by thread
  std::int64_t highest = 0;
  double last_counter = 0;
  std::size_t spans = 0;
  for (const Json& event : trace.at("traceEvents")) {
    const std::string phase = event.at("ph");
    EXPECT_EQ(event.at("pid"), 1);
    EXPECT_FALSE(event.at("name").get<std::string>().empty());
    if (phase == "M") {
      if (event["name"] == "thread_name") names[event["tid"]] = event["args"]["name"];
      continue;
    }
    const double at = event.at("ts");
    EXPECT_GE(at, 0);
    if (phase == "X") {
      ++spans;
      EXPECT_GE(event.at("dur").get<double>(), 0);
      EXPECT_TRUE(names.contains(event.at("tid")));
      EXPECT_EQ(event.at("cat"), names[event["tid"]]);
      busy[event["tid"]].emplace_back(at, at + event["dur"].get<double>());
    } else if (phase == "C") {
      std::int64_t sum = 0;
      for (const Json& value : event.at("args")) sum += value.get<std::int64_t>();
      if (event["name"] != "live bytes") continue;
      EXPECT_GE(at, last_counter);
      last_counter = at;
      highest = std::max(highest, sum);
    } else {
      EXPECT_EQ(phase, "i");
      EXPECT_EQ(event.at("s"), "p");
    }
  }
  EXPECT_EQ(spans, timeline.spans.size());
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Timeline::kTracks));
  EXPECT_EQ(highest, timeline.peak().bytes);
  // Complete events of one thread may not overlap in part.
  for (auto& [thread, each] : busy) {
    std::sort(each.begin(), each.end());
    for (std::size_t i = 1; i < each.size(); ++i) {
      EXPECT_GE(each[i].first, each[i - 1].second - 1e-6) << names[thread];
    }
  }
}

TEST(Trace, NamesMayHoldAnything) {
  Timeline timeline;
  timeline.labels = {{"a \"quoted\"\n\xff name", "dir/\\x.cc:1"}};
  timeline.spans = {{Timeline::Track::kForward, 0, 0, 1, 0, 0}};
  const TemporaryFolder folder;
  write_trace(timeline, folder / "t");
  EXPECT_TRUE(Json::accept(folder.read("t")));
}

TEST(Trace, LeavesWhatIsThereWhereItCannotBeWritten) {
  const TemporaryFolder folder;
  const Timeline timeline = of_chain();
  EXPECT_THROW(write_trace(timeline, folder / "no/such/folder"), FileError);
  folder.write("old", "old");
  {
    const FullDisk disk(4096);
    EXPECT_THROW(write_trace(timeline, folder / "old"), FileError);
  }
  EXPECT_EQ(folder.read("old"), "old");
  EXPECT_EQ(folder.count(), 1);
}

}  // namespace
}  // namespace tidemark::test
