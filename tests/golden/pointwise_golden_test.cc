#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

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

}  // namespace
}  // namespace tidemark::test
