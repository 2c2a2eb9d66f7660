// Wrong calls and wrong declarations: each is refused before anything happens, and the message names what and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/autograd/support.h"
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

// The text of the ShapeError, and of no other, that the call throws.
template <class Call>
std::string shape_error_of(Call&& call) {
  try {
    call();
  } catch (const ShapeError& error) {
    return error.what();
  }
  return "";
}

class WrongCallsTest : public ::testing::TestWithParam<std::optional<std::int64_t>> {
 protected:
  Session session_{{.budget = GetParam(), .threads = 2}};
};

INSTANTIATE_TEST_SUITE_P(Budgets, WrongCallsTest, ::testing::Values(std::nullopt, 8_MiB),
                         [](const auto& test) { return test.param ? "Limited" : "Unlimited"; });

TEST_P(WrongCallsTest, ShapesBeyondTheLimit) {
  const std::int64_t kHuge = std::int64_t{1} << 32;
  for (const Shape& shape : {Shape{kHuge, kHuge}, Shape{std::int64_t{1} << 61}, Shape{std::int64_t{1} << 51},
                             Shape{kHuge, kHuge, kHuge, kHuge}, Shape{3, std::numeric_limits<std::int64_t>::max()}}) {
    const std::string line = next_line();
    EXPECT_THAT(shape_error_of([&] { (void)zeros(shape); }), AllOf(HasSubstr(shape.to_string()), HasSubstr(line)));
    EXPECT_NE(shape_error_of([&] { (void)full(shape, 1); }), "");
    EXPECT_NE(shape_error_of([&] { (void)normal(shape, 0, 1); }), "");
    EXPECT_NE(shape_error_of([&] { (void)uniform(shape, 0, 1); }), "");
    EXPECT_NE(shape_error_of([&] { (void)tensor(std::span<const float>(), shape); }), "");
    EXPECT_NE(shape_error_of([&] { (void)state(shape, f32, Category::kOptimizer, "s"); }), "");
  }
  EXPECT_EQ(zeros({0, 1 << 26, 1 << 26}).numel(), 0);
  EXPECT_NE(shape_error_of([&] { (void)zeros({0, kHuge, kHuge}); }), "") << "kernels multiply the last two";
  EXPECT_EQ(Shape({1 << 26, 1 << 26}).numel(), kMaxBytes);
  EXPECT_NE(shape_error_of([] { (void)Meta::plain({1 << 26, 1 << 26}); }), "") << "four bytes an element";
  const Tensor column = zeros({1 << 20, 1});
  EXPECT_NE(shape_error_of([&] { (void)reshape(column, {kHuge, kHuge, -1}); }), "");
}

TEST(WrongCallsDryRunTest, ResultsBeyondTheLimit) {
  const Session session({.threads = 1, .dry_run = true});
  const Tensor a = zeros({std::int64_t{1} << 27, 1});
  const Tensor b = zeros({1, std::int64_t{1} << 27});
  const std::string line = next_line();
  EXPECT_THAT(shape_error_of([&] { (void)add(a, b); }), AllOf(HasSubstr("[add] "), HasSubstr(line)));
  EXPECT_THAT(shape_error_of([&] { (void)matmul(a, b); }), HasSubstr("[matmul] "));
}

TEST_P(WrongCallsTest, NegativeShapes) {
  const std::string line = next_line();
  EXPECT_THAT(shape_error_of([] { (void)zeros({2, -3}); }), AllOf(HasSubstr("[2, -3]"), HasSubstr(line)));
  const std::string of_full = next_line();
  EXPECT_THAT(shape_error_of([] { (void)full({-1}, 2); }), AllOf(HasSubstr("[-1]"), HasSubstr(of_full)));
  const std::string of_tensor = next_line();
  EXPECT_THAT(shape_error_of([] {
                (void)tensor({1.0f}, {-1, -1});
              }),
              AllOf(HasSubstr("[-1, -1]"), HasSubstr(of_tensor)));
  const std::string of_state = next_line();
  EXPECT_THAT(shape_error_of([] { (void)state({-4}, f32, Category::kOptimizer, "s"); }), HasSubstr(of_state));
}

