// What a dry run foretells is what the run takes; costs come from rates or from measured spans.
#include "tidemark/dry_run.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/autograd/support.h"
#include "tests/report/program.h"

namespace tidemark::test {
namespace {

TEST(DryRun, ForetellsTheRun) {
  const auto program = [] {
    Chain chain;
    for (int i = 0; i < 2; ++i) chain.step();
  };
  const DryRun run = dry_run({.threads = 2}, program);
  Report report;
  {
    Session session({.threads = 2});
    program();
    report = session.report();
  }
  EXPECT_EQ(run.peak, report.peak_bytes);
  const auto most = [&](Category category) { return report.most_by_category[static_cast<int>(category)]; };
  EXPECT_EQ(run.parameters, most(Category::kParameters));
  EXPECT_EQ(run.gradients, most(Category::kGradients));
  EXPECT_EQ(run.optimizer, most(Category::kOptimizer));
  EXPECT_EQ(run.batches, 2048 * 128 * 4);  // the input
  EXPECT_EQ(run.activations, report.peak_by_category[static_cast<int>(Category::kActivations)]);
  const std::int64_t weights = Chain::kLayers * (128 * 128 + 128) * 4;
  EXPECT_EQ(run.parameters, weights);
  EXPECT_EQ(run.gradients, weights);
  // The smallest budget runs, and costs what it says.
  Session session({.budget = run.smallest, .threads = 2});
  Chain chain;
  for (int i = 0; i < 4; ++i) chain.step();
  EXPECT_LE(session.report().peak_bytes, run.smallest);
  ASSERT_EQ(run.offers.size(), 10u);
  EXPECT_EQ(run.offers.front().budget, run.smallest);
  EXPECT_EQ(run.offers.back().cost, 0);
  for (std::size_t i = 1; i < run.offers.size(); ++i) {
    EXPECT_GT(run.offers[i].budget, run.offers[i - 1].budget);
    EXPECT_LE(run.offers[i].cost, run.offers[i - 1].cost);
  }
  EXPECT_NE(run.text().find("peak without a budget"), std::string::npos);
}

TEST(DryRun, OfASessionHasItsOptions) {
  Session session({.budget = 1_MiB, .threads = 1});
  const DryRun run = session.dry_run([] { Chain().step(); });
  EXPECT_GT(run.peak, 1_MiB);
  EXPECT_EQ(session.report().peak_bytes, 0);
  EXPECT_EQ(&Session::current(), &session);
}

TEST(DryRun, OfAModelLargerThanTheMachine) {
  const DryRun run = dry_run({.threads = 2},
                             [] {
                               std::vector<nn::Linear> layers;
                               std::vector<Parameter> parameters;
                               for (int i = 0; i < 64; ++i) {
                                 layers.emplace_back(nn::LinearOptions{.in = 32768, .out = 32768, .bias = false});
                                 for (const Parameter& each : layers.back().parameters()) parameters.push_back(each);
                               }
                               optim::AdamW optimizer(parameters, {.lr = 1e-3f});
                               Tensor x = normal({8, 32768}, 0, 1);
                               for (const nn::Linear& layer : layers) x = relu(layer(x));
                               mean(x).backward();
                               optimizer.step();
                             },
                             {.plan = false});
  EXPECT_EQ(run.parameters, std::int64_t{64} * 32768 * 32768 * 4);
}

TEST(DryRun, RefusesWhatIsNone) {
  EXPECT_NE(error_of([] { (void)dry_run({}, {}); }).find("no program"), std::string::npos);
  EXPECT_NE(error_of([] { (void)dry_run({}, [] {}); }).find("ran no op"), std::string::npos);
  EXPECT_NE(error_of([] { (void)dry_run({}, [] { Chain().step(); }, {.offers = -1}); }).find("offers"),
            std::string::npos);
}

TEST(Costs, CalibratedRatesAreOfAMachine) {
  const Costs costs = Costs::calibrated(2);
  EXPECT_GT(1 / costs.seconds_per_flop, 1e8);
  EXPECT_LT(1 / costs.seconds_per_flop, 1e13);
  EXPECT_GT(1 / costs.seconds_per_byte, 1e8);
  EXPECT_LT(1 / costs.seconds_per_byte, 1e13);
  EXPECT_GT(costs.seconds_per_call, 0);
  EXPECT_LT(costs.seconds_per_call, 1);
  EXPECT_THROW((void)Costs::calibrated(-1), Error);
}

TEST(Costs, MeasuredAreMediansBySignature) {
  Timeline timeline;
  timeline.labels = {{"op", ""}};
  const auto span = [&](std::uint64_t signature, double seconds) {
    timeline.spans.push_back({Timeline::Track::kForward, 0, 1, 1 + seconds, 0, signature});
  };
  for (const double seconds : {3.0, 1.0, 2.0}) span(7, seconds);
  span(9, 5);
  span(0, 100);  // no op
  const Costs costs = Costs::measured_in(std::vector{timeline}, {.seconds_per_call = 0.5});
  EXPECT_EQ(costs.seconds_per_call, 0.5);
  EXPECT_EQ(costs.measured.size(), 2u);
  EXPECT_DOUBLE_EQ(costs.measured.at(7), 2);
  EXPECT_DOUBLE_EQ(costs.measured.at(9), 5);
}

TEST(Costs, PlansWeighWhatWasMeasured) {
  const ChainBytes bytes = bytes_of_chain();
  Costs costs;
  std::vector<float> losses;
  {
    Session session({.threads = 2});
    session.start_timeline();
    Chain chain;
    for (int i = 0; i < 4; ++i) losses.push_back(chain.step());
    costs = Costs::measured_in(std::vector{session.stop_timeline()}, {});
  }
  EXPECT_GT(costs.measured.size(), 50u);
  Session session({.budget = bytes.at(0.5), .threads = 2, .costs = costs});
  Chain chain;
  std::vector<float> with;
  for (int i = 0; i < 4; ++i) with.push_back(chain.step());
  EXPECT_TRUE(same_bits(losses, with));
  // The same ops are known again: their costs are those that were measured.
  std::size_t found = 0;
  for (const scheduler::Op& op : session.graph().ops) {
    for (const auto& [signature, seconds] : costs.measured) found += op.cost == seconds ? 1 : 0;
  }
  EXPECT_GT(found, session.graph().ops.size() / 2);
}

}  // namespace
}  // namespace tidemark::test
