// The command as users run it: exit codes, messages, the JSON file, and that a budget changes no bit.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/core/sanitized.h"
#include "tests/core/temporary_folder.h"
#include "tests/tools/command.h"
#include "tidemark/models.h"
#include "tidemark/optim.h"
#include "tidemark/units.h"
#include "tidemark/version.h"

namespace tidemark {
namespace {

using test::Outcome;
using test::run_command;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using Json = nlohmann::json;

class CommandTest : public ::testing::Test {
 protected:
  // Trains, and returns the lines of the JSON file.
  std::vector<Json> train(const std::string& arguments) {
    const std::string file = (dir_ / "log.json").string();
    const Outcome outcome = run_command("train " + arguments + " --json " + file);
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    return read_lines(file);
  }
  static std::vector<Json> read_lines(const std::string& file) {
    std::vector<Json> lines;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
    return lines;
  }

  const test::TemporaryFolder folder_;
  const std::filesystem::path dir_ = folder_.path();
};

TEST_F(CommandTest, HelpIsComplete) {
  const Outcome top = run_command("--help");
  EXPECT_EQ(top.code, 0);
  EXPECT_THAT(top.output, HasSubstr("train"));
  const Outcome train = run_command("train --help");
  EXPECT_EQ(train.code, 0);
  for (const char* option :
       {"model",    "data",    "batch",   "steps",      "epochs",  "budget",   "optimizer", "state",  "lr",
        "momentum", "threads", "seed",    "evaluate",   "json",    "sample",   "width",     "layers", "heads",
        "context",  "image",   "classes", "batch-norm", "dropout", "schedule", "warmup",    "trace",  "costs"}) {
    EXPECT_THAT(train.output, HasSubstr(std::string("--") + option));
  }
}

TEST_F(CommandTest, VersionIsTheProjects) {
  const Outcome outcome = run_command("--version");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.output, "tidemark " TIDEMARK_VERSION "\n");
}

TEST_F(CommandTest, HelpOnAFullStandardOutputIsAnError) {
  EXPECT_EQ(run_command("--help > /dev/full").code, 1);
  EXPECT_EQ(run_command("train --help > /dev/full").code, 1);
}

// The library's tables are all that --help and the choices know.
TEST_F(CommandTest, EveryModelAndOptimizerIsListed) {
  const std::string help = run_command("train --help").output;
  const auto expect_options = [&](const auto& entry) {
    for (const NamedOption& option : entry.options) {
      EXPECT_THAT(help, HasSubstr("--" + option.name + " "));
      EXPECT_THAT(help, HasSubstr(" " + entry.name + ": " + option.help));
    }
  };
  for (const nn::NamedModel& model : nn::models()) {
    EXPECT_THAT(help, HasSubstr(" " + model.name + ": " + model.summary));
    expect_options(model);
  }
  for (const optim::NamedOptimizer& optimizer : optim::optimizers()) expect_options(optimizer);
  // The command's own defaults.
  EXPECT_THAT(help, HasSubstr("adamw: learning rate [0.0003]"));
  EXPECT_THAT(help, HasSubstr("sgd: part of the last update that goes on [0.9]"));
}

TEST_F(CommandTest, WrongUsage) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "a command is missing"},
      {"fly", "there is no command 'fly'"},
      {"train --speed 9", "tidemark train has no option --speed; it has: --model"},
      {"train --model resnet9000", "--model: resnet9000 not in {mlp,small-cnn,vgg16,gpt,lstm}"},
      {"train --data imagenet", "--data is 'imagenet', but can be: synthetic, mnist:DIR, cifar10:DIR, text:FILE"},
      {"train --batch 0", "--batch: '0' is not a whole number from 1"},
      {"train --budget 12parsecs", "--budget"},
      {"train --steps 1 --epochs 1", "--steps excludes --epochs"},
      {"train --sample 10", "--sample is for a --model that reads text"},
      {"train --model gpt --data mnist:/", "--model gpt reads text"},
      {"train --model vgg16 --data text:/etc/hostname", "--model vgg16 reads images"},
      {"train --batch 5000", "--batch is '5000', but the training data has 4096 examples"},
      {"train --model gpt --heads 5", "--model gpt with these options: [nn::Gpt] 5 heads do not divide a width of 128"},
      {"train --model small-cnn --image 2", "--model small-cnn with these options: [nn::small_cnn] .image must be"},
      {"train --model vgg16 --heads 2", "--heads is for --model gpt, not for vgg16"},
      {"train --model gpt --batch-norm", "--batch-norm is for --model vgg16, not for gpt"},
      {"train --model gpt --image 8", "--image is for synthetic images, not for --model gpt"},
      {"train --context 8", "--context is for text, not for --model mlp"},
      {"train --data mnist:/ --classes 3", "--classes is for synthetic images, not for --model mlp --data mnist:/"},
      {"train --momentum 0.5", "--momentum is for --optimizer sgd, rmsprop, not for adamw"},
      {"train --width 0", "--width is 0, but must be a whole number from 1 to 1048576"},
      {"train --width", "--width"},
      {"train --json ''", "--json: is empty"},
      {"train --optimizer sgd --momentum 0 --nesterov", "--optimizer sgd with these options: [SGD] Nesterov's method"},
      {"train --optimizer sgd --momentum 0 --state f32", "--state is for an optimizer that keeps moments"},
      {"train plan", "tidemark train has no option plan"},
      {"plan --graph g --sweep -- 50%", "tidemark plan has no option 50%"},
      {"-- fly", "there is no command 'fly'"},
  };
  for (const auto& [arguments, text] : cases) {
    const Outcome outcome = run_command(arguments);
    EXPECT_EQ(outcome.code, 64) << arguments;
    EXPECT_THAT(outcome.output, HasSubstr(text));
  }
}

