// Sweeps of a small program, whose points run in processes of their own. No session may run in this process.
#include "tidemark/sweep.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "report/child.h"
#include "report/script.h"
#include "tests/autograd/support.h"
#include "tests/core/temporary_folder.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

constexpr int kLayers = 8;

SweepSubject subject(std::int64_t batch) {
  const auto layers = std::make_shared<std::vector<nn::Linear>>();
  std::vector<Parameter> parameters;
  for (int i = 0; i < kLayers; ++i) layers->emplace_back(nn::LinearOptions{.in = 64, .out = 64});
  for (nn::Linear& layer : *layers) {
    for (const Parameter& each : layer.parameters()) parameters.push_back(each);
  }
  const Tensor x = normal({batch, 64}, 0, 1);
  return {.loss =
              [layers, x] {
                Tensor value = x;
                for (const nn::Linear& layer : *layers) value = tanh(layer(value));
                return mean(square(value));
              },
          .parameters = parameters,
          .optimizer = std::make_shared<optim::SGD>(parameters, optim::SGDOptions{.lr = 0.1f})};
}
SweepSubject program() { return subject(8192); }

SweepOptions options_of(const std::string& file) {
  return {.name = "chain",
          .budgets = {"none", "60%", "35%", "1KiB"},
          .rounds = 2,
          .steps = 2,
          .threads = 1,
          .file = file,
          .subject = "of a test"};
}

// One process a point, and one measured step in it.
SweepOptions brief_options_of(const std::string& file, const std::vector<std::string>& budgets) {
  SweepOptions options = options_of(file);
  options.budgets = budgets;
  options.rounds = 1;
  options.steps = 1;
  return options;
}

TEST(Sweep, MeasuresEachPointAndComparesTheBits) {
  const TemporaryFolder folder;
  const Sweep result = sweep(options_of(folder / "sweep.json"), program);
  ASSERT_EQ(result.points.size(), 4u);
  EXPECT_TRUE(result.complete());
  EXPECT_GT(result.peak_bytes, result.fixed_bytes);
  EXPECT_LE(result.smallest_bytes, result.peak_bytes);
  const SweepPoint& plain = result.points[0];
  EXPECT_FALSE(plain.budget);
  EXPECT_EQ(plain.predicted, plain.seconds);
  for (std::size_t i = 0; i < 3; ++i) {
    const SweepPoint& point = result.points[i];
    ASSERT_EQ(point.runs.size(), 2u);
    EXPECT_TRUE(point.equal) << point.asked;
    EXPECT_GT(point.seconds, 0);
    for (const SweepRun& run : point.runs) {
      EXPECT_EQ(run.seconds.size(), 2u);
      EXPECT_TRUE(run.planned);
      EXPECT_EQ(run.peak_bytes, point.runs[0].peak_bytes);
      EXPECT_LE(run.reserved_bytes, point.budget.value_or(run.reserved_bytes));
      std::int64_t again = 0;
      for (const auto& [signature, op] : run.ops) again += op.again;
      EXPECT_EQ(again, run.recomputed_ops);
    }
  }
  EXPECT_GT(result.points[2].runs[0].recomputed_ops, result.points[1].runs[0].recomputed_ops);
  EXPECT_GT(result.points[2].predicted, plain.seconds);
  EXPECT_GE(result.points[2].predicted, result.points[1].predicted);
  // The last one is refused, with the reason, and stops nothing.
  EXPECT_TRUE(result.points[3].runs.empty());
  EXPECT_NE(result.points[3].refused.find("cannot hold"), std::string::npos) << result.points[3].refused;
  EXPECT_NE(result.table().find("refused"), std::string::npos);
  // What was written is what was returned.
  const Sweep read = read_sweep(folder / "sweep.json");
  EXPECT_EQ(read.table(), result.table());
  EXPECT_EQ(read.points[2].runs[1].ops.size(), result.points[2].runs[1].ops.size());
}

TEST(Sweep, AutoGoesFromTheSmallestToThePeak) {
  SweepOptions options = options_of("");
  options.budgets = {"auto"};
  options.rounds = 1;
  options.steps = 1;
  const Sweep result = sweep(options, program);
  ASSERT_EQ(result.points.size(), 13u);  // and none, which the others are compared with
  EXPECT_EQ(*result.points[1].budget, (result.smallest_bytes + 63) / 64 * 64);
  EXPECT_GE(*result.points[12].budget, result.peak_bytes);
  for (std::size_t i = 1; i < result.points.size(); ++i) {
    EXPECT_TRUE(result.points[i].equal) << result.points[i].asked << " " << result.points[i].refused;
  }
  EXPECT_EQ(result.points[12].runs[0].recomputed_ops, 0);
}

