// tidemark plan and simulate as users run them: files, tables, exit codes, messages.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/tools/command.h"
#include "tidemark/scheduler.h"

namespace tidemark {
namespace {

using test::Outcome;
using test::run_command;
using ::testing::HasSubstr;

class PlanCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::filesystem::temp_directory_path() / ("tidemark-plan-" + std::to_string(getpid()) + "-" +
                                                     ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(dir_);
    scheduler::write_graph(layers(12), file("graph.json"));
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

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

  std::string file(const std::string& name) const { return (dir_ / name).string(); }
  std::string graph() const { return " --graph " + file("graph.json") + " "; }

  static std::string bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  std::filesystem::path dir_;
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

TEST_F(PlanCommandTest, SameSeedSameFile) {
  ASSERT_EQ(run_command("plan" + graph() + "--budget 60% --seed 3 --out " + file("a.json")).code, 0);
  ASSERT_EQ(run_command("plan" + graph() + "--budget 60% --seed 3 --out " + file("b.json")).code, 0);
  EXPECT_FALSE(bytes(file("a.json")).empty());
  EXPECT_EQ(bytes(file("a.json")), bytes(file("b.json")));
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
