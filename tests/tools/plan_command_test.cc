// tidemark plan and simulate as users run them: files, tables, exit codes, messages.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/core/temporary_folder.h"
#include "tests/tools/command.h"
#include "tidemark/scheduler.h"

namespace tidemark {
namespace {

using test::Outcome;
using test::run_command;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class PlanCommandTest : public ::testing::Test {
 protected:
  void SetUp() override { scheduler::write_graph(layers(12), file("graph.json")); }

  // Layers forward, and backward ops that read them in reverse.
  static scheduler::Graph layers(int count) {
    scheduler::Graph graph;
    graph.name = "layers";
    const auto buffer = [&] {
      graph.buffers.push_back({1024, "", false});
      return static_cast<scheduler::BufferId>(graph.buffers.size()) - 1;
    };
    std::vector<scheduler::BufferId> x{buffer()};
    graph.buffers[0].pinned = true;
    const auto op = [&](std::vector<scheduler::BufferId> reads) {
      const scheduler::BufferId out = buffer();
      scheduler::Op made;
      made.cost = 1;
      made.reads = std::move(reads);
      made.writes = {out};
      graph.ops.push_back(std::move(made));
      return out;
    };
    for (int i = 0; i < count; ++i) x.push_back(op({x.back()}));
    scheduler::BufferId g = op({x.back()});
    for (int i = count; i-- > 0;) g = op({g, x[static_cast<std::size_t>(i)]});
    graph.keep = {g};
    return graph;
  }

  std::string file(const std::string& name) const { return folder_ / name; }
  std::string graph() const { return " --graph " + file("graph.json") + " "; }

  const test::TemporaryFolder folder_;
};

TEST_F(PlanCommandTest, WritesAPlanThatTheSimulationAccepts) {
  for (const char* place : {"", " --no-place"}) {
    const Outcome outcome = run_command("plan" + graph() + "--budget 60% --out " + file("plan.json") + place);
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    const scheduler::Graph read = scheduler::read_graph(file("graph.json"));
    const scheduler::Plan plan = scheduler::read_plan(file("plan.json"));
    const scheduler::Simulation simulation = scheduler::simulate(read, plan);
    EXPECT_EQ(simulation.cost, plan.cost);
    EXPECT_EQ(plan.placed, std::string(place).empty());
    EXPECT_EQ(outcome.output.find(" moves of ") != std::string::npos, plan.placed) << outcome.output;
    EXPECT_LE(plan.live_peak, plan.budget);
    EXPECT_EQ(plan.budget, scheduler::peak_without_recomputation(read) * 6 / 10);  // never above the part
  }
}

// Two weights that are read from a file, and a value from each; there is room for one weight and both values.
TEST_F(PlanCommandTest, WhatARepeatedProgramReadsAgainIsCheapest) {
  scheduler::Graph graph;
  graph.buffers = {{100, "cheap", false}, {100, "dear", false}, {10, "", false}, {10, "", false}};
  const auto op = [&](double cost, std::vector<scheduler::BufferId> reads, scheduler::BufferId writes) {
    scheduler::Op made;
    made.cost = cost;
    made.reads = std::move(reads);
    made.writes = {writes};
    graph.ops.push_back(std::move(made));
  };
  op(3, {}, 0);
  op(5, {}, 1);
  op(1, {0}, 2);
  op(1, {1, 2}, 3);
  graph.keep = {3};
  scheduler::write_graph(graph, file("weights.json"));
  const std::string command = "plan --repeated --graph " + file("weights.json") + " --out " + file("plan.json");
  const Outcome both = run_command(command + " --budget 220");
  EXPECT_EQ(both.code, 0);
  EXPECT_THAT(both.output, HasSubstr("cost of a run 2, each op once 10; 2 buffers of 200 B stay in memory"));
  const Outcome one = run_command(command + " --budget 210");
  EXPECT_THAT(one.output, HasSubstr("cost of a run 5, each op once 10"));
  const scheduler::Plan plan = scheduler::read_plan(file("plan.json"));
  EXPECT_THAT(plan.residents, ::testing::Contains(1));
  EXPECT_EQ(scheduler::simulate(graph, plan).cost, 5);
}

TEST_F(PlanCommandTest, SameSeedSameFile) {
  ASSERT_EQ(run_command("plan" + graph() + "--budget 60% --seed 3 --out " + file("a.json")).code, 0);
  ASSERT_EQ(run_command("plan" + graph() + "--budget 60% --seed 3 --out " + file("b.json")).code, 0);
  EXPECT_FALSE(folder_.read("a.json").empty());
  EXPECT_EQ(folder_.read("a.json"), folder_.read("b.json"));
}

TEST_F(PlanCommandTest, SaysWhatThePlannerDoes) {
  const Outcome quiet = run_command("plan" + graph() + "--budget 60% --out " + file("quiet.json"));
  const Outcome loud = run_command("plan" + graph() + "--budget 60% --verbose --out " + file("loud.json"));
  EXPECT_EQ(folder_.read("quiet.json"), folder_.read("loud.json"));
  EXPECT_THAT(loud.output, AllOf(HasSubstr("bound: +"), HasSubstr("placed in"), HasSubstr(quiet.output)));
  EXPECT_THAT(quiet.output, Not(HasSubstr("bound: +")));
}

TEST_F(PlanCommandTest, SweepNeverRises) {
  const Outcome outcome = run_command("plan" + graph() + "--sweep --budgets 10%,50%,60%,70%,80%,90%,100%");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("impossible"));
  EXPECT_THAT(outcome.output, HasSubstr("smallest budget planned"));
  std::istringstream lines(outcome.output);
  double before = 1e9;
  int planned = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string budget, part, feasible;
    double extra = 0;
    if (!(words >> budget >> part >> feasible >> extra) || feasible != "yes") continue;
    EXPECT_LE(extra, before) << outcome.output;
    before = extra;
    ++planned;
  }
  EXPECT_GE(planned, 4);
  EXPECT_EQ(before, 0);
}

