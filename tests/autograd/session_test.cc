// Sessions: which one is current, what belongs to which, and dry runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "tests/autograd/support.h"
#include "tidemark/models.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

TEST(SessionTest, WithoutOneCallsSayWhatToMake) {
  EXPECT_THAT(error_of([] { (void)Session::current(); }), HasSubstr("td::Session session("));
  EXPECT_THAT(error_of([] { (void)zeros({2}); }), HasSubstr("td::Session session("));
  EXPECT_THAT(error_of([] { (void)state({2}, f32, Category::kOptimizer, "s"); }), HasSubstr("td::Session session("));
}

TEST(SessionTest, CurrentIsTheInnermostLivingOne) {
  const Session outer({.threads = 1, .seed = 1});
  EXPECT_EQ(&Session::current(), &outer);
  Tensor of_outer = normal({4}, 0, 1);
  {
    const Session inner({.threads = 1, .seed = 2});
    EXPECT_EQ(&Session::current(), &inner);
    EXPECT_EQ(&normal({4}, 0, 1).session(), &inner);
    // A handle knows its own session, whichever is current.
    EXPECT_EQ(&of_outer.session(), &outer);
    EXPECT_EQ(&mul(of_outer, of_outer).session(), &outer);
    EXPECT_EQ(mul(of_outer, of_outer).to_vector().size(), 4u);
  }
  EXPECT_EQ(&Session::current(), &outer);
}

TEST(SessionTest, EndsInAnyOrder) {
  auto first = std::make_unique<Session>(SessionOptions{.threads = 1});
  auto second = std::make_unique<Session>(SessionOptions{.threads = 1});
  auto third = std::make_unique<Session>(SessionOptions{.threads = 1});
  second.reset();
  EXPECT_EQ(&Session::current(), third.get());
  third.reset();
  EXPECT_EQ(&Session::current(), first.get());
  first.reset();
  EXPECT_THAT(error_of([] { (void)Session::current(); }), HasSubstr("no session"));
}

TEST(SessionTest, EachThreadHasItsOwn) {
  const Session session({.threads = 1});
  std::string elsewhere;
  std::thread([&] { elsewhere = error_of([] { (void)Session::current(); }); }).join();
  EXPECT_THAT(elsewhere, HasSubstr("no session on this thread"));
}

TEST(SessionTest, MixingTwoIsAnError) {
  Session one({.threads = 1});
  Tensor a = parameter(normal({4}, 0, 1), "a");
  const Tensor loss_a = sum(mul(a, a));
  Session two({.threads = 1});
  Tensor b = parameter(normal({4}, 0, 1), "b");
  const Tensor loss_b = sum(mul(b, b));
  const std::string line = next_line();
  const std::string message = error_of([&] { (void)add(a, b); });
  EXPECT_THAT(message, AllOf(HasSubstr("another session"), HasSubstr(line)));
  EXPECT_THAT(error_of([&] { backward({loss_a, loss_b}); }), HasSubstr("another session"));
  EXPECT_THAT(error_of([&] { optim::SGD optimizer({a, b}); }), HasSubstr("another session"));
  // Neither is the worse for it.
  loss_a.backward();
  loss_b.backward();
  EXPECT_TRUE(a.grad().defined() && b.grad().defined());
}

TEST(SessionTest, OptionsAreChecked) {
  EXPECT_THAT(error_of([] { Session session({.budget = 0}); }), HasSubstr("budget"));
  EXPECT_THAT(error_of([] { Session session({.budget = -1_MiB}); }), HasSubstr("budget"));
  EXPECT_THAT(error_of([] { Session session({.threads = -1}); }), HasSubstr("threads"));
  EXPECT_THAT(error_of([] { (void)Session::current(); }), HasSubstr("no session"));
}

TEST(SessionTest, SameSeedSameBits) {
  const auto draw = [](std::uint64_t seed) {
    const Session session({.threads = 1, .seed = seed});
    const Tensor x = normal({100}, 0, 1);
    std::vector<std::uint8_t> all = bits(x);
    for (const Tensor& more : {dropout(x, {.p = 0.5f}), dropout(x, {.p = 0.5f}), uniform({100}, -1, 1)}) {
      const std::vector<std::uint8_t> some = bits(more);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  };
  EXPECT_EQ(draw(3), draw(3));
  EXPECT_NE(draw(3), draw(4));
}

std::int64_t resident_bytes() {
  const Session session({.threads = 1});
  return session.report().rss_bytes;
}

TEST(DryRunTest, TakesNoMemoryAndRunsNoKernel) {
  const std::int64_t before = resident_bytes();
  Session session({.threads = 2, .dry_run = true});
  nn::Gpt gpt({.layers = 12, .width = 768, .heads = 12, .context = 1024, .vocabulary = 50304});
  optim::AdamW optimizer(gpt.parameters());
  const Tensor tokens = zeros({16, 1024}, i32);
  for (int step = 0; step < 2; ++step) {
    const Tensor logits = gpt(tokens);
    EXPECT_EQ(logits.shape(), Shape({16, 1024, 50304}));
    const Tensor loss = cross_entropy(logits, tokens);
    EXPECT_EQ(loss.item(), 0);
    loss.backward();
    EXPECT_THAT(gpt.parameters().back().grad().to_vector(), Each(0));
    optimizer.step();
    optimizer.zero_grad();
  }
  EXPECT_GT(session.report().peak_bytes, 10_GiB);
#ifndef __SANITIZE_ADDRESS__  // its shadow takes an eighth of what is placed
  EXPECT_LT(session.report().rss_bytes - before, 64_MiB);
#else
  EXPECT_GT(before, 0);
#endif
  EXPECT_EQ(session.report().steps, 2);
  const scheduler::Graph graph = session.graph();
  EXPECT_GT(graph.ops.size(), 300u);
}

TEST(DryRunTest, PlansWhatNoMachineHolds) {
  const Session session({.threads = 1, .dry_run = true});
  const Shape four_tebibytes = {1 << 20, 1 << 20};
  Tensor w = parameter(zeros(four_tebibytes), "w");
  const Tensor x = zeros(four_tebibytes);
  const Tensor loss = mean(relu(linear(x, w)));
  loss.backward();
  EXPECT_EQ(w.grad().shape(), four_tebibytes);
  EXPECT_GE(session.report().peak_bytes, 4 * 4096_GiB);
}

TEST(DryRunTest, KeepsToItsBudget) {
  const auto run = [](std::int64_t budget) {
    const Session session({.budget = budget, .threads = 2, .dry_run = true});
    Tensor w = parameter(zeros({512, 512}), "w");
    Tensor y = zeros({512, 512});
    for (int i = 0; i < 8; ++i) y = gelu(linear(y, w));
    mean(y).backward();
    return session.report();
  };
  EXPECT_EQ(run(64_MiB).recomputed_ops, 0);
  const Report limited = run(10_MiB);
  EXPECT_GT(limited.recomputed_ops, 0);
  EXPECT_LE(limited.peak_bytes, 10_MiB);
  EXPECT_THAT(error_of([&] { (void)run(3_MiB); }), HasSubstr("3.0 MiB cannot hold"));
  EXPECT_THAT(error_of([&] { (void)run(512_KiB); }), HasSubstr("512.0 KiB cannot hold a leaf"));
}

}  // namespace
}  // namespace tidemark::test
