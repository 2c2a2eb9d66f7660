// The advisor on graphs alone: known steps are planned once and followed wherever they fit, inputs are found again, and
// what it says never overlaps and never reads what is not there.
#include "autograd/advisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <vector>

namespace tidemark::detail {
namespace {

using scheduler::BufferId;
using scheduler::Graph;
using scheduler::OpId;
using scheduler::Step;

// A chain forward and back: op i reads the value before, writes the next; backward reads them in reverse. Buffer 0 is a
// carried input that the last op reads once more.
struct Chain {
  explicit Chain(int length, std::int64_t bytes = 1024, std::uint64_t salt = 0) {
    graph.buffers.push_back({bytes, "input", false});
    for (int i = 0; i < length; ++i) add({static_cast<BufferId>(i)}, bytes);
    BufferId gradient = add({static_cast<BufferId>(length)}, bytes);
    for (int i = length - 1; i >= 0; --i) gradient = add({static_cast<BufferId>(i), gradient}, bytes);
    for (std::size_t op = 0; op < graph.ops.size(); ++op) signatures.push_back(op * 977 + salt);
    graph.keep = {0, gradient};
  }
  BufferId add(std::vector<BufferId> reads, std::int64_t bytes) {
    graph.buffers.push_back({bytes, "", false});
    scheduler::Op op;
    op.cost = 1;
    op.reads = std::move(reads);
    op.writes = {static_cast<BufferId>(graph.buffers.size() - 1)};
    graph.ops.push_back(op);
    return op.writes[0];
  }
  Graph graph;
  std::vector<std::uint64_t> signatures;
};

// Records a program op by op, as the engine does, and carries out what the advisor says on a map of byte ranges.
class Program {
 public:
  Program(std::int64_t limit, bool limited) : limit_(limit), advisor_(graph_, signatures_, limited, 1, timeline_) {}

  // `carried`: {key, bytes} of what is there when the step begins, the oldest first; `input`: which of them op 0 reads.
  void run(const Chain& chain, std::vector<Advisor::Carried> carried, std::size_t input) {
    places_.clear();
    std::int64_t end = 0;
    for (Advisor::Carried& each : carried) {
      each.offset = end;
      end += each.bytes;
    }
    graph_.buffers.push_back(chain.graph.buffers[0]);
    planned_ = 0;
    runs_ = 0;
    for (std::size_t op = 0; op < chain.graph.ops.size(); ++op) {
      graph_.buffers.push_back(chain.graph.buffers[op + 1]);
      graph_.ops.push_back(chain.graph.ops[op]);
      signatures_.push_back(chain.signatures[op]);
      if (op == 0) begin(carried, input);
      step(static_cast<OpId>(op));
    }
    Graph whole = graph_;
    whole.keep = chain.graph.keep;
    whole.buffers.resize(chain.graph.buffers.size());
    std::vector<BufferId> buffers;
    for (std::size_t b = 0; b < whole.buffers.size(); ++b) buffers.push_back(static_cast<BufferId>(b));
    advisor_.end([&] { return whole; }, buffers);
    graph_ = {};
    signatures_.clear();
  }

  const Advisor& advisor() const { return advisor_; }
  int planned() const { return planned_; }
  int runs() const { return runs_; }

 private:
  void begin(const std::vector<Advisor::Carried>& carried, std::size_t input) {
    const auto offsets = advisor_.begin(limit_, {.carried = carried}, [&](std::size_t i) {
      graph_.buffers.push_back({carried[i].bytes, "", false});
      const auto buffer = static_cast<BufferId>(graph_.buffers.size() - 1);
      place(buffer, at_.at(i));
      return buffer;
    });
    for (std::size_t i = 0; i < offsets.size(); ++i) at_[i] = offsets[i];
    if (const auto other = advisor_.enter_carried(0, input)) std::swap(at_.at(*other), at_.at(input));
    place(0, at_.at(input));
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      for (std::size_t k = 0; k < i; ++k) {
        EXPECT_TRUE(at_[i] >= at_[k] + carried[k].bytes || at_[k] >= at_[i] + carried[i].bytes) << i << ' ' << k;
      }
    }
  }
  void place(BufferId buffer, std::int64_t offset) {
    const std::int64_t bytes = graph_.buffers[static_cast<std::size_t>(buffer)].bytes;
    EXPECT_GE(offset, 0);
    EXPECT_LE(offset + bytes, limit_);
    for (const auto& [other, start] : places_) {
      const std::int64_t end = start + graph_.buffers[static_cast<std::size_t>(other)].bytes;
      EXPECT_TRUE(offset >= end || start >= offset + bytes) << "buffers " << buffer << " and " << other << " overlap";
    }
    places_[buffer] = offset;
  }
  void step(OpId op) {
    const Advice advice = advisor_.advise(op);
    ASSERT_FALSE(advice.shortage);
    planned_ += advice.planned;
    for (const Step& step : advice.steps) {
      if (step.kind == Step::Kind::kDrop) {
        places_.erase(step.id);
      } else if (step.kind == Step::Kind::kMove) {
        places_.erase(step.id);
        place(step.id, step.offset + advice.shift);
      } else {
        ++runs_;
        for (BufferId read : graph_.ops[static_cast<std::size_t>(step.id)].reads) {
          EXPECT_TRUE(places_.contains(read)) << "op " << step.id << " reads what is not there";
        }
        for (const auto& [read, write] : step.overwrites) places_.erase(read);
        for (const scheduler::Placement& p : step.places) {
          if (p.buffer >= 0 && !places_.contains(p.buffer)) place(p.buffer, p.offset + advice.shift);
        }
      }
    }
  }