// A result that the machine's address range cannot hold is refused as one that a budget cannot.
TEST(HugeResultTest, IsRefusedWithoutABudget) {
  const Session session({.threads = 1});
  const Tensor column = zeros({1 << 22, 1});
  const Tensor row = zeros({1, 1 << 22});
  const std::string line = next_line();
  const auto huge = [&] { (void)add(column, row); };
  try {
    huge();
    ADD_FAILURE() << "64 TiB were found";
  } catch (const BudgetError& error) {
    EXPECT_THAT(error.what(), HasSubstr("add at " + line));
    EXPECT_GE(error.needed_bytes(), std::int64_t{1} << 46);
  }
  EXPECT_THROW((void)zeros({1 << 22, 1 << 22}), BudgetError);
  EXPECT_EQ(sum(column).item(), 0);
}

TEST_P(WrongCallsTest, UpdatesAreOfLeaves) {
  const Tensor x = normal({4, 8}, 0, 1);
  const Tensor gamma = full({8}, 1), beta = zeros({8});
  const Tensor mean = zeros({8}), variance = full({8}, 1);
  const std::vector<std::uint8_t> before = bits(mean);
  const Tensor computed = zeros({8}) + 1.0f;
  std::string line = next_line();
  std::string message = error_of([&] { (void)batch_norm(x, gamma, beta, mean, computed); });
  EXPECT_THAT(message, AllOf(HasSubstr("[batch_norm"), HasSubstr("leaf"), HasSubstr(line)));
  {
    const NoGrad guard;
    const Tensor settled = zeros({8}) + 1.0f;
    message = error_of([&] { (void)batch_norm(x, gamma, beta, settled, variance); });
    EXPECT_THAT(message, HasSubstr("leaf"));
  }
  line = next_line();
  message = error_of([&] { (void)batch_norm(x, gamma, beta, mean, mean); });
  EXPECT_THAT(message, AllOf(HasSubstr("[batch_norm"), HasSubstr("same tensor"), HasSubstr(line)));
  EXPECT_EQ(before, bits(mean));
  (void)batch_norm(x, gamma, beta, mean, variance);
  EXPECT_NE(before, bits(mean));
}

// y = x, and what `spoil` makes of its declaration.
struct Copy {
  static constexpr std::string_view name = "copy";
  int index = 0;  // tells signatures apart
  std::function<void(Prepared&)> spoil;

  void describe(Attributes& a) const { a("index", index); }
  Prepared prepare(Prep&, std::span<const Meta> in, Needs) const {
    const Meta plain = Meta::plain(in[0].shape);
    Prepared out;
    out.outputs = {plain};
    out.input_layouts = {Layout{}};
    Part part;
    part.inputs = {0};
    part.gx = {plain};
    part.gy = {{0, Layout{}}};
    out.parts = {part};
    if (spoil) spoil(out);
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf> out) const {
    std::copy_n(in[0].as(), in[0].numel(), out[0].as());
  }
  void backward(Ctx&, int, std::span<const Buf>, std::span<const Buf> gy, std::span<const Buf> gx) const {
    std::copy_n(gy[0].as(), gy[0].numel(), gx[0].as());
  }
};

