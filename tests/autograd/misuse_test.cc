// What users may do wrong beyond shapes: nothing where a value is expected, calls from where none is possible, numbers
// that have no place, optimizer steps that fail half-way. Each is an Error that says what and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/autograd/support.h"
#include "tidemark/data.h"
#include "tidemark/nn.h"
#include "tidemark/op.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/session.h"

namespace tidemark::test {
namespace {

using namespace tidemark::literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class MisuseTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 1}};
};

TEST_F(MisuseTest, AnUndefinedOperandIsNamed) {
  const Tensor y = normal({4}, 0, 1);
  const Tensor w = parameter(normal({4}, 0, 1), "w");
  const nn::Linear layer({.in = 4, .out = 2, .bias = false});
  Tensor from = normal({4}, 0, 1);
  const Tensor to = std::move(from);
  const auto right = [](const char* operation) { return std::string("[") + operation + "] the right operand"; };
  const std::string line = next_line();
  EXPECT_THAT(error_of([&] { (void)(y * Tensor()); }), AllOf(HasSubstr(right("*")), HasSubstr(line)));
  EXPECT_THAT(error_of([&] { (void)(Tensor() - y); }), HasSubstr("[-] the left operand"));
  EXPECT_THAT(error_of([&] { (void)(Tensor() / 2.0f); }), HasSubstr("[/] the left operand"));
  EXPECT_THAT(error_of([&] { (void)(2.0f - Tensor()); }), HasSubstr(right("-")));
  EXPECT_THAT(error_of([&] { (void)(-Tensor()); }), HasSubstr("undefined"));
  EXPECT_THAT(error_of([&] { (void)(y + from); }), HasSubstr(right("+")));  // NOLINT: moved from on purpose
  EXPECT_THAT(error_of([&] { (void)(w * w.grad()); }), HasSubstr(right("*")));
  EXPECT_THAT(error_of([&] { (void)(y + layer.bias); }), HasSubstr(right("+")));
  EXPECT_THAT(error_of([&] { (void)matmul(y, Tensor()); }), HasSubstr("[matmul] input 1 is an undefined tensor"));
}

TEST_F(MisuseTest, NothingWhereSomethingIsExpected) {
  const Tensor y = normal({4}, 0, 1);
  const std::vector<Tensor> inputs = {y};
  EXPECT_THAT(error_of([&] { (void)apply_all(nullptr, inputs, SourceLocation::current()); }), HasSubstr("null"));
  EXPECT_THAT(error_of([&] { (void)apply_one(nullptr, inputs, SourceLocation::current()); }), HasSubstr("null"));
  EXPECT_THAT(error_of([&] { (void)nn::Sequential()(y); }), HasSubstr("no layer"));
  EXPECT_THAT(error_of([&] { (void)smallest_budget({}, nullptr); }), HasSubstr("no program"));
}

TEST_F(MisuseTest, NumbersAreConvertedOrRefused) {
  Tensor w = zeros({3});
  const std::vector<double> doubles = {0.5, -2, 1e10};
  w.assign(std::span<const double>(doubles));
  EXPECT_EQ(w.to_vector<double>(), doubles);
  EXPECT_THAT(error_of([&] { (void)w.to_vector<int>(); }), AllOf(HasSubstr("element 0 is 0.5"), HasSubstr("int32_t")));
  const std::vector<std::int64_t> whole = {3, -2, 1LL << 31};
  w.assign(std::span<const std::int64_t>(whole));
  EXPECT_EQ(w.to_vector<std::int64_t>(), whole);
  EXPECT_THAT(error_of([&] { (void)w.to_vector<std::uint8_t>(); }), HasSubstr("element 1 is -2"));
  EXPECT_THAT(error_of([&] { (void)w.to_vector<int>(); }), HasSubstr("element 2"));

  Tensor i = tensor({7, 8}, {2});
  for (const float bad : {2.5f, kNan, 2147483648.0f, -2147483904.0f}) {
    const std::vector<float> floats = {1, bad};
    EXPECT_THAT(error_of([&] { i.assign(std::span<const float>(floats)); }), HasSubstr("element 1 is"));
    EXPECT_EQ(i.to_vector<int>(), (std::vector<int>{7, 8})) << "nothing is written";
  }
  EXPECT_EQ(i.to_vector<float>(), (std::vector<float>{7, 8}));
  EXPECT_THAT(error_of([&] { (void)i.item<int>(); }), HasSubstr("2 elements, not 1"));
}

