// Schedules against PyTorch's values, to one unit of f32; resuming; options that are wrong.
#include "tidemark/schedule.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::optim {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr double kBase = 0.1;

// Within one unit of f32.
void expect_one_unit(double actual, double expected, const std::string& what) {
  const auto wanted = static_cast<float>(expected);
  const float unit = std::nextafter(std::abs(wanted), std::numeric_limits<float>::infinity()) - std::abs(wanted);
  EXPECT_NEAR(static_cast<double>(static_cast<float>(actual)), static_cast<double>(wanted), static_cast<double>(unit))
      << what;
}

void expect_rates(const Schedule& schedule, const std::vector<double>& expected, const char* name) {
  for (std::size_t t = 0; t < expected.size(); ++t) {
    expect_one_unit(schedule.lr(kBase, static_cast<std::int64_t>(t)), expected[t],
                    std::string(name) + " " + std::to_string(t));
  }
}

// From torch.optim.lr_scheduler of PyTorch 1.13, rates before each step, in f64.
TEST(Schedules, GiveTheRatesOfPyTorch) {
  expect_rates(StepLR{.step_size = 4, .gamma = 0.5},
               {0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025}, "step");
  expect_rates(MultiStepLR{.milestones = {3, 7, 8}, .gamma = 0.5},
               {0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.025, 0.0125, 0.0125}, "multi-step");
  expect_rates(ExponentialLR{.gamma = 0.9}, {0.1, 0.09, 0.081, 0.0729, 0.06561, 0.059049, 0.0531441, 0.04782969},
               "exponential");
  expect_rates(ConstantLR{.factor = 0.25, .total_iters = 4}, {0.025, 0.025, 0.025, 0.025, 0.1, 0.1}, "constant");
  expect_rates(LinearLR{.start_factor = 0.25, .end_factor = 0.75, .total_iters = 6},
               {0.025, 0.033333333333333333, 0.041666666666666664, 0.05, 0.058333333333333334, 0.066666666666666666,
                0.075, 0.075, 0.075},
               "linear");
  expect_rates(PolynomialLR{.total_iters = 8, .power = 2},
               {0.1, 0.0765625, 0.05625, 0.0390625, 0.025, 0.0140625, 0.00625, 0.0015625, 0, 0}, "polynomial");
  expect_rates(CosineAnnealingLR{.T_max = 8, .eta_min = 0.01},
               {0.1, 0.096574578963007904, 0.08681980515339463, 0.072220754456429045, 0.055, 0.037779245543570962,
                0.023180194846605363, 0.013425421036992097, 0.01, 0.013425421036992097, 0.02318019484660537},
               "cosine");
  expect_rates(CosineAnnealingWarmRestarts{.T_0 = 3, .T_mult = 2, .eta_min = 0.01},
               {0.1, 0.0775, 0.0325, 0.1, 0.093971143170299753, 0.0775, 0.055, 0.0325, 0.016028856829700261, 0.1,
                0.098466662183008077, 0.093971143170299753},
               "warm restarts");
  expect_rates(CosineAnnealingWarmRestarts{.T_0 = 3, .eta_min = 0.01}, {0.1, 0.0775, 0.0325, 0.1, 0.0775, 0.0325, 0.1},
               "warm restarts of one length");
  expect_rates(LambdaLR{[](std::int64_t t) { return 1 / (1 + static_cast<double>(t)); }},
               {0.1, 0.05, 0.033333333333333333, 0.025, 0.02}, "lambda");
  expect_rates(ChainedScheduler{{ConstantLR{.factor = 0.5, .total_iters = 4}, ExponentialLR{.gamma = 0.9}}},
               {0.05, 0.045, 0.0405, 0.03645, 0.06561, 0.059049, 0.0531441}, "chained");
  expect_rates(SequentialLR{{ConstantLR{.factor = 0.1, .total_iters = 2}, ExponentialLR{.gamma = 0.9}}, {3}},
               {0.01, 0.01, 0.1, 0.1, 0.09, 0.081, 0.0729}, "sequential");
}

