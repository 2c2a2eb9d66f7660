// Values and gradients against PyTorch's, from the files that make_golden.py wrote, through the public interface.
#include <bit>
#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tidemark/ops.h"
#include "tidemark/session.h"

namespace tidemark {
namespace {

// A line of a file: "ROLE NAME SHAPE BITS...".
struct Line {
  std::string role;
  std::string name;
  Shape shape;
  std::vector<std::uint32_t> bits;

  std::vector<float> floats() const {
    std::vector<float> out;
    for (const std::uint32_t word : bits) out.push_back(std::bit_cast<float>(word));
    return out;
  }
};

using Case = std::vector<Line>;

std::map<std::string, Case> read_family(const std::string& family) {
  std::ifstream file(std::string(TIDEMARK_GOLDEN_DIR) + "/" + family + ".txt");
  EXPECT_TRUE(file.good()) << family;
  std::map<std::string, Case> cases;
  Case* current = nullptr;
  for (std::string text; std::getline(file, text);) {
    std::istringstream words(text);
    Line line;
    std::string shape;
    words >> line.role >> line.name >> shape;
    if (line.role == "case") {
      current = &cases[line.name];
      continue;
    }
    std::vector<std::int64_t> dims;
    std::istringstream sizes(shape == "-" ? "" : shape);
    for (std::string size; std::getline(sizes, size, ',');) dims.push_back(std::stoll(size));
    line.shape = Shape(dims);
    for (std::string word; words >> word;) {
      line.bits.push_back(static_cast<std::uint32_t>(std::stoul(word, nullptr, 16)));
    }
    EXPECT_EQ(static_cast<std::int64_t>(line.bits.size()), line.shape.numel());
    if (current != nullptr) current->push_back(std::move(line));
  }
  return cases;
}

void expect_close(const Tensor& actual, const Line& expected, const std::string& what) {
  ASSERT_EQ(actual.shape(), expected.shape) << what;
  const std::vector<float> a = actual.to_vector();
  const std::vector<float> b = expected.floats();
  float largest = 0;
  for (const float value : b) largest = std::isfinite(value) ? std::max(largest, std::fabs(value)) : largest;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(b[i])) {
      EXPECT_TRUE(std::isnan(a[i])) << what << ", " << i << ": " << a[i];
    } else if (std::isinf(b[i])) {
      EXPECT_EQ(a[i], b[i]) << what << ", " << i;
    } else {
      EXPECT_NEAR(a[i], b[i], 1e-5f * std::max(largest, 0.1f)) << what << ", " << i;
    }
  }
}

// Inputs in the order of the file.
using Inputs = std::vector<Tensor>;
using Function = std::function<Tensor(const Inputs&)>;

void check(const Case& lines, const Function& function) {
  Session session({.threads = 2});
  Inputs inputs;
  std::map<std::string, Tensor> by_name;
  Tensor weight;
  for (const Line& line : lines) {
    if (line.role == "weight") weight = tensor(line.floats(), line.shape);
    if (line.role != "var" && line.role != "in") continue;
    if (line.name == "indices" || line.name == "classes") {
      const std::vector<std::int32_t> values(line.bits.begin(), line.bits.end());
      inputs.push_back(tensor(values, line.shape));
    } else {
      inputs.push_back(tensor(line.floats(), line.shape));
    }
    if (line.role == "var") inputs.back().set_requires_grad(true);
    by_name[line.name] = inputs.back();
  }
  const Tensor y = function(inputs);
  sum(y * weight).backward({.retain_graph = true});
  for (const Line& line : lines) {
    if (line.role == "out") expect_close(y, line, "value");
    if (line.role == "grad") expect_close(by_name.at(line.name).grad(), line, "gradient of " + line.name);
    if (line.role == "state") expect_close(by_name.at(line.name), line, line.name);
  }
}

