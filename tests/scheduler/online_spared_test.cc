// What the online policy keeps although the program has released it: roots and levers.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/scheduler/graphs.h"

namespace tidemark::scheduler::testing {
namespace {

TEST(Online, RootsStayWhileTheyAreWorthIt) {
  Graph graph;
  const BufferId x = add_buffer(graph, 2);
  std::vector<BufferId> cheap;
  for (int i = 0; i < 4; ++i) {
    cheap.push_back(add_buffer(graph, 8));
    add_op(graph, 1, {x}, {cheap.back()});
  }
  const BufferId dear = add_buffer(graph, 8);
  add_op(graph, 1000, {cheap[0]}, {dear});
  add_op(graph, 1, {dear}, {add_buffer(graph, 8)});
  for (BufferId b : cheap) add_op(graph, 1, {b}, {});
  graph.keep = {dear};
  EXPECT_LT(run_online(graph, 36 * kUnit).cost, 1020);
}

TEST(Online, RootsGoWhereThatCostsLess) {
  Graph graph;
  const BufferId x = add_buffer(graph, 6);
  const BufferId held = add_buffer(graph, 1);
  const BufferId dear = add_buffer(graph, 4);
  const BufferId small = add_buffer(graph, 8);
  add_op(graph, 1, {x}, {held});
  graph.ops.back().releases = {x};
  add_op(graph, 1000, {}, {dear});
  const OpId last = add_op(graph, 1, {dear}, {small});
  Online online(graph, 13 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  for (OpId op = 0; op <= last; ++op) ASSERT_FALSE(online.admit(op, steps));
  ASSERT_EQ(count_runs(steps), 3);
  EXPECT_EQ(steps[2].kind, Step::Kind::kDrop);
  EXPECT_EQ(steps[2].id, x);
}

TEST(Online, RootsOfNothingLargerGoFirst) {
  Graph graph;
  const BufferId x = add_buffer(graph, 6);
  const BufferId held = add_buffer(graph, 6);
  const BufferId cheap = add_buffer(graph, 4);
  add_op(graph, 1000, {x}, {held});
  graph.ops.back().releases = {x};
  add_op(graph, 1, {}, {cheap});
  const OpId last = add_op(graph, 1, {}, {add_buffer(graph, 4)});
  Online online(graph, 16 * kUnit, {.next_op = 0, .resident = {{x, 0}}});
  std::vector<Step> steps;
  for (OpId op = 0; op <= last; ++op) ASSERT_FALSE(online.admit(op, steps));
  ASSERT_EQ(count_runs(steps), 3);
  EXPECT_EQ(steps[2].kind, Step::Kind::kDrop);
  EXPECT_EQ(steps[2].id, x);
}

// Room for the second output takes `x`, or `dear`. Only with `x` can `read` be computed again, which `held` needs.
TEST(Online, RootsOfWhatIsOverwrittenStay) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1);
  const BufferId read = add_buffer(graph, 1);
  const BufferId held = add_buffer(graph, 12);
  const BufferId dear = add_buffer(graph, 4);
  const BufferId write = add_buffer(graph, 1);
  const BufferId large = add_buffer(graph, 12);
  add_op(graph, 1, {x}, {read});
  graph.ops.back().releases = {x};
  add_op(graph, 1, {read}, {held});
  add_op(graph, 1000, {}, {dear});
  add_op(graph, 1, {read}, {write, large});
  graph.ops.back().overwrites = {{read, write}};
  graph.ops.back().releases = {read};
  Plan plan;
  plan.placed = true;
  plan.budget = 17 * kUnit;
  plan.inputs = {{x, 0}};
  Online online(graph, plan.budget, {.next_op = 0, .resident = plan.inputs});
  for (OpId op = 0; op < 4; ++op) ASSERT_FALSE(online.admit(op, plan.steps));
  ASSERT_FALSE(online.restore(held, plan.steps));
  simulate(graph, plan);
}

// `a` and `b`, released and not in memory, do not fit together; `b` would with neither `a` nor what it is computed
// from.
TEST(Online, RootsOfWhatIsReadAfterItsReleaseStay) {
  Graph graph;
  const BufferId x = add_buffer(graph, 1);
  const BufferId y = add_buffer(graph, 1, true);
  const BufferId mark = add_buffer(graph, 0);
  const BufferId a = add_buffer(graph, 16);
  const BufferId b = add_buffer(graph, 18);
  add_op(graph, 1, {x}, {mark, a});
  graph.ops.back().releases = {x, a};
  add_op(graph, 1, {y}, {b});
  graph.ops.back().releases = {b};
  add_op(graph, 1, {}, {add_buffer(graph, 17)});
  graph.ops.back().once = true;
  add_op(graph, 1, {a, b}, {});
  Online online(graph, 36 * kUnit, {.next_op = 0, .resident = {{y, 0}, {x, kUnit}}});
  std::vector<Step> steps;
  for (OpId op = 0; op < 3; ++op) ASSERT_FALSE(online.admit(op, steps));
  EXPECT_TRUE(online.admit(3, steps).has_value());
  EXPECT_FALSE(online.restore(a, steps));
}

// `small` is dear, and all that `large` takes besides one cheap op.
class Levers : public ::testing::Test {
 protected:
  Levers() {
    add_op(graph_, 1, {x_}, {first_});
    add_op(graph_, 1000, {x_}, {small_});
    add_op(graph_, 1, {small_}, {large_});
  }
  bool dropped(BufferId b) const {
    return std::any_of(steps_.begin(), steps_.end(),
                       [&](const Step& step) { return step.kind == Step::Kind::kDrop && step.id == b; });
  }
  Start start() const { return {.next_op = 0, .resident = {{x_, 0}}}; }