TEST(Sweep, GoesOnWhereItStopped) {
  const TemporaryFolder folder;
  const std::string file = folder / "sweep.json";
  int processes = 0;
  SweepOptions options = options_of(file);
  options.say = [&](const std::string&) { ++processes; };
  const Sweep whole = sweep(options, program);
  EXPECT_EQ(processes, 2 * 3 + 1);  // the point that is refused is tried once
  processes = 0;
  (void)sweep(options, program);
  EXPECT_EQ(processes, 0);
  // The last run of the second point is missing.
  auto json = nlohmann::ordered_json::parse(folder.read("sweep.json"));
  json["points"][1]["runs"].erase(1);
  folder.write("sweep.json", json.dump());
  const Sweep again = sweep(options, program);
  EXPECT_EQ(processes, 1);
  EXPECT_TRUE(again.complete());
  EXPECT_EQ(again.points[2].runs[0].seconds, whole.points[2].runs[0].seconds);
}

TEST(Sweep, OfOtherOptionsIsNeverOverwritten) {
  const TemporaryFolder folder;
  SweepOptions options = brief_options_of(folder / "sweep.json", {"none"});
  (void)sweep(options, program);
  const std::string before = folder.read("sweep.json");
  options.steps = 2;
  EXPECT_NE(error_of([&] { (void)sweep(options, program); }).find("other steps"), std::string::npos);
  options.steps = 1;
  options.subject = "another";
  EXPECT_NE(error_of([&] { (void)sweep(options, program); }).find("other subjects"), std::string::npos);
  EXPECT_EQ(folder.read("sweep.json"), before);
  // More rounds of the same are another matter: it goes on.
  options = options_of(folder / "sweep.json");
  options.budgets = {"none"};
  options.steps = 1;
  EXPECT_EQ(sweep(options, program).points.front().runs.size(), 2U);
  for (const std::string& text :
       {std::string("{}"), std::string("["), std::string("{\"format\": \"tidemark-sweep\", \"version\": 2}"),
        before.substr(0, before.size() / 2)}) {
    folder.write("other.json", text);
    options.file = folder / "other.json";
    EXPECT_THROW((void)sweep(options, program), FileError) << text;
    EXPECT_EQ(folder.read("other.json"), text);
  }
  options.file = folder / "no/such/folder.json";
  EXPECT_THROW((void)sweep(options, program), FileError);
}

TEST(Sweep, KilledAtAnyMomentLeavesAFileToGoOnFrom) {
  const TemporaryFolder folder;
  SweepOptions options = options_of(folder / "sweep.json");
  options.rounds = 3;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      (void)sweep(options, program);
      _exit(0);
    }
    usleep(static_cast<useconds_t>(40000 * (attempt + 1)));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    const bool begun = access((folder / "sweep.json").c_str(), F_OK) == 0;
    EXPECT_TRUE(!begun || !read_sweep(folder / "sweep.json").points.empty());
  }
  EXPECT_TRUE(sweep(options, program).complete());
}

TEST(Sweep, WrongOptionsAreRefused) {
  const auto text = [](auto change) {
    SweepOptions options = options_of("");
    change(options);
    return error_of([&] { (void)sweep(options, program); });
  };
  EXPECT_NE(text([](auto& o) { o.budgets = {}; }).find("no budgets"), std::string::npos);
  EXPECT_NE(text([](auto& o) { o.budgets = {"-5%"}; }).find("-5%"), std::string::npos);
  EXPECT_NE(text([](auto& o) { o.budgets = {"much"}; }), "");
  EXPECT_NE(text([](auto& o) { o.rounds = 0; }).find("rounds"), std::string::npos);
  EXPECT_NE(text([](auto& o) { o.steps = 0; }).find("steps"), std::string::npos);
  EXPECT_NE(text([](auto& o) { o.costs = "free"; }).find("free"), std::string::npos);
  EXPECT_NE(error_of([] { (void)sweep(options_of(""), {}); }).find("no program"), std::string::npos);
  EXPECT_NE(error_of([] { (void)sweep(options_of(""), [] { return SweepSubject{}; }); }).find("optimizer"),
            std::string::npos);
}

TEST(Sweep, CostsCanBeMeasured) {
  for (const char* costs : {"calibrated", "measured"}) {
    SweepOptions options = options_of("");
    options.budgets = {"50%"};
    options.rounds = 1;
    options.costs = costs;
    const Sweep result = sweep(options, program);
    EXPECT_TRUE(result.points[1].equal);
    EXPECT_GT(result.points[1].runs[0].recomputed_ops, 0);
  }
}