TEST_F(MisuseTest, NumbersAreRoundedOnce) {
  Tensor half = state({3}, f16, Category::kBatch, "half");
  const double tie = 1 + 0x1p-11;
  half.assign<double>(std::vector<double>{tie + 1e-12, tie - 1e-12, -tie - 1e-12});
  EXPECT_EQ(half.to_vector<double>(), (std::vector<double>{1 + 0x1p-10, 1, -1 - 0x1p-10}));
}

TEST_F(MisuseTest, RangesThatAreNone) {
  EXPECT_THAT(error_of([] { (void)uniform({3}, 1, 0); }), HasSubstr("[uniform]"));
  EXPECT_THAT(error_of([] { (void)uniform({3}, kNan, 1); }), HasSubstr("[uniform]"));
  EXPECT_THAT(error_of([] { (void)normal({3}, 0, -1); }), HasSubstr("[normal]"));
  EXPECT_THAT(error_of([] { (void)normal({3}, kNan, 1); }), HasSubstr("[normal]"));
  EXPECT_THAT(error_of([&] { session_.set_step(-5); }), HasSubstr("-5"));
  EXPECT_THAT(error_of([&] { session_.set_step((std::int64_t{1} << 31) + 1); }), HasSubstr("0 to 2^31"));
}

// An op whose kernel calls the library.
struct Meddler {
  static constexpr std::string_view name = "meddler";
  std::shared_ptr<std::function<void()>> call;
  bool in_prepare = false;

  void describe(Attributes& attributes) const { attributes("in_prepare", in_prepare); }
  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    if (in_prepare) (*call)();
    Prepared prepared;
    prepared.outputs = {in[0]};
    return prepared;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    (*call)();
    std::copy_n(in[0].as(), in[0].numel(), out[0].as());
  }
};

// A child has none of the threads, and nothing there waits for them.
TEST(MisuseOfThreadsTest, AForkedChildMayLetItsLoadersGo) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    int code = 1;
    {
      const Session session({.threads = 1});
      data::Loader loader = data::synthetic(data::SyntheticImagesOptions{.count = 64, .image = 8}, {.batch = 4});
      data::Loader::Iterator batch = loader.begin();
      ++batch;
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        alarm(20);  // its own: a fork does not inherit one
        code = 0;
      }
      if (grandchild > 0) waitpid(grandchild, &code, 0);
    }  // here in both of them
    _exit(code);
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// What oneDNN would count in 32 bits is refused before it is asked.
TEST(MisuseOfSizesTest, ImagesBeyondTheKernels) {
  const Session session({.threads = 1, .dry_run = true});
  const auto large = HasSubstr("is too large for the kernels of convolution and batch norm");
  const auto convolve = [](const Shape& image, const Shape& weight) {
    return error_of([&] { (void)conv2d(zeros(image), zeros(weight), Tensor(), {.padding = {1, 1}}); });
  };
  const std::int64_t k32 = std::int64_t{1} << 32;
  EXPECT_THAT(convolve({1, 1, 1, k32}, {1, 1, 3, 3}), AllOf(HasSubstr("[conv2d] input"), large));
  EXPECT_THAT(convolve({1, 1, 65536, 65536}, {1, 1, 3, 3}), AllOf(HasSubstr("[conv2d] input"), large));
  EXPECT_THAT(convolve({k32, 1, 4, 4}, {1, 1, 3, 3}), large);
  EXPECT_THAT(convolve({1 << 25, 1, 255, 144}, {1, 1, 1, 1}), large);  // a division by zero, in oneDNN 2.6
  EXPECT_THAT(convolve({1, 4, 8192, 8192}, {4096, 4, 3, 3}), AllOf(HasSubstr("[conv2d] output"), large));
  EXPECT_EQ(convolve({64, 3, 1024, 1024}, {64, 3, 3, 3}), "");
  const Tensor c = zeros({2});
  EXPECT_THAT(error_of([&] {
                (void)batch_norm(zeros({1, 2, 32768, 32768}), c, c, zeros({2}), zeros({2}));
              }),
              AllOf(HasSubstr("[batch_norm] input"), large));
}

