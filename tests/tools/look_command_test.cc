// The command's ways to see memory as users run them: plan --model, explain, train --trace, sweep.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/core/temporary_folder.h"
#include "tests/tools/command.h"
#include "tidemark/scheduler.h"
#include "tidemark/sweep.h"

namespace tidemark {
namespace {

using test::Outcome;
using test::run_command;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kSmall = "--model mlp --layers 6 --width 64 --image 8 --batch 4000 --threads 2 ";

// The number behind these words on a line of their own, in bytes.
std::int64_t bytes_of(const std::string& output, const std::string& words) {
  std::smatch found;
  const std::regex line(words + " +[0-9.]+ [KMG]?i?B +([0-9]+)");
  if (!std::regex_search(output, found, line)) {
    ADD_FAILURE() << words << " in\n" << output;
    return 0;
  }
  return std::stoll(found[1]);
}

class LookCommandTest : public ::testing::Test {
 protected:
  std::string file(const std::string& name) const { return folder_ / name; }
  const test::TemporaryFolder folder_;
};

TEST_F(LookCommandTest, PlanTellsTheBytesOfAModelBeforeItRuns) {
  const Outcome plan = run_command("plan " + kSmall);
  ASSERT_EQ(plan.code, 0) << plan.output;
  const std::int64_t peak = bytes_of(plan.output, "peak without a budget");
  const std::int64_t smallest = bytes_of(plan.output, "smallest budget(?: planned)?");
  EXPECT_LT(smallest, peak);
  EXPECT_EQ(bytes_of(plan.output, "parameters"), bytes_of(plan.output, "gradients"));
  EXPECT_THAT(plan.output, HasSubstr("with --state f32"));
  // What it says is what training takes.
  const Outcome train = run_command("train " + kSmall + "--steps 3 --json " + file("log"));
  ASSERT_EQ(train.code, 0);
  const std::string log = folder_.read("log");
  const auto summary = nlohmann::json::parse(log.substr(log.rfind("{\"summary\"")));
  EXPECT_EQ(summary["peak_bytes"], peak);
  EXPECT_EQ(run_command("train " + kSmall + "--steps 3 --budget " + std::to_string(smallest)).code, 0);
  EXPECT_EQ(run_command("train " + kSmall + "--steps 3 --budget " + std::to_string(smallest - 64)).code, 2);
}

TEST_F(LookCommandTest, PlanOfAModelLargerThanTheMachine) {
  const Outcome plan = run_command(
      "plan --model gpt --layers 32 --width 4096 --heads 32 --context 256 --vocabulary 32000 --batch 1 --budget 100GiB",
      "ulimit -v 4000000;");
  EXPECT_EQ(plan.code, 0) << plan.output;
  EXPECT_THAT(plan.output, HasSubstr("gpt in 100.0 GiB"));
}

TEST_F(LookCommandTest, PlanWritesTheGraphOfAModel) {
  const Outcome outcome = run_command("plan " + kSmall + "--budget 85% --dump-graph " + file("graph.json"));
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const scheduler::Graph graph = scheduler::read_graph(file("graph.json"));
  EXPECT_EQ(graph.name, "mlp");
  EXPECT_GT(graph.ops.size(), 20u);
  // The file plans as the model does.
  EXPECT_EQ(run_command("plan --graph " + file("graph.json") + " --budget 85%").output, outcome.output);
  EXPECT_EQ(run_command("plan " + kSmall + "--dump-graph " + file("no/graph.json")).code, 1);
  EXPECT_THAT(run_command("plan " + kSmall + "--out " + file("plan.json")).output, HasSubstr("give --budget SIZE"));
}

TEST_F(LookCommandTest, ExplainGivesReasons) {
  const Outcome whole = run_command("explain " + kSmall);
  ASSERT_EQ(whole.code, 0) << whole.output;
  EXPECT_THAT(whole.output,
              AllOf(HasSubstr("there is no budget"), HasSubstr("peak "), Not(HasSubstr("discarded after"))));
  const std::int64_t smallest = bytes_of(run_command("plan " + kSmall).output, "smallest budget(?: planned)?");
  const Outcome small = run_command("explain " + kSmall + "--offers 2 --budget " + std::to_string(smallest));
  ASSERT_EQ(small.code, 0) << small.output;
  EXPECT_THAT(small.output, AllOf(HasSubstr("discarded after"), HasSubstr("recomputed 1 time"), HasSubstr("more (")));
  EXPECT_EQ(run_command("explain " + kSmall + "--budget 1KiB").code, 2);
  EXPECT_EQ(run_command("explain " + kSmall + "--budget lots").code, 64);
}

TEST_F(LookCommandTest, TrainWritesATrace) {
  ASSERT_EQ(run_command("train " + kSmall + "--steps 2 --trace " + file("trace.json")).code, 0);
  const auto trace = nlohmann::json::parse(folder_.read("trace.json"));
  EXPECT_GT(trace["traceEvents"].size(), 100u);
  EXPECT_EQ(run_command("train " + kSmall + "--steps 2 --trace " + file("no/trace.json")).code, 1);
  EXPECT_EQ(run_command("train " + kSmall + "--steps 2 --trace " + file("a") + " --json " + file("a")).code, 64);
  folder_.write("old", "old");
  EXPECT_EQ(run_command("train " + kSmall + "--steps 2 --trace " + file("old"), "ulimit -f 1;").code, 1);
  EXPECT_EQ(folder_.read("old"), "old");
}

TEST_F(LookCommandTest, SweepMeasuresAndDraws) {
  const std::string command = "sweep " + kSmall + "--budgets none,50% --rounds 2 --steps 2 --lr 1e-7 --out " +
                              file("sweep.json") + " --html " + file("page.html");
  const Outcome first = run_command(command);
  ASSERT_EQ(first.code, 0) << first.output;
  EXPECT_THAT(first.output, AllOf(HasSubstr("round 2 of 2"), HasSubstr("bits equal"), Not(HasSubstr("NO"))));
  const Sweep sweep = read_sweep(file("sweep.json"));
  EXPECT_TRUE(sweep.complete());
  EXPECT_EQ(sweep.points.size(), 2u);
  EXPECT_THAT(sweep.options.subject, AllOf(HasSubstr("--layers 6 "), HasSubstr("--lr 1e-07")));
  EXPECT_THAT(folder_.read("page.html"), HasSubstr("tidemark sweep --model mlp"));
  EXPECT_THAT(run_command(command).output, Not(HasSubstr("round")));
  EXPECT_EQ(run_command("sweep " + kSmall + "--budgets none --rounds 2 --steps 2 --out " + file("sweep.json")).code, 1);
  EXPECT_EQ(run_command("sweep " + kSmall + "--rounds 0").code, 64);
}

TEST_F(LookCommandTest, PagesOfOtherSweepsStay) {
  folder_.write("page.html", "another");
  const Outcome outcome = run_command("sweep " + kSmall + "--budgets none --rounds 1 --html " + file("page.html"));
  EXPECT_EQ(outcome.code, 64);
  EXPECT_THAT(outcome.output, HasSubstr("may show another sweep"));
  EXPECT_EQ(folder_.read("page.html"), "another");
  EXPECT_EQ(run_command("sweep " + kSmall + "--out " + file("r") + " --html " + file("r")).code, 64);
  EXPECT_EQ(run_command("plan " + kSmall + "--budget 8MiB --dump-graph " + file("g") + " --out " + file("g")).code, 64);
}

TEST_F(LookCommandTest, SweepShowsAStepThatRunsWhereTheOneAskedForCannot) {
  const Outcome outcome =
      run_command("sweep " + kSmall + "--budgets none --rounds 1 --steps 1 --look 1KiB --html " + file("page.html"));
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(folder_.read("page.html"), HasSubstr("\"timeline\""));
}

TEST_F(LookCommandTest, SweepFindsBatches) {
  const Outcome outcome = run_command("sweep " + kSmall + "--batches --budgets 8MiB,16MiB");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  std::smatch found;
  ASSERT_TRUE(std::regex_search(outcome.output, found, std::regex("8.0 MiB +([0-9]+)\n +16.0 MiB +([0-9]+)")));
  EXPECT_GT(std::stoll(found[1]), 1);
  EXPECT_GT(std::stoll(found[2]), std::stoll(found[1]));
  // What is said to fit does, and one more does not.
  const std::string small =
      "train --model mlp --layers 6 --width 64 --image 8 --threads 2 --steps 2 --budget 8MiB --batch ";
  EXPECT_EQ(run_command(small + found[1].str()).code, 0);
  EXPECT_EQ(run_command(small + std::to_string(std::stoll(found[1]) + 1)).code, 2);
  EXPECT_EQ(run_command("sweep " + kSmall + "--batches --budgets 50%").code, 64);
  EXPECT_THAT(run_command("sweep " + kSmall + "--batches --budgets 8MiB --html " + file("page.html")).output,
              HasSubstr("--batches measures nothing"));
}

}  // namespace
}  // namespace tidemark