TEST_P(WrongCallsTest, DeclarationsThatMakeNoSense) {
  struct Case {
    const char* text;  // of the message
    std::function<void(Prepared&)> spoil;
  };
  const Case kCases[] = {
      {"no outputs", [](Prepared& p) { p = {}; }},
      {"outputs[0] of -1 bytes", [](Prepared& p) { p.outputs[0].bytes = -1; }},
      {"outputs[0] of 32 bytes", [](Prepared& p) { p.outputs[0].bytes = 32; }},
      {"[-4]", [](Prepared& p) { p.outputs[0].shape = {-4}; }},
      {"a layout that no kernel made", [](Prepared& p) { p.outputs[0].layout.id = 1 << 30; }},
      {"visible = 7", [](Prepared& p) { p.visible = 7; }},
      {"visible = -2", [](Prepared& p) { p.visible = -2; }},
      {"a layout that no kernel made", [](Prepared& p) { p.input_layouts[0] = Layout{1 << 30}; }},
      {"scratch = -5", [](Prepared& p) { p.scratch = -5; }},
      {"scratch = ", [](Prepared& p) { p.scratch = std::numeric_limits<std::int64_t>::max(); }},
      {"work of nan", [](Prepared& p) { p.work.flops = static_cast<double>(kNan); }},
      {"work of 0 flops and -1 bytes", [](Prepared& p) { p.work.bytes = -1; }},
      {"overwrites with index 3",
       [](Prepared& p) {
         p.overwrites = {{3, 0}};
       }},
      {"overwrites with index -1",
       [](Prepared& p) {
         p.overwrites = {{0, -1}};
       }},
      {"updates with index 1", [](Prepared& p) { p.updates = {1}; }},
      {"view_of with index 4", [](Prepared& p) { p.view_of = 4; }},
      {"view_of with index -1", [](Prepared& p) { p.view_of = -1; }},
      {"view_of with 0 outputs",
       [](Prepared& p) {
         p = {};
         p.view_of = 0;
         p.updates = {0};
       }},
      {"view_of with 2 outputs",
       [](Prepared& p) {
         p.view_of = 0;
         p.outputs.push_back(p.outputs[0]);
       }},
      {"view_offset = 1073741824",
       [](Prepared& p) {
         p.view_of = 0;
         p.view_offset = 1 << 30;
       }},
      {"view_offset = -64",
       [](Prepared& p) {
         p.view_of = 0;
         p.view_offset = -64;
       }},
      {"view_offset = 2",
       [](Prepared& p) {
         p.outputs[0] = Meta::plain({3});
         p.view_of = 0;
         p.view_offset = 2;
       }},
      {"view_offset = 0 for 32 of 16 bytes",
       [](Prepared& p) {
         p.outputs[0] = Meta::plain({8});
         p.view_of = 0;
       }},
      {"parts[0].inputs with index 9", [](Prepared& p) { p.parts[0].inputs = {9}; }},
      {"parts[0].inputs with index -1", [](Prepared& p) { p.parts[0].inputs = {-1}; }},
      {"parts[0].inputs of 0", [](Prepared& p) { p.parts[0].inputs.clear(); }},
      {"parts[0].inputs of 1 and parts[0].gx of 0", [](Prepared& p) { p.parts[0].gx.clear(); }},
      {"parts[0].gx[0] of 8 bytes", [](Prepared& p) { p.parts[0].gx[0].bytes = 8; }},
      {"parts[0].gx[0] of shape [2]", [](Prepared& p) { p.parts[0].gx[0] = Meta::plain({2}); }},
      {"parts[0].gx[0] of shape [4] and dtype i32", [](Prepared& p) { p.parts[0].gx[0] = Meta::plain({4}, i32); }},
      {"parts[0].saved with index 5", [](Prepared& p) { p.parts[0].saved = {Saved::input(5)}; }},
      {"parts[0].saved with index -1", [](Prepared& p) { p.parts[0].saved = {Saved::output(-1)}; }},
      {"a layout that no kernel made", [](Prepared& p) { p.parts[0].saved = {Saved::input(0, Layout{1 << 30})}; }},
      {"parts[0].gy with index 1",
       [](Prepared& p) {
         p.parts[0].gy = {{1, {}}};
       }},
      {"parts[0].gy with index 0, and there are 0 visible outputs", [](Prepared& p) { p.visible = 0; }},
      {"parts[0].gy of output 0, which is i32", [](Prepared& p) { p.outputs[0] = Meta::plain({4}, i32); }},
      {"parts[0].scratch = -1", [](Prepared& p) { p.parts[0].scratch = -1; }},
      {"parts[0].work of inf", [](Prepared& p) { p.parts[0].work.flops = HUGE_VAL; }},
      {"parts[0].overwrites with index 1",
       [](Prepared& p) {
         p.parts[0].overwrites = {{1, 0}};
       }},
      {"parts[0].overwrites with index 2",
       [](Prepared& p) {
         p.parts[0].overwrites = {{0, 2}};
       }},
      {"parts[0].view",
       [](Prepared& p) {
         p.parts[0].view = true;
         p.parts[0].gy.clear();
       }},
      {"parts[0].view",
       [](Prepared& p) {
         p.parts[0].view = true;
         p.parts[0].gy[0].layout.reset();
       }},
  };
  Tensor w = parameter(tensor({1.0f, 2.0f, 3.0f, 4.0f}, {4}), "w");
  int index = 0;
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.text);
    const Copy op{++index, c.spoil};
    const std::string line = next_line();
    const std::string message = error_of([&] { (void)apply(op, {w}); });
    EXPECT_THAT(message, AllOf(HasSubstr("[copy] "), HasSubstr(c.text), HasSubstr(line)));
  }
  sum(apply(Copy{}, {w})).backward();
  EXPECT_EQ(w.grad().to_vector(), std::vector<float>(4, 1));
}