TEST_F(MisuseTest, CallsFromInsideAnOpAreRefusedByName) {
  const Tensor x = normal({4}, 0, 1);
  Tensor held = parameter(normal({1}, 0, 1), "held");
  const std::vector<std::function<void()>> calls = {[&] { (void)relu(x); },
                                                    [&] { sum(held).backward(); },
                                                    [&] { (void)held.item(); },
                                                    [&] { (void)zeros({3}); },
                                                    [&] { held.zero_grad(); },
                                                    [&] { session_.set_step(3); },
                                                    [&] { (void)state({2}, f32, Category::kBatch, "s"); }};
  for (const auto& call : calls) {
    const auto shared = std::make_shared<std::function<void()>>(call);
    EXPECT_THAT(error_of([&] { (void)apply(Meddler{shared}, {x}); }), HasSubstr("inside the kernel of meddler"));
  }
  const auto relu_of_x = std::make_shared<std::function<void()>>([&] { (void)relu(x); });
  EXPECT_THAT(error_of([&] { (void)apply(Meddler{relu_of_x, true}, {x}); }), HasSubstr("inside an op's prepare"));
  // The last handle may go: its bytes are taken back when the op is over.
  const auto drop = std::make_shared<std::function<void()>>([&] { held = Tensor(); });
  EXPECT_EQ(apply(Meddler{drop}, {x}).to_vector(), x.to_vector());
}

TEST(MisuseOfThreadsTest, ASessionMayEndOnAnotherThread) {
  const Session outer({.threads = 1});
  auto inner = std::make_unique<Session>(SessionOptions{.threads = 1});
  EXPECT_EQ(&Session::current(), inner.get());
  std::thread([&] { inner.reset(); }).join();
  EXPECT_EQ(&Session::current(), &outer);
  std::string report, step;
  std::thread([&] {
    report = error_of([&] { (void)outer.report(); });
    step = error_of([&] { (void)outer.graph(); });
  }).join();
  EXPECT_THAT(report, HasSubstr("[report] a session is used by the thread that made it"));
  EXPECT_THAT(step, HasSubstr("[graph]"));
}

