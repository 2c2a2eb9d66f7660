// Every allocation of a training fails once: no crash, no hang, no wrong number afterwards, and a clear text. Each
// failure is tried in a process of its own. A session that can no longer be used says so, whatever it is asked; one
// that can be used trains to the same bits as if nothing had happened.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "tests/autograd/failing_allocator.h"
#include "tests/autograd/support.h"
#include "tidemark/data.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using Bits = std::vector<std::uint8_t>;

constexpr int kSteps = 2;

// A model, its optimizer and its data.
class Training {
 public:
  virtual ~Training() = default;
  virtual void train(const std::function<void()>& after_step) = 0;
  // Parameters and optimizer state.
  virtual std::vector<Tensor> trained() = 0;
};

template <class Net, class Optimizer>
std::vector<Tensor> trained_by(Net& net, const Optimizer& optimizer) {
  std::vector<Tensor> out;
  for (const Parameter& each : net.parameters()) out.push_back(each);
  for (const Parameter& each : optimizer.state()) out.push_back(each);
  return out;
}

struct Mlp : Training {
  nn::Sequential net{nn::Linear({.in = 6, .out = 8}), nn::ReLU(), nn::Linear({.in = 8, .out = 3})};
  optim::AdamW optimizer{net.parameters(), {.lr = 0.01f}};

  void train(const std::function<void()>& after_step) override {
    for (int step = 0; step < kSteps; ++step) {
      const Tensor x = normal({5, 6}, 0, 1);
      const Tensor loss = cross_entropy(net(x), tensor(std::vector<std::int32_t>{0, 1, 2, 0, 1}, {5}));
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      after_step();
    }
  }
  std::vector<Tensor> trained() override { return trained_by(net, optimizer); }
};

struct Cnn : Training {
  nn::Sequential net{nn::Conv2d({.in = 3, .out = 4, .kernel = 3, .padding = 1}),
                     nn::BatchNorm2d({.features = 4}),
                     nn::ReLU(),
                     nn::MaxPool2d({.kernel = 2}),
                     nn::Flatten(),
                     nn::Linear({.in = 64, .out = 3})};
  optim::SGD optimizer{net.parameters(), {.lr = 0.05f, .momentum = 0.9f}};
  data::Loader loader =
      data::synthetic(data::SyntheticImagesOptions{.count = 4 * kSteps, .image = 8, .classes = 3}, {.batch = 4});

  void train(const std::function<void()>& after_step) override {
    for (const auto& [x, y] : loader) {
      const Tensor loss = cross_entropy(net(x), y);
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      after_step();
    }
  }
  std::vector<Tensor> trained() override { return trained_by(net, optimizer); }
};