  Graph graph_;
  BufferId x_ = add_buffer(graph_, 1, true);
  BufferId first_ = add_buffer(graph_, 8);
  BufferId small_ = add_buffer(graph_, 1);
  BufferId large_ = add_buffer(graph_, 8);
  std::vector<Step> steps_;
};

TEST_F(Levers, StayWhileTheyAreWorthIt) {
  const BufferId second = add_buffer(graph_, 8);
  const BufferId third = add_buffer(graph_, 16);
  add_op(graph_, 1, {x_}, {second});
  add_op(graph_, 1, {x_}, {third});
  Online online(graph_, 18 * kUnit, start());
  for (OpId op = 0; op < 4; ++op) ASSERT_FALSE(online.admit(op, steps_));  // discards `first`
  online.release(second, steps_);
  online.release(small_, steps_);
  ASSERT_FALSE(online.admit(4, steps_));
  EXPECT_TRUE(dropped(large_));
  EXPECT_FALSE(dropped(small_));
  online.release(third, steps_);
  steps_.clear();
  ASSERT_FALSE(online.restore(large_, steps_));
  EXPECT_EQ(count_runs(steps_), 1);
  EXPECT_FALSE(dropped(small_));
  online.release(large_, steps_);
  EXPECT_TRUE(dropped(small_));
}

TEST_F(Levers, AreNoneWhereNothingIsDiscarded) {
  Online online(graph_, 64 * kUnit, start());
  for (OpId op = 0; op < 3; ++op) ASSERT_FALSE(online.admit(op, steps_));
  online.release(small_, steps_);
  EXPECT_TRUE(dropped(small_));
}

TEST_F(Levers, AreMuchSmaller) {
  const BufferId second = add_buffer(graph_, 8);
  const BufferId third = add_buffer(graph_, 2);
  add_op(graph_, 1, {x_}, {second});
  add_op(graph_, 1, {x_}, {third});
  add_op(graph_, 1, {third}, {add_buffer(graph_, 6)});
  Online online(graph_, 18 * kUnit, start());
  for (OpId op = 0; op < 4; ++op) ASSERT_FALSE(online.admit(op, steps_));  // discards `first`
  online.release(second, steps_);
  for (OpId op = 4; op < 6; ++op) ASSERT_FALSE(online.admit(op, steps_));
  online.release(third, steps_);
  EXPECT_TRUE(dropped(third));
}

}  // namespace
}  // namespace tidemark::scheduler::testing