TEST_F(CommandTest, MissingDataNamesTheFileAndWritesNothing) {
  const std::string log = (dir_ / "log.json").string();
  const Outcome outcome = run_command("train --data mnist:" + dir_.string() + " --json " + log);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("train-images-idx3-ubyte"));
  EXPECT_FALSE(std::filesystem::exists(log));
}

TEST_F(CommandTest, TheDataIsNotWrittenOver) {
  const std::string text(2000, 'a');
  folder_.write("text", text);
  std::filesystem::create_symlink("text", folder_ / "link");
  for (const char* name : {"text", "link"}) {
    const Outcome outcome =
        run_command("train --model gpt --data text:" + (folder_ / "text") + " --batch 1 --json " + (folder_ / name));
    EXPECT_EQ(outcome.code, 64);
    EXPECT_THAT(outcome.output, HasSubstr("--json is '" + (folder_ / name) + "', which would take the place of"));
  }
  EXPECT_EQ(folder_.read("text"), text);
}

// Each fails later than the one before it.
TEST_F(CommandTest, ARunWithoutAStepKeepsTheLogBefore) {
  const std::string arguments = "train --model mlp --width 8 --image 8 --threads 1 --json " + (folder_ / "log");
  folder_.write("log", "old");
  EXPECT_EQ(run_command(arguments + " --momentum 1").code, 64);
  EXPECT_EQ(run_command(arguments + " --budget 64").code, 2);
  const Outcome no_session = run_command(arguments + " --budget 4000TiB");
  EXPECT_EQ(no_session.code, 1);
  EXPECT_THAT(no_session.output, HasSubstr("cannot map"));
  const Outcome full = run_command(arguments + " --steps 1", "ulimit -f 0;");
  EXPECT_EQ(full.code, 1);
  EXPECT_THAT(full.output, HasSubstr("log: cannot be written: "));
  EXPECT_EQ(folder_.read("log"), "old");
  EXPECT_EQ(folder_.count(), 1);
}

TEST_F(CommandTest, LinesAreWholeOnAFullDisk) {
  const std::string arguments = "train --model mlp --width 8 --image 8 --threads 1 --steps 50 --json ";
  const Outcome outcome = run_command(arguments + (folder_ / "log"), "ulimit -f 2;");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("log: cannot be written: "));
  const std::string text = folder_.read("log");
  ASSERT_FALSE(text.empty());
  EXPECT_EQ(text.back(), '\n');
  const std::vector<Json> lines = read_lines(folder_ / "log");
  EXPECT_LT(lines.size(), 50u);
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i].at("step"), i + 1);
  EXPECT_THAT(run_command(arguments + "/dev/full").output, HasSubstr("/dev/full: cannot be written: No space left"));
}

TEST_F(CommandTest, AClosedStandardOutputIsNotTheLog) {
  const std::string log = (dir_ / "log.json").string();
  const std::string command =
      std::string(TIDEMARK_COMMAND) + " train --model mlp --width 8 --image 8 --steps 3 --json " + log;
  (void)!std::system((command + " >&- 2>/dev/null").c_str());
  EXPECT_EQ(read_lines(log).size(), 4u) << "three steps and the summary, and nothing between them";
}

TEST_F(CommandTest, APipeThatNobodyReadsIsAnError) {
  const std::string pipe = (dir_ / "pipe").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const Outcome outcome = run_command("train --model mlp --width 8 --image 8 --steps 1 --json " + pipe, "timeout 30");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("nobody has read"));
}

