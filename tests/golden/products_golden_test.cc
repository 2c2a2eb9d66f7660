#include <gtest/gtest.h>

#include "tests/golden/golden.h"
#include "tidemark/ops.h"

namespace tidemark::test {
namespace {

TEST(Golden, Linear) {
  check_family("linear", {{"batch", [](const Inputs& in) { return linear(in[0], in[1], in[2]); }},
                          {"sequence", [](const Inputs& in) { return linear(in[0], in[1]); }}});
}

TEST(Golden, Matmul) {
  const Function function = [](const Inputs& in) { return matmul(in[0], in[1]); };
  check_family("matmul", {{"matrix", function}, {"batch", function}, {"shared", function}});
}

}  // namespace
}  // namespace tidemark::test
