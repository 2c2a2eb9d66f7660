// Graphs and plans survive their files; damaged files are refused with the entry's name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/core/temporary_folder.h"
#include "tests/scheduler/graphs.h"
#include "tidemark/error.h"

namespace tidemark::scheduler::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

std::string file() {
  return ::testing::TempDir() + "scheduler_" + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
         ".json";
}

void expect_refused(const std::string& text, const std::string& message) {
  const std::string path = file();
  std::ofstream(path) << text;
  try {
    read_graph(path);
    ADD_FAILURE() << "accepted: " << text.substr(0, 80);
  } catch (const FileError& error) {
    EXPECT_THAT(error.what(), HasSubstr(message));
    EXPECT_THAT(error.what(), HasSubstr(path));
  }
  std::remove(path.c_str());
}

std::string graph_with(const std::string& rest) {
  return R"({"format": "tidemark-graph", "version": 1, )" + rest + "}";
}

TEST(Json, WhatStaysFromRunToRunSurvives) {
  Graph graph;
  for (int i = 0; i < 3; ++i) add_buffer(graph, 1);
  add_op(graph, 5, {}, {0});
  add_op(graph, 7, {}, {1});
  add_op(graph, 1, {0, 1}, {2});
  for (bool place : {true, false}) {
    const Plan made = plan(graph, 3 * kUnit, {.place = place, .repeated = true});
    EXPECT_EQ(made.cost, 1);
    write_plan(made, file());
    const Plan again = read_plan(file());
    EXPECT_EQ(again.residents, made.residents);
    EXPECT_EQ(again.placed, place);
    EXPECT_EQ(simulate(graph, again).cost, 1);
  }
  std::remove(file().c_str());
}

TEST(Json, GraphAndPlanSurvive) {
  std::mt19937_64 rng(31);
  for (int i = 0; i < 20; ++i) {
    const Graph graph = random_graph(rng, {.ops = 20, .releases = i % 2 == 0});
    const std::string path = file();
    write_graph(graph, path);
    const Graph again = read_graph(path);
    ASSERT_EQ(again.ops.size(), graph.ops.size());
    for (std::size_t op = 0; op < graph.ops.size(); ++op) {
      EXPECT_EQ(again.ops[op].reads, graph.ops[op].reads);
      EXPECT_EQ(again.ops[op].updates, graph.ops[op].updates);
      EXPECT_EQ(again.ops[op].overwrites, graph.ops[op].overwrites);
      EXPECT_EQ(again.ops[op].releases, graph.ops[op].releases);
      EXPECT_EQ(again.ops[op].once, graph.ops[op].once);
      EXPECT_EQ(again.ops[op].scratch, graph.ops[op].scratch);
    }
    for (bool place : {true, false}) {
      const Plan made = plan(again, 2 * peak_without_recomputation(graph), {.place = place});
      write_plan(made, path);
      const Plan read = read_plan(path);
      const Simulation s = simulate(graph, read);
      EXPECT_EQ(s.live_peak, made.live_peak);
      EXPECT_EQ(s.reserved_peak, made.reserved_peak);
      EXPECT_EQ(s.moved_bytes, made.moved_bytes);
      EXPECT_EQ(read.moved_bytes, made.moved_bytes);
      EXPECT_EQ(read.cost, made.cost);
    }
    std::remove(path.c_str());
  }
}

TEST(Json, PlansMayLackMovedBytes) {
  Plan made = plan(chain(4), 2 * peak_without_recomputation(chain(4)));
  made.moved_bytes = 7;
  const std::string path = file();
  write_plan(made, path);
  EXPECT_EQ(read_plan(path).moved_bytes, 7);
  std::ifstream in(path);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const std::string key = R"("moved_bytes":7,)";
  ASSERT_NE(text.find(key), std::string::npos);
  std::ofstream(path) << text.erase(text.find(key), key.size());
  EXPECT_EQ(read_plan(path).moved_bytes, 0);
  std::remove(path.c_str());
}