void check_family(const std::string& family, const std::map<std::string, Function>& functions) {
  const std::map<std::string, Case> cases = read_family(family);
  std::set<std::string> named;
  std::set<std::string> written;
  for (const auto& [name, function] : functions) named.insert(name);
  for (const auto& [name, lines] : cases) written.insert(name);
  ASSERT_EQ(named, written);
  for (const auto& [name, lines] : cases) {
    SCOPED_TRACE(family + " " + name);
    check(lines, functions.at(name));
  }
}

TEST(Golden, Conv2d) {
  check_family("conv2d", {{"padding",
                           [](const Inputs& in) {
                             return conv2d(in[0], in[1], in[2], {.padding = {1, 1}});
                           }},
                          {"stride",
                           [](const Inputs& in) {
                             return conv2d(in[0], in[1], {}, {.stride = {2, 1}, .padding = {0, 2}});
                           }},
                          {"dilation",
                           [](const Inputs& in) {
                             return conv2d(in[0], in[1], {}, {.padding = {2, 2}, .dilation = {2, 2}});
                           }},
                          {"groups", [](const Inputs& in) { return conv2d(in[0], in[1], in[2], {.groups = 2}); }}});
}

TEST(Golden, Linear) {
  check_family("linear", {{"batch", [](const Inputs& in) { return linear(in[0], in[1], in[2]); }},
                          {"sequence", [](const Inputs& in) { return linear(in[0], in[1]); }}});
}

TEST(Golden, Matmul) {
  const Function function = [](const Inputs& in) { return matmul(in[0], in[1]); };
  check_family("matmul", {{"matrix", function}, {"batch", function}, {"shared", function}});
}

TEST(Golden, Elementwise) {
  const std::map<std::string, Function> ops = {{"add", [](const Inputs& in) { return in[0] + in[1]; }},
                                               {"sub", [](const Inputs& in) { return in[0] - in[1]; }},
                                               {"mul", [](const Inputs& in) { return in[0] * in[1]; }}};
  std::map<std::string, Function> functions = {{"affine", [](const Inputs& in) { return 2.5f * in[0] - 0.75f; }},
                                               {"div_by_number", [](const Inputs& in) { return in[0] / 3; }},
                                               {"div_of_number", [](const Inputs& in) { return -0.7f / in[0]; }}};
  for (const char* kind : {"div_equal", "div_row", "div_channel", "div_both"}) {
    functions[kind] = [](const Inputs& in) { return in[0] / in[1]; };
  }
  for (const auto& [name, function] : ops) {
    for (const char* kind : {"_equal", "_row", "_channel", "_both", "_number"}) functions[name + kind] = function;
  }
  check_family("elementwise", functions);
}

TEST(Golden, Activation) {
  check_family("activation", {{"relu", [](const Inputs& in) { return relu(in[0]); }},
                              {"gelu", [](const Inputs& in) { return gelu(in[0]); }},
                              {"gelu_tanh", [](const Inputs& in) { return gelu(in[0], {.approximate = true}); }},
                              {"softmax", [](const Inputs& in) { return softmax(in[0]); }},
                              {"sigmoid", [](const Inputs& in) { return sigmoid(in[0]); }},
                              {"tanh", [](const Inputs& in) { return tanh(in[0]); }},
                              {"silu", [](const Inputs& in) { return silu(in[0]); }},
                              {"leaky_relu", [](const Inputs& in) { return leaky_relu(in[0], 0.125f); }}});
}

TEST(Golden, Function) {
  check_family("function", {{"exp", [](const Inputs& in) { return exp(in[0]); }},
                            {"log", [](const Inputs& in) { return log(in[0]); }},
                            {"sqrt", [](const Inputs& in) { return sqrt(in[0]); }},
                            {"square", [](const Inputs& in) { return square(in[0]); }},
                            {"abs", [](const Inputs& in) { return abs(in[0]); }},
                            {"neg", [](const Inputs& in) { return neg(in[0]); }},
                            {"reciprocal", [](const Inputs& in) { return reciprocal(in[0]); }}});
}

