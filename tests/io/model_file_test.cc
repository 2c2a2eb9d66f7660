// Weights by name: what fits, what is renamed, what is refused.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/io/run.h"
#include "tidemark/tidemark.h"

namespace tidemark::io {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

nn::Sequential small_net() {
  return nn::Sequential(nn::Conv2d({.in = 2, .out = 3, .kernel = 3}), nn::BatchNorm2d({.features = 3}), nn::Flatten(),
                        nn::Linear({.in = 12, .out = 5}));
}

std::vector<std::vector<float>> elements_of(nn::Sequential& net) {
  std::vector<std::vector<float>> all;
  for (const Parameter& p : net.parameters()) all.push_back(p.to_vector());
  for (const Parameter& p : net.state()) all.push_back(p.to_vector());
  return all;
}

// The tensor counts up from `first`.
TensorToWrite counting(const std::string& name, const std::vector<std::int64_t>& shape, float first = 1) {
  return {name, StoredType::kF32, shape, [shape, first](const AppendBytes& append) {
            std::int64_t count = 1;
            for (const std::int64_t dim : shape) count *= dim;
            std::vector<float> elements(static_cast<std::size_t>(count));
            std::iota(elements.begin(), elements.end(), first);
            append(elements.data(), count * 4);
          }};
}

class ModelFile : public ::testing::Test {
 protected:
  Folder folder_;
  std::string file_ = folder_ / "net.safetensors";
  Session session_{{.threads = 1}};
};

TEST_F(ModelFile, ComesBackBitForBitWithPyTorchsNames) {
  nn::Sequential net = small_net();
  (void)net(uniform({4, 2, 4, 4}, -1, 1));  // running statistics of one batch
  for (const char* name : {"net.safetensors", "net.npz"}) {
    save(net, folder_ / name);
    std::vector<std::string> names;
    const TensorFile file(folder_ / name);
    for (const FileTensor& tensor : file.tensors()) names.push_back(tensor.name);
    std::sort(names.begin(), names.end());
    EXPECT_THAT(names, ElementsAre("0.bias", "0.weight", "1.bias", "1.num_batches_tracked", "1.running_mean",
                                   "1.running_var", "1.weight", "3.bias", "3.weight"));
    std::int64_t batches = 0;
    file.read(*file.find("1.num_batches_tracked"), 0, 1, &batches);
    EXPECT_EQ(batches, 1);
    nn::Sequential other = small_net();
    EXPECT_NE(elements_of(other), elements_of(net));
    load(other, folder_ / name);
    EXPECT_EQ(elements_of(other), elements_of(net));
    save(other, folder_ / "again.safetensors");
    save(net, file_);
    EXPECT_EQ(read_bytes(folder_ / "again.safetensors"), read_bytes(file_));
  }
}

TEST_F(ModelFile, SaysAllThatDoesNotFitAndChangesNothing) {
  nn::Sequential net = small_net();
  const auto before = elements_of(net);
  write_tensors(file_, {counting("0.weight", {3, 2, 3, 3}),
                        counting("0.bias", {4}),
                        counting("3.weight", {12, 5}),
                        counting("head.weight", {2}),
                        counting("1.weight", {3}),
                        {"1.bias", StoredType::kI32, {3}, [](const AppendBytes& append) {
                           const std::int32_t zeros[3] = {};
                           append(zeros, 12);
                         }}});
  EXPECT_THAT(message_of([&] { load(net, file_); }),
              AllOf(HasSubstr(file_ + " does not fit the model:"), HasSubstr("missing: 3.bias [5]"),
                    HasSubstr("missing: 1.running_mean [3]"), HasSubstr("left over: head.weight [2]"),
                    HasSubstr("of another shape: 0.bias is [4] in the file, but [3] in the model"),
                    HasSubstr("of another shape: 3.weight is [12, 5] in the file, but [5, 12] in the model"),
                    HasSubstr("of another type: 1.bias is i32"), HasSubstr("model_file_test.cc")));
  EXPECT_EQ(elements_of(net), before);
  // What is missing and left over may be wanted, and another shape never is.
  EXPECT_THAT(message_of([&] { load(net, file_, {.strict = false}); }),
              AllOf(HasSubstr("0.bias"), ::testing::Not(HasSubstr("missing"))));
  write_tensors(file_, {counting("0.weight", {3, 2, 3, 3}), counting("head.weight", {2})});
  const LoadReport report = load(net, file_, {.strict = false});
  EXPECT_THAT(report.left_over, ElementsAre("head.weight"));
  EXPECT_EQ(report.missing.size(), 7u);
  EXPECT_EQ(net.parameters()[0].to_vector()[5], 6);
  EXPECT_EQ(net.parameters()[1].to_vector(), before[1]);
}

TEST_F(ModelFile, PrefixAndNames) {
  nn::Sequential net = small_net();
  save(net, file_, {.prefix = "encoder."});
  nn::Sequential other = small_net();
  EXPECT_THAT(message_of([&] { load(other, file_); }), HasSubstr("left over: encoder.0.weight"));
  load(other, file_, {.prefix = "encoder."});
  EXPECT_EQ(elements_of(other), elements_of(net));
  const NameTable names = {.renames = {{"conv.*", "0.*"}, {"norm.*", "1.*"}, {"out.weight", "3.weight", true}}};
  save(net, file_, {.names = names});
  const TensorFile file(file_);
  ASSERT_NE(file.find("out.weight"), nullptr);
  EXPECT_THAT(file.find("out.weight")->shape, ElementsAre(12, 5));
  EXPECT_NE(file.find("norm.running_var"), nullptr);
  EXPECT_NE(file.find("3.bias"), nullptr);
  nn::Sequential third = small_net();
  load(third, file_, {.names = names});
  EXPECT_EQ(elements_of(third), elements_of(net));
  EXPECT_THAT(message_of([&] {
                load(third, file_, {.names = {.renames = {{"a.*.*", "b.*"}}}});
              }),
              HasSubstr("have not the same number of stars"));
}

TEST_F(ModelFile, HalfPrecisionIsRoundedToTheNearestAndReadExactly) {
  nn::Sequential net(nn::Linear({.in = 8, .out = 4, .bias = false}));
  Parameter weight = net.parameters()[0];
  std::vector<float> values = {
      0,           -0.0f,    1,          1.0f / 3, 65504,       65519,       65520,  1e30f,        0x1p-24f,
      0x1.8p-24f,  0x1p-25f, 0x1.8p-25f, 1e-3f,    -1e-5f,      2049,        2051,   0x1.ffcp-15f, 0x1.ffep-15f,
      3.14159274f, INFINITY, -INFINITY,  NAN,      1.00390625f, 1.01171875f, 5e-39f, -7e-42f,      3e38f,
      1e-38f,      7,        -8,         9,        10};
  weight.assign(std::span<const float>(values));
  // By the compiler's own conversions.
  const auto check = [&](StoredType type, auto round) {
    save(net, file_, {.type = type});
    nn::Sequential other(nn::Linear({.in = 8, .out = 4, .bias = false}));
    load(other, file_);
    const std::vector<float> got = other.parameters()[0].to_vector();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float expected = round(values[i]);
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(got[i]));
      } else {
        EXPECT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(expected)) << values[i];
      }
    }
  };
  // To 8 bits of mantissa by arithmetic: adding and taking away what moves the rest out.
  const auto round_bf16 = [](float x) {
    if (!std::isfinite(x) || x == 0) return x;
    int exponent = 0;
    std::frexp(x, &exponent);
    const double unit = std::ldexp(1.0, std::max(exponent - 8, -133));
    const double rounded = std::nearbyint(static_cast<double>(x) / unit) * unit;
    return std::fabs(rounded) > 3.3895e38 ? static_cast<float>(std::copysign(INFINITY, rounded))
                                          : static_cast<float>(std::copysign(rounded, x));
  };
  const auto round_f16 = [](float x) {
    if (!std::isfinite(x) || x == 0) return x;
    int exponent = 0;
    std::frexp(x, &exponent);
    const double unit = std::ldexp(1.0, std::max(exponent - 11, -24));
    const double rounded = std::nearbyint(static_cast<double>(x) / unit) * unit;
    return std::fabs(rounded) > 65504 ? static_cast<float>(std::copysign(INFINITY, rounded))
                                      : static_cast<float>(std::copysign(rounded, x));
  };
  check(StoredType::kBF16, round_bf16);
  check(StoredType::kF16, round_f16);
  EXPECT_THAT(message_of([&] { save(net, file_, {.type = StoredType::kI8}); }), HasSubstr("f16, bf16 or f32"));
}