// Changes its input and gives nothing back.
struct AddOne {
  static constexpr std::string_view name = "add_one";
  Prepared prepare(Prep&, std::span<const Meta>, Needs) const {
    Prepared out;
    out.updates = {0};
    return out;
  }
  void forward(Ctx&, std::span<const Buf> in, std::span<const Buf>) const { in[0].as()[0] += 1; }
};

TEST_P(WrongCallsTest, ApplyOfAnOpWithoutOutputs) {
  const Tensor x = zeros({1});
  const Tensor inputs[] = {x};
  EXPECT_TRUE(apply_all(any_op(AddOne{}), inputs, SourceLocation::current()).empty());
  EXPECT_EQ(x.item(), 1);
  const std::string line = next_line();
  EXPECT_THAT(error_of([&] { (void)apply(AddOne{}, {x}); }), AllOf(HasSubstr("[add_one]"), HasSubstr(line)));
}

// What a kernel finds is told with the line of the call, in forward and in a step of a plan alike.
TEST_P(WrongCallsTest, KernelsNameTheLine) {
  const Tensor table = parameter(normal({5, 4}, 0, 1), "table");
  std::string line = next_line();
  std::string message = shape_error_of([&] { (void)embedding(tensor({0, 7}, {2}), table); });
  EXPECT_THAT(message, AllOf(HasSubstr("[embedding] index 7 at position 1"), HasSubstr("(at " + line)));
  line = next_line();
  message = shape_error_of([&] { (void)cross_entropy(table, tensor({0, 1, 2, 3, -1}, {5})); });
  EXPECT_THAT(message, AllOf(HasSubstr("[cross_entropy] class -1 at position 4"), HasSubstr("(at " + line)));
  EXPECT_EQ(embedding(tensor({4}, {1}), table).numel(), 4);
}

TEST_P(WrongCallsTest, WhatOneDnnRefusesNamesTheLine) {
  const Tensor x = normal({1, 1, 4, 4}, 0, 1);
  const Tensor w = normal({1, 1, 3, 3}, 0, 1);
  const std::string line = next_line();
  const std::string message = error_of([&] { (void)conv2d(x, w, {}, {.padding = {2147483647, 1}}); });
  EXPECT_THAT(message, AllOf(HasSubstr("[conv2d] "), HasSubstr(line)));
}

TEST_P(WrongCallsTest, TensorFunctionsNameTheLine) {
  const Tensor x = zeros({2, 3});
  Tensor y = relu(x);
  Tensor none;
  const std::function<void()> calls[] = {[&] { (void)none.shape(); },
                                         [&] { (void)none.size(0); },
                                         [&] { (void)none.numel(); },
                                         [&] { (void)none.dtype(); },
                                         [&] { (void)none.requires_grad(); },
                                         [&] { (void)none.is_leaf(); },
                                         [&] { (void)none.is_resident(); },
                                         [&] { none.keep(); },
                                         [&] { (void)none.detach(); },
                                         [&] { (void)none.item(); },
                                         [&] { (void)none.to_vector(); },
                                         [&] { (void)none.session(); },
                                         [&] { none.backward(); },
                                         [&] { (void)x.size(5); },
                                         [&] { (void)x.size(-3); },
                                         [&] { (void)y.grad(); },
                                         [&] { y.zero_grad(); },
                                         [&] { y.set_requires_grad(true); },
                                         [&] { (void)parameter(y, "y"); },
                                         [&] { (void)parameter(zeros({1}, i32), "i"); },
                                         [&] { (void)x.item(); }};
  int line = SourceLocation::current().line - 1 - static_cast<int>(std::size(calls));  // one call a line
  for (const auto& call : calls) {
    const std::string place = to_string(SourceLocation{__FILE__, ++line});
    EXPECT_THAT(error_of(call), HasSubstr("(at " + place + ")"));
  }
  EXPECT_EQ(x.size(-1), 3);
}