TEST_F(CommandTest, StacksThatTheSystemDoesNotHaveAreAnError) {
  const Outcome outcome =
      run_command("train --model mlp --width 8 --image 8 --steps 1 --threads 2", "OMP_STACKSIZE=100000G");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("the system starts 1 of the 2 threads"), HasSubstr("OMP_STACKSIZE")));
}

TEST_F(CommandTest, ImpossibleBudgetIsRefusedBeforeTheFirstStep) {
  const std::string log = (dir_ / "log.json").string();
  const Outcome outcome = run_command("train --model mlp --batch 8 --budget 64KiB --threads 1 --json " + log);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.output,
              AllOf(HasSubstr("BudgetError: "), ContainsRegex("the smallest budget (planned )?for this step is"),
                    HasSubstr("batch 8 -> 4 would need")));
  EXPECT_FALSE(std::filesystem::exists(log));
}

// Nothing is taken for the plan: the step is larger than any machine.
TEST_F(CommandTest, AModelLargerThanTheMachineIsPlanned) {
  const Outcome outcome = run_command("train --model vgg16 --image 4096 --batch 64 --budget 1GiB --threads 1");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.output, ContainsRegex("the smallest budget (planned )?for this step is [0-9.]+ [GT]iB"));
}

TEST_F(CommandTest, JsonHasAnObjectAStepAndASummary) {
  const std::vector<Json> lines = train("--model mlp --width 32 --image 8 --batch 16 --steps 4 --threads 1");
  ASSERT_EQ(lines.size(), 5u);
  for (std::size_t i = 0; i < 4; ++i) {
    const Json& line = lines[i];
    EXPECT_EQ(line.at("step"), i + 1);
    for (const char* key : {"loss", "seconds", "peak_bytes", "recomputed_ops", "recompute_seconds", "rss_bytes"}) {
      EXPECT_TRUE(line.at(key).is_number()) << key;
    }
    EXPECT_TRUE(line.at("budget_bytes").is_null());
    EXPECT_TRUE(line.at("planned").is_boolean());
    EXPECT_THAT(line.at("grad_hash").get<std::string>(), MatchesRegex("[0-9a-f]{16}"));
    EXPECT_THAT(line.at("weight_hash").get<std::string>(), MatchesRegex("[0-9a-f]{16}"));
  }
  EXPECT_NE(lines[0].at("grad_hash"), lines[1].at("grad_hash"));
  EXPECT_NE(lines[0].at("weight_hash"), lines[1].at("weight_hash"));
  const Json& summary = lines.back();
  EXPECT_EQ(summary.at("summary"), true);
  for (const char* key :
       {"median_step_seconds", "peak_bytes", "fixed_bytes", "rss_peak_bytes", "parameters", "planned_steps"}) {
    EXPECT_TRUE(summary.at(key).is_number()) << key;
  }
  EXPECT_EQ(summary.at("parameters"), (3 * 64 + 1) * 32 + 33 * 32 + 33 * 10);
}

TEST_F(CommandTest, LinearScheduleFallsFromTheLearningRate) {
  const std::string arguments = "--model mlp --width 16 --image 8 --batch 16 --steps 3 --threads 1 --schedule ";
  const std::vector<Json> constant = train(arguments + "constant");
  const std::vector<Json> linear = train(arguments + "linear");
  ASSERT_EQ(linear.size(), 4u);
  EXPECT_EQ(linear[0].at("weight_hash"), constant[0].at("weight_hash"));
  EXPECT_NE(linear[1].at("weight_hash"), constant[1].at("weight_hash"));
}

// A warm-up of one step is none: its first rate is the full one.
TEST_F(CommandTest, SchedulesAndWarmUpsDiffer) {
  const std::string arguments = "--model mlp --width 16 --image 8 --batch 16 --steps 5 --threads 1 --optimizer sgd ";
  std::set<std::string> hashes;
  for (const char* schedule : {"constant", "linear", "cosine", "one-cycle"}) {
    for (const char* warmup : {"0", "2"}) {
      const std::vector<Json> lines = train(arguments + "--schedule " + schedule + " --warmup " + warmup);
      ASSERT_EQ(lines.size(), 6u);
      hashes.insert(lines[4].at("weight_hash").get<std::string>());
    }
  }
  EXPECT_EQ(hashes.size(), 8u);
  const std::vector<Json> one = train(arguments + "--warmup 1");
  EXPECT_EQ(one[4].at("weight_hash"), train(arguments)[4].at("weight_hash"));
  const Outcome all = run_command("train " + arguments + "--warmup 5");
  EXPECT_EQ(all.code, 64);
  EXPECT_THAT(all.output, HasSubstr("--warmup 5 leaves nothing of a run of 5 steps"));
}

