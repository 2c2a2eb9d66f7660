// Runs that are resumed, and what is refused.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/io/run.h"
#include "tidemark/tidemark.h"

namespace tidemark::io {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::int64_t kSteps = 25;  // 9 batches an epoch

std::string unbroken(std::int64_t steps) {
  TrainingRun run({});
  run.train_to(steps);
  return run.hash();
}

template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Checkpoint, ResumedRunGivesTheSameBitsFromEveryStep) {
  const std::string expected = unbroken(kSteps);
  for (std::int64_t step = 1; step < kSteps; ++step) {
    const Folder folder;
    {
      TrainingRun run({.file = folder / "run.safetensors"});
      EXPECT_FALSE(run.resume());
      run.train_to(step);
      run.save();
    }
    TrainingRun run(
        {.file = folder / "run.safetensors", .budget = step % 2 == 0 ? std::optional(104_KiB) : std::nullopt});
    const auto resumed = run.resume();
    ASSERT_TRUE(resumed);
    EXPECT_EQ(resumed->step, step);
    EXPECT_TRUE(resumed->warnings.empty());
    run.train_to(kSteps);
    EXPECT_EQ(run.hash(), expected) << "from step " << step;
  }
}

TEST(Checkpoint, ARunGoesBackToItsOwnCheckpoint) {
  const Folder folder;
  TrainingRun run({.file = folder / "run"});
  run.train_to(7);
  run.save();
  run.train_to(13);
  ASSERT_TRUE(run.resume());
  run.train_to(kSteps);
  EXPECT_EQ(run.hash(), unbroken(kSteps));
}

TEST(Checkpoint, KeepsTheLastAndTheBest) {
  const Folder folder;
  TrainingRun run({.file = folder / "run", .keep = 3});
  const double metrics[] = {5, 3, 4, 6, 7};
  for (int i = 0; i < 5; ++i) {
    run.train_to(i + 1);
    run.checkpoints().save(metrics[i]);
  }
  const auto step_of = [&](const std::string& name) { return run.checkpoints().resume_from(folder / name).step; };
  EXPECT_EQ(step_of("run.2"), 3);
  EXPECT_EQ(step_of("run.1"), 4);
  EXPECT_EQ(step_of("run"), 5);
  EXPECT_EQ(step_of("run.best"), 2);
  EXPECT_FALSE(std::filesystem::exists(folder / "run.3"));
  // The best of the run that is resumed counts, and a metric that is no number is never best.
  (void)run.resume();
  run.checkpoints().save(std::numeric_limits<double>::quiet_NaN());
  run.checkpoints().save(3.5);
  EXPECT_EQ(step_of("run.best"), 2);
  (void)run.resume();
  run.train_to(9);
  run.checkpoints().save(2.5);
  EXPECT_EQ(step_of("run.best"), 9);
}

TEST(Checkpoint, WhatDoesNotFitIsRefusedByNameBeforeAByteChanges) {
  const Folder folder;
  {
    TrainingRun run({.file = folder / "run"});
    run.train_to(3);
    run.save();
  }
  const auto refused = [&](RunOptions options) {
    options.file = folder / "run";
    TrainingRun run(options);
    run.train_to(2);
    const std::string before = run.hash();
    const data::Position place = run.loader().position();
    std::string text = message_of([&] { (void)run.resume(); });
    EXPECT_EQ(run.hash(), before) << text;
    EXPECT_EQ(run.loader().position().batch, place.batch);
    return text;
  };
  EXPECT_THAT(refused({.width = 25}),
              AllOf(HasSubstr("model.4.weight is f32 [24, 144] in it, and [25, 144] here"), HasSubstr("model.7.weight"),
                    HasSubstr("optimizer.4.weight.AdamW"), HasSubstr("(at run.h:")));
  EXPECT_THAT(refused({.seed = 2}), HasSubstr("the session's seed is 2, and the run's was 1"));
  EXPECT_THAT(refused({.examples = 71}), AllOf(HasSubstr("'data' is other data"), HasSubstr("71 examples")));
  EXPECT_THAT(refused({.batch = 7}), HasSubstr("batch 7"));
  EXPECT_THAT(refused({.state = f32}), HasSubstr("optimizer.0.weight.AdamW is u8"));
  EXPECT_THAT(refused({.sgd = true}), HasSubstr("left over: optimizer.0.weight.AdamW"));
}

