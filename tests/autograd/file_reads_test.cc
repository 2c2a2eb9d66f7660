// Leaves that are read when they are needed: beside the ops that run meanwhile, whole, and once.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tidemark/tidemark.h"

namespace tidemark {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// What happens, in order.
class Log {
 public:
  void add(const std::string& what) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(what);
  }
  std::vector<std::string> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lines_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

// x plus the first element of a weight. Where there is a log, it takes long enough for others to do something.
struct AddFirst {
  static constexpr std::string_view name = "add_first";
  std::shared_ptr<Log> log;

  void describe(Attributes&) const {}
  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    Prepared out;
    out.outputs = {Meta::plain(in[0].shape)};
    out.input_layouts = {Layout{}, Layout{}};
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    out[0].as()[0] = in[0].as()[0] + in[1].as()[0];
    if (log == nullptr) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    log->add("used " + std::to_string(static_cast<int>(in[1].as()[0])));
  }
};

constexpr std::int64_t kElements = 1 << 18;
#ifdef __SANITIZE_THREAD__
constexpr int kThreads = 1;  // the sanitizer does not see how OpenMP's threads wait for each other
#else
constexpr int kThreads = 2;
#endif

using Read = std::function<void(std::int64_t first, std::int64_t count, std::byte* to)>;

// A weight whose elements are all `value`, and not in memory.
Tensor weight_of(float value, Read before, bool in_parts = false, std::int64_t elements = kElements) {
  const DeferredInit deferred;
  Tensor weight = zeros({elements});
  detail::set_reader(weight,
                     {.read =
                          [value, before](std::int64_t first, std::int64_t count, std::byte* to) {
                            if (before) before(first, count, to);
                            std::fill_n(reinterpret_cast<float*>(to), count / 4, value);
                          },
                      .seconds = 1e-3,
                      .in_parts = in_parts},
                     SourceLocation::current());
  return weight;
}

// A large weight, and four small ones for which there is room once it has been used.
TEST(FileReads, BeginWhileOpsRun) {
  const auto log = std::make_shared<Log>();
  Session session({.budget = 5 * 4 * kElements + 8192, .threads = 1});
  std::vector<Tensor> weights;
  for (int i = 0; i < 5; ++i) {
    weights.push_back(weight_of(
        static_cast<float>(i), [log, i](auto, auto, auto) { log->add("read " + std::to_string(i)); }, false,
        i == 0 ? 4 * kElements : kElements));
  }
  std::vector<std::string> last;
  for (int step = 0; step < 20; ++step) {
    const NoGrad no_grad;
    (void)log->take();
    Tensor x = full({1}, 0);
    for (const Tensor& weight : weights) x = apply(AddFirst{log}, {x, weight});
    EXPECT_EQ(x.item(), 10);
    last = log->take();
  }
  const auto place_of = [&](const char* what, int i) {
    return std::find(last.begin(), last.end(), what + std::to_string(i)) - last.begin();
  };
  int early = 0;
  for (int i = 1; i < 5; ++i) early += place_of("read ", i) < place_of("used ", i - 1) ? 1 : 0;
  EXPECT_GE(early, 2) << ::testing::PrintToString(last);
  EXPECT_LE(session.report().peak_bytes, *session.options().budget);
}

TEST(FileReads, PartsAreReadOnce) {
  for (const bool in_parts : {true, false}) {
    Session session({.threads = kThreads});
    std::mutex mutex;
    std::vector<std::pair<std::int64_t, std::int64_t>> calls;
    const Tensor weight = weight_of(
        3,
        [&](std::int64_t first, std::int64_t count, std::byte*) {
          const std::lock_guard lock(mutex);
          calls.emplace_back(first, count);
        },
        in_parts);
    const NoGrad no_grad;
    EXPECT_EQ(sum(weight).item(), 3 * kElements);
    std::sort(calls.begin(), calls.end());
    std::int64_t end = 0;
    for (const auto& [first, count] : calls) {
      EXPECT_EQ(first, end);
      end += count;
    }
    EXPECT_EQ(end, 4 * kElements);
    EXPECT_EQ(calls.size() > 1, in_parts);
  }
}

TEST(FileReads, AFailureIsSaidWhereItIsWantedAndTheNextStepReadsAgain) {
  for (const std::int64_t weights_in_memory : {2, 8}) {
    auto fails = std::make_shared<std::atomic<bool>>(false);
    Session session({.budget = weights_in_memory * 4 * kElements + 8192, .threads = kThreads});
    std::vector<Tensor> weights;
    for (int i = 0; i < 5; ++i) {
      weights.push_back(weight_of(
          static_cast<float>(i + 1),
          [fails](auto, auto, auto) {
            if (*fails) throw FileError("weights.safetensors: it is gone");
          },
          i % 2 == 0));
    }
    int failed = 0;
    for (int step = 0; step < 24; ++step) {
      const NoGrad no_grad;
      *fails = step % 3 == 2;
      try {
        Tensor x = full({1}, 0);
        for (const Tensor& weight : weights) x = apply(AddFirst{nullptr}, {x, weight});
        EXPECT_EQ(x.item(), 15);
      } catch (const FileError& error) {
        EXPECT_THAT(error.what(), AllOf(HasSubstr("it is gone"), HasSubstr("file_reads_test.cc")));
        EXPECT_TRUE(*fails);
        ++failed;
      }
    }
    // Where all weights have room, they are read once.
    EXPECT_EQ(failed, weights_in_memory == 2 ? 8 : 0) << weights_in_memory;
  }
}

TEST(FileReads, ASessionEndsInTheMiddleOfOne) {
  for (int round = 0; round < 20; ++round) {
    Session session({.threads = 1});
    const NoGrad no_grad;
    const Tensor slow =
        weight_of(1, [](auto, auto, auto) { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
    const Tensor x = apply(AddFirst{nullptr}, {full({1}, 0), slow});
  }
}

}  // namespace
}  // namespace tidemark