TEST_P(WrongCallsTest, OptionsAreChecked) {
  const Tensor x = normal({4, 8}, 0, 1);
  const Tensor gamma = full({8}, 1), beta = zeros({8});
  const Tensor mean = zeros({8}), variance = full({8}, 1);
  const std::vector<std::uint8_t> before = bits(mean);
  for (const float eps : {kNan, -1.0f, HUGE_VALF}) {
    for (const bool training : {true, false}) {
      const std::string line = next_line();
      const auto call = [&] { (void)batch_norm(x, gamma, beta, mean, variance, {.training = training, .eps = eps}); };
      EXPECT_THAT(error_of(call), AllOf(HasSubstr("[batch_norm] eps"), HasSubstr(line)));
    }
    EXPECT_THAT(error_of([&] { (void)layer_norm(x, gamma, beta, {.eps = eps}); }), HasSubstr("[layer_norm] eps"));
  }
  for (const float momentum : {kNan, -5.0f, 1.5f}) {
    const std::string line = next_line();
    const auto call = [&] { (void)batch_norm(x, gamma, beta, mean, variance, {.momentum = momentum}); };
    EXPECT_THAT(error_of(call), AllOf(HasSubstr("[batch_norm] momentum"), HasSubstr(line)));
  }
  for (const float p : {kNan, -0.5f, 1.5f}) {
    EXPECT_THAT(error_of([&] { (void)dropout(x, {.p = p}); }), HasSubstr("[dropout] p"));
  }
  EXPECT_EQ(before, bits(mean));
  (void)batch_norm(x, gamma, beta, mean, variance, {.momentum = 0, .eps = 0});
  EXPECT_EQ(before, bits(mean));
}

TEST(AttributesTest, EqualTextsMeanEqualValues) {
  const auto text = [](double value) {
    Attributes a;
    a("v", value);
    return a.text();
  };
  EXPECT_EQ(text(3), "v=3");
  EXPECT_NE(text(0.0), text(-0.0));
  EXPECT_NE(text(0x1p63), text(0x1p64));
  EXPECT_NE(text(HUGE_VAL), text(-HUGE_VAL));
  EXPECT_NE(text(std::nan("")), text(-0x1p63));
}

TEST_P(WrongCallsTest, AnotherThreadIsRefused) {
  Tensor w = parameter(normal({4}, 0, 1), "w");
  const Tensor loss = sum(mul(w, w));
  optim::SGD optimizer({w}, {.lr = 0.1f});
  const std::string line = next_line();
  const std::function<void()> calls[] = {[&] { (void)relu(w); },
                                         [&] { (void)loss.item(); },
                                         [&] { loss.backward(); },
                                         [&] { w.zero_grad(); },
                                         [&] { (void)loss.detach(); },
                                         [&] { optimizer.step(); },
                                         [&] { w.assign(std::span<const float>()); }};
  std::vector<std::string> messages;
  std::thread([&] {
    for (const auto& call : calls) messages.push_back(error_of(call));
  }).join();
  EXPECT_THAT(messages, ::testing::Each(HasSubstr("thread that made it")));
  EXPECT_THAT(messages[0], AllOf(HasSubstr("[relu]"), HasSubstr(line)));
  loss.backward();
  optimizer.step();
}

}  // namespace
}  // namespace tidemark::test