TEST(Checkpoint, PartsHaveNamesOfTheirOwnAndAreAllThere) {
  const Folder folder;
  TrainingRun run({.file = folder / "run"});
  run.save();
  Checkpointer other(folder / "run");
  other.add("model", run.net());
  EXPECT_THAT(message_of([&] { other.add("model", run.net()); }), HasSubstr("'model' is none"));
  EXPECT_THAT(message_of([&] { (void)other.resume(); }), HasSubstr("its optimizer 'optimizer' is not added here"));
}

TEST(Checkpoint, ATruncatedOneGivesWayToTheOneBefore) {
  const Folder folder;
  const std::string file = folder / "run";
  {
    TrainingRun run({.file = file});
    run.train_to(4);
    run.save();
    run.train_to(6);
    run.save();
  }
  const std::string whole = read_bytes(file);
  for (std::size_t i = 0; i < 12; ++i) {
    write_bytes(file, whole.substr(0, whole.size() * i / 12));
    TrainingRun run({.file = file});
    const auto resumed = run.resume();
    ASSERT_TRUE(resumed);
    EXPECT_EQ(resumed->step, 4);
    ASSERT_EQ(resumed->warnings.size(), 1u);
    EXPECT_THAT(resumed->warnings[0], AllOf(HasSubstr(file), HasSubstr("the checkpoint before it was taken")));
    run.train_to(kSteps);
    EXPECT_EQ(run.hash(), unbroken(kSteps));
  }
  {  // The damaged one does not take the place of the one before it.
    const std::string before = read_bytes(file + ".1");
    TrainingRun run({.file = file});
    ASSERT_TRUE(run.resume());
    run.save();
    EXPECT_EQ(read_bytes(file + ".1"), before);
    run.save();
    EXPECT_NE(read_bytes(file + ".1"), "");
    EXPECT_TRUE(TrainingRun({.file = file}).resume());
    write_bytes(file, whole.substr(0, whole.size() / 2));
  }
  write_bytes(file + ".1", "nothing");
  TrainingRun run({.file = file});
  EXPECT_THAT(message_of([&] { (void)run.resume(); }),
              AllOf(HasSubstr("no checkpoint of this run can be read"), HasSubstr("run.1")));
}

TEST(Checkpoint, EveryBitCounts) {
  const Folder folder;
  const std::string file = folder / "run";
  TrainingRun run({.file = file, .keep = 1});
  run.train_to(2);
  run.save();
  const std::string whole = read_bytes(file);
  const std::string before = run.hash();
  // Prime, so that all places in a word are hit; bits of spaces that pad the header may change nothing.
  for (std::size_t i = 0; i < whole.size(); i += 97) {
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
    write_bytes(file, bytes);
    try {
      (void)run.resume();
      ADD_FAILURE() << "byte " << i;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("run"));
    }
  }
  EXPECT_EQ(run.hash(), before);
}

TEST(Checkpoint, GradientsThatNobodyUsedAreNotLostInSilence) {
  const Folder folder;
  TrainingRun run({.file = folder / "run"});
  const Tensor x = uniform({2, 1, 6, 6}, -1, 1);
  sum(run.net()(x)).backward();
  EXPECT_THAT(message_of([&] { run.save(); }),
              AllOf(HasSubstr("has a gradient that no optimizer has used"), HasSubstr("run.h")));
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
  run.optimizer().zero_grad();
  run.save();
}