TEST_F(ModelFile, TypesThatAreAskedForAreTheFiles) {
  nn::Sequential net = small_net();
  save(net, file_, {.type = StoredType::kF16});
  load(net, file_, {.type = StoredType::kF16});
  EXPECT_THAT(message_of([&] { load(net, file_, {.type = StoredType::kF32}); }),
              HasSubstr("of another type: 0.weight is f16 in the file, and not f32"));
}

struct Tied : nn::Module {
  Tied() : table({.count = 6, .width = 4}), head({.in = 4, .out = 6, .bias = false}) { head.weight = table.weight; }
  void visit(nn::Visitor& visitor) override {
    visitor.child("table", table);
    visitor.child("head", head);
  }
  nn::Embedding table;
  nn::Linear head;
};

TEST_F(ModelFile, ATensorOfTwoLayersIsFoundUnderEitherName) {
  Tied net;
  save(net, file_);
  EXPECT_EQ(TensorFile(file_).tensors().size(), 1u);
  for (const char* name : {"table.weight", "head.weight"}) {
    write_tensors(file_, {counting(name, {6, 4})});
    load(net, file_);
    EXPECT_EQ(net.table.weight.to_vector()[23], 24);
  }
  write_tensors(file_, {counting("table.weight", {6, 4}, 5), counting("head.weight", {6, 4}, 5)});
  load(net, file_);
  EXPECT_EQ(net.head.weight.to_vector()[0], 5);
  write_tensors(file_, {counting("table.weight", {6, 4}, 5), counting("head.weight", {6, 4}, 6)});
  EXPECT_THAT(message_of([&] { load(net, file_); }), HasSubstr("are one tensor in the model, and differ in the file"));
  EXPECT_EQ(net.head.weight.to_vector()[0], 5);
}