TEST(Json, DamagedFilesAreRefused) {
  expect_refused("", "not valid JSON");
  expect_refused(graph_with(R"("buffers": [{"bytes": 1)"), "not valid JSON");
  expect_refused(std::string(2000000, '['), "nested deeper");
  expect_refused("[]", "not an object");
  expect_refused(graph_with(R"("buffers": [], "ops": [], "ops": [])"), "names the key \"ops\" twice");
  expect_refused(graph_with(R"("\u001b[2J": 1, "\u001b[2J": 2)"), "names the key \"?[2J\" twice");
  expect_refused(graph_with("\"buffers\": [" + std::string(2000, '9') + "], \"ops\": []"), "99...");
  std::string many;
  for (int i = 0; i < 8'000'000; ++i) many += "0,";
  expect_refused(graph_with("\"many\": [" + many + "0]"), "holds more than 8000000 values");
  expect_refused(R"({"format": "other", "version": 1})", "format");
  expect_refused(R"({"format": "tidemark-graph", "version": 2})", "version");
  expect_refused(graph_with(R"("ops": [])"), "has no \"buffers\"");
  expect_refused(graph_with(R"("buffers": [{"bytes": -1}], "ops": [])"), "buffer 0 has negative bytes");
  expect_refused(graph_with(R"("buffers": [{"bytes": 1e300}], "ops": [])"), "buffer 0, bytes, is not an integer");
  expect_refused(graph_with(R"("buffers": [{"bytes": 99999999999999999999}], "ops": [])"), "buffer 0, bytes,");
  expect_refused(graph_with(R"("buffers": [3], "ops": [])"), "buffer 0 is not an object");
  const std::string two = R"("buffers": [{"bytes": 1}, {"bytes": 1}], "ops": )";
  expect_refused(graph_with(two + R"([{"cost": 1, "reads": [0]}])"), "op 0 has no \"writes\"");
  expect_refused(graph_with(two + R"([{"cost": "x", "reads": [], "writes": []}])"), "op 0, cost,");
  expect_refused(graph_with(two + R"([{"cost": 1, "reads": [7], "writes": []}])"), "names buffer 7");
  expect_refused(graph_with(two + R"([{"name": "a\u001b[2J\n", "cost": -1, "reads": [], "writes": []}])"),
                 "op 0 (a?[2J?) has a cost");
  const std::string named =
      R"([{"cost": -1, "reads": [], "writes": [], "name": ")" + std::string(99, 'a') + "\u00e4b\"}]";
  expect_refused(graph_with(two + named), "aaa...) has a cost");
  expect_refused(
      graph_with(two + R"([{"cost": 1, "reads": [], "writes": [1]}, {"cost": 1, "reads": [], "writes": [1]}])"),
      "written by op 0 and by op 1");
  EXPECT_THROW(read_graph("/nowhere/at/all.json"), FileError);
}

TEST(Json, WhatIsNoFileIsNotRead) {
  EXPECT_THAT([] { (void)read_graph("/dev/zero"); }, ThrowsMessage<FileError>(HasSubstr("/dev/zero: is a device")));
  EXPECT_THAT([] { (void)read_plan("/dev"); }, ThrowsMessage<FileError>(HasSubstr("/dev: is a directory")));
  const test::TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);  // nobody writes
  EXPECT_THAT([&] { (void)read_graph(folder / "pipe"); }, ThrowsMessage<FileError>(HasSubstr("not valid JSON")));
  folder.write("zeros", "");
  std::filesystem::resize_file(folder / "zeros", std::uintmax_t{5} << 30);
  EXPECT_THAT([&] { (void)read_graph(folder / "zeros"); }, ThrowsMessage<FileError>(HasSubstr("longer than 64.0 MiB")));
}

TEST(Json, AFullDiskKeepsThePlanBefore) {
  const test::TemporaryFolder folder;
  const Plan made = plan(chain(4), 2 * peak_without_recomputation(chain(4)));
  write_plan(made, folder / "plan");
  const std::string before = folder.read("plan");
  {
    const test::FullDisk full(before.size() - 1);
    EXPECT_THAT([&] { write_plan(made, folder / "plan"); }, ThrowsMessage<FileError>(HasSubstr("plan: cannot be")));
  }
  EXPECT_EQ(folder.read("plan"), before);
  EXPECT_EQ(folder.count(), 1);
}

}  // namespace
}  // namespace tidemark::scheduler::testing