Bits bits_of(Training& training) {
  Bits all;
  for (const Tensor& each : training.trained()) {
    const Bits one = bits(each);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

struct Setting {
  const char* name;
  std::function<std::unique_ptr<Training>()> make;
  SessionOptions options;
};
void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

// What a process tells the test, in memory that both share.
enum class End { kCrashed, kUnharmed, kSurvived, kEnded, kWrong };
struct Told {
  End end = End::kCrashed;
  Refused refused;
  std::int64_t allocations = 0;
  char text[400] = "";
};

void tell(Told& told, End end, const char* text) {
  told.end = end;
  std::snprintf(told.text, sizeof told.text, "%s", text);
}

constexpr const char* kEndedText = "the session has ended";

// Parameters and state as they were before the first step and after each, in a run in which nothing fails.
std::vector<Bits> trained_in_peace(const Setting& setting) {
  std::vector<Bits> seen;
  const std::unique_ptr<Training> training = setting.make();
  seen.push_back(bits_of(*training));
  training->train([&] { seen.push_back(bits_of(*training)); });
  return seen;
}

// What an ended session says that is not the text which it should repeat, whatever it is asked. Reports may be given.
std::string other_answer(Session& session, Training* training) {
  const std::vector<std::function<void()>> calls = {
      [] { (void)zeros({2}); }, [&] { session.set_step(0); },
      [&] { (void)(training != nullptr ? bits_of(*training) : bits(zeros({2}))); }};
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::string answer = error_of(calls[i]);
    if (answer.find(kEndedText) == std::string::npos) return std::to_string(i) + ": '" + answer + "'";
  }
  for (const std::string& answer :
       {error_of([&] { (void)session.report(); }), error_of([&] { (void)session.graph(); })}) {
    if (!answer.empty() && answer.find(kEndedText) == std::string::npos) return "report: '" + answer + "'";
  }
  return "";
}

void fail_one(const Setting& setting, Refuse refuse, std::int64_t number, Told& told) {
  char text[sizeof told.text] = "";
  std::optional<Session> session;
  std::unique_ptr<Training> training;
  bool failed = false;
  watch_allocations(refuse, number);
  try {
    session.emplace(setting.options);
    training = setting.make();
    training->train([] {});
  } catch (const std::exception& error) {
    std::snprintf(text, sizeof text, "%s", error.what());
    failed = true;
  }
  told.allocations = end_of_watch();
  Bits last;
  if (!failed) {
    try {
      last = bits_of(*training);
    } catch (const Error& error) {  // the session ended in a destructor, which could not say so
      std::snprintf(text, sizeof text, "%s", error.what());
      failed = true;
    }
  }
  const bool ended = session && failed && !error_of([] { (void)zeros({2}); }).empty();
  if (ended) {
    const std::string answer = other_answer(*session, training.get());
    if (!answer.empty()) return tell(told, End::kWrong, ("an ended session answers: " + answer).c_str());
    // The program's own allocations say no more than this.
    const bool clear = std::strstr(text, kEndedText) != nullptr || std::strcmp(text, std::bad_alloc().what()) == 0;
    if (!clear) return tell(told, End::kWrong, text);
  }
  const Bits between = training && failed && !ended ? bits_of(*training) : Bits();
  training.reset();
  if (ended) session.reset();
  if (!session) session.emplace(setting.options);
  session->set_step(0);
  const std::vector<Bits> right = trained_in_peace(setting);
  if (!failed && last != right.back())
    return tell(told, End::kWrong, "other bits, and nobody said that anything failed");
  if (!between.empty() && std::find(right.begin(), right.end(), between) == right.end()) {
    return tell(told, End::kWrong, "a step that is done in part");
  }
  // After all of this a new session gives the same.
  session.reset();
  session.emplace(setting.options);
  if (trained_in_peace(setting) != right) return tell(told, End::kWrong, "other bits in the same session");
  tell(told, !failed ? End::kUnharmed : ended ? End::kEnded : End::kSurvived, text);
}

// In a process of its own. Returns a signal or exit code where it did not come to its end.
std::string run_apart(const Setting& setting, Refuse refuse, std::int64_t number, Told& told) {
  told = {};
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    (void)!std::freopen("/dev/null", "w", stderr);  // what glibc says of a crash
    note_refusals_at(&told.refused);
    try {
      fail_one(setting, refuse, number, told);
    } catch (const std::exception& error) {
      tell(told, End::kWrong, (std::string("afterwards: ") + error.what()).c_str());
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return std::string("signal ") + strsignal(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : "exit code " + std::to_string(WEXITSTATUS(status));
}

class Allocations : public testing::TestWithParam<Setting> {
 protected:
  static void SetUpTestSuite() {
    told_ = static_cast<Told*>(mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  }
  static void TearDownTestSuite() { munmap(told_, sizeof(Told)); }

  // About so many, spread over the run; with TIDEMARK_ALLOCATIONS=all every one, up to 20,000.
  void fail_each(Refuse refuse, std::int64_t about) {
    ASSERT_EQ(run_apart(GetParam(), Refuse::kNothing, 0, *told_), "");
    ASSERT_TRUE(told_->end == End::kUnharmed) << told_->text;
    const std::int64_t all = told_->allocations;
    ASSERT_GT(all, 100);
    const char* wish = std::getenv("TIDEMARK_ALLOCATIONS");
    if (wish != nullptr && std::string_view(wish) == "all") about = 20'000;
    const std::int64_t stride = std::max<std::int64_t>(1, all / about);
    std::map<std::string, int> counts;
    for (std::int64_t number = 1; number <= all; number += stride) {
      const std::string crash = run_apart(GetParam(), refuse, number, *told_);
      if (!crash.empty()) {
        ++counts[std::string("crashed in ") + told_->refused.library];
        EXPECT_STRNE(told_->refused.library, "") << "allocation " << number << ": " << crash;
        EXPECT_NE(crash, std::string("signal ") + strsignal(SIGALRM)) << "allocation " << number;
        continue;
      }
      EXPECT_TRUE(told_->end != End::kWrong)
          << "allocation " << number << " (" << told_->refused.library << "): " << told_->text;
      EXPECT_TRUE(told_->end != End::kCrashed) << "allocation " << number << ": no word from the process";
      if (told_->end == End::kUnharmed) ++counts["not noticed"];
      if (told_->end == End::kSurvived) ++counts["refused; the session went on"];
      if (told_->end == End::kEnded) ++counts["the session ended"];
    }
    std::printf("%s, %lld allocations:", GetParam().name, static_cast<long long>(all));
    for (const auto& [what, count] : counts) std::printf("  %s: %d", what.c_str(), count);
    std::printf("\n");
  }

  inline static Told* told_ = nullptr;
};

TEST_P(Allocations, FailOnce) { fail_each(Refuse::kOne, 120); }

// The memory is gone and does not come back until the session has ended.
TEST_P(Allocations, FailFromThereOn) { fail_each(Refuse::kThisAndLater, 60); }

template <class T>
std::unique_ptr<Training> make() {
  return std::make_unique<T>();
}

INSTANTIATE_TEST_SUITE_P(Trainings, Allocations,
                         testing::Values(Setting{"mlp", make<Mlp>, {.threads = 1}},
                                         Setting{"mlp_budget", make<Mlp>, {.budget = 8_KiB, .threads = 2}},
                                         Setting{"cnn", make<Cnn>, {.threads = 2}},
                                         Setting{"cnn_budget", make<Cnn>, {.budget = 64_KiB, .threads = 1}}),
                         [](const auto& setting) { return std::string(setting.param.name); });

}  // namespace
}  // namespace tidemark::test