TEST_F(ModelFile, WhatWasComputedFromOldWeightsCannotGoBackward) {
  nn::Sequential net = small_net();
  save(net, file_);
  const Tensor loss = sum(net(uniform({4, 2, 4, 4}, -1, 1)));
  load(net, file_);
  EXPECT_THAT(message_of([&] { loss.backward(); }), HasSubstr("model_file_test.cc"));
}

TEST_F(ModelFile, TakesNothingFromTheBudget) {
  nn::Sequential net(nn::Linear({.in = 512, .out = 512}));
  save(net, file_);
  save(net, folder_ / "half.safetensors", {.type = StoredType::kF16});
  const std::int64_t bytes = 4 * (512 * 512 + 512);
  Session tight({.budget = bytes + 64, .threads = 1});
  nn::Sequential other(nn::Linear({.in = 512, .out = 512}));
  load(other, file_);
  EXPECT_EQ(tight.report().peak_bytes, bytes);
  load(other, folder_ / "half.safetensors");
  EXPECT_EQ(tight.report().peak_bytes, bytes);
}

TEST_F(ModelFile, LargeMatricesAreTurnedInPieces) {
  nn::Sequential net(nn::Linear({.in = 700, .out = 1100, .bias = false}));
  const NameTable turned = {.renames = {{"w", "0.weight", true}}};
  save(net, file_, {.names = turned});
  nn::Sequential other(nn::Linear({.in = 700, .out = 1100, .bias = false}));
  load(other, file_, {.names = turned});
  const std::vector<float> weight = net.parameters()[0].to_vector();
  EXPECT_EQ(other.parameters()[0].to_vector(), weight);
  const TensorFile file(file_);
  std::vector<float> row(1100);
  file.read_f32(*file.find("w"), 699 * 1100, 1100, row.data());
  for (std::size_t i = 0; i < row.size(); ++i) EXPECT_EQ(row[i], weight[i * 700 + 699]);
}

}  // namespace
}  // namespace tidemark::io