TEST_F(PlanCommandTest, ImpossibleBudgetNamesTheSmallest) {
  const Outcome outcome = run_command("plan" + graph() + "--budget 1KiB");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.output,
              HasSubstr("the smallest budget planned is 4.0 KiB (4096 bytes), and no smaller one is possible"));
}

TEST_F(PlanCommandTest, SimulatesTheOnlinePolicy) {
  const Outcome outcome =
      run_command("simulate" + graph() + "--budget 70% --policy online --out " + file("online.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const scheduler::Plan plan = scheduler::read_plan(file("online.json"));
  const scheduler::Simulation simulation = scheduler::simulate(scheduler::read_graph(file("graph.json")), plan);
  EXPECT_EQ(simulation.cost, plan.cost);
  EXPECT_GT(simulation.recomputed_ops, 0);
  EXPECT_EQ(run_command("simulate" + graph() + "--budget 1KiB").code, 2);
}

TEST_F(PlanCommandTest, TheGraphIsNotWrittenOver) {
  const std::string before = folder_.read("graph.json");
  std::filesystem::create_symlink("graph.json", file("link.json"));
  std::filesystem::create_hard_link(file("graph.json"), file("hard.json"));
  for (const char* command : {"plan", "simulate"}) {
    for (const char* name : {"graph.json", "link.json", "hard.json"}) {
      const Outcome outcome = run_command(command + graph() + "--budget 80% --out " + file(name));
      EXPECT_EQ(outcome.code, 64) << outcome.output;
      EXPECT_THAT(outcome.output,
                  AllOf(HasSubstr("--out is '" + file(name)), HasSubstr("the input " + file("graph.json"))));
    }
  }
  EXPECT_EQ(
      run_command("plan --graph /dev/stdin --budget 80% --out " + file("graph.json") + " < " + file("graph.json")).code,
      64);
  EXPECT_EQ(folder_.read("graph.json"), before);
}

TEST_F(PlanCommandTest, ThePlanBeforeStaysWhereTheNewOneCannotBeWritten) {
  folder_.write("plan.json", "old");
  const Outcome full = run_command("plan" + graph() + "--budget 80% --out " + file("plan.json"), "ulimit -f 1;");
  EXPECT_EQ(full.code, 1) << full.output;
  EXPECT_THAT(full.output, HasSubstr("plan.json: cannot be written: "));
  EXPECT_EQ(run_command("plan" + graph() + "--budget 1KiB --out " + file("plan.json")).code, 2);
  EXPECT_EQ(folder_.read("plan.json"), "old");
  EXPECT_EQ(folder_.count(), 2);
  // Known before the search for a plan begins.
  EXPECT_THAT(run_command("plan" + graph() + "--budget 1KiB --out " + file("nowhere/plan.json")).output,
              HasSubstr("nowhere/plan.json: cannot be written: "));
}

TEST_F(PlanCommandTest, APlanForStandardOutputGoesThere) {
  const Outcome outcome = run_command("plan" + graph() + "--budget 80% --out /dev/stdout > " + file("both"));
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(folder_.read("both"), AllOf(StartsWith("{"), HasSubstr("}\nlayers in ")));
}

TEST_F(PlanCommandTest, AnEmptyGraphTakesNothing) {
  scheduler::Graph empty;
  empty.name =
      "no\tt\x1b[2J\xc2\x9b"
      "2Jhing";
  scheduler::write_graph(empty, file("empty.json"));
  const std::string named = " --graph " + file("empty.json");
  EXPECT_THAT(run_command("plan" + named + " --budget 60%").output,
              StartsWith("no?t?[2J?2Jhing in 0 B: +0.000 % cost"));
  EXPECT_THAT(run_command("simulate" + named + " --budget 60%").output, StartsWith("no?t?[2J?2Jhing in 0 B, online"));
  const Outcome sweep = run_command("plan" + named + " --sweep --budgets 60%,1KiB");
  EXPECT_EQ(sweep.code, 0);
  EXPECT_THAT(sweep.output, AllOf(StartsWith("no?t?[2J?2Jhing: 0 ops"), Not(HasSubstr("inf")), Not(HasSubstr("nan"))));
  empty.buffers.push_back({1, "", false});
  scheduler::write_graph(empty, file("empty.json"));
  EXPECT_THAT(run_command("plan" + named + " --budget 60%").output, HasSubstr("fits in 0 B (0 bytes)"));
}

TEST_F(PlanCommandTest, NamesDoNotSteerTheTerminal) {
  EXPECT_THAT(run_command("plan --budget 1 --graph $(printf 'no\\033where')").output,
              HasSubstr("FileError: no?where: "));
  EXPECT_THAT(run_command("plan --graph /dev/zero --budget 1").output, HasSubstr("/dev/zero: is a device, not a file"));
}

TEST_F(PlanCommandTest, WrongUsageAndDamagedFiles) {
  EXPECT_EQ(run_command("plan --help").code, 0);
  EXPECT_EQ(run_command("simulate --help").code, 0);
  EXPECT_EQ(run_command("plan --budget 40%").code, 64);
  EXPECT_EQ(run_command("plan" + graph()).code, 64);
  EXPECT_EQ(run_command("plan" + graph() + "--budget 40% --sweep").code, 64);
  EXPECT_THAT(run_command("plan" + graph() + "--budget lots").output,
              HasSubstr("a budget is 'lots', but can be: bytes, 512MiB"));
  EXPECT_EQ(run_command("plan" + graph() + "--budget -5%").code, 64);
  EXPECT_EQ(run_command("plan" + graph() + "--budget 40% --out ''").code, 64);
  EXPECT_EQ(run_command("plan" + graph() + "--sweep --budgets ''").code, 64);
  EXPECT_EQ(run_command("plan" + graph() + "--budget 60% --out /dev/full").code, 1);
  EXPECT_EQ(run_command("plan" + graph() + "--budget 60% > /dev/full").code, 1);
  EXPECT_EQ(run_command("plan --budget 60% --graph /dev/stdin < " + file("graph.json")).code, 0);
  std::ofstream(file("bad.json"))
      << R"({"format": "tidemark-graph", "version": 1, "buffers": [{"bytes": 1}, {"bytes": 1}],
      "ops": [{"cost": 1, "reads": [1], "writes": [0]}, {"cost": 1, "reads": [0], "writes": [1]}]})";
  const Outcome outcome = run_command("plan --budget 1KiB --graph " + file("bad.json"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("op 0 reads buffer 1 before op 1 writes it"));
}

}  // namespace
}  // namespace tidemark