TEST(MisuseOfThreadsTest, AForkedChildGetsAnError) {
  const Session session({.threads = 1});
  const Tensor x = normal({4}, 0, 1);
  const pid_t child = fork();
  if (child == 0) {
    const std::string text = error_of([&] { (void)relu(x); });
    _exit(text.find("forked") != std::string::npos ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(MisuseOfThreadsTest, ATeamThatIsNotWholeIsRefused) {
  std::string text;
#pragma omp parallel num_threads(2)
  {
#pragma omp single
    text = error_of([] { const Session session({.threads = 2}); });
  }
  EXPECT_THAT(text, AllOf(HasSubstr("1 of the 2 threads"), HasSubstr("inside another parallel region")));
  Session session({.threads = 2});
  const Tensor x = normal({64}, 0, 1);
  const int levels = omp_get_max_active_levels();
  omp_set_max_active_levels(0);
  EXPECT_THAT(error_of([&] { (void)relu(x); }), HasSubstr("OMP_MAX_ACTIVE_LEVELS is 0"));
  omp_set_max_active_levels(levels);
  EXPECT_EQ(relu(x).numel(), 64);
}

// An update whose kernel throws for one of the parameters.
struct FaultyUpdate {
  static constexpr std::string_view name = "faulty_update";
  bool throws = false;
  bool refuses = false;

  void describe(Attributes& attributes) const { attributes("refuses", refuses); }
  Prepared prepare(Prep& prep, std::span<const Meta>, Needs) const {
    prep.require(!refuses, "it refuses");
    Prepared prepared;
    prepared.updates = {0};
    return prepared;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const {
    if (throws) throw std::runtime_error("no more");
    for (std::int64_t i = 0; i < in[0].numel(); ++i) in[0].as()[i] -= in[1].as()[i];
  }
};

class FaultyOptimizer : public optim::Optimizer {
 public:
  FaultyOptimizer(const std::vector<Parameter>& parameters, bool refuses)
      : Optimizer({.kind = "Faulty", .defaults = {.lr = 0.1f}}, parameters, SourceLocation::current()),
        refuses_(refuses) {}

 private:
  std::shared_ptr<const AnyOp> update(std::uint64_t slot) const override {
    return any_op(FaultyUpdate{.throws = slot == 1 && !refuses_, .refuses = slot == 1 && refuses_});
  }
  bool refuses_;
};

TEST(UpdatesTest, AStepThatIsRefusedChangesNothing) {
  Session session({.threads = 1});
  const Tensor a = parameter(normal({8}, 0, 1), "a"), b = parameter(normal({8}, 0, 1), "b");
  FaultyOptimizer optimizer({Parameter(a, "a"), Parameter(b, "b")}, true);
  const std::vector<float> before = a.to_vector();
  sum(a * b).backward();
  EXPECT_THAT(error_of([&] { optimizer.step(); }), HasSubstr("it refuses"));
  EXPECT_TRUE(same_bits(a.to_vector(), before));
  EXPECT_EQ(optimizer.steps(), 0);
  EXPECT_EQ(optimizer.step_counts(), (std::vector<std::int64_t>{0, 0}));
  EXPECT_EQ(session.step(), 0);
  EXPECT_EQ(sum(a).numel(), 1) << "the session goes on";
}

TEST(UpdatesTest, AnUpdateThatThrowsEndsTheSessionAndNamesWhatHasChanged) {
  Session session({.threads = 1});
  const Tensor a = parameter(normal({8}, 0, 1), "a"), b = parameter(normal({8}, 0, 1), "b");
  FaultyOptimizer optimizer({Parameter(a, "a"), Parameter(b, "b")}, false);
  sum(a * b).backward();
  const std::string text = error_of([&] { optimizer.step(); });
  EXPECT_THAT(text, AllOf(HasSubstr("no more"), HasSubstr("Changed by then: a"), HasSubstr("perhaps in part: b")));
  EXPECT_THAT(error_of([&] { (void)sum(a); }), HasSubstr("the session has ended"));
  EXPECT_THAT(error_of([&] { (void)a.to_vector(); }), HasSubstr("the session has ended"));
}

TEST(UpdatesTest, ARefusedGradientLeavesRunningStatisticsAsTheyWere) {
  const Session session({.threads = 1});
  nn::BatchNorm2d norm({.features = 2});
  optim::SGD optimizer(norm.parameters(), {.lr = 0.1f});
  const std::vector<float> before = norm.running_mean.to_vector();
  const Tensor x = normal({4, 2, 3, 3}, 1, 1);
  (void)norm(x);
  sum(norm(x) * std::numeric_limits<float>::infinity()).backward();
  EXPECT_FALSE(same_bits(norm.running_mean.to_vector(), before));
  EXPECT_THAT(error_of([&] { optimizer.step(); }), HasSubstr("not finite"));
  EXPECT_TRUE(same_bits(norm.running_mean.to_vector(), before));
}

}  // namespace
}  // namespace tidemark::test
