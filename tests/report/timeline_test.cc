// A timeline holds what the ledger and the report count, byte for byte and op for op.
#include "tidemark/timeline.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tests/report/program.h"
#include "tidemark/data.h"
#include "tidemark/models.h"
#include "tidemark/ops.h"
#include "tidemark/progress.h"

namespace tidemark::test {
namespace {

using Track = Timeline::Track;

std::int64_t spans_on(const Timeline& timeline, Track track) {
  return std::count_if(timeline.spans.begin(), timeline.spans.end(), [&](const auto& s) { return s.track == track; });
}

// Nobody takes bytes twice or gives back what is not there, and times do not go back.
void expect_consistent(const Timeline& timeline) {
  std::vector<bool> live(timeline.holders.size(), false);
  double now = 0;
  for (const Timeline::Change& change : timeline.changes) {
    const auto at = static_cast<std::size_t>(change.holder);
    EXPECT_NE(live[at], change.live);
    live[at] = change.live;
    EXPECT_GE(change.seconds, now);
    now = change.seconds;
    EXPECT_LE(change.reserved, timeline.budget.value_or(change.reserved));
  }
  EXPECT_LE(now, timeline.seconds);
  for (const Timeline::Span& span : timeline.spans) {
    EXPECT_GE(span.begin, 0);
    EXPECT_LE(span.begin, span.end);
    EXPECT_LE(span.end, timeline.seconds);
  }
}

TEST(Timeline, PeakIsTheReportsByteForByte) {
  const ChainBytes bytes = bytes_of_chain();
  for (const double part : {1.0, 0.6, 0.35}) {
    Session session({.budget = bytes.at(part), .threads = 2});
    session.start_timeline();
    Chain chain;
    for (int i = 0; i < 3; ++i) chain.step();
    const Report report = session.report();
    const Timeline timeline = session.stop_timeline();
    expect_consistent(timeline);
    const Timeline::Peak peak = timeline.peak();
    EXPECT_EQ(peak.bytes, report.peak_bytes);
    for (int c = 0; c < kCategories; ++c) {
      EXPECT_EQ(peak.by_category[static_cast<std::size_t>(c)], report.peak_by_category[c]);
    }
    std::int64_t held = 0;
    for (const std::int32_t holder : timeline.live_after(peak.change)) {
      held += timeline.holders[static_cast<std::size_t>(holder)].bytes;
    }
    EXPECT_EQ(held, peak.bytes);
    EXPECT_EQ(timeline.step_ends.size(), 3u);
    EXPECT_EQ(spans_on(timeline, Track::kRecompute), report.recomputed_ops);
    EXPECT_EQ(report.recomputed_ops > 0, part < 1);
    EXPECT_EQ(spans_on(timeline, Track::kPlanning), report.plans);
  }
}

TEST(Timeline, OfOneStepPeaksWhereThatStepDoes) {
  const ChainBytes bytes = bytes_of_chain();
  Session session({.budget = bytes.at(0.5), .threads = 2});
  Chain chain;
  for (int i = 0; i < 3; ++i) chain.step();
  session.start_timeline();
  chain.step();
  const Timeline timeline = session.stop_timeline();
  expect_consistent(timeline);
  EXPECT_EQ(timeline.peak().bytes, session.report().last_step.peak_bytes);
  EXPECT_EQ(timeline.peak().reserved, session.report().last_step.reserved_bytes);
  EXPECT_EQ(spans_on(timeline, Track::kRecompute), session.report().last_step.recomputed_ops);
  EXPECT_GE(spans_on(timeline, Track::kOptimizer), 2 * Chain::kLayers);
  // What runs again, and what holds bytes at the peak, is named with the program's lines.
  for (const Timeline::Span& span : timeline.spans) {
    if (span.track != Track::kRecompute) continue;
    const Timeline::Label& label = timeline.labels[static_cast<std::size_t>(span.label)];
    EXPECT_NE(label.where.find("program.h:"), std::string::npos) << label.name << " " << label.where;
  }
}

// Every built-in model, its loss as one number a step.
TEST(Timeline, OfEveryModelPeaksWhereTheReportDoes) {
  for (const nn::NamedModel& model : nn::models()) {
    const auto train = [&](std::optional<std::int64_t> budget, bool watched) {
      Session session({.budget = budget, .threads = 2, .seed = 4});
      if (watched) session.start_timeline();
      const nn::Examples examples = model.reads_tokens ? nn::Examples{{16}, 50} : nn::Examples{{3, 32, 32}, 10};
      nn::Sequential net = nn::make_model(model.name, examples, {});
      optim::AdamW optimizer(net.parameters(), {.lr = 1e-3f});
      const std::int64_t rows = model.reads_tokens ? 16 * 4 : 4;
      std::vector<std::int32_t> ids(static_cast<std::size_t>(rows));
      for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 7 % 10);
      const Tensor x = model.reads_tokens ? tensor(ids, {4, 16}) : normal({4, 3, 32, 32}, 0, 1);
      const Tensor y = tensor(ids, {rows});
      for (int i = 0; i < 3; ++i) {
        const Tensor logits = net(x);
        const Tensor loss = cross_entropy(reshape(logits, {rows, examples.classes}), y);
        loss.backward();
        optimizer.step();
        optimizer.zero_grad();
      }
      const Report report = session.report();
      if (!watched) return report;
      const Timeline timeline = session.stop_timeline();
      expect_consistent(timeline);
      const Timeline::Peak peak = timeline.peak();
      EXPECT_EQ(peak.bytes, report.peak_bytes) << model.name;
      std::int64_t sum = 0;
      for (int c = 0; c < kCategories; ++c) {
        EXPECT_EQ(peak.by_category[static_cast<std::size_t>(c)], report.peak_by_category[c]) << model.name;
        sum += report.peak_by_category[c];
      }
      EXPECT_EQ(sum, peak.bytes);
      EXPECT_EQ(spans_on(timeline, Track::kRecompute), report.recomputed_ops) << model.name;
      return report;
    };
    const Report plain = train({}, true);
    std::int64_t budget = plain.fixed_bytes + (plain.peak_bytes - plain.fixed_bytes) * 6 / 10 / 64 * 64;
    try {
      (void)train(budget, false);
    } catch (const BudgetError& error) {
      budget = error.needed_bytes();
    }
    const Report tight = train(budget, true);
    EXPECT_LE(tight.peak_bytes, budget) << model.name;
    EXPECT_EQ(train(budget, false).peak_bytes, tight.peak_bytes) << model.name;
  }
}

TEST(Timeline, HasSpansOfEveryKind) {
  Session session({.budget = 3_MiB, .threads = 2});
  session.start_timeline();
  nn::Sequential net(nn::Conv2d({.in = 3, .out = 32, .kernel = 3, .padding = 1}), nn::ReLU(),
                     nn::Conv2d({.in = 32, .out = 32, .kernel = 3, .padding = 1}), nn::ReLU(),
                     nn::Conv2d({.in = 32, .out = 32, .kernel = 3, .padding = 1}), nn::ReLU(), nn::Flatten(),
                     nn::Linear({.in = 32 * 16 * 16, .out = 10}));
  optim::SGD optimizer(net.parameters(), {.lr = 0.01f});
  const auto source = data::synthetic_images({.count = 48, .image = 16});
  for (int epoch = 0; epoch < 2; ++epoch) {
    for (const auto& [images, labels] : data::Loader(source, {.batch = 16})) {
      const Tensor loss = cross_entropy(net(images), labels);
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
    }
  }
  const Report report = session.report();
  const Timeline timeline = session.stop_timeline();
  expect_consistent(timeline);
  EXPECT_EQ(timeline.peak().bytes, report.peak_bytes);
  for (const Track track : {Track::kForward, Track::kBackward, Track::kRecompute, Track::kReorder, Track::kOptimizer,
                            Track::kPlanning, Track::kData}) {
    EXPECT_GT(spans_on(timeline, track), 0) << to_string(track);
  }
}

TEST(Timeline, ADryRunHasOneToo) {
  const ChainBytes bytes = bytes_of_chain();
  Session session({.budget = bytes.at(0.5), .threads = 2, .dry_run = true});
  session.start_timeline();
  Chain chain;
  for (int i = 0; i < 2; ++i) chain.step();
  const Timeline timeline = session.stop_timeline();
  EXPECT_EQ(timeline.peak().bytes, session.report().peak_bytes);
}

TEST(Timeline, ChangesNoBit) {
  const ChainBytes bytes = bytes_of_chain();
  const auto losses = [&](bool watched) {
    Session session({.budget = bytes.at(0.5), .threads = 2});
    if (watched) session.start_timeline();
    Chain chain;
    std::vector<float> result;
    for (int i = 0; i < 4; ++i) result.push_back(chain.step());
    return result;
  };
  EXPECT_TRUE(same_bits(losses(true), losses(false)));
}

TEST(Timeline, TheProgressBarShowsTheCourseOfTheLastStep) {
  Session session({.threads = 2});
  Chain chain;
  for (int i = 0; i < 2; ++i) chain.step();
  const StepReport step = session.report().last_step;
  EXPECT_GT(step.live_curve.size(), 16u);
  EXPECT_EQ(*std::max_element(step.live_curve.begin(), step.live_curve.end()), step.peak_bytes);
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  Progress(10, {.out = out, .terminal = true, .width = 200, .session = &session}).update(2);
  std::fclose(out);
  const std::string shown(text, size);
  std::free(text);
  // It rises to the end of the forward pass, and falls from there on.
  EXPECT_NE(shown.find("▁"), std::string::npos) << shown;
  EXPECT_NE(shown.find("█"), std::string::npos) << shown;
  EXPECT_LT(shown.find("▁"), shown.find("█"));
}

TEST(Timeline, StartsAndStopsInTurn) {
  Session session({.threads = 1});
  const std::string none = error_of([&] { (void)session.stop_timeline(); });
  EXPECT_NE(none.find("no timeline was started"), std::string::npos) << none;
  session.start_timeline();
  const std::string line = next_line();
  const std::string twice = error_of([&] { session.start_timeline(); });
  EXPECT_NE(twice.find("goes on already"), std::string::npos) << twice;
  EXPECT_NE(twice.find(line), std::string::npos) << twice;
  EXPECT_TRUE(session.stop_timeline().changes.empty());
  session.start_timeline();
  const Tensor ones = full({100}, 1);
  EXPECT_EQ(session.stop_timeline().peak().bytes, 448);
}

}  // namespace
}  // namespace tidemark::test
