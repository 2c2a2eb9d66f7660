// Sequential's elements, ModuleList, and the table that summary() makes.
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/nn/support.h"
#include "tidemark/nn.h"
#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark::nn {
namespace {

using test::names;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class ContainersTest : public ::testing::Test {
 protected:
  Session session_{{.threads = 1}};
};

template <class Call>
void refused(const Call& call, const std::string& text) {
  EXPECT_THAT(call, ThrowsMessage<Error>(AllOf(HasSubstr(text), HasSubstr("(at containers_test.cc:"))));
}

TEST_F(ContainersTest, ElementsOfSequential) {
  Sequential net(Linear({.in = 4, .out = 3}), ReLU());
  net.add(Linear({.in = 3, .out = 2})).add([](const Tensor& x) { return neg(x); });
  ASSERT_EQ(net.size(), 4u);
  EXPECT_TRUE(net[0].is<Linear>());
  EXPECT_FALSE(net[0].is<Module>());
  EXPECT_TRUE(net[1].is<ReLU>());
  EXPECT_TRUE(net.layer<Linear>(0).weight.same(net.parameters()[0]));
  EXPECT_TRUE(net.layer<Linear>(-2).weight.same(net.parameters()[2]));
  EXPECT_TRUE(net[-2].as<Linear>().weight.same(net.parameters()[2]));

  const Tensor x = normal({5, 4}, 0, 1);
  Tensor y = x;
  for (const AnyModule& layer : net) y = layer(y);
  EXPECT_EQ(y.to_vector(), net(x).to_vector());
  const Sequential& unchanging = net;
  EXPECT_EQ(unchanging[0](x).to_vector(), unchanging.layer<Linear>(0)(x).to_vector());

  // Another head, as for another task.
  net.layer<Linear>(2) = Linear({.in = 3, .out = 7});
  EXPECT_EQ(net(x).shape(), Shape({5, 7}));
  net[3] = AnyModule(Linear({.in = 7, .out = 1}));
  EXPECT_EQ(net(x).shape(), Shape({5, 1}));
  EXPECT_THAT(names(net.parameters()), ElementsAre("0.weight", "0.bias", "2.weight", "2.bias", "3.weight", "3.bias"));
}

// Gru does not take a tensor to a tensor.
TEST_F(ContainersTest, ModuleListHoldsModulesOfAnyTypes) {
  ModuleList list(Linear({.in = 4, .out = 4}), GRU({.input = 4, .hidden = 3}));
  for (int i = 0; i < 2; ++i) list.add(Linear({.in = 4, .out = 4, .bias = false}));
  ASSERT_EQ(list.size(), 4u);
  EXPECT_THAT(names(list.parameters()), ElementsAre("0.weight", "0.bias", "1.weight_ih_l0", "1.weight_hh_l0",
                                                    "1.bias_ih_l0", "1.bias_hh_l0", "2.weight", "3.weight"));
  const Tensor x = normal({5, 2, 4}, 0, 1);
  EXPECT_EQ(list.layer<GRU>(1)(list[0](x)).output.shape(), Shape({5, 2, 3}));
  int linear = 0;
  for (const AnyModule& module : list) linear += module.is<Linear>() ? 1 : 0;
  EXPECT_EQ(linear, 3);
  refused([&] { (void)list[1](x); }, "[AnyModule] tidemark::nn::GRU does not map one tensor to one");

  // As a child, and beside a list of one type.
  struct Net : Module {
    ModuleList layers{Linear({.in = 2, .out = 2}), LayerNorm({.features = 2})};
    void visit(Visitor& v) override { v.child("layers", layers); }
  };
  Net net;
  EXPECT_THAT(names(net.parameters()),
              ElementsAre("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"));
}

TEST_F(ContainersTest, CopiesShareParametersButNotTheirMode) {
  ModuleList list(Dropout({.p = 0.5f}), Linear({.in = 2, .out = 2}));
  ModuleList copy = list;
  copy.eval();
  const Tensor x = full({100}, 1);
  EXPECT_EQ(copy[0](x).to_vector(), x.to_vector());
  EXPECT_NE(list[0](x).to_vector(), x.to_vector());
  EXPECT_TRUE(copy.layer<Linear>(1).weight.same(list.layer<Linear>(1).weight));
  copy.add(list[1]);  // an element, not a list in a list
  EXPECT_TRUE(copy.layer<Linear>(2).weight.same(list.layer<Linear>(1).weight));
  const ModuleList moved = std::move(copy);
  EXPECT_EQ(moved.size(), 3u);
}

TEST_F(ContainersTest, WrongIndicesAndTypesNameTheUsersLine) {
  Sequential net(Linear({.in = 4, .out = 3}), ReLU());
  refused([&] { (void)net[2]; }, "[Sequential] there is no element 2; it has 2, from 0 to 1");
  refused([&] { (void)net[-3]; }, "[Sequential] there is no element -3");
  refused([&] { (void)net.layer<ReLU>(5); }, "[Sequential] there is no element 5");
  refused([&] { (void)net.layer<Conv2d>(-2); },
          "[Sequential] element 0 is a tidemark::nn::Linear, not a tidemark::nn::Conv2d");
  refused([&] { (void)net[1].as<Linear>(); }, "[AnyModule] it is a tidemark::nn::ReLU, not a tidemark::nn::Linear");
  ModuleList none;
  refused([&] { (void)none[0]; }, "[ModuleList] there is no element 0; it has none");
  AnyModule from(ReLU{});
  const AnyModule to = std::move(from);
  refused([&] { (void)from(full({1}, 1)); }, "[AnyModule] it was moved from");  // NOLINT: what is tested
  EXPECT_THAT([&] { net.add(std::function<Tensor(const Tensor&)>()); },
              ThrowsMessage<Error>(HasSubstr("[Sequential] a layer is a function or pointer without a value")));
  EXPECT_EQ(net.size(), 2u);
}

TEST_F(ContainersTest, SummaryIsATableOfAllThereIs) {
  Sequential net(Conv2d({.in = 3, .out = 64, .kernel = 3}), BatchNorm2d({.features = 64}), ReLU());
  net.add(net[0]);  // shared: counted once
  freeze(net.parameters(), "1.*");
  const std::string expected =
      "name            shape          elements\n"
      "0.weight        [64, 3, 3, 3]     1,728\n"
      "0.bias          [64]                 64\n"
      "1.weight        [64]                 64  frozen\n"
      "1.bias          [64]                 64  frozen\n"
      "1.running_mean  [64]                 64  buffer\n"
      "1.running_var   [64]                 64  buffer\n"
      "1,920 parameters: 1,792 trainable, 128 frozen; 128 elements in buffers\n";
  EXPECT_EQ(net.summary(), expected);
  EXPECT_EQ(summary(net), expected);

  std::FILE* const file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  print(net, file);
  std::rewind(file);
  std::string written(expected.size() + 1, '\0');
  written.resize(std::fread(written.data(), 1, written.size(), file));
  std::fclose(file);
  EXPECT_EQ(written, expected);

  ReLU nothing;
  EXPECT_EQ(summary(nothing), "name  shape  elements\n0 parameters: 0 trainable, 0 frozen\n");
}

TEST(Summary, GroupsDigits) {
  Session session({.threads = 1, .dry_run = true});
  Linear layer({.in = 1000, .out = 1234, .bias = false});
  EXPECT_THAT(layer.summary(), HasSubstr("  1,234,000\n1,234,000 parameters: 1,234,000 trainable, 0 frozen\n"));
}

}  // namespace
}  // namespace tidemark::nn