// At budgets between the smallest and the unlimited peak: the same loss, gradients and weights in every bit.
class BudgetTest : public CommandTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(BudgetTest, ChangesNoBit) {
  const std::string arguments = std::string(GetParam()) + " --steps 3 --threads 2";
  const std::vector<Json> free = train(arguments);
  ASSERT_EQ(free.size(), 4u);
  const auto peak = free.back().at("peak_bytes").get<std::int64_t>();
  // At the smallest budget that the refusal names, to the byte, training must get through.
  const Outcome refused = run_command("train " + arguments + " --budget 4KiB");
  ASSERT_EQ(refused.code, 2);
  EXPECT_THAT(refused.output, AllOf(HasSubstr(" cannot hold "), HasSubstr("\n  it needs "), HasSubstr("\n  pinned ")));
  std::smatch figure;
  ASSERT_TRUE(std::regex_search(refused.output, figure,
                                std::regex("the smallest budget (?:planned )?for this step is .*, (\\d+) bytes")))
      << refused.output;
  const std::int64_t smallest = std::min<std::int64_t>(peak, std::stoll(figure[1]));
  EXPECT_EQ(run_command("train " + arguments + " --budget " + std::to_string(smallest - 1)).code, 2);
  for (const int percent : {100, 50, 0}) {
    const std::int64_t budget = smallest + (peak - smallest) * percent / 100;
    const std::vector<Json> limited = train(arguments + " --budget " + std::to_string(budget));
    ASSERT_EQ(limited.size(), free.size()) << percent;
    for (std::size_t i = 0; i + 1 < free.size(); ++i) {
      for (const char* key : {"loss", "grad_hash", "weight_hash"}) {
        EXPECT_EQ(limited[i].at(key), free[i].at(key)) << key << " of step " << i + 1 << " at " << percent << " %";
      }
      EXPECT_LE(limited[i].at("peak_bytes").get<std::int64_t>(), budget);
      // The smallest budget of the kernels without AVX-512 is one in which steps get through but are not planned.
      if (percent > 0 || __builtin_cpu_supports("avx512f") != 0) {
        EXPECT_EQ(limited[i].at("planned"), i > 0);
      }
    }
    // What the process takes besides: the program itself, generated code and the tape (docs/memory.md).
    const Json& summary = limited.back();
    if (!test::kSanitized) {
      constexpr std::int64_t kProgram = (TIDEMARK_ONEDNN >= 3 ? 18 : 16) << 20;
      constexpr std::int64_t kPrimitive = (TIDEMARK_ONEDNN >= 3 ? 224 : 96) << 10;
      EXPECT_LE(summary.at("rss_peak_bytes").get<std::int64_t>(),
                budget + kProgram + kPrimitive * summary.at("primitives").get<std::int64_t>() +
                    (4 << 10) * summary.at("ops").get<std::int64_t>());
    }
    if (percent == 0) {
      EXPECT_GT(limited.back().at("recomputed_ops").get<std::int64_t>(), 0) << percent;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, BudgetTest,
    ::testing::Values("--model mlp --image 8 --width 64 --layers 12 --batch 1024",
                      "--model vgg16 --image 32 --width 8 --batch-norm --dropout 0.5 --batch 16",
                      "--model vgg16 --image 32 --width 8 --batch 16 --optimizer sgd",
                      "--model gpt --layers 3 --width 32 --heads 2 --context 32 --batch 16 --dropout 0.1"),
    [](const auto& test) { return "Case" + std::to_string(test.index); });

TEST_F(CommandTest, FullMnistReaches985InOneEpoch) {
  const char* data = std::getenv("TIDEMARK_DATA");
  if (data == nullptr || !std::filesystem::exists(std::filesystem::path(data) / "mnist")) {
    GTEST_SKIP() << "TIDEMARK_DATA names no folder with mnist/";
  }
  const std::vector<Json> lines =
      train("--model small-cnn --data mnist:" + std::string(data) +
            "/mnist --batch 64 --epochs 1 --lr 2e-3 --schedule linear --state f16 --budget 16MiB --evaluate");
  ASSERT_FALSE(lines.empty());
  EXPECT_GE(lines.back().at("test_accuracy").get<double>(), 0.985);
  EXPECT_LE(lines.back().at("peak_bytes").get<std::int64_t>(), 16 << 20);
}

}  // namespace
}  // namespace tidemark