TEST(Schedules, OneCycleGivesTheRatesAndMomentaOfPyTorch) {
  const auto check = [](const OneCycleLR& cycle, const std::vector<double>& rates, const std::vector<double>& momenta) {
    const Schedule schedule = cycle;
    expect_rates(schedule, rates, "one-cycle");
    for (std::size_t t = 0; t < momenta.size(); ++t) {
      const auto momentum = schedule.momentum(static_cast<std::int64_t>(t));
      ASSERT_TRUE(momentum.has_value());
      expect_one_unit(momentum.value_or(0), momenta[t], "momentum " + std::to_string(t));
    }
  };
  check({.max_lr = 0.5, .total_steps = 13},
        {0.02, 0.14758197423205038, 0.39468489568697174, 0.4998510357336271, 0.48218913127508545, 0.43712793853202708,
         0.36998488955246867, 0.28868317896823553, 0.2028167898743663, 0.12251835883507048, 0.057263477254429894,
         0.014752527157061277},
        {0.95, 0.92342042203498953, 0.87194064673188088, 0.85002979297244641, 0.85356218799373484, 0.86257446259144488,
         0.8760031261020107, 0.89226353326048591, 0.90943687977264576, 0.92549663021950679});
  check({.max_lr = 0.5, .total_steps = 13, .anneal_strategy = OneCycleLR::Anneal::kLinear},
        {0.02, 0.18551724137931033, 0.3510344827586207, 0.49450551648351648, 0.43956068131868131, 0.38461584615384614,
         0.32967101098901097, 0.27472617582417586, 0.21978134065934063, 0.16483650549450551, 0.10989167032967034},
        {0.95, 0.91551724137931034, 0.88103448275862062, 0.85109890109890107, 0.86208791208791202});
  check({.max_lr = 0.5, .total_steps = 13, .three_phase = true},
        {0.02, 0.14758197423205038, 0.39468489568697174, 0.49859310971704629, 0.34883315728157943, 0.10462729165236138,
         0.019948698364595559, 0.018207813648631558, 0.014404501121424789, 0.009494558960781713, 0.0047118888607407027,
         0.0012584081851703239},
        {0.95, 0.92342042203498953, 0.87194064673188088, 0.85029310214228204, 0.88149309223300421, 0.93236931423909131,
         0.95, 0.95, 0.95});
  const Schedule cycle = OneCycleLR{.max_lr = 0.5, .total_steps = 13};
  EXPECT_NEAR(cycle.lr(kBase, 12), 0.5 / 25 / 1e4, 1e-18);
  EXPECT_EQ(cycle.lr(kBase, 12), cycle.lr(kBase, 1000));
  EXPECT_FALSE(Schedule(OneCycleLR{.max_lr = 1, .total_steps = 2, .cycle_momentum = false}).momentum(0).has_value());
}