TEST(Golden, MaxPool) {
  check_family("max_pool", {{"plain", [](const Inputs& in) { return max_pool2d(in[0]); }},
                            {"overlap", [](const Inputs& in) {
                               return max_pool2d(in[0], {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
                             }}});
}

TEST(Golden, Norm) {
  const auto batch = [](bool training) {
    return
        [training](const Inputs& in) { return batch_norm(in[0], in[1], in[2], in[3], in[4], {.training = training}); };
  };
  check_family("norm", {{"batch_image_train", batch(true)},
                        {"batch_image_eval", batch(false)},
                        {"batch_features_train", batch(true)},
                        {"batch_features_eval", batch(false)},
                        {"layer", [](const Inputs& in) { return layer_norm(in[0], in[1], in[2]); }}});
}

TEST(Golden, Embedding) {
  check_family("embedding", {{"rows", [](const Inputs& in) { return embedding(in[1], in[0]); }}});
}

TEST(Golden, Shape) {
  check_family("shape", {{"transpose", [](const Inputs& in) { return transpose(in[0], 1, 2); }},
                         {"slice", [](const Inputs& in) { return slice(in[0], 1, 1, 3); }},
                         {"concat",
                          [](const Inputs& in) {
                            return concat({in[0], in[1]}, 1);
                          }},
                         {"flatten", [](const Inputs& in) { return flatten(in[0]); }}});
}

TEST(Golden, Attention) {
  check_family("attention", {{"two_heads", [](const Inputs& in) { return causal_self_attention(in[0], 2); }},
                             {"one_head", [](const Inputs& in) { return causal_self_attention(in[0], 1); }}});
}

TEST(Golden, Reduce) {
  check_family("reduce", {{"sum", [](const Inputs& in) { return sum(in[0]); }},
                          {"sum_dims",
                           [](const Inputs& in) {
                             return sum(in[0], {0, 2});
                           }},
                          {"mean", [](const Inputs& in) { return mean(in[0]); }},
                          {"mean_last", [](const Inputs& in) { return mean(in[0], {-1}); }}});
}

TEST(Golden, BadValues) {
  const auto batch = [](bool training) {
    return
        [training](const Inputs& in) { return batch_norm(in[0], in[1], in[2], in[3], in[4], {.training = training}); };
  };
  const Function loss = [](const Inputs& in) { return cross_entropy(in[0], in[1]); };
  check_family("bad_values", {{"max_pool", [](const Inputs& in) { return max_pool2d(in[0]); }},
                              {"max_pool_overlap",
                               [](const Inputs& in) {
                                 return max_pool2d(in[0], {.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
                               }},
                              {"softmax", [](const Inputs& in) { return softmax(in[0]); }},
                              {"layer_norm", [](const Inputs& in) { return layer_norm(in[0], in[1], in[2]); }},
                              {"batch_norm_train", batch(true)},
                              {"batch_norm_eval", batch(false)},
                              {"cross_entropy_nan", loss},
                              {"cross_entropy_inf", loss},
                              {"cross_entropy_masked", loss},
                              {"cross_entropy_impossible", loss},
                              {"cross_entropy_all_masked", loss},
                              {"mse", [](const Inputs& in) { return mse_loss(in[0], in[1]); }},
                              {"sum_rows", [](const Inputs& in) { return sum(in[0], {0}); }},
                              {"linear", [](const Inputs& in) { return linear(in[0], in[1], in[2]); }}});
}

TEST(Golden, Loss) {
  const Function function = [](const Inputs& in) { return cross_entropy(in[0], in[1]); };
  check_family("loss", {{"cross_entropy", function},
                        {"cross_entropy_sequence", function},
                        {"mse", [](const Inputs& in) { return mse_loss(in[0], in[1]); }}});
}

}  // namespace
}  // namespace tidemark