TEST(Checkpoint, WhatWasFrozenIsFrozenAgainAndWhatWasThawedHasItsState) {
  const Folder folder;
  const auto hash_at_the_end = [&](std::optional<std::int64_t> broken_at) {
    TrainingRun run({.file = folder / "run"});
    const auto go_on = [&](TrainingRun& any) {
      while (any.session().step() < 12) {
        const std::int64_t step = any.session().step();
        if (step == 2) freeze(any.net().parameters(), "4.*");
        if (step == 6) thaw(any.net().parameters(), "4.*");
        if (step == broken_at) return;
        any.train_to(step + 1);
      }
    };
    go_on(run);
    if (!broken_at) return run.hash();
    run.save();
    TrainingRun other({.file = folder / "run"});
    (void)other.resume();
    broken_at.reset();
    go_on(other);
    return other.hash();
  };
  const std::string expected = hash_at_the_end({});
  EXPECT_EQ(hash_at_the_end(4), expected);
  EXPECT_EQ(hash_at_the_end(8), expected);
}

TEST(Checkpoint, AModelIsLoadedFromIt) {
  const Folder folder;
  TrainingRun run({.file = folder / "run"});
  run.train_to(3);
  run.save();
  nn::Sequential net = run.net();
  const std::vector<float> expected = net.parameters()[0].to_vector();
  Parameter first = net.parameters()[0];
  first.assign(std::span<const float>(std::vector<float>(expected.size())));
  load(net, folder / "run", {.prefix = "model."});
  EXPECT_EQ(net.parameters()[0].to_vector(), expected);
}

TEST(Checkpoint, AFullDiskLeavesWhatIsThere) {
  const Folder folder;
  const std::string file = folder / "run";
  TrainingRun run({.file = file, .keep = 3});
  run.train_to(1);
  run.save();
  run.train_to(2);
  run.save();
  const std::string newest = read_bytes(file);
  const std::string older = read_bytes(file + ".1");
  run.train_to(3);
  for (std::size_t size = 0; size < newest.size(); size += newest.size() / 7) {
    const std::string text = message_of([&] {
      const test::FullDisk full(size);
      run.save();
    });
    EXPECT_THAT(text, AllOf(HasSubstr(file), HasSubstr("cannot be written")));
    EXPECT_EQ(read_bytes(file), newest);
    EXPECT_EQ(read_bytes(file + ".1"), older);
  }
  run.save();
  EXPECT_EQ(read_bytes(file + ".1"), newest);
  EXPECT_EQ(read_bytes(file + ".2"), older);
}

TEST(Loader, BeginsWhereItIsTold) {
  const Session session({.threads = 1});
  data::Loader loader(data::synthetic_images({.count = 20, .image = 4}), {.batch = 3, .shuffle = true});
  std::vector<std::vector<std::int32_t>> epochs[3];
  for (auto& batches : epochs) {
    const std::int64_t epoch = &batches - epochs;
    EXPECT_EQ(loader.position().epoch, epoch);
    EXPECT_EQ(loader.position().batch, 0);
    for (const auto& [x, y] : loader) {
      batches.push_back(y.to_vector<std::int32_t>());
      EXPECT_EQ(loader.position().epoch, epoch);
      EXPECT_EQ(loader.position().batch, std::ssize(batches));
    }
  }
  for (std::int64_t epoch = 2; epoch >= 0; --epoch) {
    for (std::int64_t batch = 0; batch <= 7; ++batch) {
      loader.seek({epoch, batch});
      EXPECT_EQ(loader.position().epoch, epoch);
      EXPECT_EQ(loader.position().batch, batch);
      std::vector<std::vector<std::int32_t>> batches(epochs[epoch].begin(), epochs[epoch].begin() + batch);
      for (const auto& [x, y] : loader) batches.push_back(y.to_vector<std::int32_t>());
      EXPECT_EQ(batches, epochs[epoch]);
      EXPECT_EQ(loader.position().epoch, epoch + 1);
    }
  }
  EXPECT_THAT(message_of([&] { loader.seek({0, 8}); }), HasSubstr("an epoch has 7 batches (at checkpoint_test.cc"));
  EXPECT_THAT(message_of([&] { loader.seek({-1, 0}); }), HasSubstr("epoch -1"));
}

}  // namespace
}  // namespace tidemark::io