TEST(Schedules, PlateauGivesTheRatesOfPyTorch) {
  const double metrics[] = {5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 2.9999, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto rates = [&](const PlateauOptions& options) {
    ReduceLROnPlateau plateau(options);
    std::vector<double> all;
    double lr = kBase;
    for (const double metric : metrics) all.push_back(lr = plateau.lr(lr, metric));
    return all;
  };
  const std::vector<double> first = {0.1,   0.1,    0.1,    0.1,    0.05,   0.05,   0.05,   0.05,    0.025,   0.025,
                                     0.025, 0.0125, 0.0125, 0.0125, 0.0125, 0.0125, 0.0125, 0.00625, 0.00625, 0.00625};
  const std::vector<double> actual = rates({.factor = 0.5, .patience = 2});
  for (std::size_t t = 0; t < first.size(); ++t) expect_one_unit(actual[t], first[t], "plateau " + std::to_string(t));
  const std::vector<double> second = rates({.patience = 1,
                                            .threshold = 0.5,
                                            .threshold_mode = PlateauOptions::Threshold::kAbsolute,
                                            .cooldown = 2,
                                            .min_lr = 0.003});
  for (std::size_t t = 0; t < second.size(); ++t) {
    expect_one_unit(second[t], t < 3 ? 0.1 : t < 7 ? 0.01 : 0.003, "plateau with a cooldown " + std::to_string(t));
  }
}

// Parameters whose gradient is 1, so that a step shows the rate.
struct Problem {
  Problem() : session({.threads = 1}), w(parameter(full({1}, 0), "w"), "w") {}
  float moved(Optimizer& optimizer) {
    const float before = w.item();
    sum(w).backward();
    optimizer.step();
    optimizer.zero_grad();
    return before - w.item();
  }
  Session session;
  Parameter w;
};

TEST(Schedulers, MoveTheRateFromStepToStepWithoutANewPlan) {
  Problem problem;
  SGD optimizer({problem.w}, {.lr = 1});
  Scheduler scheduler(optimizer, ExponentialLR{.gamma = 0.5});
  float expected = 1;
  std::int64_t plans = 0;
  for (int t = 0; t < 8; ++t) {
    EXPECT_NEAR(problem.moved(optimizer), expected, 1e-6) << t;
    expected /= 2;
    scheduler.step();
    if (t == 2) plans = problem.session.report().plans;
  }
  EXPECT_EQ(problem.session.report().plans, plans);
  EXPECT_EQ(scheduler.steps(), 8);
}

TEST(Schedulers, AStepThatThrowsChangesNothing) {
  const Session session({.threads = 1});
  const std::vector<Parameter> parameters = {{parameter(full({4}, 1), "w"), "w"}};
  SGD optimizer(parameters, {.lr = 0.1f});
  Scheduler scheduler(optimizer, LambdaLR{.lr_lambda = [](std::int64_t t) { return t == 2 ? -1.0 : 1.0; }});
  scheduler.step();
  EXPECT_THROW(scheduler.step(), Error);
  EXPECT_EQ(scheduler.steps(), 1);
  EXPECT_EQ(optimizer.lr(), 0.1f);
  EXPECT_THROW(scheduler.load(std::vector<double>{0.2, 2}), Error);
  EXPECT_EQ(scheduler.steps(), 1);
}

TEST(Schedulers, MoveTheMomentumAsWell) {
  Problem problem;
  const OneCycleLR cycle{.max_lr = 0.5, .total_steps = 13};
  SGD sgd({problem.w}, {.lr = 0.1f, .momentum = 0.9f});
  Scheduler moves(sgd, cycle);
  EXPECT_FLOAT_EQ(sgd.settings().momentum, 0.95f);
  moves.step();
  EXPECT_FLOAT_EQ(sgd.settings().momentum, 0.92342042f);
  AdamW adamw({problem.w});
  const Scheduler moves_beta(adamw, cycle);
  EXPECT_FLOAT_EQ(adamw.settings().beta1, 0.95f);
  EXPECT_FLOAT_EQ(adamw.lr(), 0.02f);
  SGD plain({problem.w}, {.lr = 0.1f});
  EXPECT_THAT([&] { Scheduler(plain, cycle); },
              ThrowsMessage<Error>(HasSubstr("[SGD] it was made without momentum, so it has no state for one (at "
                                             "schedule_test.cc:")));
}

TEST(Schedulers, GoOnFromASavedState) {
  Problem problem;
  SGD optimizer({problem.w}, {.lr = 0.1f});
  const Schedule schedule = CosineAnnealingLR{.T_max = 10};
  Scheduler whole(optimizer, schedule);
  for (int t = 0; t < 4; ++t) whole.step();
  const std::vector<double> saved = whole.state();
  for (int t = 0; t < 3; ++t) whole.step();
  const float expected = optimizer.lr();
  SGD other({problem.w}, {.lr = 0.7f});
  Scheduler resumed(other, schedule);
  resumed.load(saved);
  for (int t = 0; t < 3; ++t) resumed.step();
  EXPECT_EQ(other.lr(), expected);
  EXPECT_THAT(
      [&] { resumed.load(std::vector<double>{1}); },
      ThrowsMessage<Error>(HasSubstr("[Scheduler] the saved state has 1 numbers, not 2 (at schedule_test.cc:")));
  EXPECT_THAT([&] { resumed.load(std::vector<double>{1, 0.5}); }, ThrowsMessage<Error>(HasSubstr("a count")));

  ReduceLROnPlateau plateau({.patience = 1});
  for (const double metric : {3.0, 2.0, 2.0}) (void)plateau.lr(1, metric);
  ReduceLROnPlateau again({.patience = 1});
  again.load(plateau.state());
  EXPECT_EQ(again.best(), 2);
  EXPECT_EQ(again.lr(1, 2), 0.1);
}

TEST(Schedulers, PlateauMovesTheOptimizersRate) {
  Problem problem;
  SGD optimizer({problem.w}, {.lr = 1});
  ReduceLROnPlateau plateau({.mode = Mode::kMax, .patience = 0});
  plateau.step(optimizer, 0.5);
  EXPECT_EQ(optimizer.lr(), 1);
  plateau.step(optimizer, std::nan(""));
  EXPECT_FLOAT_EQ(optimizer.lr(), 0.1f);
}

TEST(EarlyStopping, WaitsForPatienceCallsWithoutAnImprovement) {
  EarlyStopping stopping({.patience = 2, .min_delta = 0.1});
  EXPECT_FALSE(stopping.step(1));
  EXPECT_TRUE(stopping.improved());
  EXPECT_FALSE(stopping.step(0.95));  // too little
  EXPECT_FALSE(stopping.improved());
  EXPECT_FALSE(stopping.step(0.5));
  EXPECT_FALSE(stopping.step(std::nan("")));
  EarlyStopping resumed({.patience = 2, .min_delta = 0.1});
  resumed.load(stopping.state());
  EXPECT_TRUE(resumed.step(0.45));
  EXPECT_TRUE(stopping.step(0.5));
  EXPECT_EQ(stopping.best(), 0.5);
  EarlyStopping rising({.patience = 1, .mode = Mode::kMax});
  EXPECT_FALSE(rising.step(0.1));
  EXPECT_FALSE(rising.step(0.2));
  EXPECT_TRUE(rising.step(0.2));
}

TEST(Schedules, RefuseOptionsThatAreWrong) {
  const SourceLocation where{"train.cc", 7};
  const auto expect = [&](const std::function<void()>& make, const std::string& text) {
    EXPECT_THAT(make, ThrowsMessage<Error>(text + " (at train.cc:7)"));
  };
  expect([&] { Schedule(StepLR{}, where); }, "[StepLR] step_size must be above 0");
  expect([&] { Schedule(StepLR{.step_size = 1, .gamma = -1}, where); }, "[StepLR] gamma must be 0 or more");
  expect([&] { Schedule(MultiStepLR{}, where); }, "[MultiStepLR] there are no milestones");
  expect(
      [&] {
        Schedule(MultiStepLR{.milestones = {3, 3}}, where);
      },
      "[MultiStepLR] milestones must be above 0 and rise");
  expect([&] { Schedule(ExponentialLR{.gamma = std::nan("")}, where); }, "[ExponentialLR] gamma must be 0 or more");
  expect([&] { Schedule(ConstantLR{.factor = 2}, where); }, "[ConstantLR] factor must be from 0 to 1");
  expect([&] { Schedule(LinearLR{.start_factor = -1}, where); }, "[LinearLR] start_factor must be from 0 to 1");
  expect([&] { Schedule(LinearLR{.end_factor = 2}, where); }, "[LinearLR] end_factor must be from 0 to 1");
  expect([&] { Schedule(PolynomialLR{.total_iters = 0}, where); }, "[PolynomialLR] total_iters must be above 0");
  expect([&] { Schedule(CosineAnnealingLR{}, where); }, "[CosineAnnealingLR] T_max must be above 0");
  expect([&] { Schedule(CosineAnnealingWarmRestarts{.T_0 = 1, .T_mult = 0}, where); },
         "[CosineAnnealingWarmRestarts] T_mult must be above 0");
  expect([&] { Schedule(OneCycleLR{.total_steps = 5}, where); }, "[OneCycleLR] max_lr must be above 0");
  expect([&] { Schedule(OneCycleLR{.max_lr = 1}, where); }, "[OneCycleLR] total_steps must be above 0");
  expect([&] { Schedule(OneCycleLR{.max_lr = 1, .total_steps = 5, .pct_start = 2}, where); },
         "[OneCycleLR] pct_start must be from 0 to 1");
  expect([&] { Schedule(LambdaLR{}, where); }, "[LambdaLR] there is no function");
  expect([&] { Schedule(ChainedScheduler{}, where); }, "[ChainedScheduler] there are no schedules");
  expect(
      [&] {
        Schedule(SequentialLR{{ExponentialLR{}}, {3}}, where);
      },
      "[SequentialLR] 1 schedules need one milestone less than that, not 1");
  expect([&] { ReduceLROnPlateau({.factor = 1}, where); }, "[ReduceLROnPlateau] factor must be from 0 to below 1");
  expect([&] { EarlyStopping({.patience = 0}, where); }, "[EarlyStopping] patience must be above 0");
}

}  // namespace
}  // namespace tidemark::optim
