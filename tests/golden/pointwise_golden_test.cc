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

TEST(Golden, MoreFunctions) {
  std::map<std::string, Function> functions = {
      {"expm1", [](const Inputs& in) { return expm1(in[0]); }},
      {"sin", [](const Inputs& in) { return sin(in[0]); }},
      {"cos", [](const Inputs& in) { return cos(in[0]); }},
      {"sin_far", [](const Inputs& in) { return sin(in[0]); }},
      {"cos_far", [](const Inputs& in) { return cos(in[0]); }},
      {"erf", [](const Inputs& in) { return erf(in[0]); }},
      {"sign", [](const Inputs& in) { return sign(in[0]); }},
      {"floor", [](const Inputs& in) { return floor(in[0]); }},
      {"ceil", [](const Inputs& in) { return ceil(in[0]); }},
      {"round", [](const Inputs& in) { return round(in[0]); }},
      {"trunc", [](const Inputs& in) { return trunc(in[0]); }},
      {"log2", [](const Inputs& in) { return log2(in[0]); }},
      {"log1p", [](const Inputs& in) { return log1p(in[0]); }},
      {"rsqrt", [](const Inputs& in) { return rsqrt(in[0]); }},
      {"pow_whole_of_negative", [](const Inputs& in) { return pow(in[0], 3); }},
      {"pow_of_number", [](const Inputs& in) { return pow(2.5f, in[0]); }},
      {"clamp", [](const Inputs& in) { return clamp(in[0], {.min = -0.5f, .max = 0.75f}); }},
      {"clamp_min", [](const Inputs& in) { return clamp(in[0], {.min = 0.25f}); }},
      {"clamp_max", [](const Inputs& in) { return clamp(in[0], {.max = -0.25f}); }}};
  const std::pair<const char*, float> exponents[] = {
      {"cube", 3}, {"square", 2}, {"root", 0.5f}, {"inverse", -1}, {"negative", -2.5f}, {"none", 0}, {"same", 1}};
  for (const auto& [name, exponent] : exponents) {
    functions[std::string("pow_") + name] = [power = exponent](const Inputs& in) { return pow(in[0], power); };
  }
  check_family("more_functions", functions);
}

TEST(Golden, MoreActivations) {
  const Function of_weight = [](const Inputs& in) { return prelu(in[0], in[1]); };
  check_family("more_activations",
               {{"log_sigmoid", [](const Inputs& in) { return log_sigmoid(in[0]); }},
                {"mish", [](const Inputs& in) { return mish(in[0]); }},
                {"selu", [](const Inputs& in) { return selu(in[0]); }},
                {"elu", [](const Inputs& in) { return elu(in[0]); }},
                {"elu_alpha", [](const Inputs& in) { return elu(in[0], 0.3f); }},
                {"celu", [](const Inputs& in) { return celu(in[0], 0.7f); }},
                {"relu6", [](const Inputs& in) { return relu6(in[0]); }},
                {"hardtanh", [](const Inputs& in) { return hardtanh(in[0]); }},
                {"hardtanh_bounds", [](const Inputs& in) { return hardtanh(in[0], {.min = -0.5f, .max = 2}); }},
                {"hardswish", [](const Inputs& in) { return hardswish(in[0]); }},
                {"hardsigmoid", [](const Inputs& in) { return hardsigmoid(in[0]); }},
                {"softsign", [](const Inputs& in) { return softsign(in[0]); }},
                {"softplus", [](const Inputs& in) { return softplus(in[0]); }},
                {"softplus_options", [](const Inputs& in) { return softplus(in[0], {.beta = 2.5f, .threshold = 3}); }},
                {"prelu_one", of_weight},
                {"prelu_channels", of_weight},
                {"prelu_matrix", of_weight},
                {"glu", [](const Inputs& in) { return glu(in[0]); }},
                {"glu_channels", [](const Inputs& in) { return glu(in[0], 1); }},
                {"swiglu", [](const Inputs& in) { return swiglu(in[0], 1); }}});
}

TEST(Golden, MoreOperands) {
  using Binary = Tensor (*)(const Operand&, const Operand&, SourceLocation);
  const std::pair<const char*, Binary> comparisons[] = {{"eq", eq}, {"ne", ne}, {"lt", lt},
                                                        {"le", le}, {"gt", gt}, {"ge", ge}};
  std::map<std::string, Function> functions = {
      {"maximum_ties", [](const Inputs& in) { return maximum(in[0], in[1]); }},
      {"lerp", [](const Inputs& in) { return lerp(in[0], in[1], in[2]); }},
      {"lerp_number", [](const Inputs& in) { return lerp(in[0], in[1], 0.8); }},
      {"where", [](const Inputs& in) { return where(in[2], in[0], in[1]); }},
      {"where_number", [](const Inputs& in) { return where(in[1], in[0], -2); }},
      {"masked_fill", [](const Inputs& in) { return masked_fill(in[0], in[1], 7); }},
      {"logical_and", [](const Inputs& in) { return logical_and(in[0], in[1]); }},
      {"logical_or", [](const Inputs& in) { return logical_or(in[0], in[1]); }},
      {"logical_xor", [](const Inputs& in) { return logical_xor(in[0], in[1]); }},
      {"logical_not", [](const Inputs& in) { return logical_not(in[0]); }}};
  for (const std::string kind : {"equal", "row", "both"}) {
    functions["maximum_" + kind] = [](const Inputs& in) { return maximum(in[0], in[1]); };
    functions["minimum_" + kind] = [](const Inputs& in) { return minimum(in[0], in[1]); };
    functions["pow_" + kind] = [](const Inputs& in) { return pow(in[0], in[1]); };
  }
  for (const auto& [name, compare] : comparisons) {
    const Function of_tensors = [f = compare](const Inputs& in) { return f(in[0], in[1], SourceLocation::current()); };
    functions[name] = of_tensors;
    functions[std::string(name) + "_integers"] = of_tensors;
    functions[std::string(name) + "_number"] = [f = compare](const Inputs& in) {
      return f(in[0], 1, SourceLocation::current());
    };
  }
  check_family("more_operands", functions);
}

}  // namespace
}  // namespace tidemark::test