// Plans of other costs may need other budgets: the smallest is planned by the costs that the sweep keeps.
TEST(Sweep, MeasuredCostsAreKept) {
  const TemporaryFolder folder;
  SweepOptions options = brief_options_of(folder / "sweep.json", {"none", "smallest"});
  options.costs = "measured";
  const Sweep first = sweep(options, program);
  EXPECT_EQ(first.points[1].refused, "");
  EXPECT_TRUE(first.points[1].equal);
  EXPECT_GT(first.plan_costs.measured.size(), 10U);
  options.rounds = 2;
  std::vector<std::string> said;
  options.say = [&](const std::string& line) { said.push_back(line); };
  const Sweep again = sweep(options, program);
  EXPECT_EQ(said.size(), 2U);
  EXPECT_EQ(again.plan_costs.measured, first.plan_costs.measured);
  EXPECT_EQ(again.plan_costs.seconds_per_byte, first.plan_costs.seconds_per_byte);
  EXPECT_EQ(again.points[1].runs[1].recomputed_ops, first.points[1].runs[0].recomputed_ops);
}

TEST(Sweep, DamagedFilesAreRefusedOrRead) {
  const TemporaryFolder folder;
  SweepOptions options = brief_options_of(folder / "sweep.json", {"none", "60%"});
  (void)sweep(options, program);
  const std::string whole = folder.read("sweep.json");
  const std::string file = folder / "damaged.json";
  for (std::size_t size = 0; size < whole.size() - 2; size += 97) {
    folder.write("damaged.json", whole.substr(0, size));
    EXPECT_THROW((void)read_sweep(file), FileError) << size;
  }
  std::mt19937 random(5);
  int refused = 0;
  constexpr int kMutations = 3000;
  for (int i = 0; i < kMutations; ++i) {
    std::string text = whole;
    for (int change = 0; change <= static_cast<int>(random() % 3); ++change) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, random() % 40);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 40));
      }
    }
    folder.write("damaged.json", text);
    try {
      (void)read_sweep(file).table();
    } catch (const FileError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, kMutations / 10);
}

TEST(Sweep, FindsTheLargestBatch) {
  const SessionOptions options{.threads = 1};
  const std::int64_t budget = 8_MiB;
  const auto batch_of = [&] {
    return std::stoll(
        report::in_child([&] { return std::to_string(largest_batch(budget, 100000, options, subject)); }));
  };
  const std::int64_t batch = batch_of();
  EXPECT_GT(batch, 100);
  EXPECT_LT(batch, 100000);
  const auto smallest = [&](std::int64_t size) {
    return std::stoll(report::in_child([&] {
      return std::to_string(smallest_budget(options, [&] {
        SweepSubject one = subject(size);
        for (int i = 0; i < 2; ++i) {
          one.loss().backward();
          one.optimizer->step();
          one.optimizer->zero_grad();
        }
      }));
    }));
  };
  EXPECT_LE(smallest(batch), budget);
  EXPECT_GT(smallest(batch + batch / 16), budget);
}

TEST(Script, RunsWithItsWordsAsTheyAre) {
  using report::Errors;
  const std::string script = "echo \"$#:$2\"; echo wrong >&2; exit 3\n";
  const report::ScriptEnd end = report::run_script("/bin/sh", script, {"a", "it's $HOME; `x`"}, Errors::kDropped);
  EXPECT_EQ(end.code, 3);
  EXPECT_EQ(end.output, "2:it's $HOME; `x`\n");
  EXPECT_EQ(report::run_script("/bin/sh", script, {}, Errors::kTaken).output, "0:\nwrong\n");
  EXPECT_EQ(report::run_script("/no/such/interpreter", script, {}, Errors::kDropped).code, 127);
  EXPECT_NE(report::run_script("/bin/sh", "kill -9 $$\n", {}, Errors::kDropped).code, 0);
}

TEST(Child, ReturnsOrThrowsWhatTheWorkDoes) {
  EXPECT_EQ(report::in_child([] { return std::string(1 << 20, 'x'); }), std::string(1 << 20, 'x'));
  EXPECT_EQ(report::in_child([] { return std::string(); }), "");
  EXPECT_EQ(error_of([] { (void)report::in_child([]() -> std::string { throw Error("why"); }); }), "why");
  try {
    (void)report::in_child([]() -> std::string { throw BudgetError("small", 77, BudgetError::Needed::kPlanned); });
    FAIL();
  } catch (const BudgetError& error) {
    EXPECT_STREQ(error.what(), "small");
    EXPECT_EQ(error.needed_bytes(), 77);
    EXPECT_TRUE(error.planned());
  }
  EXPECT_NE(error_of([] {
              (void)report::in_child([]() -> std::string {
                raise(SIGKILL);
                return "";
              });
            }).find("signal 9"),
            std::string::npos);
  EXPECT_NE(error_of([] { (void)report::in_child([]() -> std::string { _exit(3); }); }), "");
  std::string text;
  std::thread other([&] { text = error_of([] { (void)report::in_child([] { return std::string(); }); }); });
  other.join();
  EXPECT_NE(text.find("several threads"), std::string::npos);
}

}  // namespace
}  // namespace tidemark::test