  Graph graph_;
  std::vector<std::uint64_t> signatures_;
  std::int64_t limit_;
  TimelineRecorder timeline_;
  Advisor advisor_;
  std::map<std::size_t, std::int64_t> at_;  // of carried values
  std::map<BufferId, std::int64_t> places_;
  int planned_ = 0;
  int runs_ = 0;
};

constexpr std::int64_t kUnit = 1024;

TEST(AdvisorTest, AStepIsPlannedOnceAndFollowedWhereverItsInputLies) {
  const Chain chain(10);
  Program program(16 * kUnit, true);
  program.run(chain, {{7, kUnit, 0}}, 0);
  EXPECT_EQ(program.planned(), 0);
  for (int i = 1; i < 6; ++i) {
    std::vector<Advisor::Carried> carried;
    for (int k = 0; k < i % 3; ++k) carried.push_back({100, 256, 0});  // unread, and a changing number of them
    carried.push_back({7, kUnit, 0});
    program.run(chain, carried, carried.size() - 1);
    EXPECT_EQ(program.planned(), 21) << i;
  }
  EXPECT_EQ(program.advisor().planning().plans, 1);
  EXPECT_EQ(program.advisor().planning().replans, 0);
}

TEST(AdvisorTest, RoomThatShrinksMakesAnotherPlanForALittleLess) {
  const Chain chain(30);
  Program program(40 * kUnit, true);
  program.run(chain, {{7, kUnit, 0}}, 0);
  int replans = 0;
  for (int i = 1; i <= 60; ++i) {
    std::vector<Advisor::Carried> carried(static_cast<std::size_t>(i), {100, 256, 0});
    carried.push_back({7, kUnit, 0});
    program.run(chain, carried, carried.size() - 1);
    EXPECT_GE(program.runs(), 61);
    replans = static_cast<int>(program.advisor().planning().replans);
  }
  EXPECT_GE(replans, 1);
  EXPECT_LE(replans, 15) << "not one a step";
  EXPECT_THAT(program.advisor().planning().replan_reason, ::testing::HasSubstr("room"));
}

TEST(AdvisorTest, StepsThatBeginAlikeAreForeseenFromWhatFollowedLast) {
  const Chain two(8), other(8, kUnit, 0);
  Chain longer = other;
  for (std::size_t op = 4; op < longer.signatures.size(); ++op) longer.signatures[op] += 5;  // differs from op 4 on
  Program program(16 * kUnit, true);
  for (int i = 0; i < 40; ++i) program.run(i % 4 == 3 ? longer : two, {{7, kUnit, 0}}, 0);
  const std::int64_t plans = program.advisor().planning().plans;
  for (int i = 0; i < 8; ++i) {
    program.run(i % 4 == 3 ? longer : two, {{7, kUnit, 0}}, 0);
    EXPECT_EQ(program.planned(), 17) << i;
  }
  EXPECT_EQ(program.advisor().planning().plans, plans);
}

TEST(AdvisorTest, AnotherCarriedValueOfTheSameBytesTakesThePlace) {
  const Chain chain(6);
  Program program(16 * kUnit, true);
  const std::vector<Advisor::Carried> pool(4, {7, kUnit, 0});  // one line made all of them
  for (int i = 0; i < 20; ++i) {
    const std::size_t known = i == 0 ? 1 : pool.size();
    program.run(chain, {pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(known)},
                i == 0 ? 0 : static_cast<std::size_t>(i * 7 % 4));
    EXPECT_EQ(program.planned(), i == 0 ? 0 : 13) << i;
  }
  EXPECT_EQ(program.advisor().planning().plans, 1);
}

TEST(AdvisorTest, WithoutALimitNothingRunsTwice) {
  const Chain chain(20);
  Program program(std::int64_t{1} << 40, false);
  for (int i = 0; i < 4; ++i) {
    program.run(chain, {{7, kUnit, 0}}, 0);
    EXPECT_EQ(program.runs(), 41);
    EXPECT_EQ(program.planned(), i == 0 ? 0 : 41);
  }
  EXPECT_EQ(program.advisor().planning().plans, 1);
}

}  // namespace
}  // namespace tidemark::detail
